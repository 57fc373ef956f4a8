import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.errors import SourceError
from bot.source import checkpoint
from tests import checkpoints


def written(
    folder: Path, family: checkpoints.Family, shards: int = 1
) -> checkpoint.CheckpointFolder:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(family.config))
    checkpoints.weights(family, folder, shards)
    return checkpoint.read_checkpoint(folder)


def total(shapes: Any) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())


def test_one_file_or_several_hold_the_same(tmp_path: Path) -> None:
    family = checkpoints.mixtral()
    single = written(tmp_path / "whole", family)
    cut = written(tmp_path / "cut", family, shards=3)
    assert single.files == ("model.safetensors",)
    assert len(cut.files) == 3
    assert {n: t.shape for n, t in single.tensors.items()} == {
        n: t.shape for n, t in cut.tensors.items()
    }
    assert single.parameters("main") == total(family.shapes)
    assert single.architecture("text") == "MixtralForCausalLM"
    assert (single.has_projector, single.has_mtp, single.tied_head) == (False, False, 0)
    by_layer = single.content.by_layer("main")
    assert by_layer is not None
    assert sorted(by_layer) == [-1, 0, 1, 2]


def test_vision_and_mtp_are_told_apart(tmp_path: Path) -> None:
    family = checkpoints.qwen35moe()
    model = written(tmp_path / "model", family)
    parts = {part: model.content.weights(part) for part in ("main", "mtp", "vision", "none")}
    vision = {n: s for n, s in family.shapes.items() if "visual" in n}
    ahead = {n: s for n, s in family.shapes.items() if n.startswith("mtp.")}
    assert parts["vision"] == total(vision)
    assert parts["mtp"] == total(ahead)
    assert parts["none"] == 0
    assert parts["main"] == total(family.shapes) - total(vision) - total(ahead)
    assert (model.has_projector, model.has_mtp, model.says_mtp) == (True, True, True)
    lost = written(tmp_path / "lost", checkpoints.qwen35moe(mtp=False))
    assert (lost.has_mtp, lost.says_mtp) == (False, True)


def test_layers_past_the_last_are_mtp(tmp_path: Path) -> None:
    family = checkpoints.mixtral()
    config = {**family.config, "num_hidden_layers": 2, "num_nextn_predict_layers": 1}
    changed = checkpoints.Family(config=config, shapes=family.shapes, vocabulary=1000)
    model = written(tmp_path / "model", changed)
    last = {n: s for n, s in family.shapes.items() if ".layers.2." in n}
    assert model.parameters("mtp") == total(last)


def test_packed_weights_are_counted(tmp_path: Path) -> None:
    four = checkpoints.gptoss()
    model = written(tmp_path / "four", four)
    blocks = {n: s for n, s in four.packed.items() if n.endswith("blocks")}
    assert model.parameters("main") == total(four.shapes) + 2 * total(blocks)
    eight = checkpoints.qwen3moe(fp8=True, vocabulary=64)
    assert written(tmp_path / "eight", eight).parameters("main") == total(eight.shapes)


def test_a_hidden_number_is_not_guessed(tmp_path: Path) -> None:
    family = checkpoints.mixtral()
    hidden = {"model.layers.0.self_attn.q_proj.weight_packed": (64, 64)}
    changed = checkpoints.Family(
        config=family.config, shapes=family.shapes, vocabulary=1000, packed=hidden
    )
    assert written(tmp_path / "model", changed).parameters("main") is None


def header(folder: Path, raw: bytes, length: int | None = None, data: bytes = b"") -> None:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    size = (len(raw) if length is None else length).to_bytes(8, "little")
    (folder / "model.safetensors").write_bytes(size + raw + data)


def entry(**changes: Any) -> bytes:
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}
    return json.dumps({"w": tensor}).encode()


@pytest.mark.parametrize(
    ("raw", "length"),
    [(b"{}", 1 << 62), (b"[1]", None), (entry(shape=[3]), None)],
)
def test_damaged_headers_are_one_line(tmp_path: Path, raw: bytes, length: int | None) -> None:
    header(tmp_path / "model", raw, length, b"\0" * 8)
    with pytest.raises(SourceError, match="is not a safetensors file") as refused:
        checkpoint.read_checkpoint(tmp_path / "model")
    assert "\n" not in str(refused.value)


def test_a_sound_header_passes_the_same_way(tmp_path: Path) -> None:
    header(tmp_path / "model", entry(), None, b"\0" * 8)
    assert checkpoint.read_checkpoint(tmp_path / "model").tensors["w"].shape == (2,)


def test_what_the_index_promises_must_be_there(tmp_path: Path) -> None:
    header(tmp_path / "model", entry(), None, b"\0" * 8)
    index = tmp_path / "model" / "model.safetensors.index.json"
    for wrong in ("model-2.safetensors", "../elsewhere.safetensors", "/etc/passwd.safetensors"):
        index.write_text(json.dumps({"weight_map": {"w": "model.safetensors", "v": wrong}}))
        with pytest.raises(SourceError, match=f"lacks 1 of its .* the first is {wrong}"):
            checkpoint.read_checkpoint(tmp_path / "model")
    index.write_text(
        json.dumps({"weight_map": {"w": "model.safetensors", "v": "model.safetensors"}})
    )
    with pytest.raises(SourceError, match="lacks 1 tensors of its index, the first is v"):
        checkpoint.read_checkpoint(tmp_path / "model")
    index.write_text(json.dumps({"weight_map": {"w": "model.safetensors"}}))
    assert set(checkpoint.read_checkpoint(tmp_path / "model").tensors) == {"w"}


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    header(folder, entry(), None, b"\0" * 8)
    (folder / "model-2.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(SourceError, match="both hold 'w'"):
        checkpoint.read_checkpoint(folder)


def test_the_decoders_own_name_wins(tmp_path: Path) -> None:
    config = {
        "architectures": ["OuterForConditionalGeneration"],
        "text_config": {"architectures": ["InnerForCausalLM"]},
        "vision_config": {},
    }
    model = checkpoint.CheckpointFolder(folder=tmp_path, config=config, files=(), tensors={})
    assert model.architecture("text") == "InnerForCausalLM"
    assert model.architecture("projector") == "OuterForConditionalGeneration"
    outer_config = {**config, "architectures": ["KimiK3ForConditionalGeneration"]}
    model = checkpoint.CheckpointFolder(folder=tmp_path, config=outer_config, files=(), tensors={})
    assert model.architecture("text") == "KimiK3ForConditionalGeneration"
    wrongs: list[dict[str, Any]] = [{}, {"architectures": [3]}]
    for wrong in (*wrongs, {"architectures": []}):
        model = checkpoint.CheckpointFolder(folder=tmp_path, config=wrong, files=(), tensors={})
        assert model.architecture("text") is None
