"""Texts and tasks by path or name, and models of other publishers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.errors import SettingsError, SourceError
from bot.evaluate.data import (
    fetch_other,
    find_other,
    find_task_set,
    find_tasks,
    find_text,
    is_other,
)
from bot.publish.upload import open_private, upload
from bot.records.built import Built
from bot.settings.sections import DEMO
from tests.local_hub.server import Hub
from tests.models import workplace_in


def entry(path: Path, **changed: Any) -> dict[str, Any]:
    return {"path": str(path), "sha256": sha256(path), "licence": "CC0", **changed}


def tasks_file(folder: Path) -> Path:
    path = folder / "questions.jsonl"
    path.write_text('{"question": "Two is", "choices": ["even", "odd"], "answer": 0}\n')
    return path


def test_the_demos_text_and_tasks_are_those_of_the_settings(tmp_path: Path) -> None:
    workplace = workplace_in(tmp_path, demo_texts=True)
    text = find_text(workplace)
    assert (text.path, text.kind) == (DEMO / "evaluation.txt", None)
    assert text.text.sha256 == sha256(DEMO / "evaluation.txt")
    (tasks,) = find_tasks(workplace)
    assert (tasks.path, tasks.kind, tasks.label) == (DEMO / "tasks.txt", "hellaswag", "Endings")


def test_a_name_stands_for_a_file_and_its_hash(tmp_path: Path) -> None:
    path = tasks_file(tmp_path)
    named = entry(path, kind="multiple-choice", label="Numbers", count=7)
    workplace = workplace_in(tmp_path, data={"numbers": named})
    tasks = find_task_set(workplace, Path("numbers"))
    assert (tasks.path, tasks.kind, tasks.label) == (path, "multiple-choice", "Numbers")
    assert (tasks.count, tasks.text.origin) == (7, "CC0")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sha256": "0" * 64}, r"has the sha256 .*, not 0000.*another file than the settings"),
        ({"kind": "text"}, r"data\.numbers is of kind text; name it where that is wanted"),
        ({"path": "none.jsonl"}, r"none\.jsonl of data\.numbers does not exist"),
    ],
)
def test_what_is_not_what_its_name_promises_is_refused(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    named = {**entry(tasks_file(tmp_path), kind="multiple-choice"), **changed}
    workplace = workplace_in(tmp_path, data={"numbers": named})
    with pytest.raises(SettingsError, match=message):
        find_task_set(workplace, Path("numbers"))


def test_what_is_neither_a_file_nor_a_name_is_said(tmp_path: Path) -> None:
    workplace = workplace_in(tmp_path, data={"numbers": entry(tasks_file(tmp_path))})
    with pytest.raises(SettingsError, match=r"nothing\.txt is neither a file nor a name.*numbers"):
        find_task_set(workplace, Path("nothing.txt"))


@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n",
        b"<!DOCTYPE html>\n<html><body>404</body></html>\n",
    ],
)
def test_what_stands_in_place_of_an_evaluation_text_is_not_measured(
    tmp_path: Path, content: bytes
) -> None:
    text = tmp_path / "wiki.test.raw"
    text.write_bytes(content)
    with pytest.raises(SourceError, match=r"wiki\.test\.raw is .*, not the file itself"):
        find_text(workplace_in(tmp_path, evaluation={"text": text}))


def test_names_of_others_files_have_a_pattern(tmp_path: Path) -> None:
    assert is_other("lab/Tiny-GGUF:Q4_K_M")
    assert is_other("lab/Tiny-GGUF:Q4_K_M@main")
    assert not is_other("lab/Tiny-GGUF")
    assert not is_other(str(tmp_path / "tiny.gguf"))
    with pytest.raises(SettingsError, match="is no ORG/REPOSITORY:PATTERN"):
        find_other(workplace_in(tmp_path), "lab/Tiny-GGUF")


def test_a_model_of_another_publisher_is_the_one_that_fits(
    tmp_path: Path, hub: Hub, demo_candidate: Path
) -> None:
    client = Client(hub.url, SecretStr(hub.token))
    size, content_hash = demo_candidate.stat().st_size, sha256(demo_candidate)
    built = Built(path=str(demo_candidate), bytes=size, sha256=content_hash)
    files = {"Tiny-Q8_0.gguf": built, "Tiny-UD-Q8_0.gguf": built}
    upload(client, open_private(client, "lab/Tiny-GGUF"), files, "Release")
    client.make_public("lab/Tiny-GGUF")
    workplace = workplace_in(tmp_path, hub={"endpoint": hub.url})
    other = fetch_other(workplace, "lab/Tiny-GGUF:UD-Q8_0")
    assert (other.name, other.bytes, other.sha256) == ("lab UD-Q8_0", size, content_hash)
    assert other.publisher == f"lab/Tiny-GGUF@{client.head('lab/Tiny-GGUF')}"
    assert other.path.name == "Tiny-UD-Q8_0.gguf"
    assert sha256(other.path) == content_hash
    with pytest.raises(SourceError, match="0 models that fit 'Q3_K', not one"):
        find_other(workplace, "lab/Tiny-GGUF:Q3_K")
