"""A Hugging Face checkpoint on disk, as the converter divides it; of weights, headers are read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

from bot.clients.files.shards import local_safetensors
from bot.foreign import read_json, require_within
from bot.records.model import HeaderTensor
from bot.source.beforehand import projector_architecture
from bot.tensors.configs import converter_name
from bot.tensors.stored import Content, Part, read_content


@dataclass(frozen=True, kw_only=True)
class CheckpointFolder:
    """A checkpoint's config.json and all its tensors by name."""

    folder: Path
    config: Mapping[str, Any]
    files: tuple[str, ...]  # safetensors files, in order
    tensors: Mapping[str, HeaderTensor]

    @cached_property
    def content(self) -> Content:
        """The tensors by part, layer and precision."""
        return read_content(self.config, tuple(self.tensors.values()))

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
        return named and (self.content.has("vision") or self.content.has("audio"))

    @property
    def rows(self) -> int:
        """Rows of the embedding, as many as there may be tokens; 0 where no tensor is named so."""
        ends = ("embed_tokens.weight", "word_embeddings.weight", "embeddings.weight", "wte.weight")
        embeddings = (t for t in self.content.main if t.layer is None and t.name.endswith(ends))
        return next((t.shape[0] for t in embeddings if len(t.shape) == 2), 0)

    @property
    def has_mtp(self) -> bool:
        """Whether there are tensors of multi-token prediction layers, whatever the config says."""
        return self.content.has("mtp")

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
        return projector_architecture(self.config)

    def parameters(self, *parts: Part) -> int | None:
        """Weights of some parts; None where a packed format hides their number."""
        by_layer = self.content.by_layer(*parts)
        return None if by_layer is None else sum(by_layer.values())

    @property
    def tied_head(self) -> int:
        """Weights of an output head that is stored though it is the embedding; else 0.

        Some of the converter's families leave such a copy out, others keep it.
        """
        if not self.text.get("tie_word_embeddings"):
            return 0
        heads = [t for n, t in self.tensors.items() if n.endswith("lm_head.weight")]
        return prod(heads[0].shape) if heads else 0


def read_checkpoint(folder: Path, dropped: Collection[str] = ()) -> CheckpointFolder:
    """The checkpoint in `folder`, of which the parts `dropped` may be missing.

    Raises SourceError when files are missing or damaged, or are links that lead elsewhere.
    """
    require_within(folder)
    config = read_json(folder / "config.json")
    tensors = {tensor.name: tensor for tensor in local_safetensors(folder, config, dropped)}
    files = sorted({tensor.file for tensor in tensors.values()})
    return CheckpointFolder(folder=folder, config=config, files=tuple(files), tensors=tensors)
