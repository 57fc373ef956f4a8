"""How fast this machine works: what was fetched, made, measured or sent leaves its pace here.

A piece of work has a kind and a number of units. Its seconds for a unit are those of earlier pieces
of the same kind; of several, those that are most like it in size tell most: a short pass is slower
for each unit than a long one, and a file of few bits is decoded at another pace than a large one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import log, sqrt
from time import monotonic
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError

from bot.progress import Report
from bot.records.coding import digest, dump, load_record
from bot.records.measured import Tools
from bot.settings.making import LlamaSettings
from bot.store.ledger import Ledger

MICRO_BATCH = 512  # of llama.micro_batch, where nothing is said
PACES = "paces"  # of the ledger: they belong to a machine, not to a job
LATEST = 5_000  # of them that are read: some fifty releases of nine tiers
ALIKE = 0.02  # of the logarithm of a size: as near as the nearest
READING, WRITING = "reading", "writing"  # works of a trial; their units are tokens
# kinds of work that are no measures: stages of a release
FETCH, HASH, CONVERT, CALIBRATE, FIT = "fetch", "hash", "convert", "calibrate", "fit"
QUANTIZE, LOOK, COMPARE = "quantize", "look", "compare"
SEND, DESCRIBE, COMMIT = "send", "describe", "commit"
Origin = Literal["measured", "tried", "assumed"]
ORIGINS: tuple[Origin, ...] = ("measured", "tried", "assumed")  # the surest first


@dataclass(frozen=True, kw_only=True)
class PastWork:
    """A piece of work that was done here."""

    kind: str  # a measure as its run has it, `divergence beside`; READING, WRITING; or a stage's
    family: str = ""  # sha256 of the model that is decoded, or that its files are compared with
    data: str | None = None  # sha256
    context: int = 0
    units: Annotated[int, Field(ge=1)]  # chunks, tasks, prompts, requests, runs, tokens, bytes, …
    seconds: Annotated[float, Field(ge=0)]
    host: str = ""  # see `host_of`; empty for what no llama.cpp does
    bytes: Annotated[int, Field(ge=0)] = 0  # of the file it was done with; 0: not told


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds that a unit of some work takes."""

    seconds: float  # mean of the samples
    deviation: float | None  # their standard deviation; None: there is one alone
    samples: int
    origin: Origin  # by work that was done before, by a trial, or as settings say of a machine

    @classmethod
    def of(cls, works: Sequence[PastWork]) -> Self:
        """Of some works of one kind, each of them a sample."""
        samples = [work.seconds / work.units for work in works]
        mean = sum(samples) / len(samples)
        squares = sum((sample - mean) ** 2 for sample in samples)
        return cls(
            seconds=mean,
            deviation=sqrt(squares / (len(samples) - 1)) if len(samples) > 1 else None,
            samples=len(samples),
            origin="tried" if works[0].kind in (READING, WRITING) else "measured",
        )

    @classmethod
    def said(cls, seconds: float) -> Self:
        """As settings have it, or because nobody knows better."""
        return cls(seconds=seconds, deviation=None, samples=0, origin="assumed")

    def times(self, units: float) -> Pace:
        """Of so many units as one, which are all slow or all fast together."""
        deviation = None if self.deviation is None else self.deviation * units
        return Pace(
            seconds=self.seconds * units,
            deviation=deviation,
            samples=self.samples,
            origin=self.origin,
        )

    def plus(self, other: Pace) -> Pace:
        """Of both, one after the other."""
        known = [one.deviation for one in (self, other) if one.deviation is not None]
        return Pace(
            seconds=self.seconds + other.seconds,
            deviation=sqrt(sum(one * one for one in known)) if known else None,
            samples=min(self.samples, other.samples),
            origin=max(self.origin, other.origin, key=ORIGINS.index),
        )


def most_like(
    works: Sequence[PastWork], size: Callable[[PastWork], int], to: int
) -> list[PastWork]:
    """Of some works those whose size is nearest, by ratio; all that are as near as these."""
    sized = [(abs(log(size(work) / to)), work) for work in works if size(work) and to]
    if not sized:
        return [*works]
    near = min(distance for distance, _ in sized) + ALIKE
    return [work for distance, work in sized if distance <= near]


def host_of(tools: Tools, llama: LlamaSettings) -> str:
    """All of a machine and its settings that decides how fast it decodes."""
    machine = [tools.llama_cpp, tools.build, *machine_of(tools.device, llama)]
    return digest(machine)[:16]


def machine_of(device: str, llama: LlamaSettings) -> list[str | int]:
    """What decides how a model is computed here; the micro-batch, where it is not as ever."""
    sizes = [] if llama.micro_batch == MICRO_BATCH else [llama.micro_batch]
    return [device, llama.threads, llama.gpu_layers, *sizes, *llama.rpc]


def keep_pace(ledger: Ledger, name: str, work: PastWork) -> None:
    """Note a piece of work; `name` is its own, so that work done anew stands in its place."""
    ledger.record(PACES, f"{work.kind} {name}", {}, [], dump(work))


@contextmanager
def paced(
    ledger: Ledger,
    name: str,
    work: PastWork,
    report: Report,
    *,
    counted: bool = False,
    like_others: bool = True,
) -> Iterator[Report]:
    """Around a piece of work, whose seconds are kept where it comes to its end.

    Of work that goes on where another run stopped, the units that were done now count: those after
    the first that it reports. `counted`: what it reports are units, `work` has none of its own.
    Not `like_others`: it takes longer this once, and nothing is kept.
    """
    told: list[tuple[int, int]] = []

    def hear(done: int, total: int, note: str = "") -> None:
        told.append((done, total)) if not told else None
        report(done, total, note)

    began = monotonic()
    yield hear
    seconds = monotonic() - began
    done, total = told[0] if told else (0, 1)
    whole = total if counted else work.units
    units = round(whole * (1 - done / total)) if total else whole
    if units > 0 and like_others:
        keep_pace(ledger, name, replace(work, units=units, seconds=seconds))


def past_works(ledger: Ledger, *hosts: str) -> tuple[PastWork, ...]:
    """What was done here, as this machine is now: with llama.cpp, or, for the host "", without."""
    return tuple(work for work in _read(ledger.values(PACES, LATEST)) if work.host in hosts)


def _read(values: Iterable[Any]) -> Iterable[PastWork]:
    for value in values:
        try:
            yield load_record(PastWork, value)
        except ValidationError:  # of another version, or damaged: it tells nothing
            continue
