"""Presets of evaluation and calibration: what they name is there, and what a file says wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.errors import SettingsError
from bot.kit.presets import KITS, data_sets
from bot.settings.settings import Settings, load

FORBIDDEN = ("nc", "nd")  # parts of a licence that does not let texts be used by everybody


def settings(folder: Path, **sections: Any) -> Settings:
    file = folder / "bot.yaml"
    file.write_text(yaml.safe_dump(sections))
    return load(file)


@pytest.mark.parametrize("preset", ["seed", "recommended"])
def test_an_evaluation_names_what_the_published_tables_have(tmp_path: Path, preset: str) -> None:
    made = settings(tmp_path, evaluation={"preset": preset})
    assert (str(made.evaluation.text), made.evaluation.context) == ("kit:wikitext-2", 512)
    text, tasks = made.data["kit:wikitext-2"], made.data["kit:hellaswag"]
    assert text.member == "wikitext-2-raw/wiki.test.raw"
    assert (tasks.kind, tasks.count) == ("hellaswag", 400)
    domains = {"chat", "code", "tool calls", "multilingual", "long context"}
    assert set(made.evaluation.domains) == (domains if preset == "recommended" else set())


def test_every_preset_is_a_file_and_every_name_in_them_a_data_set(tmp_path: Path) -> None:
    for section in ("evaluation", "calibration"):
        for file in (KITS / section).glob("*.yaml"):
            made = settings(tmp_path, **{section: {"preset": file.stem}})
            named = {name for name in str(yaml.safe_load(file.read_text())).split("'")
                     if name.startswith("kit:")}  # fmt: skip
            assert named == set(made.data) != set()
    assert all(entry["licence"].lower().split("-")[-1] not in FORBIDDEN
               for entry in data_sets().values())  # fmt: skip


def test_what_is_measured_is_not_calibrated_on(tmp_path: Path) -> None:
    both = {"preset": "recommended"}
    made = settings(tmp_path, evaluation=both, calibration=both)
    parts: dict[Any, set[str]] = {}
    for source in made.calibration.texts:
        entry = made.data[source.data or ""]
        parts.setdefault((entry.repository, str(entry.path), entry.member), set()).add(
            entry.half or "all"
        )
    for domain in made.evaluation.domains.values():
        entry = made.data[str(domain.data)]
        others = parts.get((entry.repository, str(entry.path), entry.member), set())
        assert entry.half not in others
        assert "all" not in others


def test_a_file_stands_over_a_preset_and_may_name_our_sets_without_one(tmp_path: Path) -> None:
    own = {"preset": "recommended", "chunks": 9, "text": "own.txt"}
    tasks = {"path": "tasks.txt", "sha256": "0" * 64, "licence": "MIT", "kind": "hellaswag"}
    made = settings(tmp_path, evaluation=own, data={"kit:hellaswag": tasks})
    assert (made.evaluation.chunks, made.evaluation.text) == (9, tmp_path / "own.txt")
    assert made.data["kit:hellaswag"].path == tmp_path / "tasks.txt"
    alone = settings(tmp_path, evaluation={"text": "kit:code"})
    assert list(alone.data) == ["kit:code"]
    with pytest.raises(SettingsError, match=r"evaluation\.preset: .*seed.*recommended"):
        settings(tmp_path, evaluation={"preset": "best"})
