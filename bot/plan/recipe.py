"""A profile and a model's tensors → a type for every tensor."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bot.plan.profiles import BASES, FILE_TYPES, Profile, RolesProfile
from bot.records.model import Architecture, Tensor
from bot.records.recipes import Assignment, Recipe, Windows, content_hash, recipe_hash
from bot.tensors.roles import allows_quantization, layer_of, role_of, stored_type
from bot.tensors.sizes import tensor_bytes

FIVE_BIT_OUTPUT = ("IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ2_S", "IQ1_M")
OUTSIDE = "-"
Types = Mapping[str, str]  # by tensor
NO_SMALLER = "it would be as large as the original"
# the next larger type that can do without an importance matrix, by bytes of a block (BLOCKS)
NEXT = dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S"), "Q2_K") | {
    "IQ3_XXS": "IQ3_S"
}


def band_windows(layers: int) -> Windows:
    """APEX's windows: 5 edge and 5 near layers at each end, 3 at the attention's edge.

    These are for 30 layers and more. In a shallower model fixed windows would cover everything and
    tiers would coincide, so they keep their share of the depth: a sixth, a sixth and a tenth,
    rounded down, at least 1. From 5 layers on this leaves a middle.
    """
    return Windows(
        edge=min(5, max(1, layers // 6)),
        near=min(5, max(1, layers // 6)),
        attention_edge=min(3, max(1, layers // 10)),
    )


def band(layer: int, layers: int, edge: int, near: int) -> str:
    """Where a layer lies: edge, near or middle, seen from the nearer end."""
    depth = min(layer, layers - 1 - layer)
    if depth < edge:
        return "edge"
    return "near" if depth < edge + near else "middle"


def make_recipe(
    profile: Profile, model: Architecture, tensors: Sequence[Tensor], types: Types | None = None
) -> Recipe:
    """The recipe of one tier; `types` are those of a tier that has no roles of its own.

    Raises SourceError naming a tensor without exactly one rule.
    """
    windows = band_windows(model.layers)
    placed = [(tensor, _place(model, windows, tensor)) for tensor in tensors]
    return Recipe(
        tier=profile.tier,
        base=profile.base,
        imatrix=profile.imatrix,
        windows=windows,
        assignments=tuple(
            _assignment(tensor, place, *_type_of(profile, model, tensor, place, types))
            for tensor, place in placed
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """What a tensor is for and where it lies: its band, and by the attention's own edge."""

    role: str
    band: str
    attention: str
    ahead: bool  # of layers that predict tokens ahead


def _place(model: Architecture, windows: Windows, tensor: Tensor) -> _Place:
    role, layer = role_of(tensor.name), layer_of(tensor.name)
    where = attention = OUTSIDE
    if layer is not None and layer < model.layers:
        where = band(layer, model.layers, windows.edge, windows.near)
        attention = band(layer, model.layers, windows.attention_edge, 0)
    elif layer is not None or role == "MTP":
        # a draft head stands at the very end of the model: it is treated as the last layer is
        where = attention = "edge"
    ahead = role == "MTP" or (layer is not None and layer >= model.layers)
    return _Place(role=role, band=where, attention=attention, ahead=ahead)


def _type_of(
    profile: Profile, model: Architecture, tensor: Tensor, place: _Place, types: Types | None
) -> tuple[str, str | None]:
    """The type that a tensor is stored in, and the one asked for where that does not divide it.

    Its own where nothing is to be done with it, or gained.
    """
    kind = tensor.type
    if allows_quantization(tensor, model.family):
        if types is not None:
            kind = types.get(tensor.name, kind)
        elif isinstance(profile, RolesProfile):
            kind = _wanted(profile, model, place, tensor)
        if place.ahead and profile.prediction and kind != tensor.type:
            kind = profile.prediction
    asked = kind
    if kind != tensor.type:  # what stays may be of any type: a table of DeepSeek-V4 is I32
        kind = stored_type(kind, tensor)
    if kind == tensor.type or tensor_bytes(kind, tensor.shape) >= tensor.bytes:
        return tensor.type, None  # nothing is gained: the source's own bits pass through
    return kind, asked if kind != asked else None


def _assignment(tensor: Tensor, place: _Place, kind: str, asked: str | None) -> Assignment:
    by_attention = place.role in ("attention", "linear attention")
    return Assignment(
        tensor=tensor.name,
        role="MTP" if place.ahead else place.role,
        band=place.attention if by_attention else place.band,
        type=kind,
        bytes=tensor.bytes if kind == tensor.type else tensor_bytes(kind, tensor.shape),
        asked=asked,
    )


def _wanted(profile: RolesProfile, model: Architecture, place: _Place, tensor: Tensor) -> str:
    match place.role:
        case "routed expert":
            return str(getattr(profile.experts, place.band))
        case "shared expert" | "dense":
            # every token passes through both, so a dense layer is given what a shared expert gets
            return str(getattr(profile.shared, place.band))
        case "attention" | "linear attention" | "MTP":
            return str(getattr(profile.attention, place.attention))
        case "output":
            return _output_type(profile)
        case "embedding" if model.tied_embeddings:
            return _output_type(profile)
        case "embedding":
            return _embedding_type(profile)
        case _:
            return tensor.type  # norms, routers and the like stay as they are


def _output_type(profile: Profile) -> str:
    """llama_tensor_get_type_impl (llama-quant.cpp) for output, and embeddings tied to it.

    Not its Q8_0 for rows that are no whole blocks of 256: these fall back as any others do.
    """
    default = BASES[profile.base][1]
    if profile.base in FIVE_BIT_OUTPUT:
        return "Q5_K"
    return default if default == "Q8_0" else "Q6_K"


def _embedding_type(profile: Profile) -> str:
    """llama_tensor_get_type_impl (llama-quant.cpp) for embeddings of their own."""
    if profile.base in ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"):
        return "Q2_K"
    if profile.base in ("IQ2_S", "IQ3_XXS"):
        return "IQ3_S"
    return BASES[profile.base][1]


def make_recipes(
    profiles: Sequence[Profile],
    model: Architecture,
    tensors: Sequence[Tensor],
    types: Mapping[str, Types] | None = None,
) -> tuple[Recipe, ...]:
    """Recipes of several tiers; `types`, by tier, of those that have no roles of their own."""
    by_tier = types or {}
    return without_twins(
        make_recipe(profile, model, tensors, by_tier.get(profile.tier)) for profile in profiles
    )


def without_twins(recipes: Iterable[Recipe]) -> tuple[Recipe, ...]:
    """Recipes of several tiers; one that stores what an earlier one stores says so."""
    distinct: list[Recipe] = []
    for recipe in recipes:
        twin = next((r.tier for r in distinct if r.content == recipe.content), None)
        distinct.append(replace(recipe, same_as=twin))
    return tuple(distinct)


def no_smaller(recipes: Sequence[Recipe], tensors: Sequence[Tensor]) -> tuple[Recipe, ...]:
    """Recipes whose files would be as large as their source: there is nothing to make."""
    source = sum(tensor.bytes for tensor in tensors)
    return tuple(recipe for recipe in recipes if recipe.tensor_bytes >= source)


def asked_types(recipe: Recipe, model: Architecture, tensors: Sequence[Tensor]) -> dict[str, str]:
    """The type of each tensor that llama.cpp would otherwise decide on itself, by name."""
    free = {tensor.name for tensor in tensors if allows_quantization(tensor, model.family)}
    return {a.tensor: a.type for a in recipe.assignments if a.tensor in free}


def without_data(recipe: Recipe, lacking: Container[str], tensors: Sequence[Tensor]) -> Recipe:
    """The recipe with the next larger type that needs no data for tensors that lack it."""
    shapes = {tensor.name: tensor.shape for tensor in tensors}

    def raised(old: Assignment) -> Assignment:
        if old.tensor not in lacking:
            return old
        kind = NEXT[old.type]
        return replace(old, type=kind, bytes=tensor_bytes(kind, shapes[old.tensor]))

    return replace(recipe, assignments=tuple(raised(each) for each in recipe.assignments))


def raised_types(planned: Recipe, built: Recipe) -> tuple[str, ...]:
    """Types that `without_data` raised, as `TENSOR OLD NEW`."""
    pairs = zip(planned.assignments, built.assignments, strict=True)
    return tuple(f"{a.tensor} {a.type} {b.type}" for a, b in pairs if a.type != b.type)


def file_type(base: str) -> int:
    """The number of `general.file_type` for a tier's base type or a baseline's file type."""
    return BASES[base][0] if base in BASES else FILE_TYPES[base]


def stored_hash(number: object, types: Mapping[str, str], *, imatrix: bool) -> str | None:
    """The hash of a file's recipe, computed from its own types.

    `number` is its `general.file_type`; None where no tier has such a base.
    """
    base = next((name for name, (base_number, _) in BASES.items() if base_number == number), None)
    return base and recipe_hash(base, content_hash(types, imatrix=imatrix))
