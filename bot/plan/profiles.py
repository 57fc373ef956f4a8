"""The tiers: one YAML file each, parsed strictly.

# profiles/i-mini.yaml
tier: I-Mini
order: 70                      # place in tables
about: For 16 GB machines      # one line: what it is best for
base: Q3_K                     # llama.cpp's file type: embedding and output follow its rules
imatrix: true
experts: {edge: Q3_K, near: Q3_K, middle: IQ2_S}
shared: {edge: Q5_K, near: Q4_K, middle: Q4_K}     # or one type for all layers
attention: {edge: Q4_K, middle: Q3_K}              # by the attention's own edge
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bot.errors import SettingsError
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
    """One tier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tier: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,31}$")]
    order: int
    about: Annotated[str, Field(min_length=1, max_length=120)]
    base: Literal[tuple(BASES)]  # type: ignore[valid-type]  # the table is the list of choices
    imatrix: bool
    experts: Annotated[Bands, _one_type(("edge", "near", "middle"))]
    shared: Annotated[Bands, _one_type(("edge", "near", "middle"))]
    attention: Annotated[Edges, _one_type(("edge", "middle"))]
    # of layers that predict tokens ahead; without it they are treated as the last layer is
    prediction: Kind | None = None

    @model_validator(mode="after")
    def _data_for_low_bits(self) -> Self:
        used = {*dict(self.experts).values(), *dict(self.shared).values()}
        used |= {*dict(self.attention).values(), *([self.prediction] if self.prediction else [])}
        low = sorted(used & NEED_IMATRIX)
        if low and not self.imatrix:
            raise ValueError(f"{low[0]} needs an importance matrix; set imatrix: true")
        return self


def load_profiles(folder: Path, tiers: Sequence[str] | None = None) -> tuple[Profile, ...]:
    """The profiles of a folder in their order, or those of `tiers`, in any case of letters.

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
    if tiers is None:
        return tuple(profiles)
    chosen = {name.lower() for name in tiers}
    unknown = sorted(chosen - by_name.keys())
    if unknown:
        choices = ", ".join(profile.tier for profile in profiles)
        raise SettingsError(f"there is no tier {unknown[0]!r}; choose from {choices}")
    return tuple(profile for profile in profiles if profile.tier.lower() in chosen)


def _read(path: Path) -> Profile:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST)
        return Profile.model_validate(yaml.safe_load(text))
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
