"""Measures as the ledger keeps them: each is made once for all that decides its value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Generic, TypeVar

from bot.disk.locks import alone
from bot.evaluate.against.against import Against
from bot.evaluate.costing.measured_units import units_of
from bot.evaluate.data import Data
from bot.evaluate.loads import tokens_at_once
from bot.evaluate.subject import Measured, Subject
from bot.measures.journal import Journal
from bot.progress import Report
from bot.records.coding import digest, dump, load_record
from bot.records.measured import (
    BENCHMARK,
    Behaviour,
    Benchmark,
    Choices,
    Divergence,
    Drafts,
    Noise,
    Perplexity,
    Run,
    Speed,
    Tools,
)
from bot.records.steps import MeasureStep
from bot.store.paces import PastWork, host_of, keep_pace, machine_of
from bot.workplace.asked import METRICS_VERSION
from bot.workplace.children import tell_isolation
from bot.workplace.workplace import Workplace

V = TypeVar("V")
RENDERED = 1  # raised where the same conversations are cut into other windows
JOB = "measures"  # of the ledger: measures belong to files, not to a job
BEGUN = ("tokens", "answers.jsonl")  # what a measure that was stopped leaves to go on from


class KeptMeasures:
    """The ledger's measures, of files that are measured with the same tools and settings."""

    def __init__(self, workplace: Workplace, tools: Tools, against: Against) -> None:
        self._workplace, self._settings = workplace, workplace.settings
        self._tools, self._against = tools, against
        self.new_measures = 0  # measures that were not in the ledger

    @property
    def window(self) -> dict[str, Any]:
        """How a text is cut: tokens of a window, windows at most, tokens between windows."""
        evaluation = self._settings.evaluation
        return {
            "context": evaluation.context,
            "chunks": evaluation.chunks,
            "stride": evaluation.stride,
        }

    def inputs(
        self, measure: str, subject: Subject, data: Data | None, **more: Any
    ) -> dict[str, Any]:
        """All that decides a measure's value."""
        llama = self._settings.llama
        return {
            "version": METRICS_VERSION,
            "measure": measure,
            "model": subject.sha256,
            "data": data.text.sha256 if data else None,
            "tools": [self._tools.llama_cpp_python, self._tools.llama_cpp, self._tools.build],
            "machine": machine_of(self._tools.device, llama),
            **({"rendered": RENDERED} if data and data.conversations else {}),
            **more,
        }

    def perplexity_inputs(self, subject: Subject) -> dict[str, Any]:
        """With the hash of the model, or file, whose tokens the text is read in."""
        tokens, text = self._against.tokens_by(subject), self._against.text
        return self.inputs("perplexity", subject, text, **self.window, tokens=tokens)

    def divergence_inputs(self, subject: Subject) -> dict[str, Any]:
        """With the hash of the reference."""
        reference, text = self._against.sha256, self._against.text
        return self.inputs("divergence", subject, text, **self.window, reference=reference)

    def folder(self, inputs: Mapping[str, Any]) -> Path:
        """Where a measure's own files lie while it is made."""
        return self._workplace.folders.measure(digest(inputs))

    def journal(self, inputs: Mapping[str, Any]) -> Journal:
        """What a pass has measured so far, to go on from."""
        return Journal(self.folder(inputs) / "tokens", digest(inputs))

    def known(self, measure: str, subject: Subject, inputs: Mapping[str, Any]) -> Measured | None:
        """A measure of the ledger; None where it was not made, or is damaged."""
        step, shape = _step(measure, subject, inputs), shape_of(measure)
        done = self._workplace.ledger.finished(JOB, step, inputs, shape=shape)
        if done is None:
            return None
        return Measured(value=done.value["value"], run=load_record(Run, done.value["run"]))

    def once(
        self,
        measure: str,
        subject: Subject,
        data: Data | None,
        inputs: Mapping[str, Any],
        work: Callable[[Report], Any],
        *,
        is_whole: Callable[[], bool] | None = None,
        chunks: int = 0,
    ) -> Measured:
        """A measure from the ledger, or made now and kept there, with its pace.

        Where the file that the work leaves behind is not whole, by `is_whole`, it is done again.
        `chunks` of a text are read for a perplexity.
        """
        folder = self.folder(inputs)
        measured = self.known(measure, subject, inputs)
        if measured is not None and (is_whole is None or is_whole()):
            return measured
        with alone(folder):
            measured = self.known(measure, subject, inputs)
            if measured is not None and (is_whole is None or is_whole()):
                return measured
            tell_isolation(self._workplace.narrator, self._settings)
            with self._workplace.narrator.work(f"{measure} of {subject.name}") as report:
                begun = any((folder / name).is_file() for name in BEGUN)
                start = monotonic()
                value = work(report)
                seconds = monotonic() - start
            if measured is None:
                measured = self.record(measure, subject, inputs, value, seconds, data)
            if not begun:  # else a part of it was done before
                units = units_of(measure, value, chunks)
                self._note_pace(measured.run, subject, digest(inputs), units, seconds)
            (folder / "tokens").unlink(missing_ok=True)
        return measured

    def record(
        self,
        measure: str,
        subject: Subject,
        inputs: Mapping[str, Any],
        value: Any,
        seconds: float,
        data: Data | None,
    ) -> Measured:
        """Keep a measure that took so many seconds."""
        evaluation = self._settings.evaluation
        compared = measure in ("divergence", "noise")
        run = Run(
            measure=measure,
            data=data.text if data else None,
            model=subject.sha256,
            reference=self._against.sha256 if compared else None,
            beside=isinstance(value, dict) and bool(value.get("beside")),
            context=evaluation.context,
            stride=evaluation.stride,
            batch=512 if measure == "speed" else tokens_at_once(self._settings),
            tools=self._tools,
            seconds=round(seconds, 3),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        step = _step(measure, subject, inputs)
        entry = {"value": value, "run": dump(run)}
        self._workplace.ledger.record(JOB, step, inputs, [], entry)
        self.new_measures += 1
        return Measured(value=value, run=run)

    def _note_pace(
        self, run: Run, subject: Subject, inputs: str, units: int, seconds: float
    ) -> None:
        """How long a measure took, for those who ask how long the next will."""
        model = self._against.model
        work = PastWork(
            kind=f"{run.measure} beside" if run.beside else run.measure,
            family=model.sha256 if model is not None else run.model,
            data=run.data.sha256 if run.data else None,
            context=run.context,
            units=units,
            seconds=seconds,
            host=host_of(self._tools, self._settings.llama),
            bytes=subject.bytes,
        )
        keep_pace(self._workplace.ledger, f"{run.model[:12]} {inputs[:16]}", work)


def _step(measure: str, subject: Subject, inputs: Mapping[str, Any]) -> str:
    return MeasureStep.of(measure, subject.sha256, digest(inputs)).name


@dataclass(frozen=True, kw_only=True)
class _Perplexed:
    perplexity: Perplexity


@dataclass(frozen=True, kw_only=True)
class _Diverged(_Perplexed):
    divergence: Divergence
    chunks: list[float]
    nll: list[float] | None = None  # earlier versions kept none


@dataclass(frozen=True, kw_only=True)
class _Kept(Generic[V]):
    value: V
    run: Run


def shape_of(measure: str) -> Any:
    """The type of what the ledger keeps of a measure; tasks are called by their names."""
    kinds: dict[str, Any] = {
        "divergence": _Kept[_Diverged],
        "perplexity": _Kept[_Perplexed],
        "speed": _Kept[tuple[Speed, ...]],
        "drafts": _Kept[tuple[Drafts, ...]],
        "noise": _Kept[tuple[Noise, ...]],
        "behaviour": _Kept[Behaviour],
    }
    if measure.startswith(BENCHMARK):
        return _Kept[Benchmark]
    return kinds.get(measure, _Kept[Choices])


def speeds(measured: Measured) -> tuple[Speed, ...]:
    """Prompt processing and generation, in tokens per second, of a measure of speed."""
    return load_record(tuple[Speed, ...], measured.value)


def drafted(measured: Measured) -> tuple[Drafts, ...]:
    """Tokens guessed ahead, by how many at a time."""
    return load_record(tuple[Drafts, ...], measured.value)


def behaved(measured: Measured) -> Behaviour:
    """Habits and edits of a measure of behaviour."""
    return load_record(Behaviour, measured.value)


def benchmarked(measured: Measured) -> Benchmark:
    """What lm-evaluation-harness found by one of its tasks, groups or tags."""
    return load_record(Benchmark, measured.value)


def answered(measured: Measured) -> Choices:
    """Answers, share and interval of a measure of tasks."""
    return load_record(Choices, measured.value)
