"""Which file a machine holds: files of this machine and of a Hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.disk.hashes import sha256
from bot.errors import SourceError
from bot.localhub.files.repositories import Store
from bot.localhub.server import RunningHub
from bot.records.built import Built
from bot.verbs.card_preview import fill
from tests.split_gguf import split
from tests.true_shapes import QWEN, write_hole
from tests.unit.cli.running import bot

EIGHT_BITS = {
    name: "Q8_0"
    for name, shape in QWEN.tensors(QWEN.sized(8)).items()
    if len(shape) > 1 and "conv1d" not in name and "gate_inp" not in name
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.road
def test_a_file_on_one_card(tmp_path: Path) -> None:
    """Eight layers of a real release's shape, of which a card of 6 GiB does not hold all."""
    write_hole(tmp_path / "hole.gguf", layers=8, types=EIGHT_BITS)
    words = ("fits", "hole.gguf", "--vram", "6", "--ram", "32", "--context", "8192")
    told = json.loads(bot(*words, "--json"))
    assert told["context"] == 8192
    assert 0 < told["moved"] < 1
    assert told["cards_used"][0] <= 5 << 30
    assert told["cards_used"][0] + told["memory_used"] > (tmp_path / "hole.gguf").stat().st_size
    text = bot(*words)
    assert "llama-server -m hole.gguf -c 8192 --parallel 1 -ngl 999 " in text
    assert "of the experts in main memory" in text


@pytest.mark.road
def test_a_table_without_a_machine(tmp_path: Path) -> None:
    write_hole(tmp_path / "hole.gguf", layers=4, types=EIGHT_BITS)
    lines = bot("fits", "hole.gguf").splitlines()
    assert lines[0].split() == [
        *("cards", "GiB", "memory", "GiB", "file", "context", "experts", "in", "memory")
    ]
    assert [line.split()[0] for line in lines[1:8]] == ["8", "12", "16", "24", "32", "48", "80"]
    assert all("262,144" in line for line in lines[2:9])


@pytest.mark.road
def test_of_a_folder_the_largest_that_fits_but_no_16_bits(tmp_path: Path) -> None:
    write_hole(tmp_path / "a-BF16.gguf", layers=4)
    write_hole(tmp_path / "a-Q8.gguf", layers=4, types=EIGHT_BITS)
    write_hole(tmp_path / "a-Q4.gguf", layers=4, types=dict.fromkeys(EIGHT_BITS, "Q4_K"))

    def best(vram: str, ram: str) -> str:
        words = ("fits", ".", "--vram", vram, "--ram", ram, "--context", "4096", "--json")
        return str(json.loads(bot(*words))["name"])

    assert best("24", "32") == "a-Q8.gguf"
    assert best("2", "6.2") == "a-Q4.gguf"
    assert "nothing fits: the smallest lacks" in bot(
        "fits", ".", "--vram", "1.5", "--ram", "4.5", "--context", "4096"
    )


@pytest.mark.road
def test_a_repository_is_told_from_headers(tmp_path: Path, demo_candidate: Path) -> None:
    shards = split(demo_candidate, tmp_path / "model-Q8_0.gguf", tensors=100)
    with RunningHub(tmp_path / "hub") as server:
        _publish(server.store, shards)
        (tmp_path / "mine.yaml").write_text(f"hub: {{endpoint: '{server.url}'}}\n")
        mine, words = ("--config", "mine.yaml", "fits"), ("--vram", "8", "--ram", "16", "--json")
        for name in ("someone/Model-GGUF", "someone/Model-GGUF:Q8_0"):
            told = json.loads(bot(*mine, name, *words))
            assert (told["name"], told["resident"]) == (shards[0].name, True)
        with pytest.raises(SourceError, match="no GGUF model that fits 'Q4_K'"):
            bot(*mine, "someone/Model-GGUF:Q4_K", *words)


def _publish(store: Store, files: list[Path]) -> None:
    built = {
        path.name: Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))
        for path in files
    }
    fill(store, "someone/Model-GGUF", built)


def test_a_card_needs_memory_beside_it(tmp_path: Path) -> None:
    write_hole(tmp_path / "hole.gguf", layers=4)
    assert "--ram has to be said" in bot("fits", "hole.gguf", "--vram", "8", code=2)
