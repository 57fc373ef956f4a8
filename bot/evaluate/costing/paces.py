"""How fast this machine measures: every measure that was made leaves its pace in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError

from bot.records.coding import digest, dump, load_record
from bot.records.measured import BENCHMARK, Tools
from bot.settings.making import LlamaSettings
from bot.store.ledger import Ledger

PACES = "paces"  # of the ledger: they belong to a machine, not to a job
LATEST = 5_000  # of them that are read: some fifty releases of nine tiers
READING, WRITING = "reading", "writing"  # works of a trial; their units are tokens
Origin = Literal["measured", "tried"]


@dataclass(frozen=True, kw_only=True)
class PastWork:
    """A piece of measuring that was done here from its beginning to its end."""

    kind: str  # a measure as its run has it, `divergence beside`; or READING, WRITING
    family: str  # sha256 of the model that files are compared with, or of the file itself
    data: str | None  # sha256
    context: int
    units: Annotated[int, Field(ge=1)]  # chunks, tasks, prompts, requests, runs, or tokens
    seconds: Annotated[float, Field(ge=0)]
    host: str  # see `host_of`


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds that a unit of some work takes."""

    seconds: float  # mean of the samples
    deviation: float | None  # their standard deviation; None: there is one alone
    samples: int
    origin: Origin  # by measures that were made before, or by a trial

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
            origin=self.origin if self.origin == other.origin else "tried",
        )


def host_of(tools: Tools, llama: LlamaSettings) -> str:
    """All of a machine and its settings that decides how fast it decodes."""
    machine = [tools.llama_cpp, tools.build, tools.device, llama.threads, llama.gpu_layers]
    return digest(machine)[:16]


def keep_pace(ledger: Ledger, name: str, work: PastWork) -> None:
    """Note a piece of work; `name` is its own, so that work done anew stands in its place."""
    ledger.record(PACES, f"{work.kind} {name}", {}, [], dump(work))


def past_works(ledger: Ledger, host: str) -> tuple[PastWork, ...]:
    """What was measured here, as this machine is now."""
    return tuple(work for work in _read(ledger.values(PACES, LATEST)) if work.host == host)


def _read(values: Iterable[Any]) -> Iterable[PastWork]:
    for value in values:
        try:
            yield load_record(PastWork, value)
        except ValidationError:  # of another version, or damaged: it tells nothing
            continue


def units_of(measure: str, value: Any, chunks: int) -> int:
    """How many units a measure's value is of; `chunks` of a text, where the value does not say."""
    match measure:
        case "divergence":
            return len(value["chunks"])
        case "perplexity":
            return chunks
        case "noise":  # the reference is written once, and read in each size of batch
            return sum(noise["chunks"] for noise in (value[0], *value))
        case "speed" | "drafts":
            return 1
        case "behaviour":
            return len(value["prompts"])
        case _:
            return int(value["requests"] if measure.startswith(BENCHMARK) else value["tasks"])
