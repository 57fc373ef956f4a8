"""Repositories as they are read: folders and those on a Hub, damaged files among them."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.cli.main import cli
from tests.local_hub.server import Hub, regular
from tests.unit.lint.repositories import (
    CARD,
    model,
    require_error,
    with_bytes,
)

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"


def _layers(value: tuple[int, bytes]) -> Callable[[Path], None]:
    """A number of layers of another type: its number in GGUF, and its bytes."""
    kind, data = value
    key = b"qwen3moe.block_count"
    old = key + struct.pack("<II", 4, 40)
    return with_bytes(
        "M-Q6_K.gguf", lambda whole: whole.replace(old, key + struct.pack("<I", kind) + data)
    )


BROKEN = {
    "pointer": (with_bytes("M-Q6_K.gguf", lambda _: POINTER), "damaged-file"),
    "pointer in place of another file": (
        with_bytes("imatrix.dat", lambda _: POINTER),
        "damaged-file",
    ),
    "cut in the data": (with_bytes("M-Q6_K.gguf", lambda data: data[:-1]), "damaged-file"),
    "cut in the header": (with_bytes("M-Q6_K.gguf", lambda data: data[:90]), "damaged-file"),
    "empty": (with_bytes("M-Q6_K.gguf", lambda _: b""), "damaged-file"),
    "longer": (with_bytes("M-Q6_K.gguf", lambda data: data + b"\0" * 99), "damaged-file"),
    "a page instead": (with_bytes("M-Q6_K.gguf", lambda _: b"<!doctype html>"), "damaged-file"),
    "another version": (
        with_bytes("M-Q6_K.gguf", lambda data: data[:4] + b"\x09\0\0\0" + data[8:]),
        "damaged-file",
    ),
    "a side file is damaged": (with_bytes("mmproj-F16.gguf", lambda _: b"GGUFx"), "damaged-file"),
    "layers are infinite": (_layers((6, struct.pack("<f", float("inf")))), "damaged-file"),
    "layers are negative": (_layers((5, struct.pack("<i", -4))), "damaged-file"),
    "no text": (
        with_bytes("README.md", lambda data: data.decode().encode("utf-16")),
        "damaged-file",
    ),
    "a page instead of the card": (
        with_bytes("README.md", lambda _: b"<!DOCTYPE html>\n<html><body>404</body></html>"),
        "damaged-file",
    ),
    "a page instead of results": (
        with_bytes("results.json", lambda _: b"<html><body>404</body></html>"),
        "damaged-file",
    ),
    "zeros": (with_bytes("M-Q6_K.gguf", lambda data: bytes(len(data))), "damaged-file"),
    "packed": (with_bytes("M-Q6_K.gguf", gzip.compress), "damaged-file"),
    "results are cut": (with_bytes("results.json", lambda _: b'{"version": 2'), "damaged-file"),
    "sums are none": (lambda folder: (folder / "SHA256SUMS").write_text("abc"), "damaged-file"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_an_error(folder: Path, what: str) -> None:
    require_error(folder, *BROKEN[what])


def test_the_verb_prints_and_ends_with_what_it_found(folder: Path) -> None:
    fine = CliRunner().invoke(cli, ["-q", "lint", str(folder)])
    assert fine.exit_code == 0, fine.output
    assert fine.stdout.startswith("warning  not-measured")
    model(folder / "M-Q6_K.gguf", name="another")
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
