"""Bytes of a tensor in each type of ggml, and of a GGUF file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

TABLE = "I32"  # of integers that route, which no recipe touches
ALIGNMENT = 32  # GGUF_DEFAULT_ALIGNMENT, gguf.h

# weights in a block, bytes of a block: type_traits of ggml.c, structs of ggml-common.h
BLOCKS = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q8_0": (32, 34),
    "Q5_1": (32, 24),
    "Q5_0": (32, 22),
    "Q4_1": (32, 20),
    "Q4_0": (32, 18),
    "IQ4_NL": (32, 18),
    "MXFP4": (32, 17),
    "NVFP4": (64, 36),
    "Q6_K": (256, 210),
    "Q5_K": (256, 176),
    "Q4_K": (256, 144),
    "IQ4_XS": (256, 136),
    "Q3_K": (256, 110),
    "IQ3_S": (256, 110),
    "IQ3_XXS": (256, 98),
    "Q2_K": (256, 84),
    "IQ2_S": (256, 82),
    "IQ2_XS": (256, 74),
    "IQ2_XXS": (256, 66),
    "IQ1_M": (256, 56),
    "IQ1_S": (256, 50),
    "TQ2_0": (256, 66),
    "TQ1_0": (256, 54),
}

K_QUANTS = ("Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K")


def bits_per_weight(kind: str) -> float:
    """Bits that a weight takes in a type, scales counted."""
    block, size = BLOCKS[kind]
    return size * 8 / block


def tensor_bytes(kind: str, shape: Sequence[int]) -> int:
    """Data of a tensor, `shape[0]` being its row length, which the type's block divides."""
    block, size = (1, 4) if kind == TABLE else BLOCKS[kind]
    if shape[0] % block:
        raise ValueError(f"rows of {shape[0]} do not divide into blocks of {block} ({kind})")
    return prod(shape) // block * size


def padded(size: int) -> int:
    """A size rounded up to where the next tensor may begin."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def file_bytes(tensors: Iterable[int], header: int) -> int:
    """A GGUF file of tensors of these sizes behind a header of `header` bytes."""
    return header + sum(padded(size) for size in tensors)
