"""What measuring files will take: how much of what, and how long on this machine.

A unit's pace is that of earlier measures of the same kind, of files of the same model. Where there
are none a short trial of the model itself tells it: the 16-bit model reads windows of the
evaluation's context and writes a few tokens, and its files are taken to be as fast. What a trial
does not tell is left out: longer contexts take longer for a token, several requests side by side
less. Loading is in what was measured, and in no trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from bot.apart.worker import away
from bot.behaviour.prompts import read_prompts
from bot.errors import BuildError
from bot.evaluate.against.cutting import speaking_of
from bot.evaluate.bench import Bench
from bot.evaluate.costing.trying import task_tokens, tried
from bot.evaluate.data import Data
from bot.evaluate.loads import Sessions, on_gpu
from bot.evaluate.subject import Subject
from bot.evidence import CHUNKS, TASKS, fewest_chunks, pairs
from bot.measures.speed import GENERATED, PROMPT, TEXTS, WRITTEN
from bot.measures.tasks import read_tasks
from bot.records.measured import BENCHMARK
from bot.settings.making import BenchmarkTask
from bot.store.paces import (
    READING,
    WRITING,
    Pace,
    PastWork,
    host_of,
    keep_pace,
    most_like,
    past_works,
)
from bot.workplace.children import room_for
from bot.workplace.workplace import Workplace

DRAFTINGS = 4  # without guesses, and with up to 1, 2 and 3 at a time


Whose = Literal["reference", "tiers", "all"]
# in which part of a release: first of all, with each tier, when tiers are measured, at the end
When = Literal["first", "tier", "rest", "end"]


class UnknownPaceError(BuildError):
    """Nothing was measured of a model yet, and nothing shall be tried."""


@dataclass(frozen=True, kw_only=True)
class WantedMeasures:
    """Which measures; `tasks` are sets of tasks by label."""

    perplexity: bool
    divergence: bool
    noise: bool
    speed: bool
    behaviour: bool
    tasks: tuple[Data, ...]
    benchmarks: tuple[BenchmarkTask, ...] = ()
    drafts: bool = False


@dataclass(frozen=True, kw_only=True)
class MeasureCost:
    """What a measure will take."""

    measure: str
    files: int
    unit: str
    units: int  # of each file
    tokens: int | None  # of each file: to be read, or written at most; None: not known
    pace: Pace  # of a unit, of one file
    setting: str | None = None  # that says how many units; None where a budget changes nothing
    whose: Whose = "all"  # which files it is made of
    when: When = "tier"
    works: tuple[PastWork, ...] = ()  # samples of the pace, by files of their sizes
    least: int = 1  # units with which anything can be said
    step: int = 1  # units that are decoded together

    @property
    def seconds(self) -> float:
        """Of all files."""
        return self.files * self.units * self.pace.seconds

    @property
    def deviation(self) -> float | None:
        """Of `seconds`, by the spread of the pace, as if all files were slow or fast together."""
        spread = self.pace.deviation
        return None if spread is None else self.files * self.units * spread

    def of_file(self, size: int) -> Pace:
        """Of the whole measure of one file of so many bytes: by those that were most like it."""
        works = most_like(self.works, lambda work: work.bytes, size)
        if not works:
            return self.pace.times(self.units)
        pace = Pace.of(works)
        if self.pace.origin == "assumed":  # said, not measured so often
            return Pace.said(pace.seconds).times(self.units)
        return replace(pace, origin=self.pace.origin).times(self.units)

    def of(self, counts: Mapping[str, int]) -> MeasureCost:
        """Of no more units than `counts` says for its setting."""
        units = min(self.units, counts.get(self.setting or "", self.units))
        tokens = None if self.tokens is None else round(self.tokens * units / self.units)
        return replace(self, units=units, tokens=tokens)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The files beside the reference: how many, and the bytes of the largest."""

    count: int
    largest: int


class Costing:
    """What measures of some files will take; `model` is the reference, or else one of them."""

    def __init__(
        self,
        workplace: Workplace,
        bench: Bench,
        model: Subject,
        candidates: Candidates,
        wanted: WantedMeasures,
        *,
        tries: bool = True,
    ) -> None:
        """`tries`: where nothing is known of the model, a short trial tells."""
        self._workplace, self._settings = workplace, workplace.settings
        self._bench, self._model, self._wanted = bench, model, wanted
        self._candidates, self._tries = candidates, tries
        self._all = candidates.count + (bench.against.model is not None)
        self._host = host_of(bench.tools, self._settings.llama)

    def costs(self) -> tuple[MeasureCost, ...]:
        """Of each measure, in the order in which they are made.

        Raises what cutting texts and reading tasks raises, CapacityError where a trial is needed
        and the model does not fit into memory, UnknownPaceError where none shall be made.
        """
        costs = (
            *self._texts(),
            *self._noise(),
            *self._task_sets(),
            *self._answers(),
            *self._benchmarks(),
            *self._speeds(),
        )
        return tuple(cost for cost in costs if cost.files and cost.units)

    # ── texts ───────────────────────────────────────────────────────────────────────────────

    def _texts(self) -> Iterator[MeasureCost]:
        wanted, bench = self._wanted, self._bench
        if wanted.divergence:
            name = bench.against.text.text.name
            yield from self._divergence(bench, name, "evaluation.chunks", self._fewest)
            for name, one in bench.domains.items():
                yield from self._divergence(one, name, f"evaluation.domains.{name}.chunks", CHUNKS)
        elif wanted.perplexity:
            yield self._pass(bench, "PPL", "evaluation.chunks", self._fewest, self._all)

    @cached_property
    def _fewest(self) -> int:
        """Chunks that can tell one pair of files, of all that are compared in all measures."""
        measures = 2 * self._wanted.divergence + len(self._wanted.tasks)
        return fewest_chunks(pairs(self._candidates.count) * measures)

    def _divergence(
        self, bench: Bench, name: str, setting: str, least: int
    ) -> Iterator[MeasureCost]:
        """The reference's pass, and that of each file; both at once where it runs beside."""
        count = self._candidates.count
        if bench.against.model is None:  # log-probabilities of a file, of as many chunks as it has
            yield self._pass(bench, f"PPL and KLD, {name}", None, least, count)
        elif bench.logits.beside(self._candidates.largest, count):
            yield self._pass(bench, f"PPL and KLD, {name}", setting, least, count, beside=True)
        else:
            cost = self._pass(bench, f"reference, {name}", setting, least, 1, of="perplexity")
            yield replace(cost, whose="reference", when="first")
            yield self._pass(bench, f"PPL and KLD, {name}", setting, least, count)

    def _pass(
        self,
        bench: Bench,
        measure: str,
        setting: str | None,
        least: int,
        files: int,
        *,
        of: str = "divergence",
        beside: bool = False,
    ) -> MeasureCost:
        windows = bench.against.windows(self._model)
        units, context = len(windows.tokens), windows.context
        kind = "divergence beside" if beside else of
        works = tuple(self._past_of(kind, None, context))
        pace = Pace.of(works) if works else None
        if pace is None:
            once = self._known("divergence", None, context) or self._known(
                "perplexity", None, context
            )
            once = once or self._reading.times(context)
            pace = once.times(2) if beside else once
        return MeasureCost(
            measure=measure,
            files=files,
            unit="chunks",
            units=units,
            tokens=units * context,
            pace=pace,
            setting=setting,
            whose="tiers" if bench.against.model is not None else "all",
            works=works,
            least=min(least, units),
            step=windows.together,
        )

    def _noise(self) -> Iterator[MeasureCost]:
        evaluation, bench = self._settings.evaluation, self._bench
        wanted = self._wanted.noise and self._wanted.divergence and evaluation.stride is None
        if not wanted or bench.against.model is None or not evaluation.noise_chunks:
            return
        windows = bench.against.windows(self._model)
        passes = 1 + (2 if on_gpu(self._settings) and windows.together > 1 else 1)
        units = passes * min(evaluation.noise_chunks, len(windows.tokens))
        pace = self._known("noise", None, windows.context)
        yield MeasureCost(
            measure="noise floor",
            files=1,
            unit="chunks",
            units=units,
            tokens=units * windows.context,
            pace=pace or self._reading.times(windows.context),
            whose="reference",
            when="rest",
        )

    # ── questions ───────────────────────────────────────────────────────────────────────────

    def _task_sets(self) -> Iterator[MeasureCost]:
        for data in self._wanted.tasks:
            tasks = read_tasks(data.path, data.kind or "hellaswag", data.count)
            room = room_for(self._settings, self._model.path)
            tokens = away(task_tokens, room)(self._model.path.absolute(), tasks)
            works = tuple(self._past_of(data.label, data.text.sha256))
            pace = Pace.of(works) if works else None
            yield MeasureCost(
                measure=data.label,
                files=self._all,
                unit="tasks",
                units=len(tasks),
                tokens=tokens,
                pace=pace or self._reading.times(tokens / len(tasks)),
                setting=f"data.{data.name}.count" if data.name else "evaluation.task_count",
                works=works,
                least=min(TASKS, len(tasks)),
            )

    def _answers(self) -> Iterator[MeasureCost]:
        asked = self._settings.evaluation.behaviour
        if not self._wanted.behaviour or not asked.measure:
            return
        if speaking_of(self._settings, self._model.path) is None:
            return
        prompts = len(read_prompts(asked.prompts).prompts)
        works = tuple(self._past_of("behaviour", None))
        pace = Pace.of(works) if works else None
        yield MeasureCost(
            measure="behaviour",
            files=self._all,
            unit="prompts",
            units=prompts,
            tokens=prompts * asked.tokens,
            pace=pace or self._writing.times(asked.tokens),
            works=works,
        )

    def _benchmarks(self) -> Iterator[MeasureCost]:
        for task in self._wanted.benchmarks:
            kind = f"{BENCHMARK}{task.name}"
            past = self._past_of(kind, None)
            size = self._bench.benchmarks.foreseen(self._model, task)
            units = size.requests or max((work.units for work in past), default=0)
            if past:
                pace = Pace.of(past)
            elif units:
                read, written = self._reading.times(size.tokens), self._writing
                pace = read.plus(written.times(size.most_tokens)).times(1 / units)
            else:  # known of the model, by a version that kept no paces
                pace = self._reading
            yield MeasureCost(
                measure=task.name,
                files=self._all,
                unit="requests",
                units=units,
                tokens=size.tokens + size.most_tokens if size.requests else None,
                pace=pace,
                when="end",
                works=tuple(past),
            )

    def _speeds(self) -> Iterator[MeasureCost]:
        if self._wanted.speed:
            runs = self._settings.evaluation.repetitions + 1
            works = tuple(self._past_of("speed", None))
            pace = Pace.of(works) if works else None
            trial = pace or self._reading.times(runs * PROMPT).plus(
                self._writing.times(runs * GENERATED)
            )
            yield MeasureCost(
                measure="speed", files=self._all, unit="runs", units=1,
                tokens=runs * (PROMPT + GENERATED), pace=trial, when="end", works=works,
            )  # fmt: skip
        if self._wanted.drafts:
            tokens = DRAFTINGS * TEXTS * WRITTEN
            pace = self._known("drafts", None)
            yield MeasureCost(
                measure="tokens guessed ahead", files=self._candidates.count, unit="runs", units=1,
                tokens=tokens, pace=pace or self._writing.times(tokens), whose="tiers", when="end",
            )  # fmt: skip

    # ── paces ───────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _past(self) -> list[PastWork]:
        works = past_works(self._workplace.ledger, self._host)
        return [work for work in works if work.family == self._model.sha256]

    def _past_of(self, kind: str, data: str | None, context: int | None = None) -> list[PastWork]:
        return [
            work
            for work in self._past
            if work.kind == kind and data in (None, work.data) and context in (None, work.context)
        ]

    def _known(self, kind: str, data: str | None, context: int | None = None) -> Pace | None:
        """By earlier measures of a kind, on the same data where that is named."""
        works = self._past_of(kind, data, context)
        return Pace.of(works) if works else None

    @property
    def _reading(self) -> Pace:
        """Of a token that is read."""
        return self._tried(READING)

    @property
    def _writing(self) -> Pace:
        """Of a token that is written, one text after the other."""
        return self._tried(WRITING)

    def _tried(self, kind: str) -> Pace:
        context = self._settings.evaluation.context
        if not (works := self._past_of(kind, None, context)):
            self._try(context)
            works = self._past_of(kind, None, context)
        return Pace.of(works)

    def _try(self, context: int) -> None:
        """Have the model read and write a little, and keep what that took."""
        if not self._tries:
            raise UnknownPaceError(f"nobody knows how fast {self._model.name} is")
        settings, model = self._settings, self._model
        sessions = Sessions(settings)
        text = self._bench.against.cut_of(model)
        sessions.require_memory(model, text)
        with self._workplace.narrator.work(f"trial of {model.name}") as report:
            room = sessions.room(model, report)
            trial = away(tried, room)(sessions.reading(model, text), context=context)
        for kind, units, samples in ((READING, trial.group, trial.read), (WRITING, 1, trial.wrote)):
            for number, seconds in enumerate(samples):
                work = PastWork(
                    kind=kind,
                    family=model.sha256,
                    data=None,
                    context=context,
                    units=units,
                    seconds=seconds,
                    host=self._host,
                )
                name = f"{model.sha256[:12]} {context} {number}"
                keep_pace(self._workplace.ledger, name, work)
        self.__dict__.pop("_past", None)
