"""The local Hub as a server: the application, `serve` for the command line, `RunningHub` inside
a process. Where a publication is rehearsed, where `bot demo` publishes, and what tests talk to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from bot.errors import SettingsError
from bot.localhub import data_files
from bot.localhub.files.repositories import Store
from bot.localhub.pages import pages
from bot.localhub.routes import (
    api,
    collections,
    discussions,
    holdings,
    lending,
    lfs,
    storage,
    transfer,
)
from bot.localhub.routes.bandwidth import Bandwidth
from bot.localhub.routes.revisions import KeptSlashes
from bot.serving.refusal import Refusal
from bot.serving.serving import (
    STOP_SECONDS,
    Server,
    hosts,
    is_loopback,
    listen,
    signals_return,
    url_of,
)

PART_BYTES = 256 << 20  # LFS contents above this are sent in parts


def hub_application(
    store: Store,
    *,
    hosts: tuple[str, ...] = ("*",),
    parts: int = PART_BYTES,
    bandwidth: float | None = None,
    lent_seconds: int = lending.LIFETIME,
) -> Starlette:
    """The Hub's routes over one store. `hosts` are the names that it may be asked by.

    `bandwidth` are bytes a second that all uploads share, `lent_seconds` how long the token of a
    trusted publisher holds.
    """
    app = Starlette(
        routes=[
            *data_files.ROUTES,
            *api.ROUTES,
            *holdings.ROUTES,
            *lfs.ROUTES,
            *transfer.ROUTES,
            *storage.ROUTES,
            *collections.ROUTES,
            *discussions.ROUTES,
            *lending.ROUTES,
            *pages.ROUTES,
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)),
            Middleware(KeptSlashes),
        ],
        exception_handlers={Refusal: _refused, ClientDisconnect: _disconnected},
    )
    app.state.store = store
    app.state.part_bytes = parts
    app.state.bandwidth = Bandwidth(bandwidth)
    app.state.lent_seconds = lent_seconds
    return app


def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    if "text/html" in request.headers.get("accept", ""):
        return pages.refused_page(error)
    body = {"error": error.message}
    return JSONResponse(body, status_code=error.status, headers=error.headers)


def _disconnected(request: Request, error: Exception) -> Response:
    """Nobody reads this: the client went away in the middle of its request."""
    del request, error
    return Response(status_code=400)


def _server(
    store: Store,
    host: str,
    listening: Callable[[], None],
    parts: int = PART_BYTES,
    bandwidth: float | None = None,
    lent_seconds: int = lending.LIFETIME,
) -> Server:
    app = hub_application(
        store,
        hosts=tuple(hosts(host)),
        parts=parts,
        bandwidth=bandwidth,
        lent_seconds=lent_seconds,
    )
    return Server(app, listening)


def serve_hub(
    folder: Path,
    port: int,
    host: str = "127.0.0.1",
    ready: Callable[[str], None] | None = None,
    *,
    bandwidth: float | None = None,
    deduplicates: bool = False,
) -> None:
    """Serve `folder` until SIGINT or SIGTERM; `ready` gets the URL once it can be asked.

    Port 0 picks a free one. Raises SettingsError for an address that cannot be had, and for one
    that others can reach while nobody has a token.
    """
    store = Store(folder, deduplicates=deduplicates)
    if not is_loopback(host) and not store.has_tokens():
        raise SettingsError(
            f"{host} can be reached from other machines and this Hub has no token yet; "
            "run `bot hub add-user` first"
        )
    with closing(listen(host, port)) as bound, signals_return():
        url = url_of(bound)
        server = _server(store, host, lambda: ready(url) if ready else None, bandwidth=bandwidth)
        server.run(sockets=[bound])


class RunningHub:
    """A Hub on this machine for the length of a `with` block, in a thread of this process.

    `url` and `store` hold inside the block; the folder can be opened again afterwards.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        part_bytes: int = PART_BYTES,
        bandwidth: float | None = None,
        lent_seconds: int = lending.LIFETIME,
        deduplicates: bool = False,
    ) -> None:
        self.store = Store(folder, deduplicates=deduplicates)
        self.url = ""
        self._port = port
        self._part_bytes, self._bandwidth = part_bytes, bandwidth
        self._lent_seconds = lent_seconds

    def __enter__(self) -> RunningHub:
        self._socket = listen("127.0.0.1", self._port)
        self.url = url_of(self._socket)
        listening = threading.Event()
        self._server = _server(
            self.store,
            "127.0.0.1",
            listening.set,
            self._part_bytes,
            self._bandwidth,
            self._lent_seconds,
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="local-hub", daemon=True
        )
        self._thread.start()
        if not listening.wait(timeout=30):
            self.__exit__(None, None, None)
            raise SettingsError(f"the local Hub did not start on {self.url}; try again")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=STOP_SECONDS + 10)
        self._socket.close()
