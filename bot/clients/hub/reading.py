"""What a Hub holds: listings, repositories, small texts of theirs, headers of weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from huggingface_hub import (
    get_session,
    hf_raise_for_status,
)

from bot.clients.files import ggufheader, shards
from bot.clients.files.safetensors import read_safetensors
from bot.clients.hub import replies
from bot.clients.hub.connection import LISTING, date_of
from bot.clients.hub.downloads import Downloader
from bot.clients.hub.refusals import NoSuchFile
from bot.clients.hub.replies import Listed, ReplyPage
from bot.errors import (
    AccessError,
    SourceError,
)
from bot.foreign import LARGEST_CONFIG, read_of, strict_object
from bot.records.model import HeaderTensor
from bot.records.releases import Release, RepoFile
from bot.tensors.weights import INDEX, CheckpointFiles, checkpoint, needs_index

log = logging.getLogger(__name__)
Sort = Literal["created_at", "last_modified", "trending_score"]
EXPANDED = (
    *("author", "config", "createdAt", "disabled", "gated", "lastModified", "library_name"),
    *("pipeline_tag", "private", "sha", "tags", "likes", "downloads", "trendingScore"),
)
SORT_NAMES = {
    "created_at": "createdAt",
    "last_modified": "lastModified",
    "trending_score": "trendingScore",
}
MOST_IDLE = 5  # pages one after another that name no new model


class Reader(Downloader):
    """All that can be asked of a Hub without changing it."""

    def newest(
        self, limit: int, page: int, sort: Sort = "created_at", author: str | None = None
    ) -> Iterator[Listed]:
        """The first `limit` models of a listing, newest first, one request per `page` models.

        The next page is asked for only when it is needed. A model that moves to the next page
        meanwhile is given once.
        """
        following: str | None = None
        repo_ids: set[str] = set()
        idle = 0
        while len(repo_ids) < limit:
            before = len(repo_ids)
            reply = self.page(min(page, limit), sort, author, following=following)
            for model in reply.rows:
                if model.repo_id not in repo_ids and len(repo_ids) < limit:
                    repo_ids.add(model.repo_id)
                    yield model
            following = reply.following
            idle = idle + 1 if len(repo_ids) == before else 0
            if following is None or idle == MOST_IDLE:
                return

    def page(
        self,
        size: int,
        sort: Sort = "created_at",
        author: str | None = None,
        *,
        following: str | None = None,
        etag: str | None = None,
    ) -> ReplyPage:
        """One page of a listing: the first, or the one whose address the page before gave.

        One request. With the `etag` of an earlier first page, `unchanged` says that the Hub has
        nothing else to show.
        """
        params: dict[str, Any] = {"sort": SORT_NAMES[sort], "limit": size}
        params |= {"expand": list(EXPANDED)} | ({"author": author} if author else {})
        url = following or f"{self.endpoint}/api/models"
        query: Mapping[str, Any] = {} if following else params
        headers = self._headers() | ({"If-None-Match": etag} if etag else {})

        def ask() -> ReplyPage:
            reply = get_session().get(
                url, params=dict(query) or None, headers=headers, timeout=self._timeout
            )
            if reply.status_code == 304:
                return ReplyPage(rows=(), unchanged=True, etag=etag, now=date_of(reply.headers))
            hf_raise_for_status(reply)
            rows, more = self._listing(reply)
            if more is not None and more == following:
                raise replies.not_a_hub(self.name)  # a page that follows itself
            return ReplyPage(
                rows=tuple(self._named(rows)),
                following=more,
                etag=reply.headers.get("ETag"),
                now=date_of(reply.headers),
            )

        return self._repeat(LISTING, ask)

    def _named(self, rows: Sequence[Any]) -> Iterator[Listed]:
        for row in rows:
            try:
                with read_of("a row of the listing"):
                    model = replies.listed_of(row)
            except SourceError as error:
                log.warning("%s: %s", self.name, error)
                continue
            if model is None:
                log.warning("%s listed a model without a usable name", self.name)
            else:
                yield model

    def listed(self, repo_id: str) -> Listed:
        """A repository as a listing shows it. One request, and one more where it was renamed.

        Raises SourceError, AccessError, UnreachableError.
        """
        params = {"expand": list(EXPANDED)}
        reply = self._repeat(repo_id, lambda: self._json(self._models(repo_id), params))
        with read_of(repo_id):
            row = replies.listed_of(reply)
        if row is None:
            raise replies.not_a_hub(self.name)
        return row

    def release(
        self, repo_id: str, revision: str = "main", kind: Literal["model", "dataset"] = "model"
    ) -> Release:
        """A repository at the commit that `revision` names now, with sizes and hashes of files.

        One request. Raises SourceError, AccessError, UnreachableError.
        """
        url = f"{self._models(repo_id, kind)}/revision/{quote(revision, safe='')}"
        reply = self._repeat(f"{repo_id}@{revision}", lambda: self._json(url, {"blobs": "true"}))
        with read_of(repo_id):
            return replies.release(reply, self.name)

    def head(self, repo_id: str) -> str:
        """The commit that main is at."""
        return self.release(repo_id).commit

    def exists(self, repo_id: str) -> bool:
        """Whether the repository exists and the token may see it."""
        return self._repeat(repo_id, lambda: self._api.repo_exists(repo_id))

    def visibility(self, repo_id: str) -> bool:
        """Whether everybody can see the repository."""
        return not self.release(repo_id).private

    def read_json(
        self, repo_id: str, commit: str, path: str, limit: int = LARGEST_CONFIG
    ) -> dict[str, Any] | None:
        """A small JSON object of a repository at a commit; None when there is no such file.

        One request, at most `limit` bytes. Raises SourceError for anything but an object.
        """
        name = f"{path} of {repo_id}"
        try:
            return strict_object(self._content(repo_id, commit, path, limit), name)
        except NoSuchFile:
            return None

    def read_text(self, repo_id: str, commit: str, path: str, limit: int) -> str | None:
        """A small text of a repository at a commit; None when there is no such file.

        One request, at most `limit` bytes; what is no UTF-8 comes as replacement characters.
        """
        try:
            return self._content(repo_id, commit, path, limit).decode("utf-8", "replace")
        except NoSuchFile:
            return None

    def card_data(self, repo_id: str, commit: str) -> dict[str, Any]:
        """What the Hub read in the front matter of a card at a commit; empty without any."""
        url = f"{self._models(repo_id)}/revision/{quote(commit, safe='')}"
        reply = self._repeat(repo_id, lambda: self._json(url, {"expand": ["cardData"]}))
        card = reply.get("cardData") if isinstance(reply, dict) else None
        return card if isinstance(card, dict) else {}

    def index(self, release: Release) -> dict[str, str] | None:
        """Tensor → file by the index of a checkpoint; None where there is none.

        Raises SourceError for a damaged one, AccessError, UnreachableError.
        """
        if not needs_index(release):
            return None
        name = f"{INDEX} of {release.repo_id}"
        content = self._content(release.repo_id, release.commit, INDEX, shards.LONGEST_INDEX)
        return shards.parse_index(content, name)

    def safetensors(
        self,
        release: Release,
        chosen: CheckpointFiles | None = None,
        index: Mapping[str, str] | None = None,
        report: Callable[[int, int], None] | None = None,
    ) -> tuple[HeaderTensor, ...]:
        """Every tensor of a release's checkpoint at its commit, from its files' headers.

        One or two requests a file, some files at a time. `chosen` are the files, by names where
        there is no index, `index` is what `index` gave. `report` is told of files as they are
        read. Raises SourceError, AccessError, UnreachableError.
        """

        def fetch(path: str, start: int, stop: int) -> bytes:
            return self._range(release.repo_id, release.commit, path, start, stop)

        return shards.read_headers(
            fetch, release.repo_id, chosen or checkpoint(release), index, report
        )

    def safetensors_header(self, release: Release, file: RepoFile) -> tuple[HeaderTensor, ...]:
        """The tensors of one safetensors file; one or two requests. Raises as `safetensors`."""

        def fetch(path: str, start: int, stop: int) -> bytes:
            return self._range(release.repo_id, release.commit, path, start, stop)

        return read_safetensors(fetch, file.path, file.size)

    def gguf_header(self, release: Release, file: RepoFile, target: Path) -> None:
        """A file as long as `file` on paper, that holds its header alone: for `gguf.read`.

        Asks for ranges of growing length until the header is whole; takes as much of the disk.
        Raises SourceError for a file that is not GGUF, AccessError, UnreachableError.
        """
        ggufheader.write_stand_in(
            lambda start, stop: self._range(
                release.repo_id, release.commit, file.path, start, stop
            ),
            file.size,
            target,
        )

    def may_read(self, repo_id: str, commit: str) -> bool:
        """Whether the token has passed the gate of a gated repository; one request.

        A HEAD of config.json. A repository without that file lets us see that it has none.
        """
        url = self._file(repo_id, commit, "config.json")
        try:
            self._repeat(f"config.json of {repo_id}", lambda: self._stored(url))
        except NoSuchFile:
            return True
        except AccessError:
            return False
        return True
