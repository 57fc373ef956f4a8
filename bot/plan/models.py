"""A model: a sketch from headers, a candidate, a file of this machine; and a plan of its tiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from bot.plan.profiles import Profile
from bot.records.model import Architecture, Source, Tensor
from bot.records.recipes import Recipe
from bot.records.releases import Release
from bot.tensors.sizes import file_bytes
from bot.tensors.weights import CheckpointFiles


class HasName(Protocol):
    """Anything of a model that knows its name, as in file names."""

    @property
    def name(self) -> str:
        """Qwen3.6-35B-A3B."""
        ...


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A model as far as recipes and sizes need it."""

    name: str  # as in file names: Qwen3.6-35B-A3B
    release: Release | None
    architecture: Architecture
    tensors: tuple[Tensor, ...]  # of the 16-bit GGUF
    header_bytes: int  # before the first tensor's data
    guessed: tuple[str, ...] = ()  # tensors whose roles were guessed by words of their names

    @property
    def stem(self) -> str:
        """What its files are called: `-MTP` stands in it where they predict tokens ahead."""
        ahead = any(".nextn." in tensor.name for tensor in self.tensors)
        return f"{self.name}-MTP" if ahead and "MTP" not in self.name else self.name

    @property
    def parameters(self) -> int:
        """All weights of the file, MTP layers too."""
        return sum(tensor.parameters for tensor in self.tensors)

    @property
    def file_bytes(self) -> int:
        """Of the 16-bit GGUF."""
        return file_bytes((tensor.bytes for tensor in self.tensors), self.header_bytes)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A release that can be built: its model's files, config, and sketch by headers.

    `release` says of its GGUF files how they store weights, where that was read.
    """

    release: Release
    checkpoint: CheckpointFiles | None  # None: a GGUF of the release is the model
    config: Mapping[str, Any] | None
    sketch: Sketch


@dataclass(frozen=True, kw_only=True)
class Local:
    """A 16-bit GGUF on this machine."""

    path: Path  # its only file, or the first shard
    release: Release | None = None
    extras: Mapping[str, Path] | None = None  # projector and MTP files, by published name
    architecture: Architecture | None = None  # of the checkpoint it was made of

    def moved(self, place: Callable[[Path], Path]) -> Local:
        """The same with other paths."""
        extras = {name: place(path) for name, path in (self.extras or {}).items()}
        return replace(self, path=place(self.path), extras=extras or None)


@dataclass(frozen=True, kw_only=True)
class Model(Sketch):
    """A model whose 16-bit file is here."""

    source: Source
    extras: Mapping[str, Path]  # projector and MTP files, by the name they are published under
    # of a file of the user's: its licence, and as `repo_id` the model it was made of, or nothing
    origin: Release | None = None


M = TypeVar("M", bound=Sketch, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Plan(Generic[M]):
    """Recipes of a model for some profiles."""

    model: M
    profiles: tuple[Profile, ...]
    recipes: tuple[Recipe, ...]
    left_out: tuple[Recipe, ...] = ()  # tiers that would be as large as their source: not made

    @property
    def distinct(self) -> tuple[Recipe, ...]:
        """Recipes that are built: one that coincides with an earlier one is not."""
        return tuple(recipe for recipe in self.recipes if recipe.same_as is None)

    @property
    def needs_imatrix(self) -> bool:
        """Whether any tier wants an importance matrix."""
        return any(recipe.imatrix for recipe in self.distinct)

    def predicted(self, recipe: Recipe) -> int:
        """Size of a recipe's file: exact for tensors, metadata taken from the source's."""
        sizes = (assignment.bytes for assignment in recipe.assignments)
        return file_bytes(sizes, self.model.header_bytes)
