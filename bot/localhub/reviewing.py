"""Merging or closing a pull request of the local Hub from this machine, without HTTP."""

from __future__ import annotations

from bot.errors import SourceError
from bot.localhub.files import pulls
from bot.localhub.files.commits import merge_pull
from bot.localhub.files.repositories import Store
from bot.serving.refusal import Refusal


def review_pull(store: Store, repo_id: str, number: int, *, agreed: bool) -> str:
    """Merge or close a pull request as the repository's owner; a line that says what became of it.

    Raises SourceError where there is no such request, or it was answered before.
    """
    repo = store.find(repo_id)
    if repo is None:
        raise SourceError(f"this Hub has no {repo_id}; check the name")
    try:
        if agreed:
            merged = merge_pull(store, repo, number, repo.owner)
            return f"{repo_id} #{number} is merged: commit {merged.sha[:12]}"
        with store.database.writing() as db:
            pull = pulls.open_pull(db, repo, number)
            pulls.settle(db, repo, pull, "closed", repo.owner)
    except Refusal as refusal:
        raise SourceError(f"{refusal.message}; see the page of {repo_id}") from refusal
    return f"{repo_id} #{number} is closed"
