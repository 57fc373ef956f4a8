"""The projector of Qwen3.6-35B-A3B at a chosen number of layers, as clip of llama.cpp reads it.

Numbers are those of the release's vision_config; names, keys and order of dimensions are those of
the converter (conversion/qwen3vl.py of llama.cpp) and of tools/mtmd/clip.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from bot.clients.files.ggufheader import text_value, u32, write_header
from bot.clients.llama.library import ggml_type
from bot.tensors.sizes import tensor_bytes
from tests.true_shapes import QWEN, Shapes, f32, flag, key_name
from tests.true_weights import fill

LAYERS = 27
_WIDTH, _FFN, _HEADS, _PATCH, _MERGED, _POSITIONS = 1152, 4304, 16, 16, 2, 2304
_ENTERING = ("patch_embd", "position_embd")  # what the first operations read stays in 32 bits
ARRAY, FLOATS, FLAGS = 9, 6, 7  # GGUF's types


def write_projector(target: Path, layers: int = LAYERS, *, seed: int = 0) -> None:
    """Write a projector to the width of the model; weights are the rig's noise."""
    entries = [
        (name, shape, ggml_type(kind), tensor_bytes(kind, shape))
        for name, shape, kind in _typed(layers)
    ]
    fill(target, write_header([*_keys(layers)], entries, 32), _typed(layers), seed=seed)


def _typed(layers: int) -> Iterator[tuple[str, tuple[int, ...], str]]:
    for name, shape in _tensors(layers).items():
        plain = len(shape) == 1 or any(word in name for word in _ENTERING)
        yield name, shape, "F32" if plain else "BF16"


def _tensors(layers: int) -> Shapes:
    patch, merged = (_PATCH, _PATCH, 3, _WIDTH), _MERGED * _MERGED * _WIDTH
    shapes: Shapes = {
        "v.patch_embd.weight": patch,  # two images follow each other in a film: one kernel each
        "v.patch_embd.weight.1": patch,
        "v.patch_embd.bias": (_WIDTH,),
        "v.position_embd.weight": (_WIDTH, _POSITIONS),
        "v.post_ln.weight": (_WIDTH,),
        "v.post_ln.bias": (_WIDTH,),
    }
    for layer in range(layers):
        for part, rows, columns in (
            ("attn_qkv", _WIDTH, 3 * _WIDTH),
            ("attn_out", _WIDTH, _WIDTH),
            ("ffn_up", _WIDTH, _FFN),
            ("ffn_down", _FFN, _WIDTH),
        ):
            shapes |= _linear(f"v.blk.{layer}.{part}", rows, columns)
        for norm in ("ln1", "ln2"):
            shapes |= {f"v.blk.{layer}.{norm}.{end}": (_WIDTH,) for end in ("weight", "bias")}
    return shapes | _linear("mm.0", merged, merged) | _linear("mm.2", merged, QWEN.width)


def _linear(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (columns,)}


def _keys(layers: int) -> Iterator[bytes]:
    yield text_value("general.architecture", "clip")
    yield text_value("general.type", "mmproj")
    yield text_value("general.name", QWEN.name)
    yield u32("general.file_type", 32)  # LLAMA_FTYPE_MOSTLY_BF16
    yield flag("clip.has_vision_encoder")
    yield text_value("clip.projector_type", "qwen3vl_merger")
    yield flag("clip.use_gelu")
    for name, count in {
        "projection_dim": QWEN.width,
        "image_size": int(_POSITIONS**0.5) * _PATCH,
        "patch_size": _PATCH,
        "embedding_length": _WIDTH,
        "feed_forward_length": _FFN,
        "block_count": layers,
        "attention.head_count": _HEADS,
        "spatial_merge_size": _MERGED,
    }.items():
        yield u32(f"clip.vision.{name}", count)
    yield f32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    half = struct.pack("<IIQ3f", ARRAY, FLOATS, 3, 0.5, 0.5, 0.5)
    yield key_name("clip.vision.image_mean") + half
    yield key_name("clip.vision.image_std") + half
    none = struct.pack("<IIQ", ARRAY, FLAGS, layers) + bytes(layers)
    yield key_name("clip.vision.is_deepstack_layers") + none
