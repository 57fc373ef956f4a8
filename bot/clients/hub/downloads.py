"""Contents of a Hub's files: whole, resumably, over Xet or HTTP; small ones; ranges of bytes."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import urlsplit

from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
from huggingface_hub.constants import MAX_HTTP_DOWNLOAD_SIZE
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import HfFileMetadata, get_hf_file_metadata, http_get
from huggingface_hub.utils.tqdm import tqdm

from bot.clients.bounds import FILE, within
from bot.clients.hub import replies, xet_storage
from bot.clients.hub.beyond import XetFileData
from bot.clients.hub.connection import Connection
from bot.disk.paths import require_safe
from bot.errors import CapacityError, SourceError, UnreachableError

_SHA1 = re.compile(r"[0-9a-f]{40}")


class Downloader(Connection):
    """What files hold, at a commit."""

    @functools.cached_property
    def _storage(self) -> xet_storage.Storage:
        return xet_storage.Storage(self.endpoint)

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

    def commit_of_file(
        self, repo_id: str, revision: str, path: str, kind: Literal["model", "dataset"] = "model"
    ) -> str:
        """The commit at which a revision's file is served. One request, nothing fetched.

        Raises SourceError where there is no such file, or the Hub names no commit.
        """
        require_safe(path, repo_id)
        url = self._file(repo_id, revision, path, kind)
        stored = self._repeat(f"{path} of {repo_id}", lambda: self._stored(url))
        if stored.commit_hash is None or not _SHA1.fullmatch(stored.commit_hash):
            raise replies.not_a_hub(self.name)
        return stored.commit_hash

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

    def bounded(count: int) -> None:
        nonlocal came
        came += count
        if came > room:
            raise UnreachableError(f"{what} came longer than it is; run the same command again")
        advance(count)

    return bounded


def _progress_bar(advance: Callable[[int], None]) -> type[tqdm]:
    """A progress bar in the library's sense that shows nothing and tells `advance`."""

    class ProgressBar(tqdm):
        def __init__(self, *_args: Any, **_kwargs: Any) -> None:
            super().__init__(disable=True)  # type: ignore[no-untyped-call]  # the library's

        def update(self, n: float | None = 1) -> bool | None:
            advance(int(n or 0))
            return None

    return ProgressBar
