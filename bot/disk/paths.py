"""Paths that may be written and removed: below their place, under names that every disk takes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path, PurePosixPath

from bot.errors import SourceError

LONGEST_PATH, LONGEST_NAME, DEEPEST = 400, 200, 8  # of a stranger's file


def inside(root: Path, path: Path) -> str:
    """How a path is named from `root`; absolute where it leads elsewhere."""
    for base in (root.absolute(), root.resolve()):
        if path.absolute().is_relative_to(base):
            return path.absolute().relative_to(base).as_posix()
    return str(path.absolute())


def slug(name: str) -> str:
    """A name of the outside as one harmless path component: `org/model` → `org--model`."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("/", "--")).strip(".-")
    return clean[:120] or "model"


RESULTS = ".eval_results"  # the one folder of a repository whose name begins with a dot


def is_safe(path: str) -> bool:
    """Whether `path`, a stranger's, stays below a folder on any system."""
    parts = path.split("/")
    return (
        0 < len(path) <= LONGEST_PATH
        and path.isprintable()
        and not re.search(r'[\\:*?"<>|]', path)
        and len(parts) <= DEEPEST
        and all(part.strip(" .") and len(part.encode()) <= LONGEST_NAME for part in parts)
        and (not parts[0].startswith(".") or parts[0] == RESULTS)
        and not PurePosixPath(path).is_absolute()
    )


def require_safe(path: str, repo_id: str) -> None:
    """Raise SourceError unless `path`, a stranger's, stays below a folder on any system."""
    if not is_safe(path):
        raise SourceError(f"{repo_id} has a file named {path[:80]!r}; do not use this model")


def remove(path: Path, place: Path) -> None:
    """Delete a file, or a folder with all that lies in it, that is proven to lie below `place`.

    What is not there is removed already. A link goes, and never what it leads to. Raises
    SourceError, and deletes nothing, where the folder that holds `path` lies elsewhere than it
    says: `..`, or a link on the way.
    """
    inside_of, parent = place.resolve(), path.parent.resolve()
    if path.name in ("", ".", "..") or not (parent / path.name).is_relative_to(inside_of):
        raise SourceError(f"{path} is not below {place} and is left alone; look at who named it")
    if parent / path.name == inside_of:
        raise SourceError(f"{path} is the whole of {place} and is left alone")
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
