"""What LocalAI takes: core/gallery/importers/llama-cpp.go, pkg/huggingface-api, pkg/downloader.

Source of August 2026 (82c191a), read in November 2026. A repository's own importer of LocalAI may
come first (whisper, trellis and others, by words in names); models that talk are llama.cpp's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

PREFERRED = "q4_k_m"  # a whole word of a name, in small letters
_SHARD = re.compile(r"-\d{1,6}-of-\d{1,6}\.gguf$", re.IGNORECASE | re.ASCII)
_APART = r"[a-z0-9]"  # what a word's neighbours are not


def localai_file(paths: Iterable[str]) -> str | None:
    """What `local-ai run huggingface://OWNER/NAME` installs as the model; None for nothing.

    The first model that has PREFERRED as a word of its name, else **the last `.gguf` of the
    listing that is no projector**, whatever it is. A model in shards is known by its first.
    """
    groups = _groups(path for path in listed(paths) if "mmproj" not in path.lower())
    preferred = [files[0] for name, files in groups if _has_word(name, PREFERRED)]
    return next(iter(preferred), groups[-1][1][0] if groups else None)


def localai_projector(paths: Iterable[str]) -> str | None:
    """The projector that it installs with it: one with `fp16` as a word, else the last."""
    groups = _groups(path for path in listed(paths) if "mmproj" in path.lower())
    preferred = [files[0] for name, files in groups if _has_word(name, "fp16")]
    return next(iter(preferred), groups[-1][1][0] if groups else None)


def localai_address(repo_id: str, path: str) -> str | None:
    """The address that installs one file; None where LocalAI would read another out of it.

    What stands after an @ is cut off, and escapes are read (filenameFromUrl).
    """
    if not path.endswith(".gguf") or re.search(r"[@%?#\s+]", path):
        return None
    return f"huggingface://{repo_id}/{path}"


def listed(paths: Iterable[str]) -> list[str]:
    """The files that LocalAI sees, in its order: the Hub's, folders where they stand in it.

    A folder inside a folder is asked for by a path that is none, and then there is nothing at all.
    """
    all_paths = list(paths)
    if any(path.count("/") > 1 for path in all_paths):
        return []
    in_order = sorted(all_paths, key=lambda path: path.split("/"))
    return [path for path in in_order if path.lower().endswith(".gguf")]


def _groups(paths: Iterable[str]) -> list[tuple[str, Sequence[str]]]:
    """Models by name (GroupShards), in the order of their first files; shards in theirs."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        name = path.rpartition("/")[2]
        shard = _SHARD.search(name)
        # a file of its own is a group of its own, whatever its name
        groups.setdefault(name[: shard.start()] + ".gguf" if shard else f"{path}\0", []).append(
            path
        )
    return [
        (name.removesuffix("\0").rpartition("/")[2], sorted(files, key=_number))
        for name, files in groups.items()
    ]


def _number(path: str) -> int:
    shard = _SHARD.search(path)
    return int(shard[0][1:].split("-")[0]) if shard else 0


def _has_word(name: str, word: str) -> bool:
    """Whether a name has a word that no letter or digit touches (quantTokenMatches)."""
    return re.search(f"(?<!{_APART}){re.escape(word)}(?!{_APART})", name.lower()) is not None
