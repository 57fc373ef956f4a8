"""Layouts of checkpoints that llama.cpp's converter does not read, told by names of tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bot.errors import SourceError
from bot.foreign import printable

# what names look like, what that is, and what to do about it
LAYOUTS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"\.switch_(mlp|glu)\."),  # mlx-lm's SwitchGLU
        "its experts lie in MLX's layout",
        "choose the model that it was made from",
    ),
    (
        re.compile(
            r"(^|\.)lora_(A|B|a|b|embedding_[AB]|magnitude_vector)(\.|$)|\.(hada|oft|ia3)_\w+"
        ),
        "factors of an adapter lie beside its weights",
        "merge them into the weights, or choose another model",
    ),
    (
        re.compile(r"\.(base_layer|modules_to_save|original_module)\.|^base_model\.model\."),
        "its names are those of an adapter's training (PEFT)",
        "save the merged model, or choose another",
    ),
    (
        re.compile(
            r"(^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.|^module\."
        ),
        "its names are those of a training run (torch.compile, DDP, FSDP)",
        "save it without the wrapper, or choose another model",
    ),
    (
        re.compile(
            r"\.linear_fc[12]\.|\.local_experts\.|(^|\.)decoder\.layers\.\d+\.mlp\.experts\."
        ),
        "its weights lie in Megatron's layout",
        "convert it to transformers' layout, or choose another model",
    ),
    (
        re.compile(r"^layers\.\d+\.(attention\.w[qkvo]|feed_forward\.w[123])\.weight$"),
        "its weights lie in the layout of Meta's and Mistral's own files",
        "choose the same model in transformers' layout",
    ),
    (
        re.compile(r"\.(absmax|quant_map|nested_absmax|SCB)$|\.quant_state\."),
        "its weights are quantized by bitsandbytes",
        "choose the model that it was made from",
    ),
)


def require_known_layout(names: Iterable[str]) -> None:
    """Raise SourceError naming the layout and a tensor where names are of one that is not read."""
    for name in names:
        for pattern, what, todo in LAYOUTS:
            if pattern.search(name):
                raise SourceError(f"tensor {printable(name)!r}: {what}; {todo}")
