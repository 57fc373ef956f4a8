"""The installed llama.cpp: its types and devices, and why it does not load a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.clients.llama.library import (
    ERROR,
    devices,
    ggml_type,
    start,
    type_name,
    used_devices,
)
from bot.clients.llama.session import Session
from bot.clients.llama.vocabulary import vocabulary_of
from bot.errors import BuildError

WHOLE = (Path(__file__).resolve().parents[4] / "bot" / "demo" / "tiny-moe-Q8_0.gguf").read_bytes()

DAMAGED = {
    "tensor 'blk.4.ffn_up_exps.weight' not found": WHOLE.replace(
        b"blk.4.ffn_up_exps.weight", b"blk.4.ffn_xp_exps.weight"
    ),
    "unknown model architecture: 'qwen99moe'": WHOLE.replace(b"qwen35moe", b"qwen99moe"),
    "key not found in model: qwen35moe.block_count": WHOLE.replace(
        b"qwen35moe.block_count", b"qwen35moe.block_cound"
    ),
    "is not within the file bounds, model is corrupted or incomplete": WHOLE[: len(WHOLE) // 2],
    "failed to read key-value pairs": WHOLE[:5000],
    "invalid magic characters: 'XXXX', expected 'GGUF'": b"XXXX" + WHOLE[4:],
    "this GGUF file is version 9 but": WHOLE[:4] + b"\x09\0\0\0" + WHOLE[8:],
    "failed to read magic": b"",
}


@pytest.mark.parametrize("reason", DAMAGED)
def test_the_line_that_tells_why_reaches_the_user(reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(DAMAGED[reason])
    with pytest.raises(BuildError, match=re.escape(reason)) as failed:
        Session(path, n_ctx=32, threads=1)
    assert "failed to load model" not in str(failed.value)
    assert str(tmp_path) not in str(failed.value)


def test_what_failed_before_is_no_reason(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    for reason in ("unknown model architecture", "invalid magic"):
        path.write_bytes(
            next(data for message, data in DAMAGED.items() if message.startswith(reason))
        )
        with pytest.raises(BuildError) as failed, vocabulary_of(path):
            pytest.fail("it was read")
        assert reason in str(failed.value)
    assert "architecture" not in str(failed.value)


def test_of_several_lines_the_cause_comes_first() -> None:
    """As a GPU whose memory falls short tells it: ggml-cuda.cu, ggml-alloc.c, llama-model.cpp."""
    log = start()
    log.forget()
    for line in (
        "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory\n",
        "alloc_tensor_range: failed to allocate CUDA0 buffer of size 1\n",
        "llama_model_load: error loading model: unable to allocate CUDA0 buffer\n",
        "llama_model_load_from_file_impl: failed to load model\n",
    ):
        log.callback(ERROR, line.encode(), None)
    assert log.reason() == (
        "cudaMalloc failed: out of memory; failed to allocate CUDA0 buffer of "
        "size 1; unable to allocate CUDA0 buffer"
    )
    log.forget()
    assert log.reason() == "llama.cpp gave no reason"


def test_types_have_a_name_and_a_number() -> None:
    assert [type_name(ggml_type(name)) for name in ("F32", "BF16", "Q6_K", "IQ2_XXS")] == [
        "F32", "BF16", "Q6_K", "IQ2_XXS"]  # fmt: skip
    with pytest.raises(BuildError, match="has no type Q9_K; mend the profile"):
        ggml_type("Q9_K")
    with pytest.raises(BuildError, match="has no type number 9999"):
        type_name(9999)


def test_a_model_runs_on_the_devices_that_are_named_else_on_the_processor() -> None:
    processors = [device.name for device in devices() if device.kind == "cpu"]
    assert processors
    assert [device.name for device in used_devices(devices(), (), gpu=False)] == processors
    assert [
        device.name for device in used_devices(devices(), processors[:1], gpu=True)
    ] == processors[:1]
    assert used_devices(devices(), ("CUDA99",), gpu=True) == ()
