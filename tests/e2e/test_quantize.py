"""Quantizing through the real command: shards, stamps, llama.cpp's own types, verification."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.files import gguf
from bot.clients.files.ggufheader import read_header
from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from tests.e2e.road import Road
from tests.local_hub.server import Hub
from tests.oracle import quantize_recipe
from tests.split_gguf import split

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
REPO = "alice/Tiny-MoE-14M-APEX-GGUF"


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    made = Road(folder=tmp_path, url=hub.url, token=hub.token)
    made.settings()
    return made


def built(road: Road, *arguments: str) -> dict[str, Path]:
    """The first file of each tier that `bot quantize` made."""
    done = road.bot("quantize", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return {tier: Path(file["path"]) for tier, file in json.loads(done.stdout).items()}


@pytest.mark.long
def test_shards_from_shards_to_the_hub(road: Road, hub: Hub, demo_model: Path) -> None:
    """A source in shards, a tier in shards and one in a single file, a baseline that stays here."""
    road.settings(quantize={"shard_gb": 0.009, "baselines": ["q8_0"]})
    first, *_ = split(demo_model, road.folder / "Tiny-MoE-14M-BF16.gguf", 60)
    arguments = ("publish", str(first), "--profiles", "Balanced,Compact", "--to", REPO)
    done = road.bot(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    release = Client(road.url, SecretStr(road.token)).release(REPO)
    held = {f.path: f.sha256 for f in release.files if f.path.endswith(".gguf")}
    shards = [f"Tiny-MoE-14M-APEX-Balanced-0000{n}-of-00002.gguf" for n in (1, 2)]
    assert sorted(held) == sorted([*shards, "Tiny-MoE-14M-APEX-Compact.gguf"])
    folder = Path(json.loads(done.stdout)["folder"])
    assert held == {path: sha256(folder / path) for path in held}
    results = json.loads((folder / "results.json").read_text())
    (baseline,) = results["baselines"]
    assert (baseline["name"], baseline["recipe"] is not None) == ("Q8_0", True)
    assert baseline["sha256"] == sha256(folder.parent / "baselines" / baseline["file"])
    row = next(row for row in results["tiers"] if row["name"] == "Balanced")
    assert [shard["file"] for shard in row["shards"]] == shards
    assert row["bytes"] == sum((folder / shard).stat().st_size for shard in shards)
    assert "| llama.cpp Q8_0 |" in (folder / "README.md").read_text()

    again = road.bot(*arguments)
    assert again.stdout.startswith("nothing to do"), again.stderr
    assert "quantizing" not in again.stderr
    assert hub.commits(REPO) == 1
    (folder / shards[1]).unlink()  # one of two is missing: the tier is made again, to the byte
    again = road.bot("quantize", *arguments[1:4])
    assert again.returncode == 0, again.stderr
    assert "quantizing 1 tier" in again.stderr
    assert held == {path: sha256(folder / path) for path in held}

    for path in (shards[0], "Tiny-MoE-14M-APEX-Compact.gguf"):
        looked = road.bot("verify", str(folder / path))
        assert looked.returncode == 0, looked.stderr
        assert [line.split()[:2] for line in looked.stdout.splitlines()] == [
            ["ok", "header"], ["ok", "rows"], ["ok", "recipe"], ["note", "template"],
            ["ok", "speech"],
        ]  # fmt: skip


@pytest.mark.road
def test_killed_while_shards_are_written(road: Road, demo_model: Path) -> None:
    arguments = (str(demo_model), "--profiles", "Compact")
    road.settings(quantize={"shard_gb": 0.003})
    road.killed_at(r"write .*-00002-of-.*\.partial$", "quantize", *arguments)
    again = built(road, *arguments)
    calm = road.settings(
        "calm.yaml", workdir=str(road.folder / "calm"), quantize={"shard_gb": 0.003}
    )
    done = road.bot("quantize", *arguments, "--json", config=calm)
    for tier, file in json.loads(done.stdout).items():
        assert len(file["shards"]) > 2
        for shard in file["shards"]:
            assert sha256(again[tier].with_name(shard["file"])) == shard["sha256"]


@pytest.mark.road
def test_killed_before_a_pass_forgets_its_notes(road: Road, demo_model: Path) -> None:
    """The tier counts as made by then: nobody makes it again, and the notes go all the same."""
    arguments = (str(demo_model), "--profiles", "Compact")
    road.settings()
    road.killed_at(r"remove .*\.journal$", "quantize", *arguments)
    (file,) = built(road, *arguments).values()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.long
def test_the_stamp_is_all_that_differs_from_llama_cpps_files(
    road: Road, demo_model: Path, tmp_path: Path
) -> None:
    arguments = (str(demo_model), "--profiles", "Compact", "--baselines", "Q4_K_M")
    found = []
    for number, more in enumerate([(), ("--no-stamp",)]):
        config = road.settings(f"{number}.yaml", workdir=str(road.folder / str(number)))
        done = road.bot("quantize", *arguments, *more, "--json", config=config)
        assert done.returncode == 0, done.stderr
        made = {tier: Path(file["path"]) for tier, file in json.loads(done.stdout).items()}
        assert list(made) == ["Compact", "Q4_K_M"]
        found.append(made)
    assert sha256(found[0]["Q4_K_M"]) == sha256(found[1]["Q4_K_M"])  # never stamped
    stamped, plain = (gguf.read_gguf(made["Compact"]) for made in found)
    theirs = tmp_path / "theirs.gguf"
    quantize_recipe(
        demo_model,
        theirs,
        file_type=int(plain.metadata["general.file_type"]),
        types={tensor.name: tensor.type for tensor in plain.tensors},
        imatrix=None,
        threads=2,
    )
    assert sha256(theirs) == sha256(found[1]["Compact"])
    assert stamped.metadata.keys() - plain.metadata.keys() == {
        "apex.tier",
        "apex.recipe",
        "apex.bot",
    }
    assert stamped.get("apex.tier") == "Compact"
    assert str(road.folder) not in str(stamped.metadata)


@pytest.mark.long
@pytest.mark.skipif(not SHARED.is_dir(), reason="shared data not present")
def test_the_command_writes_llama_quantizes_files(road: Road) -> None:
    model = SHARED / "models" / "tiny-moe" / "tiny-moe-BF16.gguf"
    matrix = SHARED / "expected" / "imatrix.gguf"
    made = built(road, str(model), "--imatrix", str(matrix), "--no-stamp")
    lines = (SHARED / "expected" / "sha256.txt").read_text().splitlines()
    expected = {tier: digest for digest, tier, _ in map(str.split, lines)}
    assert len(expected) == 9
    assert {tier.lower(): sha256(path) for tier, path in made.items()} == expected
    assert not list(
        road.folder.glob("work/jobs/*/release/imatrix.gguf_file")
    )  # nothing was calibrated


@pytest.mark.road
def test_progress_for_machines(road: Road, demo_model: Path) -> None:
    done = road.bot("--log", "json", "quantize", str(demo_model), "--profiles", "Compact")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines()]
    passes = [e for e in events if e.get("work") == "quantizing 1 tier"]
    assert [passes[0]["event"], passes[-1]["event"]] == ["start", "done"]
    last = passes[-2]
    assert (last["event"], last["unit"], last["done"]) == ("progress", "B", last["total"])
    assert last["left"] == 0
    assert re.fullmatch(r"(\d+) of \1 tensors", last["note"])


WRONG = {
    "unknown type": (("--baselines", "Q9_0"), 3, "no file type 'Q9_0'"),
    "low bits without data": (("--baselines", "IQ2_XXS"), 8, "put I- before its name"),
}


@pytest.mark.road
@pytest.mark.parametrize("case", WRONG)
def test_baselines_that_cannot_be(road: Road, demo_model: Path, case: str) -> None:
    more, code, said = WRONG[case]
    done = road.bot("quantize", str(demo_model), *more)
    assert done.returncode == code, done.stderr
    assert said in done.stderr.splitlines()[-1]


@pytest.mark.road
def test_verify_ends_with_the_code_of_what_is_wrong(road: Road, demo_model: Path) -> None:
    path = built(road, str(demo_model), "--profiles", "Compact")["Compact"]
    whole, damaged = path.read_bytes(), road.folder / "damaged.gguf"
    good = road.bot("verify", str(path), "--no-run", "--json")
    assert good.returncode == 0
    found = [finding["name"] for finding in json.loads(good.stdout)]
    assert found == ["header", "rows", "recipe", "template"]
    header = read_header(path)
    raw = next(t for t in header.tensors if t.name == "blk.2.ffn_up_exps.weight")
    at = header.data_offset + raw.offset
    told = gguf.read_gguf(path).get("apex.recipe")
    cases = {
        "bytes, not": (whole[:-100], 4),
        "holds rows": (whole[: at + 108] + b"\x00\x7e" + whole[at + 110 :], 4),
        "other types than Compact's": (whole.replace(told.encode(), b"0" * 64), 4),
        "could not load": (whole.replace(b"qwen35moe", b"qwen99moe"), 8),
    }
    for said, (content, code) in cases.items():
        damaged.write_bytes(content)
        done = road.bot("-q", "verify", str(damaged), "--json")
        assert done.returncode == code, (said, done.stderr)
        last = json.loads(done.stdout)[-1]
        assert not last["good"]
        assert said in last["text"]
        assert done.stderr.splitlines()[-1] == f"Error: {last['text']}"
