"""Names of steps as ledgers and records of jobs have them: written and read here alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Self, get_args

Kind = Literal["quantize", "free", "check"]  # made; its files given back; looked at

_OF_A_TIER = re.compile(rf"({'|'.join(get_args(Kind))}) (\S+)")
_MEASURE = re.compile(r"(.{1,100}) ([0-9a-f]{12}) ([0-9a-f]{16})")


@dataclass(frozen=True)
class TierStep:
    """A step of a job that is of one tier."""

    kind: Kind
    tier: str

    @property
    def name(self) -> str:
        """As the ledger has it."""
        return f"{self.kind} {self.tier}"

    @classmethod
    def read(cls, name: str) -> Self | None:
        """The step of that name; None for another kind of step."""
        match = _OF_A_TIER.fullmatch(name)
        if match is None:
            return None
        (kind,) = (kind for kind in get_args(Kind) if kind == match[1])
        return cls(kind, match[2])


@dataclass(frozen=True)
class MeasureStep:
    """A measure of a file, by the beginnings of the hashes of the file and of all its inputs."""

    measure: str
    file: str  # 12 digits
    inputs: str  # 16 digits

    @property
    def name(self) -> str:
        """As the ledger has it."""
        return f"{self.measure} {self.file} {self.inputs}"

    @classmethod
    def of(cls, measure: str, file: str, inputs: str) -> Self:
        """Of whole hashes."""
        return cls(measure, file[:12], inputs[:16])

    @classmethod
    def read(cls, name: str) -> Self | None:
        """The measure of that name; None for what is no measure."""
        match = _MEASURE.fullmatch(name)
        return cls(match[1], match[2], match[3]) if match else None
