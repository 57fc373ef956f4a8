"""Whose a group's record is, and how far it is believed; whole releases under attack: tests/e2e."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bot.disk.folders import Folders
from bot.errors import SettingsError, SourceError
from bot.evaluate.kept import JOB as MEASURES
from bot.jobs import claims
from bot.jobs.orders import Carried, Folder, Group, Needs
from bot.jobs.recordpath import RecordPath
from bot.records.coding import dump
from bot.records.measured import Run, Text
from bot.records.steps import MeasureStep, TierStep
from bot.store.ledger import RecordedFile, Work
from tests.unit.jobs.test_orders import COMMIT, prepared

PLAN = prepared()
TEXT = Text(name="wiki", sha256="7" * 64, origin="somewhere")
RUN = Run(
    measure="perplexity", data=TEXT, model="a" * 64, reference=None, beside=False, context=128,
    stride=None, batch=128, tools=PLAN.tools, seconds=1.0, finished="2026-01-01T00:00:00Z",
)  # fmt: skip


def quantized(tier: str, letter: str, path: str | None = None) -> Work:
    """The step that made a tier's file, whose hash is one letter."""
    recorded = RecordedFile(
        path=path or f"{PLAN.job}/release/{tier}.gguf", bytes=5, changed=0, sha256=letter * 64
    )
    step = TierStep("quantize", tier).name
    return Work(job=PLAN.key, step=step, inputs="0" * 64, files=(recorded,), value="null")


def perplexity(letter: str, run: Run = RUN, text: str | None = None) -> Work:
    """A measure of the file with that hash."""
    value = {"value": {"perplexity": {"value": 7.0, "error": 0.1}}, "run": dump(run)}
    step = MeasureStep.of("perplexity", letter * 64, "1" * 64).name
    return Work(job=MEASURES, step=step, inputs="2" * 64, files=(), value=text or json.dumps(value))


def looked_at(tier: str, value: object) -> Work:
    step = TierStep("check", tier).name
    return Work(job=PLAN.key, step=step, inputs="3" * 64, files=(), value=json.dumps(value))


GROUP = Group(
    key=PLAN.key,
    tiers=("I-Mini",),
    work=(quantized("I-Mini", "a"), looked_at("I-Mini", ["a" * 64, None]), perplexity("a")),
)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """The folder of the order on the machine that prepared it."""
    here = Folder(Folders(tmp_path).order("lab/Model", COMMIT))
    here.write(PLAN)
    return here


def leave(folder: Folder, group: Group, number: int = 1, seal: int | None = None) -> claims.Seals:
    """A group's record, under its own seal or that of another group; the seals of all."""
    seals = claims.seals_of(folder, PLAN)
    folder.write(claims.sealed(group, number, seals[seal or number]), number)
    return seals


def test_each_group_has_a_seal_of_its_own_and_the_same_again(
    folder: Folder, tmp_path: Path
) -> None:
    seals = claims.seals_of(folder, PLAN)
    assert claims.seals_of(folder, PLAN) == seals
    assert sorted(seals) == [1, 2]
    elsewhere = claims.seals_of(Folder(tmp_path / "other" / "orders" / "x"), PLAN)
    another = claims.seals_of(folder, prepared("d"))
    every = [*seals.values(), *elsewhere.values(), *another.values()]
    assert len(set(every)) == len(every) == 6
    assert claims.read_seals(claims.show_seals(seals)) == seals


@pytest.mark.parametrize("text", ["", "1", "0:" + "a" * 32, "1:" + "A" * 32, "x:" + "a" * 32])
def test_what_are_no_seals_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="not what `prepare` printed"):
        claims.read_seals(text)


def test_seals_come_from_the_run_or_from_the_preparing_machine(
    folder: Folder, tmp_path: Path
) -> None:
    own = claims.seals_of(folder, PLAN)
    assert claims.known_seals(folder, PLAN, "") == own
    assert claims.known_seals(folder, PLAN, "2:" + "f" * 32) == {2: "f" * 32}
    with pytest.raises(SettingsError, match="give --seals"):
        claims.known_seals(Folder(tmp_path / "other" / "orders" / "x"), PLAN, "")


def test_a_record_of_its_own_job_is_believed(folder: Folder) -> None:
    seals = claims.seals_of(folder, PLAN)
    assert claims.claimed_group(folder, PLAN, 1, seals, None) is None
    leave(folder, GROUP)
    group = claims.claimed_group(folder, PLAN, 1, seals, [TEXT])
    assert isinstance(group, Group)
    assert (group.tiers, group.work) == (GROUP.tiers, GROUP.work)


@pytest.mark.parametrize(
    ("group", "seal", "why"),
    [
        (GROUP, 2, "was not written by its job"),
        (replace(GROUP, key="d" * 64), 1, "is of another plan"),
    ],
)
def test_a_record_of_somebody_else_is_not_believed(
    folder: Folder, group: Group, seal: int, why: str
) -> None:
    seals = leave(folder, group, seal=seal)
    assert why in str(claims.claimed_group(folder, PLAN, 1, seals, None))


def test_a_record_that_was_changed_or_is_damaged_is_not_believed(folder: Folder) -> None:
    seals = leave(folder, GROUP)
    record = folder.read(Group, 1)
    assert record is not None
    folder.write(replace(record, tiers=()), 1)
    assert "not written by its job" in str(claims.claimed_group(folder, PLAN, 1, seals, None))
    folder.file(Group, 1).write_text("{}")
    assert "none of this version" in str(claims.claimed_group(folder, PLAN, 1, seals, None))
    leave(folder, GROUP)
    assert "not written by its job" in str(claims.claimed_group(folder, PLAN, 1, {}, None))


def work(*works: Work) -> Group:
    return replace(GROUP, work=works)


MADE = quantized("I-Mini", "a")


@pytest.mark.parametrize(
    ("group", "why"),
    [
        (replace(GROUP, tiers=("Quality",)), "tiers of another group"),
        (work(MADE, quantized("Quality", "b")), "work that is not its own"),
        (work(MADE, perplexity("b")), "work that is not its own"),
        (work(MADE, MADE), "one step twice"),
        (work(replace(MADE, inputs="x")), "inputs without a hash"),
        (work(replace(MADE, value="1")), "a value where there is none"),
        (work(quantized("I-Mini", "a", "sources/x.gguf")), "not where this release's files lie"),
        (work(quantized("I-Mini", "a", "../x.gguf")), "no path of a working folder"),
        (work(MADE, replace(perplexity("a"), files=MADE.files)), "files where there are none"),
        (work(MADE, looked_at("I-Mini", ["a", "x" * 2_001])), "says too much"),
        (work(MADE, looked_at("I-Mini", "fine")), "a look at a file that is none"),
        (work(MADE, perplexity("a", text="{}")), "a value that is no Value"),
        (work(MADE, perplexity("a", text="NaN")), "NaN as a number"),
        (work(MADE, perplexity("a", text="[" * 50_000)), "a value"),
        (work(MADE, perplexity("a", replace(RUN, model="b" * 64))), "of another file"),
        (work(MADE, perplexity("a", replace(RUN, context=128, measure="divergence"))), "name"),
        (
            work(MADE, perplexity("a", replace(RUN, tools=replace(PLAN.tools, device="GPU")))),
            "a measure by another machine",
        ),
        (
            work(MADE, perplexity("a", replace(RUN, data=replace(TEXT, sha256="8" * 64)))),
            "a measure on another text",
        ),
    ],
)
def test_a_job_speaks_of_its_own_tiers_and_in_values_of_ours(
    folder: Folder, group: Group, why: str
) -> None:
    seals = leave(folder, group)
    error = claims.claimed_group(folder, PLAN, 1, seals, [TEXT])
    assert isinstance(error, str)
    assert error.startswith("the record of group 1 claims what it may not: ")
    assert why in error


def test_two_that_claim_one_file_are_both_left_out(folder: Folder) -> None:
    other = replace(GROUP, tiers=("Quality",), work=(quantized("Quality", "b"),))
    leave(folder, GROUP)
    seals = leave(folder, other, 2)
    believed, wrong = claims.complete_groups(folder, PLAN, seals, None)
    assert (sorted(believed), wrong) == ([1, 2], {})
    leave(folder, replace(other, work=(quantized("Quality", "a"),)), 2)
    believed, wrong = claims.complete_groups(folder, PLAN, seals, None)
    assert (believed, sorted(wrong)) == ({}, [1, 2])
    assert all("claims a file that is another's" in why for why in wrong.values())


def test_a_file_that_was_there_before_is_no_tier(folder: Folder) -> None:
    before = Carried(path=RecordPath("texts/a"), bytes=5, sha256="a" * 64)
    plan = replace(PLAN, needs=Needs(quantize=(before,)))
    seals = leave(folder, GROUP)
    believed, wrong = claims.complete_groups(folder, plan, seals, None)
    assert (believed, sorted(wrong)) == ({}, [1])


def test_work_of_other_tiers_is_not_a_groups_own() -> None:
    works = (MADE, quantized("Quality", "b"), perplexity("a"), perplexity("b"))
    assert claims.own(works, PLAN, ("I-Mini",)) == (MADE, perplexity("a"))


def source(path: str) -> Work:
    recorded = RecordedFile(path=path, bytes=5, changed=7, sha256="a" * 64)
    return Work(job="sources", step="fetch", inputs="0" * 64, files=(recorded,), value="null")


@pytest.mark.parametrize(
    ("path", "of_release"),
    [
        (f"sources/lab--Model/{COMMIT}/m.gguf", True),
        (f"{PLAN.job}/imatrix.gguf", True),
        ("texts/a/b.txt", True),
        ("sources/lab--Other/0/m.gguf", False),
        ("/etc/passwd", False),
    ],
)
def test_only_files_of_this_release_are_taken_from_other_machines(
    tmp_path: Path, path: str, of_release: bool
) -> None:
    assert list(claims.ours([source(path)], PLAN)) == ([source(path)] if of_release else [])
    if of_release:
        (taken,) = claims.of_release([source(path)], PLAN, tmp_path)
        assert [file.changed for file in taken.files] == [-1]
    else:
        with pytest.raises(SourceError, match="rerun all jobs"):
            claims.of_release([source(path)], PLAN, tmp_path)
