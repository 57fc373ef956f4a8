"""A file to be measured, and a value that was measured of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.plan.models import Model
from bot.records.measured import Run


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A file to be measured, or the first of its shards."""

    name: str
    path: Path
    bytes: int
    sha256: str


def model_subject(model: Model) -> Subject:
    """A 16-bit model of this machine, to be measured."""
    source, name = model.source, model.architecture.source_type
    return Subject(name=name, path=Path(source.path), bytes=source.bytes, sha256=source.sha256)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A measure's value as it lies in the ledger, and how it came about."""

    value: Any
    run: Run
