"""Xet's storage beside a Hub (its content-addressed store): whether it can be used from here.

A Hub may have none, and a network may let through the Hub's own host alone. hf_xet then fails, or
tries for minutes; contents go the older way instead, by Git LFS and plain HTTP through the Hub.
Protocol: hub-docs, docs/xet/auth.md: a token's reply names the storage's address.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import httpx2
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._runtime import is_xet_available
from huggingface_hub.utils._xet import (
    XetFileData,
    get_xet_session,
    refresh_xet_connection_info,
    xet_headers_without_auth,
)

log = logging.getLogger(__name__)
PATIENCE = 10.0  # seconds until a storage counts as out of reach
NOT_THERE = 404
WINDOW = 128 << 20  # bytes that one stream may read ahead
ADDRESS = "X-Xet-Cas-Url"
# what hf_xet raises where its storage does not do as it should
FAILURES = (ConnectionError, RuntimeError, TimeoutError)


class Storage:
    """What was found of one Hub's storage, each once for the life of this object."""

    def __init__(self) -> None:
        self.is_given_up = False
        self._reached: dict[str, bool] = {}

    def is_reached(self, address: str) -> bool:
        """Whether somebody answers at an address; a folder of this machine needs nobody."""
        if not address.startswith(("http://", "https://")):
            return True
        if address not in self._reached:
            self._reached[address] = _answers(address)
        return self._reached[address]

    def give_up(self, reason: object) -> None:
        """Use it no more."""
        log.info("going on without Xet: %s", reason)
        self.is_given_up = True

    def is_open(self, xet: XetFileData, headers: dict[str, str], *, needed: bool) -> bool:
        """Whether a file is read from there; where it is `needed`, trying is better than nothing.

        Raises what the library raises, ValueError for a token that names no storage.
        """
        if not is_xet_available() or (self.is_given_up and not needed):
            return False
        try:
            given = refresh_xet_connection_info(file_data=xet, headers=headers)
        except HfHubHTTPError as error:
            if needed or error.response.status_code != NOT_THERE:
                raise
            self.give_up(error)
            return False
        return needed or self.is_reached(given.endpoint)

    def stream(
        self,
        xet: XetFileData,
        headers: dict[str, str],
        size: int,
        file: BinaryIO,
        advance: Callable[[int], None],
    ) -> None:
        """The rest of a file of `size` bytes, in order; hf_xet's own download begins anew.

        In windows: a stream reads ahead by gigabytes. Raises what hf_xet raises; a storage that
        gives nothing at all is given up.
        """
        began = file.tell()
        try:
            for chunk in _chunks(xet, headers, size, file.tell):
                file.write(chunk)
                advance(len(chunk))
        except (OSError, RuntimeError) as error:
            if file.tell() == began and getattr(error, "errno", None) is None:
                self.give_up(error)
            raise


def _chunks(
    xet: XetFileData, headers: dict[str, str], size: int, where: Callable[[], int]
) -> Iterator[bytes]:
    """Bytes from `where` to the end, as they come."""
    from hf_xet import XetFileInfo

    given = refresh_xet_connection_info(file_data=xet, headers=headers)  # kept by the library
    session = get_xet_session()  # type: ignore[no-untyped-call]  # the library's
    group = session.new_download_stream_group(
        endpoint=given.endpoint,
        token=given.access_token,
        token_expiry_unix_secs=given.expiration_unix_epoch,
        token_refresh_url=xet.refresh_route,
        token_refresh_headers=headers,
        custom_headers=xet_headers_without_auth(headers),
    )
    info = XetFileInfo(xet.file_hash, size)
    while (start := where()) < size:
        yield from group.download_stream(info, start, min(start + WINDOW, size))
        if where() == start:
            raise ConnectionError("Xet gave no more")


def _answers(address: str) -> bool:
    """No token goes there: whatever it says is an answer."""
    try:
        with httpx2.stream("GET", address, timeout=PATIENCE):
            return True
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        log.info("going on without Xet: %s does not answer (%s)", address, type(error).__name__)
        return False


@contextlib.contextmanager
def by_lfs(additions: Sequence[CommitOperationAdd]) -> Iterator[None]:
    """Have the library send these without Xet: what comes from an open file goes by Git LFS."""
    opened = [(one, one.path_or_fileobj) for one in additions if not one._is_uploaded]
    with contextlib.ExitStack() as stack:
        try:
            for one, path in opened:
                if isinstance(path, str):
                    one.path_or_fileobj = stack.enter_context(open(path, "rb"))  # noqa: PTH123
            yield
        finally:
            for one, path in opened:
                one.path_or_fileobj = path


def _is_news(record: logging.LogRecord) -> bool:
    """The library warns of what is done on purpose here."""
    return "binary IO buffer" not in str(record.msg)


logging.getLogger("huggingface_hub._commit_api").addFilter(_is_news)
