"""Bytes of tensors and files, against ggml's own table of blocks."""

from __future__ import annotations

import pytest

from bot.plan.profiles import NEED_IMATRIX
from bot.tensors.sizes import BLOCKS, file_bytes, tensor_bytes


def test_block_sizes_are_ggmls() -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # noqa: TID251 - the other opinion

    for name, sizes in BLOCKS.items():
        assert GGML_QUANT_SIZES[GGMLQuantizationType[name]] == sizes
    assert set(BLOCKS) >= NEED_IMATRIX


def test_sizes() -> None:
    assert tensor_bytes("Q6_K", (256, 3, 2)) == 6 * 210
    assert tensor_bytes("F32", (5,)) == 20
    assert file_bytes([33, 32, 1], 100) == 100 + 64 + 32 + 32
    with pytest.raises(ValueError, match="blocks of 256"):
        tensor_bytes("Q6_K", (100, 2))
