"""A converted file against its checkpoint: weights by layer, types, and what it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from bot.apart.worker import ChildTerms
from bot.clients.files import gguf
from bot.clients.files.ggufheader import text_value, write_header
from bot.clients.llama.library import ggml_type
from bot.errors import BuildError, RefusedError
from bot.source import converted
from bot.source.checkpoint import CheckpointFolder
from bot.source.convert import Layers
from bot.tensors.roles import layer_of
from bot.tensors.sizes import tensor_bytes
from tests import headers
from tests.evaluation import with_nan

LAYERS, WIDTH = 3, 64
HEAD = "lm_head.weight"


def checkpoint_of(
    shapes: Mapping[str, tuple[int, ...]], layers: int = LAYERS, **config: object
) -> CheckpointFolder:
    """A checkpoint that holds these tensors in BF16."""
    tensors = {tensor.name: tensor for tensor in headers.tensors(shapes)}
    return CheckpointFolder(
        folder=Path("none"),
        config={"num_hidden_layers": layers, **config},
        files=("model.safetensors",),
        tensors=tensors,
    )


SHAPES = {"model.embed_tokens.weight": (8, WIDTH)} | {
    f"model.layers.{layer}.mlp.up_proj.weight": (4, WIDTH) for layer in range(LAYERS)
}
MTP = {f"model.layers.{LAYERS}.mlp.up_proj.weight": (4, WIDTH)}
VISION = {"visual.blocks.0.attn.weight": (4, WIDTH)}
NAMES = {"token_embd.weight": (WIDTH, 8)} | {
    f"blk.{layer}.ffn_up.weight": (WIDTH, 4) for layer in range(LAYERS)
}


def write_gguf(
    path: Path,
    shapes: Mapping[str, Sequence[int]],
    kind: str = "BF16",
    architecture: str = "llama",
) -> Path:
    """A GGUF file of zeros, all tensors in one type."""
    sizes = {name: tensor_bytes(kind, shape) for name, shape in shapes.items()}
    entries = [(name, shape, ggml_type(kind), sizes[name]) for name, shape in shapes.items()]
    head = write_header([text_value("general.architecture", architecture)], entries, 32)
    path.write_bytes(head + bytes(sum(-(-size // 32) * 32 for size in sizes.values())))
    return path


def check(checkpoint: CheckpointFolder, file: Path, layers: Layers = "dropped") -> None:
    converted.check_model(checkpoint, [file], layers=layers, threads=2, terms=ChildTerms())


def twin_of(model: Path) -> CheckpointFolder:
    """A checkpoint with as many weights in each layer as a GGUF file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for tensor in gguf.read_gguf(model).tensors:
        layer = layer_of(tensor.name)
        place = "model" if layer is None else f"model.layers.{layer}"
        shapes[f"{place}.{tensor.name}"] = (tensor.parameters,)
    layers = max(filter(None, map(layer_of, (t.name for t in gguf.read_gguf(model).tensors)))) + 1
    return checkpoint_of(shapes, layers)


def test_a_file_with_every_weight_that_computes_passes(demo_model: Path) -> None:
    check(twin_of(demo_model), demo_model)


def test_a_file_that_computes_no_finite_numbers_is_refused(
    demo_model: Path, tmp_path: Path
) -> None:
    broken = with_nan(demo_model, tmp_path / "broken.gguf")
    with pytest.raises(BuildError, match="no finite numbers"):
        check(twin_of(broken), broken)


def test_a_layer_with_other_weights_is_named(tmp_path: Path) -> None:
    shapes = NAMES | {"blk.1.ffn_up.weight": (WIDTH, 3)}
    with pytest.raises(RefusedError, match="layer 1 has 192 weights after conversion, 256 before"):
        check(checkpoint_of(SHAPES), write_gguf(tmp_path / "m.gguf", shapes))


def test_weights_outside_of_layers_are_counted(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", NAMES | {"output.weight": (WIDTH, 8)})
    with pytest.raises(RefusedError, match="has 1,792 weights, the checkpoint 1,280"):
        check(checkpoint_of(SHAPES), path)


@pytest.mark.parametrize(("layers", "refused"), [("dropped", True), ("kept", False)])
def test_prediction_layers_count_where_they_were_kept(
    tmp_path: Path, layers: Layers, refused: bool
) -> None:
    path = write_gguf(tmp_path / "m.gguf", NAMES | {f"blk.{LAYERS}.ffn_up.weight": (WIDTH, 4)})
    # zeros of no known family: where the counts agree, it is llama.cpp that refuses to load them
    with pytest.raises(BuildError) as error:
        check(checkpoint_of(SHAPES | MTP), path, layers)
    assert ("the converted model has" in str(error.value)) is refused


def test_a_tied_head_may_be_left_out(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(SHAPES | {HEAD: (8, WIDTH)}, tie_word_embeddings=True)
    assert checkpoint.tied_head == prod((8, WIDTH))
    with pytest.raises(BuildError) as error:
        check(checkpoint, write_gguf(tmp_path / "m.gguf", NAMES))
    assert "the converted model has" not in str(error.value)
    untied = replace(checkpoint, config={"num_hidden_layers": LAYERS})
    with pytest.raises(RefusedError, match="the converted model has"):
        check(untied, tmp_path / "m.gguf")


def test_where_packing_hides_weights_every_layer_must_be_there(tmp_path: Path) -> None:
    packed = headers.tensors({"model.layers.0.mlp.up_proj.qweight": (4, 8)}, "I32")
    checkpoint = checkpoint_of(SHAPES)
    checkpoint = replace(checkpoint, tensors={**checkpoint.tensors, packed[0].name: packed[0]})
    assert checkpoint.parameters("main") is None
    lost = {name: shape for name, shape in NAMES.items() if not name.startswith("blk.2.")}
    with pytest.raises(RefusedError, match="layer 2 is missing after conversion"):
        check(checkpoint, write_gguf(tmp_path / "m.gguf", lost))


def test_weights_below_16_bits_are_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", NAMES, "Q8_0")
    with pytest.raises(RefusedError, match=r"token_embd\.weight was converted to Q8_0"):
        check(checkpoint_of(SHAPES), path)


def test_four_bits_are_kept_where_the_checkpoint_has_them(tmp_path: Path) -> None:
    """Of the family whose converter keeps them, and of no checkpoint in 16 bits."""
    blocks = {
        f"model.layers.{layer}.mlp.up_proj_blocks": (4, WIDTH // 32, 16) for layer in range(LAYERS)
    }
    scales = {name.replace("blocks", "scales"): shape[:2] for name, shape in blocks.items()}
    plain = checkpoint_of({"model.embed_tokens.weight": (8, WIDTH)})
    packed = headers.tensors(blocks, "U8") + headers.tensors(scales, "U8")
    four = replace(plain, tensors={**plain.tensors, **{t.name: t for t in packed}})
    layers = {name: shape for name, shape in NAMES.items() if name.startswith("blk.")}
    own = write_gguf(tmp_path / "own.gguf", layers, "MXFP4", "gpt-oss")
    other = write_gguf(tmp_path / "other.gguf", layers, "MXFP4", "llama")
    for checkpoint, path in ((checkpoint_of(SHAPES), own), (four, other)):
        with pytest.raises(RefusedError, match=r"blk\.0\.ffn_up\.weight was converted to MXFP4"):
            check(checkpoint, path)
    embedded = write_gguf(tmp_path / "m.gguf", NAMES, "MXFP4", "gpt-oss")
    with pytest.raises(RefusedError, match=r"token_embd\.weight was converted to MXFP4"):
        check(four, embedded)
    with pytest.raises(RefusedError, match="has 768 weights, the checkpoint 1,280"):
        check(four, own)  # every type is as it should be: weights are counted next


def test_a_projector_that_lacks_weights_is_noted_and_no_projector_refused(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(SHAPES | VISION)
    full = write_gguf(tmp_path / "full.gguf", {"v.blk.0.weight": (WIDTH, 4)}, "F16", "clip")
    assert converted.check_projector(checkpoint, full) == ()
    part = write_gguf(tmp_path / "part.gguf", {"v.blk.0.weight": (WIDTH, 3)}, "F16", "clip")
    (note,) = converted.check_projector(checkpoint, part)
    assert note == "the projector holds 192 of the checkpoint's 256 weights"
    with pytest.raises(RefusedError, match="wrote no projector"):
        converted.check_projector(checkpoint, write_gguf(tmp_path / "m.gguf", NAMES))


def test_a_prediction_file_has_its_layers(tmp_path: Path) -> None:
    names = {f"blk.{LAYERS}.nextn.eh_proj.weight": (WIDTH, 4)}
    converted.check_mtp(write_gguf(tmp_path / "mtp.gguf", names))
    with pytest.raises(RefusedError, match="no multi-token prediction layers"):
        converted.check_mtp(write_gguf(tmp_path / "m.gguf", NAMES))
