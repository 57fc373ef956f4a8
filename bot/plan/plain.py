"""Recipes that are llama.cpp's own: what its file types choose for a model, to compare tiers with.

`Q4_K_M` is what `llama-quantize MODEL OUT Q4_K_M` makes, `I-Q4_K_M` the same with an importance
matrix. Which type a tensor gets is asked of llama.cpp: bot/clients/llama/quantization.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.errors import SettingsError
from bot.plan.profiles import FILE_TYPES
from bot.plan.recipe import OUTSIDE, band, band_windows
from bot.records.model import Architecture, Tensor
from bot.records.recipes import Assignment, Recipe
from bot.tensors.roles import layer_of, role_of
from bot.tensors.sizes import tensor_bytes

WEIGHED = "I-"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A file type of llama.cpp's, with an importance matrix or without."""

    base: str
    imatrix: bool

    @property
    def name(self) -> str:
        """As rows of results are called."""
        return f"{WEIGHED if self.imatrix else ''}{self.base}"


def baselines(names: Sequence[str]) -> tuple[Baseline, ...]:
    """Parse names in any case of letters, each once. Raises SettingsError for an unknown one."""
    upper_names = dict.fromkeys(name.strip().upper() for name in names)
    parsed = tuple(
        Baseline(base=name.removeprefix(WEIGHED), imatrix=name.startswith(WEIGHED))
        for name in upper_names
    )
    unknown = next((each for each in parsed if each.base not in FILE_TYPES), None)
    if unknown is not None:
        raise SettingsError(
            f"llama.cpp has no file type {unknown.base!r} to compare with; choose from "
            f"{', '.join(FILE_TYPES)}, or one of them with {WEIGHED} before it"
        )
    return parsed


def plain_recipe(
    baseline: Baseline, types: Mapping[str, str], model: Architecture, tensors: Sequence[Tensor]
) -> Recipe:
    """The recipe of a baseline; `types` by tensor are llama.cpp's choice, all tensors named."""
    windows = band_windows(model.layers)

    def where(tensor: Tensor) -> str:
        layer = layer_of(tensor.name)
        if layer is None or layer >= model.layers:
            return OUTSIDE
        return band(layer, model.layers, windows.edge, windows.near)

    return Recipe(
        tier=baseline.name,
        base=baseline.base,
        imatrix=baseline.imatrix,
        windows=windows,
        assignments=tuple(
            Assignment(
                tensor=tensor.name,
                role=role_of(tensor.name),
                band=where(tensor),
                type=types[tensor.name],
                bytes=tensor.bytes
                if types[tensor.name] == tensor.type
                else tensor_bytes(types[tensor.name], tensor.shape),
            )
            for tensor in tensors
        ),
        plain=True,
    )
