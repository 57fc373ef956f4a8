"""A repository as the rules of lint read it, and a defect as they report it."""

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
    """What the rules read of a GGUF file's header."""

    name: str
    file_type: int | None
    layers: int
    tensors: tuple[Tensor, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LintedRepository:
    """A repository's files, card, hashes, results and GGUF headers, as the rules read them."""

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
    """A broken rule, at a path; the text ends in what to do."""

    rule: str
    level: Level
    path: str
    text: str
