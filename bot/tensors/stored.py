"""Tensors of a checkpoint: the one table of parts, weights, scales and helpers.

Plan, prediction and the check after conversion all ask here. Names are the makers' own; parts
follow filter_tensors of llama.cpp's conversion/base.py and of its families. Packed weights are
counted as weights; scales, helpers and routing tables, which hold integers, not at all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal

from bot.records.model import INTEGER, HeaderTensor, StoredShare
from bot.tensors.configs import integer, layer_count, quant_method, scopes_of

Part = Literal["main", "mtp", "vision", "audio", "none"]
SCALES = "scales"  # the share of tensors that belong to weights and are none

# what the converter leaves to the projector
_AUDIO = re.compile(
    r"audio[._]|embed_audio|talker\.|^(conformer|sound_encoder|sound_projection|speech_embeddings)\."
    r"|(token2wav|code2wav)\."
)
_VISION = re.compile(
    r"^(mlp|vit\.|vpm\.|siglip2\.|merger\.|resampler\.|aligner\.|image_|linear_proj)"
    r"|vision[._]|embed_vision|visual\.|projector\.|pre_mm_projector_norm|image_newline"
    r"|view_seperator|patch_embed|patch_merger\.|patch_merge_mlp\.|model\.connector\."
    r"|sam_model|qwen2_model"
)
_MTP = re.compile(r"(^|\.)mtp([._]|$)")
_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h|decoder_layer|layer)\.(\d{1,5})\.")
_EXPERT = re.compile(r"(?<![a-z])(?:experts|moe)\.(\d{1,5})\.")

# buffers that the converter leaves out (prepare_tensors of conversion/base.py)
_HELPER = re.compile(
    r"\.(attention\.masked_bias|attention\.bias|rotary_emb\.inv_freq|inv_freq|num_batches_tracked)$"
)
# what dequantizing folds into weights (dequant_model there, and what families add to it)
_SCALE = re.compile(
    r"\.((weight|input|activation|output|k|v|q)_scale(_inv|_2)?|(weight|input)_global_scale"
    r"|weight_shape|weight_zero_point|g_idx|qzeros|scales|qscale_weight|qscale_act"
    r"|\w+_activation_scale|\w+_proj_scales|\w+_scale_inv)$"
)
# any other scale is told by the low-precision weight that it stands beside
_OF_A_WEIGHT = re.compile(r"[._](input_|weight_|activation_)?scales?(_inv|_2)?$")
_PACKED_NAMES = re.compile(r"(?<=\.weight)_packed$|(?<=\.)qweight$|_blocks$")

FULL_DTYPES = ("BF16", "F16", "F32", "F64")
_EIGHT = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
_LOW = frozenset({*_EIGHT, "I8", "U8", "F4", "F6_E2M3", "F6_E3M2"})


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPart:
    """A tensor of a checkpoint after dequantizing: shape in torch's order."""

    name: str  # without the word that says how it was packed
    shape: tuple[int, ...]
    part: Part
    layer: int | None  # None outside the layers
    precision: str  # BF16, F16, F32, FP8, MXFP4, NVFP4, INT4, INT8, …; I64 of a routing table
    bytes: int  # as it is stored, without its scales
    exact: bool = True  # False where packing hides how many weights there are

    @property
    def is_table(self) -> bool:
        """Whether it holds integers that route, which are no weights."""
        return INTEGER.fullmatch(self.precision) is not None

    @property
    def weights(self) -> int:
        """Number of weights."""
        return 0 if self.is_table else prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Content:
    """All tensors of a checkpoint, and how many layers its config says it has."""

    layers: int | None
    tensors: tuple[StoredPart, ...]
    bytes: int  # of all tensors of its files, scales and helpers too

    @cached_property
    def shares(self) -> tuple[StoredShare, ...]:
        """All weights by precision, the largest share first; scales and helpers come last."""
        weights, sizes = Counter[str](), Counter[str]()
        for tensor in self.tensors:
            weights[tensor.precision] += tensor.weights
            sizes[tensor.precision] += tensor.bytes
        shares = [
            StoredShare(precision=precision, weights=weights[precision], bytes=size)
            for precision, size in sizes.most_common()
        ]
        rest = self.bytes - sizes.total()
        more = (StoredShare(precision=SCALES, weights=0, bytes=rest),) if rest else ()
        return (*shares, *more)

    @cached_property
    def main(self) -> tuple[StoredPart, ...]:
        """The text decoder, without layers for multi-token prediction."""
        return tuple(tensor for tensor in self.tensors if tensor.part == "main")

    def has(self, part: Part) -> bool:
        """Whether there is anything of a part."""
        return any(tensor.part == part for tensor in self.tensors)

    def weights(self, *parts: Part) -> int:
        """Weights of some parts."""
        return sum(tensor.weights for tensor in self.tensors if tensor.part in parts)

    def by_layer(self, *parts: Part) -> dict[int, int] | None:
        """Weights of some parts by layer, -1 for those outside; None where packing hides them."""
        own = [tensor for tensor in self.tensors if tensor.part in parts]
        if not all(tensor.exact for tensor in own):
            return None
        weights = Counter[int]()
        for tensor in own:
            weights[-1 if tensor.layer is None else tensor.layer] += tensor.weights
        return dict(weights)

    @property
    def precision(self) -> str:
        """The precision of most of the text decoder's weights; "" without any."""
        weights = Counter[str]()
        for tensor in self.main:
            weights[tensor.precision] += tensor.weights
        return weights.most_common(1)[0][0] if weights else ""

    @property
    def mtp_layers(self) -> int:
        """Layers of multi-token prediction that are there, whatever the config says."""
        own = [tensor for tensor in self.tensors if tensor.part == "mtp"]
        numbered = {tensor.layer for tensor in own if tensor.layer is not None}
        return len(numbered) or min(len(own), 1)


def read_content(config: Mapping[str, Any], tensors: Sequence[HeaderTensor]) -> Content:
    """A checkpoint's tensors by part, layer and precision, of their names and its config."""
    layers = layer_count(tuple(scopes_of(config)))
    packing = _Packing.of(config, tensors)
    parts = (_stored(tensor, packing, layers) for tensor in tensors)
    return Content(
        layers=layers,
        tensors=tuple(tensor for tensor in parts if tensor is not None),
        bytes=sum(tensor.bytes for tensor in tensors),
    )


def expert_of(name: str) -> int | None:
    """The number of the routed expert in a tensor's name; None without one."""
    match = None if "shared_expert" in name else _EXPERT.search(name)
    return int(match[1]) if match else None


def without_expert(name: str) -> str:
    """A name without the number of its expert: that of all experts together."""
    match = _EXPERT.search(name)
    return name if match is None else f"{name[: match.start(1)]}{name[match.end() :]}"


def part_of(name: str, layers: int | None) -> Part:
    """The part of the model a tensor belongs to by its name; `none` for scales and helpers.

    `layers` is the number of layers of the text decoder, None where its config does not tell.
    """
    if _HELPER.search(name) or _SCALE.search(name):
        return "none"
    layer = _LAYER.search(name)
    return _part(name, int(layer[1]) if layer else None, layers)


def parts_by_file(
    config: Mapping[str, Any], weight_map: Mapping[str, str]
) -> dict[str, tuple[Part, ...]]:
    """Parts in each file of an index: tensor → file becomes file → parts, in order of names."""
    layers = layer_count(tuple(scopes_of(config)))
    parts: dict[str, set[Part]] = {}
    for name, file in weight_map.items():
        parts.setdefault(file, set()).add(part_of(name, layers))
    return {file: tuple(sorted(parts[file])) for file in sorted(parts)}


def _stored(tensor: HeaderTensor, packing: _Packing, layers: int | None) -> StoredPart | None:
    part = part_of(tensor.name, layers)
    if part == "none" or tensor.dtype == "F8_E8M0" or packing.is_no_weight(tensor):
        return None
    layer = _LAYER.search(tensor.name)
    shape, precision = packing.unpack(tensor)
    return StoredPart(
        name=_plain(tensor.name),
        shape=shape,
        part=part,
        layer=int(layer[1]) if layer else None,
        precision=precision,
        bytes=tensor.bytes,
        exact=packing.is_exact(tensor),
    )


def _plain(name: str) -> str:
    """As the converter sees it: no word for the packing, no wrapper around the text decoder."""
    name = _PACKED_NAMES.sub(lambda match: "weight" if match[0] == "qweight" else "", name)
    return name.replace("language_model.", "").replace("thinker.", "")


def _part(name: str, layer: int | None, layers: int | None) -> Part:
    if _AUDIO.search(name):
        return "audio"
    if _VISION.search(name):
        return "vision"
    if _MTP.search(name) or (layer is not None and layers is not None and layer >= layers):
        return "mtp"
    return "main"


# ── packing ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class _Packing:
    """How many weights an element holds: by its type, its name and the scales beside it."""

    method: str | None
    bits: int  # of integers packed into 32
    dtypes: Mapping[str, str]  # of all tensors by name

    @classmethod
    def of(cls, config: Mapping[str, Any], tensors: Iterable[HeaderTensor]) -> _Packing:
        return cls(
            method=quant_method(config),
            bits=_bits(config),
            dtypes={tensor.name: tensor.dtype for tensor in tensors},
        )

    def is_no_weight(self, tensor: HeaderTensor) -> bool:
        """Whether it is no weight by the tensors beside it: a scale, or a bias nobody reads.

        A scale stands beside a weight of low precision, whatever it is called; other scales are
        weights. DeepSeek-V4's layers that route by a table leave the router's bias unused; norms of
        Kimi-K3's residuals are multiplied into the projection beside them (_try_fuse_res).
        """
        name = tensor.name
        if name.endswith("_res_norm.weight"):
            return f"{name.removesuffix('norm.weight')}proj.weight" in self.dtypes
        if name.endswith(".bias") and f"{name.removesuffix('bias')}tid2eid" in self.dtypes:
            return True
        stem = _OF_A_WEIGHT.sub("", name)
        if stem == name:
            return False
        beside = (stem, f"{stem}.weight", f"{stem}_blocks", f"{stem}_packed", f"{stem}.qweight")
        return any(self.dtypes.get(way) in _LOW for way in beside)

    def is_exact(self, tensor: HeaderTensor) -> bool:
        """Whether the shape has the number of weights: rows of packed words may be padded."""
        if _PACKED_NAMES.search(tensor.name) and tensor.dtype in ("I32", "U32"):
            return False
        return not tensor.name.endswith("_packed") or bool(self._scale(tensor.name))

    def unpack(self, tensor: HeaderTensor) -> tuple[tuple[int, ...], str]:
        """The shape of the weights, and the name of their precision."""
        name, dtype, shape = tensor.name, tensor.dtype, tensor.shape
        if dtype in FULL_DTYPES or not shape:
            return shape, dtype
        if dtype in _EIGHT:
            return shape, "FP8"
        if name.endswith("_blocks") and dtype == "U8" and len(shape) > 2:
            return (*shape[:-2], shape[-2] * shape[-1] * 2), "MXFP4"
        if dtype in ("I32", "U32") and _PACKED_NAMES.search(name):
            return self._thirty_two(name, shape), f"INT{self.bits}"
        if dtype == "F4":
            return shape, self._four_bits(name)
        if dtype in ("U8", "I8") and self._is_packed(name, dtype):
            return (*shape[:-1], shape[-1] * 2), self._four_bits(name)
        return shape, {"I8": "INT8", "U8": "INT8"}.get(dtype, dtype)

    def _thirty_two(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        held = 32 // self.bits
        if not name.endswith("qweight") or len(shape) != 2:
            return (*shape[:-1], shape[-1] * held)
        rows, columns = shape  # stored with the inputs first
        return (columns * held, rows) if self.method == "awq" else (columns, rows * held)

    def _is_packed(self, name: str, dtype: str) -> bool:
        if name.endswith("_packed"):
            return True
        scale = self._scale(name)
        return bool(scale) and (dtype == "U8" or scale == "F8_E8M0")

    def _scale(self, name: str) -> str:
        """The type of the scale beside a weight."""
        stem = name.removesuffix("_packed").removesuffix(".weight")
        ways = (f"{stem}.weight_scale", f"{stem}.scale", f"{stem}_scale", f"{stem}_scales")
        return next((self.dtypes[way] for way in ways if way in self.dtypes), "")

    def _four_bits(self, name: str) -> str:
        """NVFP4 has FP8 scales, MXFP4 exponents; integers are scaled by full numbers."""
        scale = self._scale(name)
        if scale in _EIGHT:
            return "NVFP4"
        return "INT4" if scale in FULL_DTYPES else "MXFP4"


def _bits(config: Mapping[str, Any]) -> int:
    """Bits of packed integers: `bits` of GPTQ and AWQ, `num_bits` of compressed-tensors; else 4."""
    for scope in scopes_of(config):
        declared = scope.get("quantization_config")
        if not isinstance(declared, Mapping):
            continue
        groups = declared.get("config_groups")
        parts = [declared, *(groups.values() if isinstance(groups, Mapping) else ())]
        for part in parts:
            held = part.get("weights", part) if isinstance(part, Mapping) else None
            if isinstance(held, Mapping):
                bits = integer(held.get("bits"), 8) or integer(held.get("num_bits"), 8)
                if bits in (2, 4, 8):
                    return bits
    return 4


def dropped_parts(mtp: str, projector: str) -> frozenset[Part]:
    """Parts of a checkpoint that are not converted: they may be missing."""
    prediction: tuple[Part, ...] = ("mtp",) if mtp == "drop" else ()
    media: tuple[Part, ...] = ("vision", "audio") if projector == "none" else ()
    return frozenset({*prediction, *media})
