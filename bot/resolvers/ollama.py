"""What `ollama run hf.co/OWNER/NAME:TAG` takes: the Hub's manifest, and Ollama's names.

hub-docs docs/hub/ollama.md for what a tag means, types/model/name.go of Ollama (August 2026) for
what it takes as one; read in November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bot.resolvers.hub_labels import hub_label
from bot.resolvers.llamacpp import is_model, is_split

# parts of a name of Ollama's (isValidPart of types/model/name.go): an owner has no dot
_OLLAMA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_OLLAMA_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")


def ollama_file(paths: Iterable[str], tag: str) -> str | None:
    """What `ollama run hf.co/REPO:TAG` fetches: a whole file's name, or the only file so labelled.

    Shards are refused by Ollama, and tags that are no part of a name for it.
    """
    if not _OLLAMA.fullmatch(tag):
        return None
    whole_files = [path for path in paths if is_model(path) and not is_split(path)]
    if tag in whole_files:
        return tag
    labelled = [path for path in whole_files if hub_label(path) == tag.upper()]
    return labelled[0] if len(labelled) == 1 else None


def ollama_tag(repo_id: str, paths: Sequence[str], path: str) -> str | None:
    """What to say after `hf.co/REPO:` for just `path`: its name, its label, or None for neither.

    Each part of the name that Ollama makes of it has at most 80 characters.
    """
    owner, _, name = repo_id.partition("/")
    if not _OLLAMA_OWNER.fullmatch(owner) or not _OLLAMA.fullmatch(name):
        return None
    tags = [tag for tag in (path, hub_label(path)) if tag]
    return next((tag for tag in tags if ollama_file(paths, tag) == path), None)
