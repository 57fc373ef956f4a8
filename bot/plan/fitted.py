"""Tiers fitted to a size: which types each tensor may get, and a draft before anything is measured.

A draft stands in plans until the model is here. It rests on what types do to numbers that are
normally distributed, and on how many tokens see a weight; the choice itself is made in bot/fitting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain

from bot.errors import SettingsError
from bot.plan.knapsack import Option, choose
from bot.plan.profiles import BASES, NEED_IMATRIX, FitSize, FittedProfile
from bot.plan.recipe import Types, make_recipe
from bot.records.model import Architecture, Tensor
from bot.records.recipes import Recipe
from bot.settings.making import FitSettings
from bot.tensors.roles import ROUTED, SHORT_BLOCKS, allows_quantization, layer_of, role_of
from bot.tensors.sizes import BLOCKS, K_QUANTS, bits_per_weight, file_bytes, padded, tensor_bytes
from bot.tensors.weights import SIXTEEN_BIT

Cost = Callable[[str], float]

# squared error over squared size of normally distributed rows, as our kernels and ggml round them
GAUSSIAN = {
    "Q8_0": 2.88e-5,
    "Q6_K": 3.02e-4,
    "Q5_1": 1.15e-3,
    "Q5_K": 1.25e-3,
    "Q5_0": 1.65e-3,
    "Q4_1": 4.93e-3,
    "Q4_K": 5.06e-3,
    "IQ4_NL": 5.62e-3,
    "IQ4_XS": 5.73e-3,
    "Q4_0": 6.72e-3,
    "MXFP4": 1.33e-2,
    "IQ3_S": 1.88e-2,
    "Q3_K": 2.09e-2,
    "IQ3_XXS": 3.30e-2,
    "IQ2_S": 6.21e-2,
    "Q2_K": 7.23e-2,
    "IQ2_XS": 8.97e-2,
    "IQ2_XXS": 0.118,
    "IQ1_M": 0.204,
    "IQ1_S": 0.237,
}
_FITTED = frozenset(
    {ROUTED, "shared expert", "dense", "attention", "linear attention", "embedding", "output"}
    | {"MTP"}
)
AHEAD = "Q4_K"  # of layers that predict tokens ahead, where the profile says nothing


@dataclass(frozen=True, kw_only=True)
class Freedom:
    """What a fitted tier may choose from.

    `types` are those allowed, all where none is named. `floors` name the smallest type of a role,
    or of tensors by a pattern such as `blk.0.*`: larger ones stay allowed.
    """

    types: tuple[str, ...] = ()
    floors: tuple[tuple[str, str], ...] = ()  # rule, type

    @classmethod
    def of(cls, fit: FitSettings) -> Freedom:
        """As settings say. Raises SettingsError for what is no type."""
        named = [K_QUANTS if name.upper() == "K" else (_known(name),) for name in fit.types]
        return cls(
            types=tuple(dict.fromkeys(chain.from_iterable(named))),
            floors=tuple((rule, _known(kind)) for rule, kind in fit.floors.items()),
        )

    def types_of(self, tensor: Tensor, *, has_data: bool = True) -> tuple[str, ...]:
        """Types that a tensor may get, largest first, its own 16-bit type before all.

        `has_data`: whether an importance matrix knows the tensor.
        """
        floors = [
            kind
            for rule, kind in self.floors
            if rule == role_of(tensor.name) or fnmatchcase(tensor.name, rule)
        ]
        smallest = max((bits_per_weight(kind) for kind in floors), default=0.0)
        whole = tensor.shape[0] % 256 == 0
        short = {*SHORT_BLOCKS}
        known = [k for k in GAUSSIAN if (k == "Q8_0" or k not in short if whole else k in short)]
        divides = [k for k in known if tensor.shape[0] % BLOCKS[k][0] == 0]
        free = [k for k in divides if not self.types or k in self.types]
        usable = [k for k in free if has_data or k not in NEED_IMATRIX]
        chosen = [k for k in usable if bits_per_weight(k) >= smallest]
        return (tensor.type, *sorted(chosen, key=bits_per_weight, reverse=True))


def fitted_names(model: Architecture, tensors: Sequence[Tensor]) -> tuple[str, ...]:
    """Tensors whose type is chosen: what llama.cpp quantizes of the layers that are heard."""
    return tuple(t.name for t in tensors if _is_quantized(t, model) and not _is_ahead(t, model))


def _is_quantized(tensor: Tensor, model: Architecture) -> bool:
    """Whether its type is to be chosen; what an original keeps in so few bits stays as it is."""
    allowed = allows_quantization(tensor, model.family) and tensor.type in SIXTEEN_BIT
    return allowed and role_of(tensor.name) in _FITTED


def _is_ahead(tensor: Tensor, model: Architecture) -> bool:
    """Whether it predicts tokens ahead: no probability hangs on it, so no probe hears it."""
    layer = layer_of(tensor.name)
    return role_of(tensor.name) == "MTP" or (layer is not None and layer >= model.layers)


def _known(kind: str) -> str:
    if kind.upper() not in GAUSSIAN:
        raise SettingsError(f"fit: {kind!r} is no type; K, or of {', '.join(GAUSSIAN)}")
    return kind.upper()


def options_of(tensor: Tensor, kinds: Sequence[str], cost: Cost) -> tuple[Option, ...]:
    """A tensor's types with their cost and bytes, padding counted."""
    return tuple(
        Option(
            type=kind,
            cost=0.0 if kind == tensor.type else cost(kind),
            bytes=padded(tensor.bytes if kind == tensor.type else tensor_bytes(kind, tensor.shape)),
        )
        for kind in kinds
    )


def asked_bytes(size: FitSize, model: Architecture, tensors: Sequence[Tensor], header: int) -> int:
    """Bytes that a file may have at most, `header` being those before the first tensor's data."""
    if size.gb is not None:
        return int(size.gb * 1e9)
    if size.bits is not None:
        return int(size.bits * sum(tensor.parameters for tensor in tensors) / 8)
    if size.pattern is None:
        raise TypeError("load_profiles finds the tier that a size is like")
    recipe = make_recipe(size.pattern, model, tensors)
    return file_bytes((each.bytes for each in recipe.assignments), header)


def typed_recipe(
    profile: FittedProfile, model: Architecture, tensors: Sequence[Tensor], types: Types
) -> Recipe:
    """The recipe of a fitted tier with these types; what predicts ahead gets `AHEAD`.

    Its base, where the profile names none, is llama.cpp's file type nearest to it.
    """
    ahead = [t.name for t in tensors if _is_quantized(t, model) and _is_ahead(t, model)]
    recipe = make_recipe(profile, model, tensors, {**dict.fromkeys(ahead, AHEAD), **types})
    if "base" in profile.model_fields_set:
        return recipe
    chosen = [each for each in recipe.assignments if each.tensor in types]
    parameters = sum(tensor.parameters for tensor in tensors if tensor.name in types)
    bits = sum(each.bytes for each in chosen) * 8 / max(parameters, 1)
    return replace(
        recipe, base=min(BASES, key=lambda base: abs(bits_per_weight(BASES[base][1]) - bits))
    )


def draft(
    profile: FittedProfile,
    free: Freedom,
    model: Architecture,
    tensors: Sequence[Tensor],
    header: int,
) -> Types:
    """Types by what is known of any model, for a file of the size asked.

    Raises SettingsError where the smallest types do not fit.
    """
    share = model.experts_active / model.experts if model.experts else 1.0
    names, options = {*fitted_names(model, tensors)}, {}
    for tensor in tensors:
        if tensor.name in names:
            weight = tensor.parameters * (share if role_of(tensor.name) == ROUTED else 1.0)
            kinds = free.types_of(tensor)
            options[tensor.name] = options_of(tensor, kinds, partial(_any_error, weight))
    room = room_of(profile, model, tensors, header)
    return choose(options, room).types


def _any_error(weight: float, kind: str) -> float:
    return weight * GAUSSIAN[kind]


def room_of(
    profile: FittedProfile, model: Architecture, tensors: Sequence[Tensor], header: int
) -> int:
    """Bytes of a file that are left for the tensors whose types are chosen."""
    asked, names = asked_bytes(profile.fit, model, tensors, header), fitted_names(model, tensors)
    fixed = typed_recipe(profile, model, tensors, {})
    rest = (padded(each.bytes) for each in fixed.assignments if each.tensor not in names)
    return asked - header - sum(rest)
