"""What the Hub holds against what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bot.clients.hub.hub import Hub
from bot.disk.hashes import git_blob_id
from bot.errors import PublishError
from bot.records.built import Built
from bot.records.releases import Release, RepoFile

# keys of the front matter by which the Hub finds and shows a model
INDEXED = frozenset(
    [
        *("license", "language", "base_model", "base_model_relation", "quantized_by"),
        *("library_name", "pipeline_tag", "tags"),
    ]
)


def differing(release: Release, files: Mapping[str, Built]) -> tuple[str, ...]:
    """Paths whose content on the Hub is not the local file's, in the order of `files`."""
    held = {file.path: file for file in release.files}
    return tuple(path for path, built in files.items() if not _same(held.get(path), built))


def _same(held: RepoFile | None, built: Built) -> bool:
    """By sha256 where the Hub keeps one (LFS), else by git's own hash of the content."""
    if held is None or held.size != built.bytes:
        return False
    if held.sha256 is not None:
        return held.sha256 == built.sha256
    local = Path(built.path)  # not here: what is large has a sha256 wherever it is the same
    return local.is_file() and held.blob_id == git_blob_id(local)


class Differs(PublishError):
    """The Hub holds something else; `path` names the first such file."""

    def __init__(self, repo_id: str, path: str) -> None:
        super().__init__(
            f"{repo_id} does not hold the measured {path}; it stays private, publish it again"
        )
        self.path, self.why = path, "it did not arrive as it was measured"


class Unfit(Differs):
    """The Hub holds what was sent, and it does not do there what it should."""

    def __init__(self, repo_id: str, path: str, why: str) -> None:
        PublishError.__init__(
            self, f"{repo_id} is not shown: {path}: {why}; mend it, publish again"
        )
        self.path, self.why = path, why


def read_as_written(repo_id: str, written: Mapping[str, Any], read: Mapping[str, Any]) -> None:
    """Raise Unfit unless the Hub read a card's front matter as it was meant; it may add to it."""
    for key, value in written.items():
        if key in INDEXED and not set(_words(value)) <= set(_words(read.get(key))):
            raise Unfit(repo_id, "README.md", f"the Hub does not read its {key} as it was written")


def _words(value: Any) -> list[str]:
    """A value of front matter as words: one, or those of a list."""
    return [str(word) for word in (value if isinstance(value, list) else [value])]


def verify_held(hub: Hub, repo_id: str, commit: str, files: Mapping[str, Built]) -> Release:
    """The repository at `commit`, if it holds exactly `files`.

    Raises Differs naming the first file that does not hold.
    """
    release = hub.release(repo_id, commit)
    wrong = differing(release, files)
    if wrong:
        raise Differs(repo_id, wrong[0])
    return release
