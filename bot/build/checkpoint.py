"""A Hugging Face checkpoint on disk: its config and what its safetensors files hold.

Only headers are read. Format (github.com/huggingface/safetensors): 8 bytes with the header's
length, little-endian, then JSON: name → dtype, shape, data_offsets within the rest of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

from bot.errors import SourceError

Part = Literal["main", "mtp", "projector", "none"]

_HEADER_LIMIT = 100 << 20  # bytes, the format's own limit
_JSON_LIMIT = 16 << 20
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F4",), 4),
}
_COUNTABLE = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})

# what TextModel.filter_tensors of llama.cpp's conversion/base.py leaves to the projector
_PROJECTOR_START = (
    *("mlp", "vit.", "vpm.", "siglip2.", "conformer.", "merger.", "resampler."),
    *("sound_encoder.", "sound_projection.", "speech_embeddings."),
)
_PROJECTOR_PART = (
    *("visual.", "vision.", "audio.", "talker.", "vision_", "audio_", "token2wav.", "code2wav."),
    *("projector.", "pre_mm_projector_norm", "image_newline", "view_seperator", "patch_embed"),
    *("patch_embedding", "patch_merger.", "patch_merge_mlp.", "model.connector."),
)
# buffers that the converter leaves out, and scales that dequantization folds into weights
_NO_WEIGHT = re.compile(
    r"(\.attention\.masked_bias|\.attention\.bias|\.rotary_emb\.inv_freq"
    r"|\.weight_scale(_inv)?|\.(input|activation|k|v)_scale|(down|gate_up)_proj_scales)$"
)
_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.(\d{1,6})\.")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One tensor of a safetensors file; shape in torch's order."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size of its data."""
        return prod(self.shape) * _BITS[self.dtype] // 8


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint's config.json and all its tensors by name."""

    folder: Path
    config: Mapping[str, Any]
    files: tuple[str, ...]  # safetensors files, in order
    tensors: Mapping[str, Stored]

    @cached_property
    def text(self) -> Mapping[str, Any]:
        """The decoder's own config: nested ones lie over the outer one, as in the converter."""
        names = ("text_config", "llm_config", "language_config")
        inner = [self.config[n] for n in names if isinstance(self.config.get(n), dict)]
        return {**self.config, **(inner[0] if inner else {})}

    @property
    def has_projector(self) -> bool:
        """Whether it sees or hears: a config section for it, and tensors."""
        sections = ("vision_config", "audio_config", "vision_encoder")
        named = any(isinstance(self.config.get(name), dict) for name in sections)
        return named and any(self.part_of(name) == "projector" for name in self.tensors)

    @property
    def has_mtp(self) -> bool:
        """Whether there are tensors of multi-token prediction layers, whatever the config says."""
        return any(self.part_of(name) == "mtp" for name in self.tensors)

    @property
    def says_mtp(self) -> bool:
        """Whether the config names multi-token prediction layers."""
        keys = ("num_nextn_predict_layers", "mtp_num_hidden_layers")
        return any(bool(self.text.get(key)) for key in keys)

    @property
    def bytes(self) -> int:
        """Data of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors.values())

    def architecture(self, part: Literal["text", "projector"]) -> str | None:
        """The name the converter looks up (get_model_architecture of conversion/base.py)."""
        section = "text_config" if part == "text" else "vision_config"
        inner = self.config.get(section)
        named = inner.get("architectures") if isinstance(inner, dict) else None
        outer = self.config.get("architectures")
        if part == "text" and _first(outer) in _KEEPS_OUTER_NAME:
            return _first(outer)
        return _first(named) or _first(outer)

    def part_of(self, name: str) -> Part:
        """Which of the files a tensor goes to; "none" for scales and buffers."""
        if _NO_WEIGHT.search(name):
            return "none"
        if name.startswith(_PROJECTOR_START) or any(part in name for part in _PROJECTOR_PART):
            return "projector"
        if name.startswith(("mtp.", "model.mtp.")):
            return "mtp"
        layers, layer = self.text.get("num_hidden_layers"), layer_of(name)
        beyond = layer is not None and isinstance(layers, int) and layer >= layers
        return "mtp" if beyond else "main"

    def parameters(self, part: Part) -> int | None:
        """Weights of one part; None where a packed format hides their number."""
        by_layer = self.by_layer(part)
        return None if by_layer is None else sum(by_layer.values())

    def by_layer(self, part: Part) -> dict[int, int] | None:
        """Weights of one part by layer, -1 for those outside; None where they are hidden."""
        found: dict[int, int] = {}
        for name, tensor in self.tensors.items():
            if self.part_of(name) != part:
                continue
            count = _weights(name, tensor)
            if count is None:
                return None
            layer = layer_of(name)
            key = -1 if layer is None else layer
            found[key] = found.get(key, 0) + count
        return found

    @property
    def tied_head(self) -> int:
        """Weights of an output head that is stored though it is the embedding; else 0.

        Some of the converter's families leave such a copy out, others keep it.
        """
        if not self.text.get("tie_word_embeddings"):
            return 0
        heads = [t for n, t in self.tensors.items() if n.endswith("lm_head.weight")]
        return prod(heads[0].shape) if heads else 0


# get_model_architecture's exceptions: the name outside wins over the decoder's own
_KEEPS_OUTER_NAME = frozenset(
    {
        *("StepVLForConditionalGeneration", "Sarashina2VisionForCausalLM"),
        *("Exaone4_5_ForConditionalGeneration", "Step3p7ForConditionalGeneration"),
        "KimiK3ForConditionalGeneration",
    }
)


def layer_of(name: str) -> int | None:
    """The number of the layer a tensor's name tells; None outside the layers."""
    match = _LAYER.search(name)
    return int(match[1]) if match else None


def _weights(name: str, tensor: Stored) -> int | None:
    if tensor.dtype in _COUNTABLE:
        return prod(tensor.shape)
    if tensor.dtype == "U8" and name.endswith("_proj_blocks"):
        return 2 * prod(tensor.shape)  # MXFP4: two weights a byte
    return None


def _first(value: Any) -> str | None:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], str) else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a stranger's file. Raises SourceError for anything else."""
    try:
        if path.stat().st_size > _JSON_LIMIT:
            raise SourceError(f"{path.name} is larger than {_JSON_LIMIT >> 20} MiB; not a config")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist; fetch the whole repository") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path.name} is not JSON; the repository is damaged") from error
    if not isinstance(data, dict):
        raise SourceError(f"{path.name} is not a JSON object; the repository is damaged")
    return data


def read(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`. Raises SourceError when files are missing or damaged."""
    config = read_json(folder / "config.json")
    files = _files(folder)
    tensors: dict[str, Stored] = {}
    for file in files:
        for name, tensor in _header(folder / file):
            if name in tensors:
                raise SourceError(f"tensor {name[:120]!r} lies in two files; fetch them again")
            tensors[name] = tensor
    return Checkpoint(folder=folder, config=config, files=files, tensors=tensors)


def _files(folder: Path) -> tuple[str, ...]:
    """The files the index names, else every model*.safetensors, as the converter takes them."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        mapped = read_json(index).get("weight_map")
        names = set(mapped.values()) if isinstance(mapped, dict) else set()
        if not names or any(not isinstance(n, str) or Path(n).name != n for n in names):
            raise SourceError("model.safetensors.index.json names no files; fetch it again")
    else:
        names = {path.name for path in folder.glob("model*.safetensors")}
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing or not names:
        raise SourceError(
            f"{missing[0] if missing else 'model.safetensors'} is missing; fetch it again"
        )
    return tuple(sorted(names))


def _header(path: Path) -> Iterator[tuple[str, Stored]]:
    """Names and shapes of one file; every tensor's bytes must lie inside it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
            raise SourceError(f"{path.name} is not a whole safetensors file; fetch it again")
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path.name} has a damaged header; fetch it again") from error
    if not isinstance(header, dict):
        raise SourceError(f"{path.name} has a damaged header; fetch it again")
    for name, entry in header.items():
        if name != "__metadata__":
            yield name, _entry(path, name, entry, size - 8 - length)


def _entry(path: Path, name: str, entry: Any, room: int) -> Stored:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(end)]}:
            # JSON's true is an int to Python
            plain = all(type(n) is int and 0 <= n < 1 << 48 for n in shape)
            if plain and len(shape) <= 8 and dtype in _BITS:
                tensor = Stored(dtype=dtype, shape=tuple(shape))
                if 0 <= start <= end <= room and end - start == tensor.bytes:
                    return tensor
        case _:
            pass
    raise SourceError(f"{path.name}: tensor {name[:120]!r} is damaged; fetch the file again")
