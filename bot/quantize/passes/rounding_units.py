"""How much rounding a pass is, in units that every machine takes alike long for.

A unit is a nanosecond of one core of the machine that docs/speed.md was measured on, where its
tables say what a weight of each type takes with our kernels. Another machine is faster or slower by
about the same factor for all types, which is what its earlier passes tell (bot/store/paces.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bot.records.model import Tensor
from bot.records.recipes import Recipe

# nanoseconds of a weight with importance: bench/bench_kernels.py
WEIGHT = {
    "Q2_K": 19.4, "Q3_K": 7.1, "Q4_K": 15.5, "Q5_K": 20.7, "Q6_K": 5.2, "IQ1_S": 40.0,
    "IQ1_M": 25.3, "IQ2_XXS": 62.4, "IQ2_XS": 103.0, "IQ2_S": 55.6, "IQ3_XXS": 94.9,
    "IQ3_S": 103.0, "IQ4_XS": 7.9, "IQ4_NL": 7.9, "Q8_0": 1.0, "Q4_0": 1.5, "Q5_0": 1.5,
    "MXFP4": 3.0, "BF16": 0.5, "F16": 0.5, "F32": 0.5,
}  # fmt: skip
OTHER = 10.0  # of a type that the table lacks
BYTE = 1.0  # of a byte read, hashed or written


def rounding_units(tensors: Sequence[Tensor], recipes: Iterable[Recipe]) -> int:
    """Units of one pass that makes these recipes' files: each distinct result once, each byte."""
    weights: Mapping[str, int] = {tensor.name: tensor.parameters for tensor in tensors}
    distinct: set[tuple[str, str, bool]] = set()
    written = 0
    for recipe in recipes:
        for assigned in recipe.assignments:
            distinct.add((assigned.tensor, assigned.type, recipe.imatrix))
            written += assigned.bytes
    rounded = sum(weights.get(name, 0) * WEIGHT.get(kind, OTHER) for name, kind, _ in distinct)
    read = sum(tensor.bytes for tensor in tensors)
    return max(round(rounded + BYTE * (read + written)), 1)
