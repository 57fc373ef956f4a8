"""Measures in the ledger: each made once, for all that decides its value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from bot.clients.llama import session
from bot.evaluate.against.against import Against
from bot.evaluate.kept import JOB, KeptMeasures, answered, shape_of, speeds
from bot.evaluate.subject import Subject
from bot.measures import choices
from bot.progress import Report
from bot.records.coding import dump
from bot.records.measured import Speed
from bot.settings.making import LlamaSettings
from bot.store.ledger import Ledger
from bot.store.paces import MICRO_BATCH
from bot.workplace.job import tools_of
from tests.evaluation import A_TEXT
from tests.models import workplace_in

SUBJECT = Subject(name="M", path=Path("m.gguf"), bytes=9, sha256="a" * 64)
REFERENCE = Subject(name="R", path=Path("r.gguf"), bytes=9, sha256="b" * 64)
PPL = {"perplexity": {"value": 8.5, "error": 0.1}}


def kept(folder: Path, llama: Any = None, **evaluation: Any) -> KeptMeasures:
    workplace = workplace_in(
        folder, llama={"gpu_layers": 0, **(llama or {})}, evaluation=evaluation
    )
    return KeptMeasures(workplace, tools_of(workplace.settings), Against(workplace, REFERENCE))


def once(measures: KeptMeasures, value: Any = PPL, **more: Any) -> Any:
    """Whether the work was done, and the value."""
    done = []

    def work(_report: Report) -> Any:
        done.append(1)
        return value

    inputs = measures.inputs("perplexity", SUBJECT, A_TEXT, **measures.window)
    measured = measures.once("perplexity", SUBJECT, A_TEXT, inputs, work, **more)
    return bool(done), measured.value


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    first = kept(tmp_path)
    assert once(first) == (True, PPL)
    assert once(first, {"perplexity": "another"}) == (False, PPL)
    assert first.new_measures == 1
    again = kept(tmp_path)
    assert once(again) == (False, PPL)
    assert again.new_measures == 0


@pytest.mark.parametrize("changed", [{"context": 256}, {"chunks": 7}, {"stride": 64}])
def test_how_the_text_is_cut_makes_another_measure(tmp_path: Path, changed: Any) -> None:
    once(kept(tmp_path))
    assert once(kept(tmp_path, **changed)) == (True, PPL)
    assert once(kept(tmp_path)) == (False, PPL)


def test_tokens_that_go_through_at_once_make_another_measure(tmp_path: Path) -> None:
    once(kept(tmp_path))
    assert once(kept(tmp_path, llama={"micro_batch": 2048})) == (True, PPL)
    assert once(kept(tmp_path, llama={"micro_batch": MICRO_BATCH})) == (False, PPL)
    assert LlamaSettings().micro_batch == MICRO_BATCH == session.MICRO_BATCH


def test_a_file_that_is_gone_is_made_again_and_the_first_value_stays(tmp_path: Path) -> None:
    measures = kept(tmp_path)
    once(measures)
    other = {"perplexity": {"value": 9.0, "error": 0.1}}
    assert once(measures, other, is_whole=lambda: False) == (True, PPL)
    assert once(measures, other, is_whole=lambda: True) == (False, PPL)
    assert measures.new_measures == 1


def test_a_run_says_how_a_value_came_about(tmp_path: Path) -> None:
    measures = kept(tmp_path, context=256)
    inputs = measures.inputs("noise", SUBJECT, None)
    measured = measures.record("noise", SUBJECT, inputs, [], 1.23456, A_TEXT)
    run = measured.run
    assert (run.model, run.reference, run.seconds) == (SUBJECT.sha256, REFERENCE.sha256, 1.235)
    assert (run.context, run.batch, run.beside) == (256, 2048, False)
    assert measures.known("noise", SUBJECT, inputs) == measured
    assert measures.known("noise", SUBJECT, {**inputs, "version": 0}) is None


def test_a_journal_lies_in_the_measures_folder_until_it_is_done(tmp_path: Path) -> None:
    measures = kept(tmp_path)
    inputs = measures.inputs("perplexity", SUBJECT, A_TEXT, **measures.window)
    path = measures.journal(inputs).path
    assert path.parent == measures.folder(inputs)
    assert path.is_file()
    once(measures)
    assert not path.exists()


def test_values_are_read_as_records(tmp_path: Path) -> None:
    measures = kept(tmp_path)
    pair = tuple(Speed(name=name, mean=1.5, spread=0.1, repetitions=2) for name in ("pp", "tg"))
    run = measures.record("speed", SUBJECT, {}, [dump(speed) for speed in pair], 1.0, None)
    assert speeds(run) == pair
    counted = choices.count("Endings", [True, False])
    assert answered(measures.record("Endings", SUBJECT, {}, dump(counted), 1.0, A_TEXT)) == counted


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, {"value": {}}, {"value": 1, "run": 2}])
@pytest.mark.parametrize("measure", ["divergence", "perplexity", "speed", "noise", "HellaSwag"])
def test_a_measure_that_is_damaged_is_none(tmp_path: Path, measure: str, value: object) -> None:
    ledger = workplace_in(tmp_path).ledger
    ledger.record(JOB, measure, {}, [], value)
    assert ledger.finished(JOB, measure, {}, shape=shape_of(measure)) is None


@pytest.mark.road
def test_what_was_measured_is_what_is_read(measured: Path) -> None:
    """Rows that the bot wrote have the shapes that are asked for."""
    measures = set()
    with Ledger(measured / "ledger.sqlite").reading() as db:
        rows = db.execute("SELECT step, value FROM work WHERE job = ?", (JOB,)).fetchall()
    for row in rows:
        measure = row["step"].rsplit(" ", 2)[0]
        measures.add(measure)
        TypeAdapter(shape_of(measure)).validate_python(json.loads(row["value"]))
    assert {"divergence", "perplexity", "noise"} <= measures
