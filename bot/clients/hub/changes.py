"""Changes to a repository beyond a plain commit: what is rare, and needs a Hub's help."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
)

from bot.clients.hub.hub import Hub
from bot.records.releases import Release

ATTRIBUTES = ".gitattributes"  # the Hub's own: it follows from the files


@dataclass(frozen=True, kw_only=True)
class HubRef:
    """A name of a commit, as a revision."""

    kind: Literal["branch", "tag", "pull request"]
    name: str


class Writer:
    """Changes that one Hub makes for us without files of this machine."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def restore(
        self,
        now: Release,
        then: Release,
        message: str,
        paths: Iterable[str],
        files: Mapping[str, Path] | None = None,
    ) -> str:
        """One commit on `now` that gives `paths` the content they had at `then`.

        The Hub copies large files itself; only `files`, by their path, are sent. Returns the
        commit's sha, `now`'s where nothing differs. Raises what `Hub.commit` raises.
        """
        wanted = {file.path: file for file in then.files if file.path != ATTRIBUTES}
        there = {file.path: file for file in now.files if file.path != ATTRIBUTES}
        among = set(paths)
        copied = sorted(p for p in among & wanted.keys() if wanted[p] != there.get(p))
        removed = sorted(among & there.keys() - wanted.keys())
        if not copied and not removed and not files:
            return now.commit
        operations = [
            *(CommitOperationAdd(p, str(file)) for p, file in (files or {}).items()),
            *(CommitOperationCopy(p, p, src_revision=then.commit) for p in copied),
            *(CommitOperationDelete(path_in_repo=path) for path in removed),
        ]

        def landed(found: Release) -> bool:
            held = {file.path: file for file in found.files}
            return all(held.get(path) == wanted.get(path) for path in (*copied, *removed))

        return self._hub.settle(
            now.repo_id,
            lambda: self._hub.send(now.repo_id, operations, message, now.commit),
            landed,
            now.commit,
        )

    # ── storage ─────────────────────────────────────────────────────────────────────────────

    def stored(self, repo_id: str) -> dict[str, int]:
        """Bytes of every large content that the repository takes storage for, by its sha256.

        Contents of all commits, whether or not any branch still leads to them.
        """
        found = self._hub.ask(
            f"the storage of {repo_id}", lambda api: list(api.list_lfs_files(repo_id))
        )
        return {file.file_oid: file.size for file in found}

    def discard(self, repo_id: str, contents: Iterable[str]) -> None:
        """Delete large contents for good, by sha256. Commits keep their names and lose the files.

        Done again it does nothing more.
        """
        wanted = frozenset(contents)

        def delete(api: HfApi) -> None:
            # asked anew at each attempt: the one before may have been heard
            there = [file for file in api.list_lfs_files(repo_id) if file.file_oid in wanted]
            api.permanently_delete_lfs_files(repo_id, there, rewrite_history=False)

        self._hub.ask(f"the storage of {repo_id}", delete)

    def delete(self, repo_id: str) -> None:
        """Delete a repository with all it holds, for good; one that is gone is left at that."""
        self._hub.ask(repo_id, lambda api: api.delete_repo(repo_id, missing_ok=True))

    def history(self, repo_id: str, limit: int) -> tuple[str, ...]:
        """Commits of main, the newest first, at most `limit`."""
        found = self._hub.ask(
            f"the history of {repo_id}",
            lambda api: list(islice(api.list_repo_commits(repo_id), limit)),
        )
        return tuple(commit.commit_id for commit in found)

    def tags(self, repo_id: str) -> dict[str, str]:
        """The commit of each tag."""
        found = self._hub.ask(f"the tags of {repo_id}", lambda api: api.list_repo_refs(repo_id))
        return {ref.name: ref.target_commit for ref in found.tags}

    def refs(self, repo_id: str) -> tuple[HubRef, ...]:
        """Branches, tags, and pull requests that may still be merged."""
        found = self._hub.ask(
            f"the branches of {repo_id}",
            lambda api: api.list_repo_refs(repo_id, include_pull_requests=True),
        )
        pulls = {ref.ref for ref in found.pull_requests or ()}
        if pulls:  # merged and closed ones stay among the refs for ever
            pulls &= self._open_pulls(repo_id)
        return (
            *(HubRef(kind="branch", name=ref.name) for ref in (*found.branches, *found.converts)),
            *(HubRef(kind="tag", name=ref.name) for ref in found.tags),
            *(HubRef(kind="pull request", name=name) for name in sorted(pulls)),
        )

    def _open_pulls(self, repo_id: str) -> set[str]:
        found = self._hub.ask(
            f"the pull requests of {repo_id}",
            lambda api: list(api.get_repo_discussions(repo_id, discussion_type="pull_request")),
        )
        return {pull.git_reference or "" for pull in found if pull.status in ("open", "draft")}
