"""What jobs on several machines tell each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.disk.folders import Folders
from bot.disk.paths import remove
from bot.disk.writing import write_text
from bot.errors import BuildError, CapacityError, SourceError
from bot.jobs.describing import require_enough
from bot.jobs.orders import Folder, Handed, JobOrder, Prepared, Sent, order_folder
from bot.jobs.preparing import groups, workflow_matrix
from bot.jobs.recordpath import RecordPath
from bot.jobs.step_report import account
from bot.plan.profiles import load_profiles
from bot.plan.recipe import make_recipes
from bot.records.measured import Tools
from bot.records.recipes import Recipe
from bot.records.releases import Release
from bot.settings.sections import data_folder
from tests.unit.plan.test_recipe import model, stack

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def order(**changed: object) -> JobOrder:
    given = {"model": "lab/Model", "revision": COMMIT, "tiers": (), "delivery": "0123456789abcdef"}
    return JobOrder(**{**given, **changed})  # type: ignore[arg-type]  # what a stranger sends


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
    here, there = Folder(tmp_path / "here"), Folder(tmp_path / "there")
    here.write(prepared())
    with pytest.raises(CapacityError, match="that all runners share"):
        there.prepared(here.sentinel)
    there.write(prepared("d"))
    with pytest.raises(CapacityError, match="that all runners share"):
        there.prepared(here.sentinel)


@pytest.mark.parametrize(
    ("policy", "complete", "enough"),
    [
        ("all", 3, True), ("all", 2, False), ("any", 1, True), ("any", 0, False),
        ("min:2", 2, True), ("min:2", 1, False), ("min:9", 3, True), ("min:9", 2, False),
    ],
)  # fmt: skip
def test_the_policy_says_how_many_tiers_are_enough(
    policy: str, complete: int, enough: bool
) -> None:
    wanted = ("A", "B", "C")
    if enough:
        require_enough(policy, wanted[:complete], wanted)
    else:
        with pytest.raises(BuildError, match="nothing is published"):
            require_enough(policy, wanted[:complete], wanted)


def recipes() -> tuple[Recipe, ...]:
    profiles = load_profiles(data_folder("profiles"), None)
    return make_recipes(profiles, model(4), stack(4))


def test_every_tier_is_in_one_job_and_with_the_file_that_it_shares() -> None:
    made = recipes()
    found = groups(made, 2)
    assert sorted(tier for group in found for tier in group) == sorted(r.tier for r in made)
    home = {tier: number for number, group in enumerate(found) for tier in group}
    assert all(home[r.tier] == home[r.same_as] for r in made if r.same_as)
    shared = {r.tier for r in made if r.same_as}
    assert shared
    assert all(len([tier for tier in group if tier not in shared]) <= 2 for group in found)


def test_an_order_of_nothing_has_no_jobs() -> None:
    assert groups((), 3) == ()
    seals = {1: "0" * 32, 2: "1" * 32}
    assert workflow_matrix(prepared(), seals) == {
        "include": [
            {"group": 1, "tiers": "I-Mini,Mini", "seal": "1:" + "0" * 32},
            {"group": 2, "tiers": "Quality", "seal": "2:" + "1" * 32},
        ]
    }


def test_the_report_says_what_became_of_each_tier() -> None:
    assert not account(None, None).good
    complete = frozenset({"I-Mini", "Mini"})
    told = account(prepared(), None, complete)
    assert not told.good
    assert "| Mini | 1 | complete, not published |" in told.text
    assert "| Quality | 2 | **failed or not reached** |" in told.text
    sent = Sent(
        key="c" * 64, repo_id="me/Model", url="http://hub/me/Model", commit=COMMIT,
        tiers=("I-Mini", "Mini", "Quality"), whole=True, files={"M.gguf": "f" * 64},
    )  # fmt: skip
    waiting = account(prepared(), replace(sent, waiting="http://hub/me/Model/discussions/1"))
    assert (waiting.good, waiting.waiting) == (False, True)
    assert "Merge http://hub/me/Model/discussions/1 to publish it" in waiting.text
    assert "| Mini | 1 | waits for a person |" in waiting.text
    good = account(prepared(), sent)
    assert (good.good, good.waiting) == (True, False)
    assert "[me/Model](http://hub/me/Model)" in good.text
    lost = account(prepared(), sent, complete, frozenset({"M.gguf"}))
    assert not lost.good
    assert "The Hub does not hold `M.gguf` as it was published." in lost.text


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


def test_a_path_of_another_machine_stays_in_its_place(tmp_path: Path) -> None:
    inside, outside = tmp_path / "work", tmp_path / "secret"
    (inside / "sources/a").mkdir(parents=True)
    outside.mkdir()
    (inside / "sources/a/link").symlink_to(outside)
    (inside / "sources/a/file").symlink_to(outside / "key")
    for text in ("sources/a/link/key", "sources/a/file", "jobs/a/x", "sources/ab", "sources/a"):
        with pytest.raises(SourceError, match="not where this release's files lie"):
            RecordPath(text).below(inside, "sources/a")
    assert RecordPath("sources/a/model.gguf").below(inside, "sources/a").name == "model.gguf"
    for text in ("", "..", "a/../b", "/a", "a\\b", "a/.", "a//b", "a\x1b[2J", "a" * 401, ".ssh/x"):
        with pytest.raises(ValueError, match="no path of a working folder"):
            RecordPath(text)


def test_nothing_is_deleted_that_is_not_proven_to_be_below(tmp_path: Path) -> None:
    place, other = tmp_path / "place", tmp_path / "other"
    (place / "in").mkdir(parents=True)
    other.mkdir()
    (other / "kept").write_text("x")
    (place / "link").symlink_to(other)
    for path in (other, other / "kept", place, place / "..", place / "link" / "kept", tmp_path):
        with pytest.raises(SourceError, match="left alone"):
            remove(path, place)
    remove(place / "link", place)
    remove(place / "in", place)
    remove(place / "gone", place)
    assert (other / "kept").is_file()
    assert list(place.iterdir()) == []
