"""Sections on what a model is made into: the calibration mix in both forms, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.errors import SettingsError
from bot.settings.settings import load

PINNED = {"dataset": "org/mix", "commit": "ab" * 20, "file": "chat.txt"}


def test_a_list_of_paths_and_a_mix_with_weights(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text(
        "calibration:\n  texts: [chat.txt, texts/code.txt]\n",
        encoding="utf-8",
    )
    first, second = load(file).calibration.texts
    assert (first.label, second.label) == ("chat.txt", "code.txt")
    assert (first.path, second.path) == (tmp_path / "chat.txt", tmp_path / "texts/code.txt")
    assert first.weight is None
    file.write_text(
        "calibration:\n"
        "  texts:\n"
        "  - {name: chat, path: a.txt, weight: 3, licence: MIT}\n"
        f"  - {{name: code, dataset: org/mix, commit: {'ab' * 20}, file: b/c.txt, weight: 1}}\n",
        encoding="utf-8",
    )
    first, second = load(file).calibration.texts
    assert (first.label, first.weight, first.licence) == ("chat", 3, "MIT")
    assert second.hub == ("org/mix", "ab" * 20, "b/c.txt")


WRONG: dict[str, tuple[list[object], str]] = {
    "nothing": ([], "at least 1"),
    "no place": ([{"name": "x"}], "either a path"),
    "two places": ([{**PINNED, "path": "a.txt"}], "either a path"),
    "no commit": ([{"dataset": "org/mix", "file": "a.txt"}], "either a path"),
    "a branch": ([{**PINNED, "commit": "main"}], "pattern"),
    "a weight for one only": ([{"path": "a", "weight": 1}, {"path": "b"}], "give all one"),
    "no weight": ([{"path": "a", "weight": 0}], "more than 0"),
    "twice the same name": (["a/x.txt", "b/x.txt"], "same name"),
    "a path as a name": ([{"path": "a", "name": "/home/me/a"}], "pattern"),
    "half a hash": ([{"path": "a", "sha256": "abc"}], "pattern"),
    "an unknown key": ([{"path": "a", "share": 1}], "no such key"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_mix_is_refused(name: str) -> None:
    texts, reason = WRONG[name]
    with pytest.raises(SettingsError, match=reason):
        load(calibration={"texts": texts})


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"repository": "org/texts"}, "a repository and its commit stand together"),
        ({"sha256": None}, "sha256 is missing, which only a repository's file may leave"),
        ({"half": "odd"}, "half and where choose among records"),
        ({"commit": "ab" * 20}, "a repository and its commit stand together"),
        ({"sha256": "abc"}, "pattern"),
    ],
)
def test_a_text_of_a_repository_is_pinned(entry: dict[str, Any], reason: str) -> None:
    text = {"path": "a.txt", "licence": "MIT", "sha256": "0" * 64}
    with pytest.raises(SettingsError, match=reason):
        load(data={"text": {**text, **entry}})


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"license_name": "Own"}, "needs license, which may be `other`"),
        ({"license": "other"}, "needs a license_name"),
    ],
)
def test_a_licence_s_name_follows_the_licence(source: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        load(source=source)


def test_overlapping_windows_make_no_file_of_the_reference() -> None:
    for reference in ("auto", "beside"):
        assert load(evaluation={"stride": 64, "reference": reference}).evaluation.stride == 64
    with pytest.raises(SettingsError, match="leave out stride, or reference: file"):
        load(evaluation={"stride": 64, "reference": "file"})


def test_sizes_are_decimal_and_tasks_may_be_one_or_none(tmp_path: Path) -> None:
    quantize = load(quantize={"memory_gb": 1.5, "shard_gb": 2}).quantize
    assert (quantize.memory, quantize.shard) == (1_500_000_000, 2_000_000_000)
    assert load(quantize={"shard_gb": None}).quantize.shard is None
    assert load(evaluation={"tasks": None}).evaluation.tasks == ()
    one = tmp_path / "tasks.txt"
    assert load(evaluation={"tasks": str(one)}).evaluation.tasks == (one,)
