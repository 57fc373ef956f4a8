"""Storage of files that updates replaced: what of it may go, and giving it back.

The Hub keeps every content that any commit ever named. What goes is what a provenance.json of an
earlier commit calls the bot's and nothing of worth leads to: not the head, not a branch, not an
open pull request, not a tag of people, not the builds that shall stay for a rollback. The bot's
own tags (`build-…`) name what every build was; they keep nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from bot.clients.hub.changes import Writer
from bot.clients.hub.hub import Hub
from bot.errors import PublishError, SourceError
from bot.records.releases import Release
from bot.workplace import provenance

HISTORY = 100  # newest commits that are looked through; what older ones alone hold stays
TAG = "build-"  # how names of the bot's tags begin


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A content that nothing needs any more, by the last name it had."""

    path: str
    sha256: str
    bytes: int


def replaced(
    hub: Hub, repo_id: str, keep: int = 0, *, next_build: Collection[str] | None = None
) -> tuple[Replaced, ...]:
    """Contents of the bot's that may go when `keep` builds before the present one stay.

    With `next_build`, those after an update that keeps just these contents (sha256) of the present
    build. Raises SourceError for a repository that is not there.
    """
    writer, head = Writer(hub), hub.release(repo_id)
    if _files_of_the_bot(hub, repo_id, head.commit) is None:  # not the bot's repository now
        return ()
    stored = writer.stored(repo_id)
    builds = list(_builds(hub, repo_id, writer.history(repo_id, HISTORY)))
    names = {sha: path for build in reversed(builds) for path, sha in build.items()}
    present = _large(head)
    if next_build is not None:
        present = (present - set(builds[0].values())) | set(next_build)
    needed = present.union(
        *(_large(hub.release(repo_id, name)) for name in _kept_revisions(writer, repo_id))
    )
    first = 1 if next_build is None else 0
    for build in builds[first : first + keep]:
        needed |= set(build.values())
    return tuple(
        Replaced(path=path, sha256=sha, bytes=stored[sha])
        for sha, path in sorted(names.items(), key=lambda item: (item[1], item[0]))
        if sha in stored and sha not in needed
    )


def reclaim(hub: Hub, repo_id: str, keep: int = 0) -> tuple[Replaced, ...]:
    """Give back the storage of what `replaced` finds; it is gone for good."""
    replaced_files = replaced(hub, repo_id, keep)
    if replaced_files:
        Writer(hub).discard(repo_id, [file.sha256 for file in replaced_files])
    return replaced_files


def require_stored(hub: Hub, then: Release, paths: Mapping[str, str]) -> None:
    """Raise PublishError unless the Hub still stores these contents (sha256 by path) of `then`."""
    if not paths:
        return
    stored = Writer(hub).stored(then.repo_id)
    lost_paths = sorted(path for path, sha in paths.items() if sha not in stored)
    if lost_paths:
        more = f" and {len(lost_paths) - 1} more" if len(lost_paths) > 1 else ""
        raise PublishError(
            f"{then.repo_id} cannot go back to {then.commit[:12]}: the storage of "
            f"{lost_paths[0]}{more} was given back (--prune); build that release again, or take a "
            "later revision"
        )


def _kept_revisions(writer: Writer, repo_id: str) -> Iterator[str]:
    """Revisions that lose no file."""
    for ref in writer.refs(repo_id):
        own = ref.kind == "tag" and ref.name.startswith(TAG)
        if not own and (ref.kind, ref.name) != ("branch", "main"):
            yield ref.name


def _builds(hub: Hub, repo_id: str, commits: tuple[str, ...]) -> Iterator[Mapping[str, str]]:
    """The bot's builds in these commits, sha256 by path; each once, the newest first."""
    builds = list[Mapping[str, str]]()
    for commit in commits:
        files = _files_of_the_bot(hub, repo_id, commit)
        if files is not None and files not in builds:
            builds.append(files)
            yield files


def _files_of_the_bot(hub: Hub, repo_id: str, commit: str) -> Mapping[str, str] | None:
    """The bot's files at a commit, as its provenance says."""
    try:
        document = hub.read_json(repo_id, commit, provenance.NAME, provenance.LIMIT)
    except SourceError:  # somebody else's
        return None
    statement = provenance.parse_statement(document)
    return statement.files if statement else None


def _large(release: Release) -> set[str]:
    return {file.sha256 for file in release.files if file.sha256 is not None}
