"""What LocalAI's gallery takes, as its types and its own checks say it.

core/gallery/models_types.go, metadata_type.go, request.go (keys), variants_lint_test.go (what its
CI refuses), core/config/model_config.go (overrides), pkg/downloader/uri.go; August 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

ENTRY = {
    *("url", "name", "description", "license", "urls", "icon", "tags", "files", "size"),
    *("config_file", "overrides", "variants", "last_checked"),
}
OVERRIDES = {
    *("backend", "function", "known_usecases", "mmproj", "options", "parameters", "template"),
    *("draft_model", "flash_attention", "context_size", "embeddings", "f16", "stopwords"),
}
PARAMETERS = {
    *("model", "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n"),
    *("seed", "presence_penalty", "frequency_penalty"),
}
FILE = {"filename", "sha256", "uri"}


def violations(entries: Any) -> list[str]:
    """Everything that is wrong with a gallery's entries."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return ["no list of entries"]
    return [*_names(entries), *_variants(entries), *(f for e in entries for f in _entry(e))]


def _names(entries: Sequence[dict[str, Any]]) -> Iterator[str]:
    names = [entry.get("name") for entry in entries]
    yield from (f"{name}: no name" for name in names if not isinstance(name, str) or not name)
    yield from sorted({f"{name}: twice" for name in names if names.count(name) > 1})


def _variants(entries: Sequence[dict[str, Any]]) -> Iterator[str]:
    """checkVariantReferences; one parent claims a build."""
    by_name = {entry.get("name"): entry for entry in entries}
    claimed = [v.get("model") for entry in entries for v in entry.get("variants") or ()]
    for name in claimed:
        if name not in by_name:
            yield f"{name}: a variant that is no entry"
        elif by_name[name].get("variants"):
            yield f"{name}: a variant with variants"
    yield from sorted({f"{name}: claimed twice" for name in claimed if claimed.count(name) > 1})


def _entry(entry: dict[str, Any]) -> Iterator[str]:
    name, overrides = entry.get("name"), entry.get("overrides") or {}
    yield from (f"{name}: {key} is no key" for key in sorted(set(entry) - ENTRY))
    if not (entry.get("url") or entry.get("config_file") or overrides or entry.get("files")):
        yield f"{name}: installs nothing"
    yield from (f"{name}: overrides.{key} is no key" for key in sorted(set(overrides) - OVERRIDES))
    parameters = overrides.get("parameters") or {}
    yield from (f"{name}: parameters.{key}" for key in sorted(set(parameters) - PARAMETERS))
    files = entry.get("files") or []
    places = [file.get("filename") for file in files]
    for place in (parameters.get("model"), overrides.get("mmproj")):
        if place is not None and place not in places:
            yield f"{name}: {place} is none of its files"
    if len(set(places)) < len(places):
        yield f"{name}: two files in one place"
    for file in files:
        yield from (f"{name}: {fault}" for fault in _file(file))


def _file(file: dict[str, Any]) -> Iterator[str]:
    place, digest, uri = (str(file.get(key, "")) for key in ("filename", "sha256", "uri"))
    yield from (f"{place}: {key} is no key" for key in sorted(set(file) - FILE))
    if not place or place.startswith("/") or ".." in place.split("/"):
        yield f"{place!r} is no place for a file"
    if not re.fullmatch("[0-9a-f]{64}", digest):
        yield f"{place}: {digest!r} is no sha256"
    hub, at_hub = (
        r"huggingface://[\w.-]+/[\w.-]+/",
        r"https://huggingface\.co/[\w.-]+/[\w.-]+/resolve/main/",
    )
    if not re.fullmatch(f"({hub}|{at_hub})[^@?#%\\s]+", uri):
        yield f"{place}: {uri} is no address of a file"
