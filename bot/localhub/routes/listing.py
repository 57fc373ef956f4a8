"""Repositories, trees and commits as the Hub's JSON, in pages.

Names are those that huggingface_hub's ModelInfo, RepoFile, RepoFolder and GitCommitInfo read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bot.localhub.files import xet_contents
from bot.localhub.files.accounts import Viewer
from bot.localhub.files.commit_body import pointer
from bot.localhub.files.repositories import Store
from bot.localhub.files.repository import Commit, Entry, Repo
from bot.serving.refusal import Refusal, entry_not_found

PAGE = 500  # repositories a page; the Hub's own cap
TREE_PAGE, EXPANDED_TREE_PAGE = 1000, 50
HISTORY = 1000  # commits looked through for a file's last change
SORTS = ("createdAt", "lastModified", "downloads", "likes", "trendingScore")
NOT_HERE = ("num_parameters", "apps", "inference", "inference_provider")
LISTED = ("modelId", "author", "private", "gated", "tags", "createdAt", "downloads", "likes",
          "library_name", "pipeline_tag", "trendingScore")  # fmt: skip
FULL = ("sha", "lastModified", "siblings", "disabled")
INFO = (*LISTED, *FULL, "cardData", "config", "usedStorage", "model-index", "spaces", "gguf")


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some rows, and the cursor of the next page when there is one."""

    rows: list[dict[str, Any]]
    cursor: str | None


@dataclass(frozen=True, kw_only=True)
class Query:
    """What a listing of models was asked for."""

    sort: str = "trendingScore"
    filters: tuple[str, ...] = ()
    author: str | None = None
    search: str | None = None
    pipeline_tag: str | None = None
    gated: bool | None = None
    limit: int = PAGE
    cursor: str | None = None
    names: tuple[str, ...] = LISTED


# ── one repository ──────────────────────────────────────────────────────────────────────────


def model_json(
    store: Store, repo: Repo, commit: Commit, names: Iterable[str], *, blobs: bool = False
) -> dict[str, Any]:
    """A repository at a commit with the named properties. Raises Refusal 400 for unknown names."""
    facts = commit.facts
    values: dict[str, Callable[[], Any]] = {
        "modelId": lambda: repo.id,
        "author": lambda: repo.owner,
        "sha": lambda: commit.sha,
        "private": lambda: repo.private,
        "gated": lambda: repo.gated or False,
        "disabled": lambda: False,
        "createdAt": lambda: repo.created_at,
        "lastModified": lambda: commit.time,
        "siblings": lambda: [_sibling(entry, blobs) for entry in store.tree(commit).values()],
        "usedStorage": lambda: sum(entry.size for entry in store.tree(commit).values()),
        "baseModels": lambda: _base_models(facts),
        "model-index": lambda: (facts["cardData"] or {}).get("model-index"),
        "spaces": list,
        "xetEnabled": xet_contents.xet_available,
        "evalResults": list,
        **{name: lambda: 0 for name in ("downloads", "downloadsAllTime", "likes", "trendingScore")},
        "gguf": lambda: None,  # of commits of before it was looked at
        **{name: partial(facts.get, name) for name in facts},
        **{name: lambda: None for name in ("safetensors", "inference", "mask_token",
           "childrenModelCount", "inferenceProviderMapping", "resourceGroup", "transformersInfo",
           "widgetData")},
    }  # fmt: skip
    unknown = [name for name in names if name not in values]
    if unknown:
        raise Refusal(400, f"expand knows no {unknown[0][:40]!r}")
    return {"_id": f"{repo.row:024x}", "id": repo.id, **{name: values[name]() for name in names}}


def _sibling(entry: Entry, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": entry.path}
    return {"rfilename": entry.path, "size": entry.size, "blobId": entry.blob_id} | _lfs(
        entry, "sha256"
    )


def _lfs(entry: Entry, hash_name: str) -> dict[str, Any]:
    if not entry.lfs:
        return {}
    length = len(pointer(entry.sha256, entry.size))
    return {"lfs": {hash_name: entry.sha256, "size": entry.size, "pointerSize": length}}


def _base_models(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    related = [tag.split(":", 2) for tag in facts["tags"] if tag.startswith("base_model:")]
    models = [{"id": parts[2]} for parts in related if len(parts) == 3]
    relation = next((parts[1] for parts in related if len(parts) == 3), None)
    return {"relation": relation, "models": models} if models else None


# ── all repositories ────────────────────────────────────────────────────────────────────────


def models_json(store: Store, viewer: Viewer | None, query: Query) -> Page:
    """Repositories that match, the greatest sort key first. Raises Refusal 400."""
    if query.sort not in SORTS:
        raise Refusal(400, f"sort is one of {', '.join(SORTS)}")
    matching = [
        (_sort_key(query.sort, repo, commit), repo, commit)
        for repo, commit in store.repositories(viewer)
        if _matches(query, repo, commit)
    ]
    matching.sort(key=lambda item: item[0], reverse=True)
    if query.cursor is not None:
        after = _decoded(query.cursor)
        matching = [item for item in matching if item[0] < after]
    rows = [
        model_json(store, repo, commit, query.names) for _, repo, commit in matching[: query.limit]
    ]
    more = len(matching) > query.limit
    return Page(rows=rows, cursor=_encoded(matching[query.limit - 1][0]) if more else None)


def _sort_key(sort: str, repo: Repo, commit: Commit) -> tuple[str, int]:
    """Unique, so that a page starts exactly behind the one before, whatever came in between."""
    dates = {"createdAt": repo.created_at, "lastModified": commit.time}
    return dates.get(sort, ""), repo.row


def _matches(query: Query, repo: Repo, commit: Commit) -> bool:
    tags = commit.facts["tags"]
    return (
        all(tag in tags for tag in query.filters)
        and (query.author is None or query.author.lower() == repo.owner.lower())
        and (query.search is None or query.search.lower() in repo.id.lower())
        and (query.pipeline_tag is None or query.pipeline_tag == commit.facts["pipeline_tag"])
        and (query.gated is None or query.gated == (repo.gated is not None))
    )


def _encoded(key: tuple[str, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _decoded(cursor: str) -> tuple[str, int]:
    try:
        value, row = json.loads(base64.urlsafe_b64decode(cursor))
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise Refusal(400, "Invalid cursor") from error
    if not isinstance(value, str) or type(row) is not int:
        raise Refusal(400, "Invalid cursor")
    return value, row


# ── files and commits ───────────────────────────────────────────────────────────────────────


def tree(
    store: Store,
    repo: Repo,
    commit: Commit,
    folder: str,
    *,
    recursive: bool,
    expand: bool,
    start: int,
) -> tuple[list[dict[str, Any]], int | None]:
    """A page of a folder's files and folders by path, and where the next page starts."""
    files = store.tree(commit)
    prefix = f"{folder}/" if folder else ""
    items = items_of(files)
    names = [path for path in items if path.startswith(prefix)]
    if folder and not names:
        raise entry_not_found(folder)
    if not recursive:
        names = [path for path in names if "/" not in path[len(prefix) :]]
    size = EXPANDED_TREE_PAGE if expand else TREE_PAGE
    page = names[start : start + size]
    following = start + size if len(names) > start + size else None
    return [*rows(store, repo, commit, files, items, page, expand=expand)], following


def paths_json(
    store: Store, repo: Repo, commit: Commit, paths: Sequence[str], *, expand: bool
) -> list[dict[str, Any]]:
    """The named files and folders; those that do not exist are left out, as on the Hub.

    Only here a large file has its Xet hash, by which the client has it copied to another
    repository: in a tree it would say that the content can be fetched over Xet.
    """
    files = store.tree(commit)
    items = items_of(files)
    existing = [path for path in dict.fromkeys(paths) if path in items]
    path_rows = [*rows(store, repo, commit, files, items, existing, expand=expand)]
    for row in path_rows:
        entry = files.get(row["path"])
        if entry is not None and entry.lfs:
            row["xetHash"] = store.xet_hash(entry.sha256)
    return path_rows


def items_of(files: Mapping[str, Entry]) -> dict[str, str]:
    """Every file and folder with its git-like id, sorted by path."""
    folders: dict[str, Any] = {}
    for path, entry in files.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = folders.setdefault(
                "/".join(parts[:depth]), hashlib.sha1(usedforsecurity=False)
            )
            folder.update(f"{path}\0{entry.blob_id}\n".encode())
    items = {path: entry.blob_id for path, entry in files.items()}
    items |= {path: folder.hexdigest() for path, folder in folders.items()}
    return dict(sorted(items.items()))


def rows(
    store: Store,
    repo: Repo,
    commit: Commit,
    files: Mapping[str, Entry],
    items: Mapping[str, str],
    paths: Sequence[str],
    *,
    expand: bool,
) -> Iterable[dict[str, Any]]:
    """The Hub's objects for paths of a tree."""
    last = last_commits(store, repo, commit, items, paths) if expand else {}
    for path in paths:
        entry = files.get(path)
        row: dict[str, Any] = {
            "type": "file" if entry else "directory",
            "path": path,
            "oid": items[path],
            "size": entry.size if entry else 0,
        }
        if entry:
            row |= _lfs(entry, "oid")
        if path in last:
            changed = last[path]
            row["lastCommit"] = {"id": changed.sha, "title": changed.title, "date": changed.time}
        yield row


def last_commits(
    store: Store, repo: Repo, head: Commit, items: Mapping[str, str], paths: Iterable[str]
) -> dict[str, Commit]:
    """The commit that last changed each path."""
    last: dict[str, Commit] = {}
    open_paths, newer = set(paths), head
    for commit in store.history(repo, head, HISTORY)[1:]:
        if not open_paths:
            break
        older = items_of(store.tree(commit))
        changed = {path for path in open_paths if older.get(path) != items[path]}
        last |= dict.fromkeys(changed, newer)
        open_paths -= changed
        newer = commit
    return last | dict.fromkeys(open_paths, newer)


def commit_row(commit: Commit) -> dict[str, Any]:
    """A commit as GitCommitInfo reads it."""
    return {
        "id": commit.sha,
        "title": commit.title,
        "message": commit.message,
        "date": commit.time,
        "authors": [{"user": commit.author}],
    }
