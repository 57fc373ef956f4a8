"""A Hugging Face checkpoint on disk, as the converter divides it; of weights, headers are read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

from bot.clients.safetensors import local_safetensors
from bot.configs import SPELLINGS, converter_name, names
from bot.errors import SourceError
from bot.records import HeaderTensor

Part = Literal["main", "mtp", "projector", "none"]

_JSON_LIMIT = 16 << 20
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
class Checkpoint:
    """A checkpoint's config.json and all its tensors by name."""

    folder: Path
    config: Mapping[str, Any]
    files: tuple[str, ...]  # safetensors files, in order
    tensors: Mapping[str, HeaderTensor]

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
        if part == "text":
            return converter_name(self.config)
        inner = self.config.get("vision_config")
        named = names(inner.get("architectures")) if isinstance(inner, dict) else ()
        outer = (*named, *names(self.config.get("architectures")))
        return SPELLINGS.get(outer[0], outer[0]) if outer else None

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


def layer_of(name: str) -> int | None:
    """The number of the layer a tensor's name tells; None outside the layers."""
    match = _LAYER.search(name)
    return int(match[1]) if match else None


def _weights(name: str, tensor: HeaderTensor) -> int | None:
    if tensor.dtype in _COUNTABLE:
        return prod(tensor.shape)
    if tensor.dtype == "U8" and name.endswith("_proj_blocks"):
        return 2 * prod(tensor.shape)  # MXFP4: two weights a byte
    return None


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
    tensors = {tensor.name: tensor for tensor in local_safetensors(folder)}
    files = sorted({tensor.file for tensor in tensors.values()})
    return Checkpoint(folder=folder, config=config, files=tuple(files), tensors=tensors)
