"""A model's tensors, and what it is made of.

Shapes are in llama.cpp's order: the first number is the length of a row (`ne[0]`), experts are the
last dimension. Sizes are bytes unless a name says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

from bot.records import patterns

INTEGER = re.compile(r"[IU]\d+|BOOL")  # types of ggml and safetensors that hold no weights


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor of a model file."""

    name: str
    shape: tuple[int, ...]  # ne[0] (row length) first
    type: str  # ggml's name, upper case: BF16, F32, Q6_K, …
    bytes: int

    @property
    def parameters(self) -> int:
        """Number of weights: none where integers route, as DeepSeek-V4's tables do."""
        return 0 if INTEGER.fullmatch(self.type) else prod(self.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeaderTensor:
    """One tensor as the header of a safetensors file names it."""

    name: str
    dtype: str  # safetensors' name: BF16, F8_E4M3, …
    shape: tuple[int, ...]  # torch's order: the length of a row comes last
    bytes: int
    file: str


@dataclass(frozen=True, kw_only=True)
class StoredShare:
    """What of a checkpoint is stored in one precision."""

    precision: str  # BF16, F16, F32, FP8, MXFP4, NVFP4, INT4, INT8, …; "scales" of all others
    weights: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a model is made of, counted from its own file."""

    family: str  # general.architecture, such as qwen35moe
    name: str  # general.name, such as Qwen3.6-35B-A3B
    layers: int  # main layers, without MTP
    mtp_layers: int
    dense_layers: int  # layers whose feed-forward has no experts
    experts: int
    experts_active: int
    shared_expert: bool
    parameters: int
    parameters_active: int
    attention: tuple[str, ...]  # a word per main layer: full, linear, sliding, sparse, chunked
    context_length: int
    vocabulary: int
    embedding_length: int
    tied_embeddings: bool
    source_type: str  # type of most weights: BF16, F16
    # what a checkpoint tells and a GGUF does not
    shared_experts: int = 0
    dense_leading_layers: int = 0
    vision: bool = False
    audio: bool = False
    parameters_other: int = 0  # of vision and audio parts, not among `parameters`
    source_precision: str = ""  # as published: BF16, F16, F32, FP8, MXFP4, NVFP4, INT4, INT8
    source_shares: tuple[StoredShare, ...] = ()  # of all its parts; scales last
    base_model: str | None = None
    base_relation: str | None = None  # finetune, quantized, adapter, merge
    lacks: tuple[str, ...] = ()  # parts that could not be converted: `without its …: reason`
    # what a GGUF tells and a checkpoint does not: numbers in the KV cache for a token of context,
    # in layers that see all of it, and in layers that see the last `cache_window` tokens
    cache_values: int = 0
    cache_window_values: int = 0
    cache_window: int = 0
    # how its makers sample from it, by the names of general.sampling.*: temp, top_k, top_p, …
    sampling: tuple[tuple[str, float], ...] = ()

    @property
    def source_bytes(self) -> int:
        """Bytes of the published tensors, as they are; 0 where no checkpoint told."""
        return sum(share.bytes for share in self.source_shares)

    @property
    def attention_pattern(self) -> str:
        """`full attention every 4th layer, linear otherwise`."""
        return patterns.attention_pattern(self.attention)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The 16-bit model a job starts from, pinned."""

    repo_id: str | None  # None when the source is a file of the user's
    commit: str  # commit sha, or the file's sha256
    path: str  # path of the GGUF on this machine
    bytes: int
    sha256: str
