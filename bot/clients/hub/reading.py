"""What a Hub holds: listings, repositories, headers of weights, and whole files, resumably."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import quote, urlsplit

from huggingface_hub import (
    get_session,
    hf_hub_url,
    hf_raise_for_status,
)
from huggingface_hub.constants import MAX_HTTP_DOWNLOAD_SIZE
from huggingface_hub.errors import (
    HfHubHTTPError,
)
from huggingface_hub.file_download import HfFileMetadata, get_hf_file_metadata, http_get
from huggingface_hub.utils.tqdm import (
    tqdm,
)

from bot.clients.bounds import FILE, within
from bot.clients.files import ggufheader, shards
from bot.clients.files.safetensors import read_safetensors
from bot.clients.hub import replies, xet_storage
from bot.clients.hub.beyond import XetFileData
from bot.clients.hub.connection import LISTING, Connection, NoSuchFile, date_of
from bot.clients.hub.replies import Listed, ReplyPage
from bot.disk.paths import require_safe
from bot.errors import (
    AccessError,
    CapacityError,
    SourceError,
    UnreachableError,
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


class Reader(Connection):
    """All that can be asked of a Hub without changing it."""

    @functools.cached_property
    def _storage(self) -> xet_storage.Storage:
        return xet_storage.Storage(self.endpoint)

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

    def release(self, repo_id: str, revision: str = "main") -> Release:
        """A repository at the commit that `revision` names now, with sizes and hashes of files.

        One request. Raises SourceError, AccessError, UnreachableError.
        """
        url = f"{self._models(repo_id)}/revision/{quote(revision, safe='')}"
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

    def download(
        self,
        repo_id: str,
        commit: str,
        path: str,
        folder: Path,
        advance: Callable[[int], None] = lambda _bytes: None,
        *,
        kind: Literal["model", "dataset"] = "model",
    ) -> Path:
        """Fetch one file of a repository at a commit into `folder`; returns its path.

        What an earlier call left in PATH.partial is gone on from, so the caller compares sha256
        at the end. `advance` is told of bytes as they arrive, negative when some were in vain;
        what it raises ends the download.
        Raises SourceError, AccessError, UnreachableError, CapacityError.
        """
        require_safe(path, repo_id)
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            raise SourceError(f"{target.parent} leads out of {folder}; remove that link")
        partial = target.with_name(f"{target.name}.partial")
        what = f"{path} of {repo_id}"
        url = self._file(repo_id, commit, path, kind)
        with within(FILE):
            self._repeat(what, lambda: self._transfer(self._stored(url), partial, what, advance))
        partial.replace(target)
        return target

    def require_file(
        self, repo_id: str, commit: str, path: str, kind: Literal["model", "dataset"] = "model"
    ) -> None:
        """Raise SourceError where a repository has no such file. One request, nothing fetched."""
        require_safe(path, repo_id)
        url = self._file(repo_id, commit, path, kind)
        self._repeat(f"{path} of {repo_id}", lambda: self._stored(url))

    def _stored(self, url: str) -> HfFileMetadata:
        """Where and how a file is stored: size, address, Xet hash. Redirects of the Hub only."""
        return get_hf_file_metadata(
            url, token=self._secret or False, headers=self._headers(), endpoint=self.endpoint
        )

    def _transfer(
        self, stored: HfFileMetadata, partial: Path, what: str, advance: Callable[[int], None]
    ) -> None:
        """Append to `partial` what it still lacks, over Xet where the file is stored so."""
        size = stored.size
        if size is None:
            raise replies.not_a_hub(self.name)
        with partial.open("ab") as file:
            offset = file.tell()
            if offset > size:  # of something else
                offset = file.seek(0)
                file.truncate()
            xet, large = stored.xet_file_data, size - offset > MAX_HTTP_DOWNLOAD_SIZE
            if offset == size:
                pass
            elif xet is not None and self._opened(xet, needed=large):
                with _whole(what):
                    self._storage.stream(xet, self._headers(), size, file, advance)
            elif large:
                raise CapacityError(
                    f"{what} is too large for plain HTTP; install hf_xet, unset HF_HUB_DISABLE_XET"
                )
            else:
                self._get(stored, size, file, what, advance)
            file.flush()
            os.fsync(file.fileno())

    def _get(
        self,
        stored: HfFileMetadata,
        size: int,
        file: BinaryIO,
        what: str,
        advance: Callable[[int], None],
    ) -> None:
        """The rest of a file over HTTP; the library goes on by itself after short trouble."""
        ours = urlsplit(stored.location)[:2] == urlsplit(self.endpoint)[:2]
        # the token is for nobody else
        headers = {"Accept-Encoding": "identity"} | (self._headers() if ours else {})
        try:
            with _whole(what):
                http_get(
                    stored.location,
                    file,
                    resume_size=file.tell(),
                    headers=headers,
                    expected_size=size,
                    tqdm_class=_progress_bar(_at_most(size - file.tell(), what, advance)),
                )
        except HfHubHTTPError as error:
            if ours:
                raise
            # the address of a stored file holds for an hour only
            raise UnreachableError(f"{what} stopped; run the same command again") from error

    def _opened(self, xet: XetFileData, *, needed: bool) -> bool:
        try:
            return self._storage.is_open(xet, self._headers(), needed=needed)
        except ValueError as error:
            raise replies.not_a_hub(self.name) from error

    def _content(self, repo_id: str, commit: str, path: str, limit: int) -> bytes:
        url = hf_hub_url(repo_id, path, revision=commit, endpoint=self.endpoint)

        def fetch() -> bytes:
            content = bytearray()
            headers, limit_s = self._headers(), self._timeout
            with (
                within(FILE),
                get_session().stream("GET", url, headers=headers, timeout=limit_s) as reply,
            ):
                hf_raise_for_status(reply)
                for chunk in reply.iter_bytes():
                    content.extend(chunk)
                    if len(content) > limit:
                        raise SourceError(
                            f"{path} of {repo_id} is larger than the {limit:,} bytes that apex-bot "
                            "reads of it; choose another model"
                        )
            return bytes(content)

        return self._repeat(f"{path} of {repo_id}", fetch)

    def _range(self, repo_id: str, commit: str, path: str, start: int, stop: int) -> bytes:
        """Bytes of a file from `start` to `stop`, whether or not the server knows of ranges."""
        url = self._file(repo_id, commit, path)
        range_headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}

        def fetch() -> bytes:
            content = bytearray()
            headers = {**self._headers(), **range_headers}
            with (
                within(FILE),
                get_session().stream("GET", url, headers=headers, timeout=30.0) as reply,
            ):
                hf_raise_for_status(reply)
                skipped = 0 if reply.status_code == 206 else start
                for chunk in reply.iter_bytes():
                    content += chunk[skipped:]
                    skipped = max(skipped - len(chunk), 0)
                    if len(content) >= stop - start:
                        break
            del content[stop - start :]
            if len(content) < stop - start:
                raise ConnectionError("the reply was cut short")
            return bytes(content)

        return self._repeat(f"{path} of {repo_id}", fetch)


@contextlib.contextmanager
def _whole(what: str) -> Iterator[None]:
    """What the libraries say of a reply cut short: an OSError that is not of this machine."""
    try:
        yield
    except OSError as error:
        if isinstance(error, HfHubHTTPError) or error.errno is not None:
            raise
        raise UnreachableError(f"{what} came cut short; run the same command again") from error


def _at_most(room: int, what: str, advance: Callable[[int], None]) -> Callable[[int], None]:
    """`advance` as long as no more comes than a file still lacks: nothing else reaches the disk."""
    came = 0

    def more(count: int) -> None:
        nonlocal came
        came += count
        if came > room:
            raise UnreachableError(f"{what} came longer than it is; run the same command again")
        advance(count)

    return more


def _progress_bar(advance: Callable[[int], None]) -> type[tqdm]:
    """A progress bar in the library's sense that shows nothing and tells `advance`."""

    class ProgressBar(tqdm):
        def __init__(self, *_args: Any, **_kwargs: Any) -> None:
            super().__init__(disable=True)  # type: ignore[no-untyped-call]  # the library's

        def update(self, n: float | None = 1) -> bool | None:
            advance(int(n or 0))
            return None

    return ProgressBar
