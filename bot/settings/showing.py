"""Sections on what is published, and how it is shown."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from bot.settings.sections import Part


class HubSettings(Part):
    """Which Hub, and where on it."""

    endpoint: str = Field(
        default_factory=lambda: os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    )
    namespace: str | None = None

    @field_validator("endpoint")
    @classmethod
    def _http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("an endpoint starts with http:// or https://")
        return value.rstrip("/")


def _template(value: str, names: Collection[str]) -> str:
    """Raise ValueError unless nothing but these stand in braces, each whole."""
    rest = re.sub("|".join(rf"{{{name}}}" for name in names), "", value)
    if "{" in rest or "}" in rest:
        allowed = " and ".join(f"{{{name}}}" for name in names)
        raise ValueError(f"only {allowed} can stand in braces here")
    return value


class GallerySettings(Part):
    """A gallery of LocalAI's on GitHub, to which releases are proposed."""

    repository: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$")]
    file: str = "gallery/index.yaml"


class PublishSettings(Part):
    """Names on the Hub, and how a release gets there."""

    repository: str = "{name}-APEX-GGUF"
    file: str = "{name}-APEX-{tier}.gguf"
    # the tier that programs take that are told no other: Q4_K_M stands in its name; null: none
    default_tier: str | None = "I-Compact"
    private: bool = False
    # where a build lies until its hashes are compared: in a repository that is private till then,
    # or on a pull request, which takes no private storage and never touches main before
    hidden: Literal["private", "pull-request"] = "private"
    overlap: bool = True  # make, measure and send side by side; else one after another
    # whether a tier's file goes once it is sent and measured: never, so that the disk holds all of
    # them; where it does not hold all; or always, so that others have the disk
    free: Literal["never", "short", "always"] = "never"
    # who merges: nobody is asked, or a person by a pull request, wherever the build lies till then
    approval: Literal["none", "pull-request"] = "none"
    trusted_publisher: bool = False  # in GitHub Actions: the Hub lends tokens, HF_TOKEN only reads
    collection: Annotated[str, Field(min_length=1, max_length=60)] | None = None  # of the owner
    gallery: GallerySettings | None = None  # of LocalAI's: releases are proposed to it
    prune: bool = False  # give back the Hub's storage of files that updates replaced
    keep_builds: Annotated[int, Field(ge=0)] = 0  # earlier ones that pruning leaves for a rollback
    quantized_by: str | None = None

    @field_validator("repository")
    @classmethod
    def _one_for_all(cls, value: str) -> str:
        return _template(value, ("name",))

    @field_validator("file")
    @classmethod
    def _one_for_each(cls, value: str) -> str:
        if not {"{tier}", "{label}"} & set(re.findall(r"{\w*}", value)):
            raise ValueError("without {tier} or {label} all tiers would be one file; add one")
        if not value.endswith(".gguf") or "/" in value:
            raise ValueError("a file's name ends in .gguf and holds no folder")
        return _template(value, ("name", "tier", "label"))

    @property
    def made_private(self) -> bool:
        """Whether a new repository is private, if only until it is verified."""
        return self.private or self.hidden == "private"

    @model_validator(mode="after")
    def _sent_while_others_are_made(self) -> Self:
        if self.free != "never" and not self.overlap:
            raise ValueError(
                f"free: {self.free} removes files that are sent while others are made, and with "
                "overlap: false none is; leave one of them as it is"
            )
        return self

    @model_validator(mode="after")
    def _known_author(self) -> Self:
        if self.trusted_publisher and "pull-request" in (self.approval, self.hidden):
            raise ValueError(
                "a pull request is known again by its author, and a trusted publisher is no user; "
                "leave approval and hidden as they are, or publish with HF_TOKEN"
            )
        return self


class GateSettings(Part):
    """What a tier must be worth, and a release allowed, to be published.

    A model with a chat template is judged by divergence, and not by `ppl_ratio`: the perplexity of
    plain text says little of it. Limits go by tier: the first pattern that fits counts. A value
    counts as above its limit when it exceeds it by two standard errors.
    """

    failing: Literal["leave-out", "stop"] = "leave-out"  # what a failing tier does to the release
    ppl_ratio: dict[str, float] = {"*-Nano": 1.5, "*-Micro": 2.0, "*": 1.2}
    mean_kld: dict[str, float] = {"*-Nano": 0.8, "*-Micro": 1.2, "*": 0.4}  # nats per token
    max_kld: dict[str, float] = {"*": 30.0}
    # of a domain, where some are measured: of 1,000 tokens the one that diverges most, nats
    p999_kld: dict[str, float] = {"*-Nano": 16.0, "*-Micro": 20.0, "*": 12.0}
    accuracy_drop: dict[str, float] = {"*-Nano": 0.1, "*-Micro": 0.15, "*": 0.05}  # fraction
    # of prompts that the model is good at, the share that a tier may surely lose, for each habit
    behaviour_drop: dict[str, float] = {"*-Nano": 0.3, "*-Micro": 0.5, "*": 0.1}
    # rows of every expert, held against the 16-bit model's; 0: none. What is further away than
    # rounding takes it fails: see docs/publish.md
    expert_rows: Annotated[int, Field(ge=0, le=1 << 16)] = 4
    measured: bool = True  # a tier without a divergence fails
    card: bool = True  # stop when `bot lint` would find errors in what is to be published
    newest: bool = True  # stop when the source has other weights by now
    licences: tuple[str, ...] = ()  # as the Hub names them; empty: all that let us hand on
    unlicensed: Literal["publish", "stop"] = "stop"


class CardSettings(Part):
    """What a card shows, and how."""

    sizes: Literal["GB", "GiB rounded up"] = "GB"  # the first is how the Hub shows them
    errors: Literal["inline", "footnote"] = "inline"
    columns: tuple[Literal["bits", "p999", "same_top", "speed"], ...] = ()  # beside the usual ones
    context: Annotated[int, Field(ge=1)] = 8192  # tokens of KV cache that a choice counts with
    memory_gb: tuple[Annotated[int, Field(ge=1)], ...] = (8, 12, 16, 24, 32, 48, 80)
    machines: bool = True  # which file usual machines hold, experts in main memory or not
    tags: tuple[Annotated[str, Field(max_length=64)], ...] = ()  # beside ours
    localai_gallery: bool = False  # `local-ai run REPO@FILE`, which fails until a gallery has it
    team: str | None = None  # whom the card thanks first, and their address
    team_url: str | None = None
