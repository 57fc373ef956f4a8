"""Originals below 16 bits: which types a GGUF of them has, by family."""

from __future__ import annotations

from collections.abc import Iterable

from bot.records.model import Tensor
from bot.tensors.weights import SIXTEEN_BIT, types_by_weights

# originals below 16 bits that llama.cpp's converter writes as they are, or in the type that is
# nearest: by its architecture, a checkpoint's precision → the GGUF's type. MXFP4 bit for bit
# (repack_mxfp4_blocks of conversion/base.py), FP8 of DeepSeek-V4 by its tensor_force_quant.
KEPT = {
    "gpt-oss": {"MXFP4": "MXFP4"},
    "kimi-k3": {"MXFP4": "MXFP4"},
    "deepseek4": {"MXFP4": "MXFP4", "FP8": "Q8_0"},
}
KEPT_ANYWHERE = {"NVFP4": "NVFP4"}  # _repack_nvfp4 there: of any family
FOUR_BITS = ("MXFP4", "NVFP4")  # of those types, what holds a checkpoint's weights bit for bit


def kept_type(family: str, precision: str) -> str | None:
    """The type below 16 bits that a checkpoint's precision has in a GGUF; None where it is BF16."""
    return KEPT.get(family, {}).get(precision) or KEPT_ANYWHERE.get(precision)


def is_original(kind: str, family: str) -> bool:
    """Whether an original of a family may be stored in a type of ggml."""
    kept = {*KEPT.get(family, {}).values(), *KEPT_ANYWHERE.values()}
    return kind in SIXTEEN_BIT or kind in kept


def original_storage(tensors: Iterable[Tensor], family: str) -> str | None:
    """As `gguf_storage`; before all others the first that no original of the family has."""
    kinds = types_by_weights(tensors)
    foreign = [kind for kind in kinds if not is_original(kind, family)]
    below = [kind for kind in kinds if kind not in SIXTEEN_BIT]
    return next(iter(foreign or below or kinds), None)
