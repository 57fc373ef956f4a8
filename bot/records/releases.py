"""A repository at a commit, and what was decided of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from bot.legible import legible

# names on a Hub: letters, digits, `-`, `_`, `.`, at most 96 of them (huggingface_hub's
# utils/_validators.py, for each half)
HALF = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
REPO_ID = re.compile(rf"{HALF}/{HALF}")


@dataclass(frozen=True, kw_only=True)
class RepoFile:
    """One file of a repository at a commit. `sha256` is known for LFS files only."""

    path: str
    size: int
    sha256: str | None = None
    blob_id: str | None = None  # git's hash: of the content, or of an LFS file's pointer
    stored: str | None = None  # how its header says that weights are stored: BF16, Q4_K, I32, …


@dataclass(frozen=True, kw_only=True)
class Release:
    """A model repository at one commit, as far as a listing and its files tell."""

    repo_id: str
    commit: str
    created_at: str | None = None  # ISO 8601, UTC
    last_modified: str | None = None  # ISO 8601, UTC
    private: bool = False
    gated: bool = False
    tags: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    license: str | None = None  # the first that its card names
    licenses: tuple[str, ...] = ()  # all of them, where it names several
    license_name: str | None = None
    license_link: str | None = None
    languages: tuple[str, ...] = ()
    files: tuple[RepoFile, ...] = ()


# What a release was found to be. Detection ends in one of the first eleven; the next two say that
# there was none: the release is not one to look at, or its files could not be read. The others
# are of eligible releases: what the policy and the past say of them.
Outcome = Literal[
    "eligible",
    "not_moe",
    "dense_sibling",
    "already_quantized",
    "adapter",
    "not_a_text_decoder",
    "gated_no_access",
    "unsupported_converter",
    "too_large",
    "no_gain",
    "no_weights_yet",
    "not_watched",
    "unreadable",
    "gone",
    "not_wanted",
    "unpopular",
    "settling",
    "awaiting_approval",
    "ignored",
    "done_before",
]


@dataclass(frozen=True, kw_only=True)
class _Reasoned:
    """What was decided about a release and why, in words that may hold a stranger's."""

    release: Release
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", legible(self.reason))


@dataclass(frozen=True, kw_only=True)
class Build(_Reasoned):
    """The release shall be built."""

    outcome: Outcome = "eligible"


@dataclass(frozen=True, kw_only=True)
class Skip(_Reasoned):
    """The release shall not be built, and not be looked at again at this commit."""

    outcome: Outcome = "not_watched"


@dataclass(frozen=True, kw_only=True)
class Wait(_Reasoned):
    """The release may be built later: something is missing that can still arrive."""

    outcome: Outcome = "unreadable"
    until: float | None = None  # POSIX seconds; None where nobody knows


@dataclass(frozen=True, kw_only=True)
class Ask(_Reasoned):
    """The release shall be built when a person says so."""

    outcome: Outcome = "awaiting_approval"


Decision = Build | Skip | Wait | Ask
