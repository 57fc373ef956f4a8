"""Xet's storage beside a Hub (its content-addressed store): whether it can be used from here.

A Hub may have none, and a network may let through the Hub's own host alone. hf_xet then fails, or
tries for minutes; contents go the older way instead, by Git LFS and plain HTTP through the Hub.
Protocol: hub-docs, docs/xet/auth.md: a token's reply names the storage's address. Tokens and
contents go to the Hub's own hosts and to Xet's alone, whatever a reply says: see `require_known`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import httpx2
from hf_xet import XetFileInfo
from huggingface_hub import CommitOperationAdd, get_session, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError

from bot.clients.hub.beyond import (
    COMMIT_LOGGER,
    XetConnectionInfo,
    XetFileData,
    get_xet_session,
    is_sent,
    is_xet_available,
    parse_xet_connection_info_from_headers,
    refresh_xet_connection_info,
    use_xet_session,
    xet_headers_without_auth,
)
from bot.clients.wire import is_this_machine
from bot.errors import AccessError

log = logging.getLogger(__name__)
PATIENCE = 10.0  # seconds until a storage counts as out of reach
NOT_THERE = 404
WINDOW = 128 << 20  # bytes that one stream may read ahead
ADDRESS = "X-Xet-Cas-Url"
STORAGES = (".xethub.hf.co",)  # where huggingface.co keeps contents: cas-server.xethub.hf.co
# what hf_xet raises where its storage does not do as it should
FAILURES = (ConnectionError, RuntimeError, TimeoutError)


def is_known(address: str, hub: str) -> bool:
    """Whether a storage may get what is meant for the Hub at `hub`: through TLS the Hub's own host,
    one below it, or Xet's. A Hub of this machine may name others here, and a folder.
    """
    try:
        storage_url, hub_url = urlsplit(address), urlsplit(hub)
        host, hub_host = storage_url.hostname or "", hub_url.hostname or ""
    except ValueError:
        return False
    if is_this_machine(hub_host) and (storage_url.scheme == "local" or is_this_machine(host)):
        return True
    if storage_url.scheme != "https" or not hub_host or "@" in storage_url.netloc:
        return False
    return host == hub_host or host.endswith((f".{hub_host}", *STORAGES))


def require_known(address: str, hub: str) -> None:
    """Raise AccessError for a storage that is neither the Hub's nor Xet's."""
    if not is_known(address, hub):
        raise AccessError(
            f"{hub} names {address} as its storage, which is neither its own nor Xet's: nothing "
            "is sent there; ask who runs the Hub"
        )


class Storage:
    """The Xet storage of one Hub: whether it answers, asked once for each address."""

    def __init__(self, hub: str) -> None:
        self.hub = hub
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
        """Stop using Xet for the life of this object."""
        log.info("going on without Xet: %s", reason)
        self.is_given_up = True

    def is_open(self, xet: XetFileData, headers: dict[str, str], *, needed: bool) -> bool:
        """Whether a file is read from there; where it is `needed`, trying is better than nothing.

        Raises what the library raises, ValueError for a token that names no storage.
        """
        if not is_xet_available() or (self.is_given_up and not needed):
            return False
        try:
            connection = _read_connection(self.hub, xet, headers)
        except HfHubHTTPError as error:
            if needed or error.response.status_code != NOT_THERE:
                raise
            self.give_up(error)
            return False
        except AccessError as error:
            if needed:
                raise
            self.give_up(error)
            return False
        return needed or self.is_reached(connection.endpoint)

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
            for chunk in _chunks(self.hub, xet, headers, size, file.tell):
                file.write(chunk)
                advance(len(chunk))
        except (OSError, RuntimeError) as error:
            if file.tell() == began and getattr(error, "errno", None) is None:
                self.give_up(error)
            raise


def _read_connection(hub: str, xet: XetFileData, headers: dict[str, str]) -> XetConnectionInfo:
    """A token to read and the storage's address, from the Hub, cached by the library.

    Raises AccessError where either is of somebody else.
    """
    route, hub_url = urlsplit(xet.refresh_route), urlsplit(hub)
    if (route.scheme, route.hostname, route.port) != (
        hub_url.scheme,
        hub_url.hostname,
        hub_url.port,
    ):
        require_known(xet.refresh_route, "")
    connection = refresh_xet_connection_info(file_data=xet, headers=headers)
    require_known(connection.endpoint, hub)
    return connection


def _chunks(
    hub: str, xet: XetFileData, headers: dict[str, str], size: int, where: Callable[[], int]
) -> Iterator[bytes]:
    """Bytes from `where` to the end, as they come."""
    connection = _read_connection(hub, xet, headers)
    session = get_xet_session()  # type: ignore[no-untyped-call]  # the library's
    group = session.new_download_stream_group(
        endpoint=connection.endpoint,
        token=connection.access_token,
        token_expiry_unix_secs=connection.expiration_unix_epoch,
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
    """Whether an address answers at all, with any status; no token is sent."""
    try:
        with httpx2.stream("GET", address, timeout=PATIENCE):
            return True
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        log.info("going on without Xet: %s does not answer (%s)", address, type(error).__name__)
        return False


@contextlib.contextmanager
def by_lfs(additions: Sequence[CommitOperationAdd]) -> Iterator[None]:
    """Have the library send these without Xet: what comes from an open file goes by Git LFS."""
    opened = [
        (addition, addition.path_or_fileobj) for addition in additions if not is_sent(addition)
    ]
    with contextlib.ExitStack() as stack:
        try:
            for addition, path in opened:
                if isinstance(path, str):
                    addition.path_or_fileobj = stack.enter_context(open(path, "rb"))  # noqa: PTH123
            yield
        finally:
            for addition, path in opened:
                addition.path_or_fileobj = path


def _is_news(record: logging.LogRecord) -> bool:
    """The library warns of what is done on purpose here."""
    return "binary IO buffer" not in str(record.msg)


logging.getLogger(COMMIT_LOGGER).addFilter(_is_news)


class _Uploads:
    """The library's session, whose uploads go where this module has looked first.

    hf_xet would ask for the token itself and follow whatever address that reply names, be it a
    folder of this machine.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def new_upload_commit(
        self, *, token_refresh_url: str, token_refresh_headers: Mapping[str, str], **more: Any
    ) -> Any:
        """As hf_xet's own, with a token and an address. Raises AccessError for a strange one."""
        reply = get_session().get(token_refresh_url, headers=dict(token_refresh_headers))
        hf_raise_for_status(reply)
        connection = parse_xet_connection_info_from_headers(reply.headers)
        if connection is None:
            raise ConnectionError("the token of Xet names no storage")
        require_known(connection.endpoint, token_refresh_url)
        return self._session.new_upload_commit(
            endpoint=connection.endpoint,
            token=connection.access_token,
            token_expiry_unix_secs=connection.expiration_unix_epoch,
            token_refresh_url=token_refresh_url,
            token_refresh_headers=token_refresh_headers,
            **more,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


use_xet_session(lambda: _Uploads(get_xet_session()))  # type: ignore[no-untyped-call]
