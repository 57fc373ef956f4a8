"""The Hub's JSON, parsed once and strictly into our records.

    GET /api/models                     → [{"id", "sha", "config", "createdAt", "tags", …}, …]
    GET /api/models/ID/revision/REV     → {"id", "sha", "siblings": [{"rfilename", "size",
                                           "lfs": {"sha256", "size"}}], "cardData", "tags", …}

The shape is the Hub's, the words inside (tags, card fields, config, file names) are strangers':
a word that is too long, not printable or of the wrong type counts as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bot.errors import SourceError, UnreachableError
from bot.licences import UNREADABLE
from bot.records.releases import Release, RepoFile

LONGEST_WORD = 500
MOST_WORDS = 500
LICENSE = "license:"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPOSITORY = re.compile(r"(?:[\w.-]{1,96}/)?[\w.-]{1,96}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One row of a listing."""

    repo_id: str
    commit: str | None
    created_at: str | None  # ISO 8601, UTC
    last_modified: str | None  # ISO 8601, UTC
    private: bool
    gated: bool
    disabled: bool
    tags: tuple[str, ...]
    pipeline_tag: str | None
    library: str | None
    model_type: str | None
    architectures: tuple[str, ...]
    quant_method: str | None
    likes: int = 0
    downloads: int = 0
    trending: int = 0


@dataclass(frozen=True, kw_only=True)
class ReplyPage:
    """A page of a listing."""

    rows: tuple[Listed, ...]
    following: str | None = None  # address of the next page
    etag: str | None = None
    now: float | None = None  # the Hub's clock, POSIX seconds
    unchanged: bool = False  # the Hub says that nothing changed since the given ETag


def listed_of(row: Any) -> Listed | None:
    """A row of `GET /api/models`; None where it names no repository."""
    data = _object(row)
    repo_id = _word(data.get("id"))
    if repo_id is None or not _REPOSITORY.fullmatch(repo_id):
        return None
    config = _object(data.get("config"))
    return Listed(
        repo_id=repo_id,
        commit=_matching(_COMMIT, data.get("sha")),
        created_at=_instant(data.get("createdAt")),
        last_modified=_instant(data.get("lastModified")),
        private=data.get("private") is True,
        gated=_gated(data.get("gated")),
        disabled=data.get("disabled") is True,
        tags=_words(data.get("tags")),
        pipeline_tag=_word(data.get("pipeline_tag")),
        library=_word(data.get("library_name")),
        model_type=_word(config.get("model_type")),
        architectures=_words(config.get("architectures")),
        quant_method=_word(_object(config.get("quantization_config")).get("quant_method")),
        likes=_count(data.get("likes")),
        downloads=_count(data.get("downloads")),
        trending=_count(data.get("trendingScore")),
    )


def release(reply: Any, endpoint: str) -> Release:
    """A reply of `GET /api/models/ID/revision/REV?blobs=true`.

    Raises UnreachableError when it is not what a Hub answers, SourceError for a disabled
    repository.
    """
    data = _object(reply)
    repo_id, commit = _word(data.get("id")), _matching(_COMMIT, data.get("sha"))
    siblings = data.get("siblings")
    if repo_id is None or commit is None or not isinstance(siblings, list):
        raise not_a_hub(endpoint)
    if not _REPOSITORY.fullmatch(repo_id):
        raise not_a_hub(endpoint)
    if data.get("disabled") is True:
        raise SourceError(f"{repo_id} is disabled on {endpoint}; choose another model")
    card = _object(data.get("cardData"))
    tags = _words(data.get("tags"))
    named = _licences(card.get("license")) or _tagged(tags)
    return Release(
        repo_id=repo_id,
        commit=commit,
        created_at=_instant(data.get("createdAt")),
        last_modified=_instant(data.get("lastModified")),
        private=data.get("private") is True,
        gated=_gated(data.get("gated")),
        tags=tags,
        pipeline_tag=_word(data.get("pipeline_tag")),
        license=next(iter(named), None),
        licenses=named if len(named) > 1 else (),
        license_name=_word(card.get("license_name")),
        license_link=_word(card.get("license_link")),
        languages=_words(card.get("language")),
        files=tuple(_file(sibling, endpoint) for sibling in siblings),
    )


def not_a_hub(endpoint: str) -> UnreachableError:
    """The error for a reply that no Hub gives."""
    return UnreachableError(
        f"{endpoint} answered, but not as a Hub does; check hub.endpoint in bot.yaml"
    )


def _file(sibling: Any, endpoint: str) -> RepoFile:
    data = _object(sibling)
    path, size = data.get("rfilename"), data.get("size")
    large = _object(data.get("lfs"))
    size = large.get("size", size)
    if not isinstance(path, str) or not isinstance(size, int) or size < 0:
        raise not_a_hub(endpoint)
    return RepoFile(
        path=path,
        size=size,
        sha256=_matching(_SHA256, large.get("sha256")),
        blob_id=_matching(_COMMIT, data.get("blobId")),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _word(value: Any) -> str | None:
    if isinstance(value, str) and 0 < len(value) <= LONGEST_WORD and value.isprintable():
        return value
    return None


def _words(value: Any) -> tuple[str, ...]:
    items = value[:MOST_WORDS] if isinstance(value, list) else [value]
    return tuple(word for word in map(_word, items) if word)


def _licences(value: Any) -> tuple[str, ...]:
    """Every licence of a card, one or a list; what cannot be read beside others is not left out."""
    items = value if isinstance(value, list) else [value]
    named = [_word(item) or UNREADABLE for item in items[:MOST_WORDS] if item not in (None, "")]
    more = [UNREADABLE] if len(items) > MOST_WORDS else []
    licences = tuple(dict.fromkeys([*named, *more]))
    return () if licences == (UNREADABLE,) else licences


def _tagged(tags: Sequence[str]) -> tuple[str, ...]:
    """Licences by the tags that the Hub makes of a card."""
    return tuple(tag.removeprefix(LICENSE) for tag in tags if tag.startswith(LICENSE))


def _count(value: Any) -> int:
    """A number of the Hub's; trending scores may have decimals."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if number and 0 <= value < 1e15 else 0


def _matching(pattern: re.Pattern[str], value: Any) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _gated(value: Any) -> bool:
    """The Hub says false, "auto" or "manual"."""
    return value in ("auto", "manual") or value is True


def _instant(value: Any) -> str | None:
    """The Hub's `2026-11-02T10:15:30.000Z` as ISO 8601 in UTC, whole seconds."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None or moment.tzinfo is None:
            return None
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):  # before the year 1, too
        return None
