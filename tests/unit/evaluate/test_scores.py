"""A table of scores as it fills, of values that lie in the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.evaluate.bench import Bench
from bot.evaluate.data import find_tasks
from bot.evaluate.scores import ScoreTable
from bot.evaluate.subject import Subject
from bot.records.measured import KLD, PPL
from bot.workplace.job import tools_of
from tests.evaluation import KEY
from tests.models import workplace_in

FEW = {"context": 128, "chunks": 2, "noise_chunks": 0, "task_count": 3}


class Table:
    """Two names of the demo's candidate beside its 16-bit model."""

    def __init__(self, folder: Path, model: Path, candidate: Path, **how: Any) -> None:
        workplace = workplace_in(
            folder, llama={"threads": 2, "gpu_layers": 0}, evaluation=FEW, demo_texts=True
        )
        self.reference = Subject(name="BF16", path=model, bytes=1, sha256="a" * 64)
        self.candidates = [
            Subject(name=name, path=candidate, bytes=1, sha256=digit * 64)
            for name, digit in (("one", "b"), ("other", "d"))
        ]
        self.bench = Bench(workplace, tools_of(workplace.settings), self.reference)
        self.writes = 0
        tasks = find_tasks(workplace) if how.pop("tasks", False) else ()
        self.table = ScoreTable(
            self.bench, self.candidates, tasks=tasks, speed=False, wrote=self._wrote
        )

    def _wrote(self) -> None:
        self.writes += 1


@pytest.fixture
def table(tmp_path: Path, demo_model: Path, demo_candidate: Path) -> Table:
    return Table(tmp_path, demo_model, demo_candidate, tasks=True)


@pytest.mark.road
def test_rows_fill_measure_by_measure_and_are_compared(table: Table) -> None:
    assert table.table.scores(table.reference.sha256) is None
    table.table.fill()
    reference = table.table.scores(table.reference.sha256)
    assert reference is not None
    assert reference.divergence is None
    assert [run.measure for run in reference.runs] == ["perplexity", "Endings"]
    for candidate in table.candidates:
        scores = table.table.scores(candidate.sha256)
        assert scores is not None
        assert scores.divergence is not None
        assert [choice.tasks for choice in scores.choices] == [3]
        assert [run.measure for run in scores.runs] == ["divergence", "Endings"]
    assert table.writes == 2 + 1 + 1 + 3  # divergences, perplexity, noise, tasks
    assert table.table.scores(KEY) is None
    # every pair is compared in every measure
    names = {candidate.sha256: candidate.name for candidate in table.candidates}
    comparisons = table.table.comparisons(names)
    assert [comparison.measure for comparison in comparisons] == [KLD, PPL, "Endings"]
    for comparison in comparisons:
        assert (comparison.one, comparison.other) == ("one", "other")
        assert comparison.difference == pytest.approx(0, abs=1e-9)  # they are the same bytes
        assert not comparison.differs
        assert comparison.adjusted is not None
    (first, *_) = table.candidates
    assert table.table.comparisons({first.sha256: "one"}) == ()


def test_facts_say_how_it_was_measured(table: Table) -> None:
    facts = table.table.facts(table.reference)
    assert (facts.context, facts.chunks, facts.stride) == (128, 2, None)
    assert facts.scored_tokens == 2 * 63
    assert facts.batch == 16 * 128
    assert [text.name for text in facts.tasks] == ["tasks.txt"]


@pytest.mark.road
def test_perplexity_alone_where_no_divergence_is_wanted(
    tmp_path: Path, demo_model: Path, demo_candidate: Path
) -> None:
    table = Table(tmp_path, demo_model, demo_candidate)
    table.table.fill(divergence=False)
    for subject in (table.reference, *table.candidates):
        scores = table.table.scores(subject.sha256)
        assert scores is not None
        assert scores.perplexity is not None
        assert scores.divergence is None
