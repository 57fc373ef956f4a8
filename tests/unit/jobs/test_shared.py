"""What jobs take over from each other: places, files by other paths, machines that are alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.errors import CapacityError, SettingsError
from bot.jobs.shared import moved, release_places, require_same_plan, written_files
from bot.records.built import Built
from bot.records.coding import digest
from bot.workplace.job import Job
from bot.workplace.planning import make_plan
from tests.models import model_of, workplace_in
from tests.unit.jobs.test_orders import COMMIT, prepared

FILES = {
    "README.md": Built(path="/a/README.md", bytes=1, sha256="1" * 64),
    "M-Mini.gguf": Built(path="/a/M-Mini.gguf", bytes=2, sha256="2" * 64),
}


def test_files_are_called_by_other_paths() -> None:
    elsewhere = moved(FILES, lambda path: f"release/{path.name}")
    assert [file.path for file in elsewhere.values()] == [
        "release/README.md", "release/M-Mini.gguf",
    ]  # fmt: skip
    assert [file.sha256 for file in elsewhere.values()] == ["1" * 64, "2" * 64]
    assert list(written_files(FILES)) == ["README.md"]


def test_files_are_brought_to_places_of_the_release_and_of_the_settings_alone(
    tmp_path: Path,
) -> None:
    entry = {"sha256": "0" * 64, "licence": "MIT"}
    data = {
        "here": {"path": str(tmp_path / "text"), **entry},
        "there": {"path": "a.txt", "repository": "a/b", "commit": "0" * 40, **entry},
    }
    places = release_places(workplace_in(tmp_path, data=data), prepared())
    assert places[:4] == (
        f"sources/lab--Model/{COMMIT}",
        f"converted/lab--Model/{COMMIT}",
        f"{prepared().job}/release",
        "measures",
    )
    (texts,) = places[4:]
    assert texts.startswith("texts/")


def test_a_machine_of_another_kind_or_with_other_settings_is_refused(
    tmp_path: Path, demo_model: Path
) -> None:
    workplace = workplace_in(tmp_path, demo_texts=True)
    job = Job(workplace, make_plan(workplace, model_of(workplace, str(demo_model)), ("Compact",)))
    plan = replace(
        prepared(),
        tools=job.tools,
        recipes={recipe.tier: recipe.hash for recipe in job.plan.recipes},
        evaluation=digest(job.evaluation),
    )
    require_same_plan(job, plan)
    with pytest.raises(CapacityError, match="differs from the preparing one in device"):
        require_same_plan(job, replace(plan, tools=replace(job.tools, device="another")))
    for other in (replace(plan, recipes={}), replace(plan, evaluation="f" * 64)):
        with pytest.raises(SettingsError, match="changed since the release was prepared"):
            require_same_plan(job, other)
