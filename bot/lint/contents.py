"""All of a repository that is looked at, and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bot.records.model import Tensor
from bot.records.results import Results

Level = Literal["error", "warning"]


@dataclass(frozen=True, kw_only=True)
class ListedFile:
    """A file; sha256 None: not known without reading it."""

    path: str
    bytes: int
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a GGUF file says of itself."""

    name: str
    file_type: int | None
    layers: int
    tensors: tuple[Tensor, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LintedRepository:
    """All that is looked at."""

    files: tuple[ListedFile, ...]
    card: str | None = None
    sums: Mapping[str, str] | None = None  # of SHA256SUMS, by path
    results: Results | None = None
    heads: Mapping[str, Head] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)  # why a file could not be read
    repo_id: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """All files by name."""
        return tuple(file.path for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One thing that is wrong; the text ends in what to do."""

    rule: str
    level: Level
    path: str
    text: str
