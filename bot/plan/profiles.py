"""The tiers: one YAML file each, parsed strictly; and tiers fitted to a size, by their name alone.

# profiles/i-mini.yaml
tier: I-Mini
order: 70                      # place in tables
about: For 16 GB machines      # one line: what it is best for
base: Q3_K                     # llama.cpp's file type: embedding and output follow its rules
imatrix: true
experts: {edge: Q3_K, near: Q3_K, middle: IQ2_S}
shared: {edge: Q5_K, near: Q4_K, middle: Q4_K}     # or one type for all layers
attention: {edge: Q4_K, middle: Q3_K}              # by the attention's own edge

In place of types a tier names a size, `fit: {gb: 15.5}`, or `bits` a weight, or a tier to be
`like`; or `recipe: FILE`, which `llama-quantize --tensor-type-file` reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bot.errors import SettingsError
from bot.plan.typelists import TypePattern, read_patterns
from bot.tensors.sizes import BLOCKS

# name: number of llama_ftype (include/llama.h), type of its tensors (llama_ftype_get_default_type)
BASES = {
    "Q8_0": (7, "Q8_0"),
    "Q6_K": (18, "Q6_K"),
    "Q5_K": (17, "Q5_K"),  # llama-quantize's alias of Q5_K_M
    "Q4_K": (15, "Q4_K"),  # of Q4_K_M
    "Q3_K": (12, "Q3_K"),  # of Q3_K_M
    "Q2_K": (10, "Q2_K"),
    "IQ4_XS": (30, "IQ4_XS"),
    "IQ3_XXS": (23, "IQ3_XXS"),
    "IQ2_S": (28, "IQ2_XS"),
    "IQ2_XS": (20, "IQ2_XS"),
    "IQ2_XXS": (19, "IQ2_XXS"),
    "IQ1_M": (31, "IQ1_M"),
    "IQ1_S": (24, "IQ1_S"),
}
# llama-quantize's names (tools/quantize/quantize.cpp) of llama_ftype's numbers
# fmt: off
FILE_TYPES = {
    "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9,
    "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15,
    "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ2_XXS": 19,
    "IQ2_XS": 20, "Q2_K_S": 21, "IQ3_XS": 22, "IQ3_XXS": 23,
    "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ3_M": 27,
    "IQ2_S": 28, "IQ2_M": 29, "IQ4_XS": 30, "IQ1_M": 31,
}
# fmt: on
# types that llama.cpp quantizes a layer's tensor to with an importance matrix alone
TIER_NAME = r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,30}[A-Za-z0-9])?$"
FITTED = re.compile(
    r"fit-([0-9]{1,6}(?:\.[0-9]{1,9})?)(gb|bits)|fit-([a-z0-9][a-z0-9-]{0,25})", re.I
)
LAST = 1000  # place in tables of tiers that no file describes
NEED_IMATRIX = frozenset({"IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S"})
LARGEST = 64_000  # bytes of a profile


def _known(value: object) -> object:
    if isinstance(value, str) and value.upper() not in BLOCKS:
        raise ValueError(f"{value!r} is not a type of ggml; one of {', '.join(BLOCKS)}")
    return value.upper() if isinstance(value, str) else value


Kind = Annotated[str, BeforeValidator(_known)]


class Bands(BaseModel):
    """A type for each band of layers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edge: Kind
    near: Kind
    middle: Kind


class Edges(BaseModel):
    """A type at the attention's edge, and one for the other layers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edge: Kind
    middle: Kind


def _one_type(names: tuple[str, ...]) -> BeforeValidator:
    """A single type stands for all bands."""
    return BeforeValidator(
        lambda value: dict.fromkeys(names, value) if isinstance(value, str) else value
    )


class Profile(BaseModel):
    """One tier: what all kinds of them have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tier: Annotated[str, Field(pattern=TIER_NAME)]
    order: int
    about: Annotated[str, Field(min_length=1, max_length=120)]
    base: Literal[tuple(BASES)]  # type: ignore[valid-type]  # the table is the list of choices
    imatrix: bool
    # of layers that predict tokens ahead; without it they are treated as the last layer is
    prediction: Kind | None = None

    @property
    def types(self) -> frozenset[str]:
        """Types that it names."""
        return frozenset({self.prediction} if self.prediction else ())

    @model_validator(mode="after")
    def _data_for_low_bits(self) -> Self:
        low = sorted(self.types & NEED_IMATRIX)
        if low and not self.imatrix:
            raise ValueError(f"{low[0]} needs an importance matrix; set imatrix: true")
        return self


class RolesProfile(Profile):
    """A tier whose types are by role and band of layers."""

    experts: Annotated[Bands, _one_type(("edge", "near", "middle"))]
    shared: Annotated[Bands, _one_type(("edge", "near", "middle"))]
    attention: Annotated[Edges, _one_type(("edge", "middle"))]

    @property
    def types(self) -> frozenset[str]:
        """Types that it names."""
        used = {*dict(self.experts).values(), *dict(self.shared).values()}
        return super().types | used | {*dict(self.attention).values()}


class FitSize(BaseModel):
    """How large a fitted file may become, in one of three ways."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gb: Annotated[float, Field(gt=0, le=1e6)] | None = None  # 1e9 bytes
    bits: Annotated[float, Field(gt=0, le=32)] | None = None  # a weight, of the whole file
    like: Annotated[str, Field(pattern=TIER_NAME)] | None = None  # another tier's size
    pattern: RolesProfile | None = None  # that tier; found by `load_profiles`

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.gb, self.bits, self.like)) != 1:
            raise ValueError("name one of gb, bits and like")
        return self

    def __str__(self) -> str:
        """As tiers are called by it: 15.5GB."""
        if self.like is not None:
            return self.like
        return f"{self.gb:.9g}GB" if self.gb else f"{self.bits:.9g}bits"


class FittedProfile(Profile):
    """A tier whose types are chosen for a size, by how much each tensor matters."""

    base: Literal[tuple(BASES)] = "Q4_K"  # type: ignore[valid-type]  # unless named: by its bits
    imatrix: Literal[True] = True  # what each tensor is worth rests on it
    fit: FitSize


class ListedProfile(Profile):
    """A tier whose types are a file's, the first pattern that fits a tensor's name."""

    recipe: Annotated[str, Field(min_length=1, max_length=400)]  # beside the profile
    patterns: tuple[TypePattern, ...] = ()  # what stands in that file

    @property
    def types(self) -> frozenset[str]:
        """Types that it names."""
        return super().types | {pattern.type for pattern in self.patterns}


def load_profiles(folder: Path, tiers: Sequence[str] | None = None) -> tuple[Profile, ...]:
    """The profiles of a folder in their order, or those of `tiers`, in any case of letters.

    `Fit-15.5GB`, `Fit-3.2bits` and `Fit-I-Mini` are tiers of that size without a file of theirs.
    Raises SettingsError for a folder without profiles, a broken file, a doubled or unknown tier.
    """
    profiles = [_read(path) for path in sorted(folder.glob("*.yaml"))]
    profiles.sort(key=lambda profile: profile.order)
    if not profiles:
        raise SettingsError(f"{folder} has no profiles; set `profiles` to a folder that has")
    by_name = {profile.tier.lower(): profile for profile in profiles}
    if len(by_name) < len(profiles):
        names = [profile.tier.lower() for profile in profiles]
        double = next(name for name in names if names.count(name) > 1)
        raise SettingsError(f"{folder} has two profiles of the tier {double}; rename one")
    if tiers is not None:
        by_name = _chosen(by_name, tiers)
    return tuple(_with_pattern(profile, profiles) for profile in by_name.values())


def _chosen(by_name: Mapping[str, Profile], tiers: Sequence[str]) -> dict[str, Profile]:
    """The tiers of these names: first those that have files, in their order, then by size."""
    fits = {}
    for name in {tier.lower(): tier for tier in tiers if tier.lower() not in by_name}.values():
        profile = fitted_profile(name)
        if profile is None:
            choices = ", ".join(profile.tier for profile in by_name.values())
            raise SettingsError(
                f"there is no tier {name[:40]!r}; choose from {choices}, or name a size: Fit-16GB"
            )
        fits[profile.tier.lower()] = profile
    wanted = {name.lower() for name in tiers}
    return {name: each for name, each in by_name.items() if name in wanted} | fits


def fitted_profile(name: str) -> FittedProfile | None:
    """The tier that a name such as `Fit-15.5GB` means; None for another name.

    Raises SettingsError for a size that no file has.
    """
    match = FITTED.fullmatch(name)
    if match is None:
        return None
    number, unit, like = match[1], (match[2] or "").lower(), match[3]
    try:
        size = FitSize.model_validate({"like": like} if like else {unit: number})
    except ValidationError as error:
        raise SettingsError(f"{name} is no size of a file; name one such as Fit-16GB") from error
    about = f"Fitted to the size of {like}" if like else f"Fitted to {size}"
    return FittedProfile(tier=f"Fit-{size}", order=LAST, about=about, fit=size)


def _with_pattern(profile: Profile, profiles: Sequence[Profile]) -> Profile:
    """A fitted tier with the tier whose size it shall have."""
    if not isinstance(profile, FittedProfile) or profile.fit.like is None:
        return profile
    like = profile.fit.like.lower()
    other = next((each for each in profiles if each.tier.lower() == like), None)
    if not isinstance(other, RolesProfile):
        choices = ", ".join(p.tier for p in profiles if isinstance(p, RolesProfile))
        raise SettingsError(f"no tier {profile.fit.like!r} has types to be like; choose {choices}")
    size = profile.fit.model_copy(update={"like": other.tier, "pattern": other})
    named = {"tier": f"Fit-{other.tier}"} if profile.order == LAST else {}
    return profile.model_copy(update={"fit": size, **named})


def _read(path: Path) -> Profile:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST)
        values = yaml.safe_load(text)
        return _parsed(values, path.parent)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"{path}:{line} is not YAML ({error.problem}); mend it") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); mend it") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{path} is not YAML; mend it or take it away") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        problem = " ".join(first["msg"].split())
        raise SettingsError(f"{path}: {place or 'profile'}: {problem}; mend it") from error


def _parsed(values: object, folder: Path) -> Profile:
    """A profile of the kind that its keys tell; patterns are those of the file that it names."""
    if isinstance(values, dict) and "fit" in values:
        return FittedProfile.model_validate(values)
    if not isinstance(values, dict) or "recipe" not in values:
        return RolesProfile.model_validate(values)
    listed = ListedProfile.model_validate({**values, "patterns": ()})
    patterns = read_patterns(folder / listed.recipe)
    return ListedProfile.model_validate({**values, "patterns": patterns})
