"""What jobs on several machines tell each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.errors import BuildError, CapacityError, SourceError
from bot.pipeline.orders import Folder, Group, Order, Prepared, Sent, folder_of
from bot.pipeline.sources import Local
from bot.pipeline.step_report import account
from bot.pipeline.steps import _require_enough, groups, matrix
from bot.plan.profiles import load_profiles
from bot.plan.recipe import make_recipes
from bot.records import Recipe, Tools
from bot.settings import data_folder
from bot.workspace import Workspace
from tests.unit.plan.test_recipe import model, stack

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def order(**changed: object) -> Order:
    given = {"model": "lab/Model", "revision": COMMIT, "tiers": (), "delivery": "0123456789abcdef"}
    return Order(**{**given, **changed})  # type: ignore[arg-type]  # what a stranger sends


def prepared(key: str = "k") -> Prepared:
    return Prepared(
        order=order(),
        asked="a",
        commit=COMMIT,
        local=Local(path=Path("/data/model.gguf")),
        key=key,
        tools=Tools(bot="1", llama_cpp_python="2", llama_cpp="3", device="CPU", threads=2),
        evaluation="e",
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
        folder_of(Workspace(tmp_path), name)


def test_what_one_job_writes_another_reads(tmp_path: Path) -> None:
    folder = Folder(Workspace(tmp_path).order("lab/Model", COMMIT))
    assert folder.name == "lab--Model-0123456789ab"
    assert folder.read(Prepared) is None
    folder.write(prepared())
    assert folder_of(Workspace(tmp_path), folder.name).prepared(folder.sentinel) == prepared()


def test_another_folder_is_recognised(tmp_path: Path) -> None:
    here, there = Folder(tmp_path / "here"), Folder(tmp_path / "there")
    here.write(prepared())
    with pytest.raises(CapacityError, match="that all runners share"):
        there.prepared(here.sentinel)
    there.write(prepared("other"))
    with pytest.raises(CapacityError, match="that all runners share"):
        there.prepared(here.sentinel)


def test_only_tiers_of_this_plan_are_complete(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(Group(key="k", tiers=("Mini",)), 1)
    assert folder.complete(prepared()) == ("Mini",)
    folder.write(Group(key="of another plan", tiers=("Quality",)), 2)
    assert folder.complete(prepared()) == ("Mini",)
    folder.write(Group(key="k", tiers=("Quality", "Unheard-of")), 2)
    assert folder.complete(prepared()) == ("Mini", "Quality")
    (tmp_path / "group-2.json").write_text("{}")
    assert folder.complete(prepared()) == ("Mini",)


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
        _require_enough(policy, wanted[:complete], wanted)
    else:
        with pytest.raises(BuildError, match="nothing is published"):
            _require_enough(policy, wanted[:complete], wanted)


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
    assert matrix(prepared()) == {
        "include": [{"group": 1, "tiers": "I-Mini,Mini"}, {"group": 2, "tiers": "Quality"}]
    }


def test_the_report_says_what_became_of_each_tier(tmp_path: Path) -> None:
    assert not account(None).good
    folder = Folder(tmp_path)
    folder.write(prepared())
    folder.write(Group(key="k", tiers=("I-Mini", "Mini")), 1)
    told = account(folder)
    assert not told.good
    assert "| Mini | 1 | complete, not published |" in told.text
    assert "| Quality | 2 | **failed or not reached** |" in told.text
    sent = Sent(
        key="k", asked="a", repo_id="me/Model", url="http://hub/me/Model", commit=COMMIT,
        tiers=("I-Mini", "Mini", "Quality"), whole=True, files={},
    )  # fmt: skip
    folder.write(replace(sent, waiting="http://hub/me/Model/discussions/1"))
    told = account(folder)
    assert (told.good, told.waiting) == (False, True)
    assert "Merge http://hub/me/Model/discussions/1 to publish it" in told.text
    assert "| Mini | 1 | waits for a person |" in told.text
    folder.write(sent)
    assert (account(folder).good, account(folder).waiting) == (True, False)
    assert "[me/Model](http://hub/me/Model)" in account(folder).text
    folder.write(prepared("another plan"))
    assert not account(folder).good
