"""The rig's projector: llama.cpp turns a picture into tokens of the rig's model with it."""

from __future__ import annotations

import ctypes  # noqa: TID251 - of llama.cpp itself
from pathlib import Path

import llama_cpp  # noqa: TID251 - what reads it is asked
import numpy as np
import pytest
from llama_cpp import mtmd_cpp as mtmd  # noqa: TID251

from bot.settings.sections import DEMO
from tests.true_projector import write_projector
from tests.true_shapes import QWEN
from tests.true_weights import write_model

SIDE, PATCH, MERGED = 64, 16, 2  # of a picture, in pixels

pytestmark = pytest.mark.road


def test_a_picture_becomes_tokens(tmp_path: Path) -> None:
    text, projector = tmp_path / "m.gguf", tmp_path / "mmproj.gguf"
    write_model(QWEN, text, QWEN.sized(4, 8, 4096), tokenizer=DEMO / "tiny-moe-Q8_0.gguf")
    write_projector(projector, 2)
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        str(text).encode(), llama_cpp.llama_model_default_params()
    )
    options = mtmd.mtmd_context_params_default()
    options.use_gpu, options.warmup, options.image_min_tokens = False, False, 1
    context = mtmd.mtmd_init_from_file(str(projector).encode(), model, options)
    assert context, "clip does not read it"
    assert mtmd.mtmd_support_vision(context)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8).tobytes()
    drawn = (ctypes.c_uint8 * len(pixels)).from_buffer_copy(pixels)
    picture = mtmd.mtmd_bitmap_init(SIDE, SIDE, drawn)
    chunks = mtmd.mtmd_input_chunks_init()
    place = mtmd.mtmd_get_marker(context)
    assert place is not None
    asked = mtmd.mtmd_input_text(
        text=place, text_len=len(place), add_special=False, parse_special=True
    )
    pictures = (mtmd.mtmd_bitmap_p_ctypes * 1)(picture)
    assert mtmd.mtmd_tokenize(context, chunks, ctypes.byref(asked), pictures, 1) == 0
    found = [
        mtmd.mtmd_input_chunks_get(chunks, n) for n in range(mtmd.mtmd_input_chunks_size(chunks))
    ]
    (image,) = [
        one
        for one in found
        if mtmd.mtmd_input_chunk_get_type(one) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE
    ]
    assert mtmd.mtmd_encode_chunk(context, image) == 0
    count = mtmd.mtmd_input_chunk_get_n_tokens(image)
    rows = np.ctypeslib.as_array(mtmd.mtmd_get_output_embd(context), (count, QWEN.width))
    assert count == (SIDE // PATCH // MERGED) ** 2
    assert np.isfinite(rows).all()
    assert 0.01 < rows.std() < 100
    mtmd.mtmd_input_chunks_free(chunks)
    mtmd.mtmd_bitmap_free(picture)
    mtmd.mtmd_free(context)
    llama_cpp.llama_model_free(model)
