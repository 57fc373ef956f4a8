"""`bot lint` on folders made to have the defects that publishers' repositories have."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bot.cli.main import cli
from bot.clients.files.gguf import write_arrays
from bot.lint.contents import Defect, Head, LintedRepository, ListedFile
from bot.lint.defects import defects_of
from bot.lint.linted import of_folder
from bot.lint.number_rules import is_size
from bot.progress import Narrator
from bot.records.coding import to_json
from bot.records.model import Tensor
from tests.local_hub.server import Hub, regular
from tests.unit.card.samples import nine_tiers

CARD = """---
license: mit
---
# M

- **Layers**: 40

| Model | PPL |
|---|---|
| I-Mini | 7.2 ± 0.1 |

[the file](M-Q6_K.gguf) `ollama run hf.co/someone/M:M-Q6_K.gguf`
"""


def model(
    path: Path, *, name: str = "M 30B", file_type: int = 18, layers: int = 40, wide: int = 0
) -> None:
    """A GGUF file that says little more than what it is."""
    about = [
        ("general.architecture", "qwen3moe"),
        ("general.name", name),
        ("general.file_type", file_type),
        ("qwen3moe.block_count", layers),
    ]
    write_arrays(path, about, [("blk.0.ffn_up.weight", np.zeros((4, 8 + wide), np.float32))])


def sums(folder: Path) -> None:
    """SHA256SUMS of all that is there."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name not in ("README.md", "SHA256SUMS")
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small repository in which everything holds but that nothing was measured here."""
    place = tmp_path / "release"
    place.mkdir()
    model(place / "M-Q6_K.gguf")
    (place / "README.md").write_text(CARD)
    sums(place)
    return place


def found(folder: Path) -> list[Defect]:
    return defects_of(of_folder(folder, Narrator(quiet=True), hashes=True))


def rules(folder: Path) -> set[str]:
    return {defect.rule for defect in found(folder)} - {"not-measured"}


def test_a_repository_in_which_everything_holds(folder: Path) -> None:
    assert rules(folder) == set()


def _card(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        card = folder / "README.md"
        assert old in card.read_text()
        card.write_text(card.read_text().replace(old, new))

    return change


def _add(file: str, **about: str | int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        model(folder / file, **about)  # type: ignore[arg-type]  # of model, by name
        sums(folder)

    return change


def _unlabelled(folder: Path) -> None:
    (folder / "M-Q6_K.gguf").rename(folder / "M-APEX-I-Quality.gguf")
    model(folder / "M-APEX-Quality.gguf")
    model(folder / "mmproj-F16.gguf")
    _card("M-Q6_K.gguf", "M-APEX-I-Quality.gguf")(folder)
    sums(folder)


def _swapped(folder: Path) -> None:
    model(folder / "M-Q6_K.gguf", name="another")


def _gone(folder: Path) -> None:
    (folder / "imatrix.gguf").write_bytes(b"x")
    sums(folder)
    (folder / "imatrix.gguf").unlink()


def _twins(folder: Path) -> None:
    model(folder / "M-APEX-I-Mini-Q3_K_S.gguf", file_type=11)
    model(folder / "M-APEX-Mini-Q3_K_S.gguf", file_type=12)
    sums(folder)


def _results(folder: Path) -> None:
    """results.json of other files than those that are there."""
    results = nine_tiers()
    (folder / "results.json").write_text(to_json(results))
    tier = results.tiers[0].file
    (folder / "M-Q6_K.gguf").rename(folder / tier)
    _card("M-Q6_K.gguf", tier)(folder)


# defect of hub.md 3.4, or of the issue; how it is made; the rule that finds it
MADE = {
    "files referenced but absent": (
        _card("# M", "# M\nMade with models/m.yaml."),
        {"missing-file"},
    ),
    "dead link": (_card("# M", "# M\n![p](plot.png)"), {"dead-link"}),
    "dead link in html": (_card("# M", '# M\n<img src="p.png">'), {"dead-link"}),
    "general.name of a folder": (_add("M-Q6_K.gguf", name="Safetensors"), {"general-name"}),
    "removed command": (_card("# M", "# M\nhuggingface-cli download x"), {"removed-command"}),
    "another context": (
        _card("# M", "# M\nPerplexity at context 2048: `llama-perplexity -m x -f y`"),
        {"context-differs"},
    ),
    "base type": (_twins, {"base-type-differs", "ambiguous-label", "ambiguous-tag"}),
    "layers by hand": (_add("M-Q6_K.gguf", layers=48), {"layers-differ"}),
    "no uncertainty": (_card(" ± 0.1", ""), {"no-uncertainty"}),
    "no verification": (lambda folder: (folder / "SHA256SUMS").unlink(), {"no-hashes"}),
    "label-less": (_unlabelled, {"no-label", "misleading-snippet", "ambiguous-tag"}),
    "ambiguous": (_add("Other-Q6_K.gguf"), {"ambiguous-label"}),
    "hash": (_swapped, {"hash-differs"}),
    "missing": (_gone, {"missing-file"}),
    "command": (_card(":M-Q6_K.gguf`", ":Q4_0`"), {"wrong-command"}),
    "card": (lambda folder: (folder / "README.md").unlink(), {"no-card"}),
}


SIZED = "\n| File | Size |\n|---|---|\n| [x](M-Q6_K.gguf) | {} |\n"


def _bytes(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes() if path.is_file() else b""))
        sums(folder)

    return write


def _layers(value: tuple[int, bytes]) -> Callable[[Path], None]:
    """A number of layers of another type: its number in GGUF, and its bytes."""
    kind, data = value
    key = b"qwen3moe.block_count"
    old = key + struct.pack("<II", 4, 40)
    return _bytes(
        "M-Q6_K.gguf", lambda whole: whole.replace(old, key + struct.pack("<I", kind) + data)
    )


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
BROKEN = {
    "pointer": (_bytes("M-Q6_K.gguf", lambda _: POINTER), "damaged-file"),
    "pointer in place of another file": (_bytes("imatrix.dat", lambda _: POINTER), "damaged-file"),
    "cut in the data": (_bytes("M-Q6_K.gguf", lambda data: data[:-1]), "damaged-file"),
    "cut in the header": (_bytes("M-Q6_K.gguf", lambda data: data[:90]), "damaged-file"),
    "empty": (_bytes("M-Q6_K.gguf", lambda _: b""), "damaged-file"),
    "longer": (_bytes("M-Q6_K.gguf", lambda data: data + b"\0" * 99), "damaged-file"),
    "a page instead": (_bytes("M-Q6_K.gguf", lambda _: b"<!doctype html>"), "damaged-file"),
    "another version": (
        _bytes("M-Q6_K.gguf", lambda data: data[:4] + b"\x09\0\0\0" + data[8:]),
        "damaged-file",
    ),
    "a side file is damaged": (_bytes("mmproj-F16.gguf", lambda _: b"GGUFx"), "damaged-file"),
    "layers are infinite": (_layers((6, struct.pack("<f", float("inf")))), "damaged-file"),
    "layers are negative": (_layers((5, struct.pack("<i", -4))), "damaged-file"),
    "a shard lacks": (_add("N-Q8_0-00002-of-00002.gguf"), "missing-shard"),
    "a shard of the source lacks": (
        _bytes("model-00001-of-00003.safetensors", lambda _: b"x"),
        "missing-shard",
    ),
    "front matter is no YAML": (_card("license: mit", "license: [mit"), "front-matter"),
    "front matter is a list": (_card("license: mit", "- license"), "front-matter"),
    "front matter has a key twice": (
        _card("license: mit", "license: mit\nlicense: apache-2.0"),
        "front-matter",
    ),
    "front matter has no end": (_card("license: mit\n---", "license: mit"), "front-matter"),
    "front matter has tabs": (_card("license: mit", "tags:\n\t- a"), "front-matter"),
    "nothing": (_bytes("README.md", lambda _: b""), "empty-card"),
    "blanks": (_bytes("README.md", lambda _: b" \n\n"), "empty-card"),
    "front matter alone": (_bytes("README.md", lambda _: b"---\na: 1\n---\n"), "empty-card"),
    "no text": (_bytes("README.md", lambda data: data.decode().encode("utf-16")), "damaged-file"),
    "a page instead of the card": (
        _bytes("README.md", lambda _: b"<!DOCTYPE html>\n<html><body>404</body></html>"),
        "damaged-file",
    ),
    "a page instead of results": (
        _bytes("results.json", lambda _: b"<html><body>404</body></html>"),
        "damaged-file",
    ),
    "zeros": (_bytes("M-Q6_K.gguf", lambda data: bytes(len(data))), "damaged-file"),
    "packed": (_bytes("M-Q6_K.gguf", gzip.compress), "damaged-file"),
    "the first shards lack": (_add("N-Q8_0-00003-of-00003.gguf"), "missing-shard"),
    "results are cut": (_bytes("results.json", lambda _: b'{"version": 2'), "damaged-file"),
    "sums are none": (lambda folder: (folder / "SHA256SUMS").write_text("abc"), "damaged-file"),
    "size": (_card("# M", "# M" + SIZED.format("7.1 GB")), "size-differs"),
    "size with thousands": (_card("# M", "# M" + SIZED.format("9,000 MiB")), "size-differs"),
    "size in bytes": (_card("# M", "# M" + SIZED.format("9,123,456,789 bytes")), "size-differs"),
    "size with a comma": (_card("# M", "# M" + SIZED.format("7,1 GB")), "size-differs"),
    "size without its unit": (
        _card("# M", "# M" + SIZED.replace("Size", "size/GB").format("3.3")),
        "size-differs",
    ),
    "size of a row with a label": (
        _card("# M", "# M\n| Quant | Size |\n|---|---|\n| Q6_K | **21.3 GiB** |\n"),
        "size-differs",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_an_error(folder: Path, what: str) -> None:
    make, rule = BROKEN[what]
    make(folder)
    errors = {defect.rule for defect in found(folder) if defect.level == "error"}
    assert rule in errors
    assert errors <= {rule, "wrong-command", "dead-link", "hash-differs"}
    assert all(str(folder) not in defect.text for defect in found(folder))


FINE = {
    "a word that holds a measure": "| ARCHITECTURE | SPARCITY |\n|---|---|\n| MoE | 3 |\n",
    "a measure without numbers": "| ARC | KL |\n|---|---|\n| a gas | a city |\n",
    "calls in a block": '```python\nprint(messages[0](role="user"))\nx[1](y.png)\n```\n',
    "calls in a line": 'Call `messages[0](role="user")` or ``a `[b](c)` d``.\n',
    "calls in indented code": "So:\n\n    a[0](b.md)\n    c[1](d.md)\n",
    "a fence in a fence": "````md\n```\n[a](b.md)\n```\n````\n",
    "tildes": "~~~\n![p](plot.png)\n~~~\n",
    "a file of the reader's": "Put this into docker-compose.yml, or ~/.config/x/config.yaml.\n",
    "another of the reader's": "Edit `models.yaml` and `.github/workflows/ci.yml`.\n",
    "a model of the reader's": "Run `llama-quantize model.gguf other-Q4_0.gguf Q4_0`.\n",
    "a file in a command": "```sh\nllama-cli -m M-other.gguf --file conf/x.yaml\n```\n",
    "context of another thing": "Context 262,144. Perplexity is in the table below.\n",
    "a thematic break": "A\n\n---\n\nB\n",
    "an anchor": '[up](#m) [mail](mailto:a@b.c) <a href="https://x.y/z">z</a>\n',
    "size in other units": SIZED.format("288 kB").replace("288 kB", "0.3 kB"),
    "size of a reference": "| Model | Size |\n|---|---|\n| BF16 | 61 GB |\n",
    "size of memory": "| M-Q6_K.gguf | needs |\n|---|---|\n| M-Q6_K.gguf | 24 GB |\n",
}


@pytest.mark.parametrize("what", FINE)
def test_what_is_right_is_not_called_wrong(folder: Path, what: str) -> None:
    card = folder / "README.md"
    card.write_text(card.read_text() + "\n" + FINE[what])
    assert rules(folder) == set()


def test_sizes_are_right_as_far_as_their_digits_go() -> None:
    for count, cell in (
        (21_256_789_000, "21.3 GB"), (21_256_789_000, "19.8 GiB"), (21_256_789_000, "19.8GB"),
        (21_256_789_000, "20 GB"), (21_256_789_000, "21 GB"), (21_256_789_000, "~21.26 GB"),
        (21_256_789_000, "21,256.8 MB"), (21_256_789_000, "21,26 GB"), (7_123_000_000, "7,123 MB"),
        (21_256_789_000, "21,256,789,000 bytes"), (30_000, "30B"), (21_256_789_000, "1,2,3 GB"),
        (950_000_000, "0.95G"), (21_256_789_000, "—"), (21_256_789_000, "see below"),
    ):  # fmt: skip
        assert is_size("Size", cell, count), cell
    for cell in ("25 GB", "21.3 MB", "18.0 GB", "2.13 GB", "2,13 GB", "21,256,789 bytes"):
        assert not is_size("Size", cell, 21_256_789_000), cell


@pytest.mark.parametrize("defect", MADE)
def test_each_defect_is_found_and_nothing_else(folder: Path, defect: str) -> None:
    make, expected = MADE[defect]
    make(folder)
    assert rules(folder) == expected


def test_a_weight_that_no_rule_covered() -> None:
    narrow = Tensor(name="a", shape=(256, 256), type="Q6_K", bytes=1)
    wide = Tensor(name="blk.0.ffn_gate_up_exps.weight", shape=(256, 64), type="BF16", bytes=1)
    head = Head(name="M 30B", file_type=18, layers=40, tensors=(narrow, wide))
    files = (ListedFile(path="M-Q6_K.gguf", bytes=1),)
    repository = LintedRepository(files=files, card=CARD, sums={}, heads={"M-Q6_K.gguf": head})
    assert "left-wide" in {defect.rule for defect in defects_of(repository)}


def test_files_are_held_against_their_measurements(folder: Path) -> None:
    _results(folder)
    defects = found(folder)
    assert {"size-differs", "missing-file"} <= {defect.rule for defect in defects}
    assert sum("is in results.json and not in" in defect.text for defect in defects) == 8


def test_without_a_gate_it_is_said(folder: Path) -> None:
    (defect,) = found(folder)
    assert (defect.rule, defect.level) == ("not-measured", "warning")


def test_the_verb_prints_and_ends_with_what_it_found(folder: Path) -> None:
    fine = CliRunner().invoke(cli, ["-q", "lint", str(folder)])
    assert fine.exit_code == 0, fine.output
    assert fine.stdout.startswith("warning  not-measured")
    _swapped(folder)
    wrong = CliRunner().invoke(cli, ["-q", "lint", str(folder), "--json"])
    assert wrong.exit_code == 1
    assert "hash-differs" in {row["rule"] for row in json.loads(wrong.stdout)}
    skipped = CliRunner().invoke(cli, ["-q", "lint", str(folder), "--no-hashes"])
    assert skipped.exit_code == 0


def test_a_repository_on_a_hub(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = hub.create("M")
    (folder / "README.md").write_text(CARD.replace("someone/M", repo).replace("40", "41"))
    files = [regular(path.name, path.read_bytes()) for path in folder.iterdir()]
    assert hub.commit(repo, *files).status == 200
    monkeypatch.setenv("BOT_HUB__ENDPOINT", hub.url)
    done = CliRunner().invoke(cli, ["-q", "lint", repo, "--json"])
    assert done.exit_code == 1, (done.output, done.exception)
    assert {row["rule"] for row in json.loads(done.stdout)} == {"layers-differ", "not-measured"}
