"""What jobs on several machines tell each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.disk.folders import Folders
from bot.disk.writing import write_text
from bot.errors import CapacityError, SourceError
from bot.jobs.orders import Folder, Handed, JobOrder, Prepared, order_folder
from bot.jobs.recordpath import RecordPath
from bot.records.measured import Tools
from bot.records.releases import Release

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def order(**changed: object) -> JobOrder:
    fields = {"model": "lab/Model", "revision": COMMIT, "tiers": (), "delivery": "0123456789abcdef"}
    return JobOrder(**{**fields, **changed})  # type: ignore[arg-type]  # what a stranger sends


def prepared(key: str = "c") -> Prepared:
    return Prepared(
        order=order(),
        asked="a" * 64,
        commit=COMMIT,
        local=Handed(
            path=RecordPath(f"sources/lab--Model/{COMMIT}/model.gguf"),
            release=Release(repo_id="lab/Model", commit=COMMIT),
            extras={},
        ),
        key=key * 64,
        tools=Tools(bot="1", llama_cpp_python="2", llama_cpp="3", device="CPU", threads=2),
        evaluation="e" * 64,
        recipes={"I-Mini": "h"},
        groups=(("I-Mini", "Mini"), ("Quality",)),
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"model": 'x"; touch PWNED; "'},
        {"model": "lab/Model\n"},
        {"model": "lab/../Model"},
        {"model": "láb/Model"},
        {"revision": "--upload-pack=x"},
        {"revision": "a b"},
        {"tiers": ("I-Mini", "$(id)")},
        {"tiers": ("I-Mini",) * 65},
        {"delivery": "x" * 65},
        {"delivery": ""},
    ],
)
def test_what_is_no_order_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(SourceError):
        order(**changed)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "x\n", "-x", "a" * 201])
def test_a_release_is_a_name_and_never_a_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        order_folder(Folders(tmp_path), name)


def test_what_one_job_writes_another_reads(tmp_path: Path) -> None:
    folder = Folder(Folders(tmp_path).order("lab/Model", COMMIT))
    assert folder.name == "lab--Model-0123456789ab"
    assert folder.read(Prepared) is None
    folder.write(prepared())
    assert order_folder(Folders(tmp_path), folder.name).prepared(folder.sentinel) == prepared()


def test_another_folder_is_recognised(tmp_path: Path) -> None:
    here, other = Folder(tmp_path / "here"), Folder(tmp_path / "there")
    here.write(prepared())
    with pytest.raises(CapacityError, match="that all runners share"):
        other.prepared(here.sentinel)
    other.write(prepared("d"))
    with pytest.raises(CapacityError, match="that all runners share"):
        other.prepared(here.sentinel)


def test_a_record_with_anything_to_spare_is_none(tmp_path: Path) -> None:
    folder = Folder(Folders(tmp_path).order("lab/Model", COMMIT))
    folder.write(prepared())
    good = json.loads(folder.file(Prepared).read_text())
    logits, extra = {"logits": "../x"}, {"extras": {"id_rsa": "sources/x"}}
    wrong: list[dict[str, Any]] = [
        {"more": 1},
        {"key": "k"},
        {"groups": [["Mini"], ["Mini"]]},
        {"groups": [[str(n)] for n in range(65)]},
        {"commit": "main"},
        {"order": {**good["order"], "model": "lab/Other"}},
        {"room": [-1]},
        logits,
        {"logits": "/etc/passwd"},
        {"local": {**good["local"], "path": "sources/a\nb"}},
        {"local": {**good["local"], **extra}},
        {"needs": {"model": [{"path": "a/b", "bytes": 1, "sha256": "0"}]}},
        {"tools": None},
    ]
    for change in wrong:
        write_text(folder.file(Prepared), json.dumps({**good, **change}))
        assert folder.read(Prepared) is None, change
    for text in ("", "[]", "null", "{" * 10_000, "[" * 100_000, "\x00"):
        write_text(folder.file(Prepared), text)
        assert folder.read(Prepared) is None
