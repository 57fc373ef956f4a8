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
        files_then = {file.path: file for file in then.files if file.path != ATTRIBUTES}
        files_now = {file.path: file for file in now.files if file.path != ATTRIBUTES}
        among = set(paths)
        copied = sorted(p for p in among & files_then.keys() if files_then[p] != files_now.get(p))
        removed = sorted(among & files_now.keys() - files_then.keys())
        if not copied and not removed and not files:
            return now.commit
        operations = [
            *(CommitOperationAdd(p, str(file)) for p, file in (files or {}).items()),
            *(CommitOperationCopy(p, p, src_revision=then.commit) for p in copied),
            *(CommitOperationDelete(path_in_repo=path) for path in removed),
        ]

        def landed(release: Release) -> bool:
            by_path = {file.path: file for file in release.files}
            return all(by_path.get(path) == files_then.get(path) for path in (*copied, *removed))

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
        lfs_files = self._hub.ask(
            f"the storage of {repo_id}", lambda api: list(api.list_lfs_files(repo_id))
        )
        return {file.file_oid: file.size for file in lfs_files}

    def discard(self, repo_id: str, contents: Iterable[str]) -> None:
        """Delete large contents for good, by sha256. Commits keep their names and lose the files.

        Done again it does nothing more.
        """
        oids = frozenset(contents)

        def delete(api: HfApi) -> None:
            # asked anew at each attempt: the one before may have been heard
            lfs_files = [file for file in api.list_lfs_files(repo_id) if file.file_oid in oids]
            api.permanently_delete_lfs_files(repo_id, lfs_files, rewrite_history=False)

        self._hub.ask(f"the storage of {repo_id}", delete)

    def delete(self, repo_id: str) -> None:
        """Delete a repository with all it holds, for good; one that is gone is left at that."""
        self._hub.ask(repo_id, lambda api: api.delete_repo(repo_id, missing_ok=True))

    def history(self, repo_id: str, limit: int) -> tuple[str, ...]:
        """Commits of main, the newest first, at most `limit`."""
        commits = self._hub.ask(
            f"the history of {repo_id}",
            lambda api: list(islice(api.list_repo_commits(repo_id), limit)),
        )
        return tuple(commit.commit_id for commit in commits)

    def tags(self, repo_id: str) -> dict[str, str]:
        """The commit of each tag."""
        refs = self._hub.ask(f"the tags of {repo_id}", lambda api: api.list_repo_refs(repo_id))
        return {ref.name: ref.target_commit for ref in refs.tags}

    def refs(self, repo_id: str) -> tuple[HubRef, ...]:
        """Branches, tags, and pull requests that may still be merged."""
        repo_refs = self._hub.ask(
            f"the branches of {repo_id}",
            lambda api: api.list_repo_refs(repo_id, include_pull_requests=True),
        )
        pulls = {ref.ref for ref in repo_refs.pull_requests or ()}
        if pulls:  # merged and closed ones stay among the refs for ever
            pulls &= self._open_pulls(repo_id)
        return (
            *(
                HubRef(kind="branch", name=ref.name)
                for ref in (*repo_refs.branches, *repo_refs.converts)
            ),
            *(HubRef(kind="tag", name=ref.name) for ref in repo_refs.tags),
            *(HubRef(kind="pull request", name=name) for name in sorted(pulls)),
        )

    def _open_pulls(self, repo_id: str) -> set[str]:
        pulls = self._hub.ask(
            f"the pull requests of {repo_id}",
            lambda api: list(api.get_repo_discussions(repo_id, discussion_type="pull_request")),
        )
        return {pull.git_reference or "" for pull in pulls if pull.status in ("open", "draft")}
