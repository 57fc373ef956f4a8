"""A plan: which type each tensor gets, by what it is for and where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from bot.records.coding import digest


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How many layers at each end count as edge and near, after scaling to the model's depth."""

    edge: int
    near: int
    attention_edge: int


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The type one tensor gets in one tier, and why."""

    tensor: str
    role: str
    band: str  # edge, near, middle; "-" outside the layers
    type: str  # what will be stored, after llama.cpp's fallbacks
    bytes: int  # tensor data of that type
    asked: str | None = None  # the tier's own type, where rows are no whole blocks of it


def content_hash(types: Mapping[str, str], *, imatrix: bool) -> str:
    """Hash of the types by tensor, in any order, and of whether they were weighed."""
    return digest([imatrix, sorted(types.items())])


def recipe_hash(base: str, content: str) -> str:
    """Hash of all that decides a file."""
    return digest([base, content])


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A type for every tensor of one model in one tier."""

    tier: str
    base: str  # llama.cpp's file type: written as general.file_type
    imatrix: bool
    windows: Windows
    assignments: tuple[Assignment, ...]
    same_as: str | None = None  # the tier that stores the very same tensors and is built instead
    plain: bool = False  # llama.cpp's own choice for its file type `base`: only to compare with

    @cached_property
    def content(self) -> str:
        """Hash of what is stored: equal for tiers that coincide."""
        return content_hash({a.tensor: a.type for a in self.assignments}, imatrix=self.imatrix)

    @cached_property
    def hash(self) -> str:
        """Hash of all that decides the file: content and base type."""
        return recipe_hash(self.base, self.content)

    @property
    def tensor_bytes(self) -> int:
        """Tensor data without padding and metadata."""
        return sum(a.bytes for a in self.assignments)
