"""The `policy` section of bot.yaml: which releases are wanted, when, and who has to agree.

    policy:
      extends: [recommended]        # presets of bot/presets, or YAML files
      allow: ["Qwen/*", "mistralai/*"]    # OWNER/NAME patterns; none: everybody
      deny: ["*/*-test"]
      settle_hours: 2               # since weights were last pushed
      licenses: [apache-2.0, mit]   # none: any
      approval: true                # a person has to agree
      rules:                        # the first that matches changes the terms above
        - match: ["Qwen/*"]
          approval: false
          tiers: [I-Quality, I-Compact]

What extends brings stands behind what the section itself says; lists are replaced, rules added.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bot.settings.places import Named, placed

PRESETS = Path(__file__).resolve().parent / "presets"
DEEPEST = 8  # presets that extend presets

Count = Annotated[int, Field(ge=0)]
Patterns = tuple[Annotated[str, Field(min_length=1, max_length=200)], ...]


def presets() -> list[str]:
    """Names of the presets that come with the bot."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


class PolicyTerms(BaseModel):
    """On which terms a release is built."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    build: bool = Field(default=True, description="false: never build these")
    approval: bool = Field(default=False, description="a person has to agree: bot approve")
    settle_hours: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="hours that the weights must not have changed"
    )
    likes: Count = Field(default=0, description="likes to wait for")
    downloads: Count = Field(default=0, description="downloads to wait for")
    trending: Count = Field(default=0, description="trending score to wait for")
    min_gb: Annotated[float, Field(ge=0)] = Field(default=0.0, description="smallest source")
    max_gb: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="largest source; null: any"
    )
    max_hours: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="longest that a build may take on `runner`, by its forecast"
    )
    licenses: tuple[str, ...] = Field(
        default=(), description="licences as the Hub names them; none: any"
    )
    finetunes: bool = Field(default=True, description="build finetunes of other models")
    merges: bool = Field(default=True, description="build merges of other models")
    tiers: tuple[str, ...] = Field(default=(), description="tiers to build; none: all")
    rebuild: tuple[Literal["weights", "metadata", "any", "never"], ...] = Field(
        default=("weights", "metadata"),
        min_length=1,
        description="of a published model: build it again when its weights change; rewrite headers "
        "when only its template, tokenizer, sampling or licence do; build at any commit; never",
    )

    stale: Literal["rebuild", "ask", "leave"] = Field(
        default="ask",
        description="what becomes of published models with a fault that an advisory names",
    )

    @field_validator("rebuild", mode="before")
    @classmethod
    def _one_word(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("rebuild", mode="after")
    @classmethod
    def _alone(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in ("any", "never"):
            if word in value and len(value) > 1:
                raise ValueError(f"{word} stands alone")
        return value


class Rule(PolicyTerms):
    """Other terms for some releases; keys that are not given stay as they are."""

    match: Patterns = Field(min_length=1, description="OWNER/NAME patterns, such as Qwen/*")


class Policy(PolicyTerms):
    """The whole section."""

    extends: tuple[Annotated[str, Named(lambda _root: presets())], ...] = Field(
        default=(), description="presets by name, or YAML files with the same keys"
    )
    allow: Patterns = Field(default=(), description="OWNER/NAME patterns; none: everybody")
    deny: Patterns = Field(default=(), description="OWNER/NAME patterns never looked at")
    per_hour: Annotated[int, Field(ge=1)] = Field(default=4, description="builds started an hour")
    at_once: Annotated[int, Field(ge=1)] = Field(default=1, description="builds at the same time")
    hours_per_tb: Annotated[float, Field(ge=0, le=1e6)] = Field(
        default=168.0,
        description="a release stands as if it had come later, by so many hours for each 10^12 "
        "bytes of its weights; 0: first come, first served",
    )
    small_gb: Annotated[float, Field(ge=0)] = Field(
        default=500.0,
        description="of several places (at_once) one is kept for releases up to this, until those "
        "hours of a larger one are over; 0: none is",
    )
    runner: str | None = Field(
        default=None, description="the machine of `runners` that max_hours reckons with"
    )
    attempts: Annotated[int, Field(ge=1, le=50)] = Field(
        default=4, description="tries before a build is given up"
    )
    wait_days: Annotated[float, Field(gt=0)] = Field(
        default=30.0, description="days to wait for weights, likes or access"
    )
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _extended(cls, section: Any) -> Any:
        return extended(section) if isinstance(section, Mapping) else section

    def terms(self, repo_id: str) -> PolicyTerms:
        """The terms for one repository: this section's, changed by the first rule that matches."""
        values = {name: getattr(self, name) for name in PolicyTerms.model_fields}
        for rule in self.rules:
            if matches(rule.match, repo_id):
                changed = rule.model_fields_set - {"match"}
                values |= {name: getattr(rule, name) for name in changed}
                break
        return PolicyTerms.model_construct(**values)


def matches(patterns: Sequence[str], repo_id: str) -> bool:
    """Whether any pattern (`*`, `?`, `[…]`, letters of either case) is of this OWNER/NAME.

    A pattern without a slash is of an owner.
    """
    return any(_compiled(pattern).match(repo_id.casefold()) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    owner_name = pattern if "/" in pattern else f"{pattern}/*"
    return re.compile(translate(owner_name.casefold()))


def extended(section: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A section with all that its `extends` brings. Raises ValueError naming a wrong preset."""
    if depth > DEEPEST:
        raise ValueError("extends goes in a circle")
    names = section.get("extends", ())
    names = (names,) if isinstance(names, str) else names
    merged: dict[str, Any] = {}
    for name in names if isinstance(names, list | tuple) else ():
        merged = _over(extended(_preset(name), depth + 1), merged)
    return _over({**section, "extends": names}, merged)


def _over(upper: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """`upper` over `lower`; upper's rules are asked first."""
    merged = {**lower, **upper}
    rules = [section.get("rules") or () for section in (upper, lower)]
    if all(isinstance(part, list | tuple) for part in rules) and any(rules):
        merged["rules"] = [rule for part in rules for rule in part]
    return merged


def _preset(name: Any) -> Mapping[str, Any]:
    names = presets()
    if not isinstance(name, str):
        raise ValueError(f"extends holds names of presets: {', '.join(names)}")
    path = PRESETS / f"{name}.yaml" if name in names else Path(name)
    if not path.is_file():
        raise ValueError(
            f"{path.name!r} is no file and no preset; presets are {', '.join(names)}, "
            f"files were looked for in {path.parent}"
        )
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML") from error
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{path} holds no mapping")
    return _beside(loaded, path.parent)


def _beside(section: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """A preset's own `extends`, as it stands in a file of that folder."""
    placed_values: Mapping[str, Any] = placed(Policy, section, folder)
    return placed_values
