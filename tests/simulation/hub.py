"""A simulated Hub over real HTTP: listings, repositories, configs, limits and trouble.

It also stands for the outside system that builds: POST /dispatch starts a run, GET finds it.
"""

from __future__ import annotations

import json
import random
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from tests.simulation.population import HOUR, Model, Population

WINDOW = 300.0
LIMITS = {"api": 1_000, "resolvers": 5_000}  # of a free account
CONFIG = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_hidden_layers": 4,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
OVERLAP = 3  # rows of a page that the next one repeats
HANG = 0.6  # seconds, longer than the watcher waits for a reply


class SimulatedHub(ThreadingHTTPServer):
    """The server. `trouble` is the share of requests that fail; `between` is called in each."""

    daemon_threads = True

    def __init__(
        self,
        population: Population,
        now: Callable[[], float],
        *,
        trouble: float = 0.0,
        failing_runs: float = 0.0,
        seed: int = 1,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.population, self.now = population, now
        self.trouble, self.failing_runs = trouble, failing_runs
        self.random = random.Random(seed)  # noqa: S311 - a simulation
        self.lock = threading.Lock()
        self.in_flight = 0
        self.between: Callable[[], None] = lambda: None
        self.odd: Callable[[str], int | None] = lambda _path: None  # another status for a path
        self.requests: Counter[str] = Counter()
        self.windows: Counter[tuple[str, int]] = Counter()
        self.refused = 0
        self.runs: dict[str, dict[str, Any]] = {}  # by task and attempt
        self.dispatched: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Watchers are killed in the middle of requests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: SimulatedHub

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Hub's clock."""
        del timestamp
        return formatdate(self.server.now(), usegmt=True)

    def _serve(self, body: bytes) -> None:
        hub = self.server
        with hub.lock:
            hub.in_flight += 1
        try:
            hub.between()
            self._answer(body)
            self.wfile.flush()
        finally:
            with hub.lock:
                hub.in_flight -= 1

    def _answer(self, body: bytes) -> None:
        hub = self.server
        with hub.lock:
            hub.population.advance(hub.now())
            limit = self._count()
            kind = self._trouble()
            if kind == "429" or limit is None:
                hub.refused += limit is None
                status, headers, content = 429, {"RateLimit": '"api";r=0;t=20'}, b"slower"
            elif kind == "500":
                status, headers, content = 500, {}, b"trouble"
            elif (odd := hub.odd(self.path)) is not None:
                status, headers, content = odd, {}, b"odd"
            else:
                status, headers, content = self._reply(body)
        if kind == "hang":
            time.sleep(HANG)
        if kind in ("hang", "gone"):
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {**headers, **(limit or {})}.items():
            self.send_header(name, value)
        length = len(content) + (50 if kind == "cut" else 0)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)
        if kind == "cut":
            self.close_connection = True

    def _trouble(self) -> str | None:
        hub = self.server
        if hub.random.random() >= hub.trouble:
            return None
        weights = (10, 10, 10, 10, 1)
        kind: str = hub.random.choices(("429", "500", "gone", "cut", "hang"), weights)[0]
        hub.failed[kind] += 1
        return kind

    def _count(self) -> dict[str, str] | None:
        """Count the request; the header of its limit, None beyond it."""
        hub, path = self.server, self.path
        if path.startswith("/dispatch"):
            hub.requests["dispatch"] += 1
            return {}
        bucket = "api" if path.startswith("/api/") else "resolvers"
        kind = "page" if path.startswith("/api/models?") else "config"
        hub.requests[kind if bucket == "resolvers" or kind == "page" else "repository"] += 1
        window = int(hub.now() // WINDOW)
        hub.windows[bucket, window] += 1
        left = LIMITS[bucket] - hub.windows[bucket, window]
        if left < 0:
            return None
        reset = int((window + 1) * WINDOW - hub.now())
        return {"RateLimit": f'"{bucket}";r={left};t={reset}'}

    def _reply(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if parts.path == "/api/models":
            return self._listing(query)
        if parts.path.startswith("/dispatch"):
            return self._dispatch(parts.path.removeprefix("/dispatch/"), body)
        if "/resolve/" in parts.path:
            name = parts.path.removeprefix("/").partition("/resolve/")[0]
            return self._found(name, lambda model: CONFIG if model.moe else {"model_type": "x"})
        name = parts.path.removeprefix("/api/models/").partition("/revision/")[0]
        hub = self.server

        def repository(model: Model) -> dict[str, Any]:
            row = hub.population.listing_row(model)
            return row if "expand" in query else row | {"siblings": hub.population.files(model)}

        return self._found(name, repository)

    def _found(
        self, name: str, content: Callable[[Model], Any]
    ) -> tuple[int, dict[str, str], bytes]:
        model = self.server.population.names.get(name)
        if model is None or not model.visible(self.server.now()):
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if model.name != name:
            return 307, {"Location": self.path.replace(name, quote(model.name), 1)}, b""
        return 200, {}, json.dumps(content(model)).encode()

    def _listing(self, query: dict[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        hub, size = self.server, int(query["limit"][0])
        order, now = hub.population.by_created, hub.now()
        end = len(order)
        if "cursor" in query:
            time_text, row_text = query["cursor"][0].split(",")
            end = min(bisect_left(order, (float(time_text), int(row_text))) + OVERLAP, len(order))
        rows: list[Model] = []
        while end > 0 and len(rows) < size:
            end -= 1
            model = hub.population.models[order[end][1]]
            if model.visible(now):
                rows.append(model)
        headers = {}
        if end > 0 and rows:
            cursor = f"{rows[-1].created!r},{rows[-1].row}"
            kept = "&".join(
                f"{k}={quote(v[0])}" for k, v in query.items() if k in ("sort", "limit")
            )
            headers["Link"] = f'<{hub.url}/api/models?{kept}&cursor={quote(cursor)}>; rel="next"'
        body = json.dumps([hub.population.listing_row(model) for model in rows]).encode()
        tag = f'"{hash(body):x}"'
        if self.headers.get("If-None-Match") == tag:
            return 304, {}, b""
        return 200, headers | {"ETag": tag}, body

    def _dispatch(self, key: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """A run, found or started. It takes an hour."""
        hub = self.server
        if body:
            hub.dispatched[key] += 1
            good = hub.random.random() >= hub.failing_runs
            hub.runs[key] = json.loads(body) | {"ends": hub.now() + HOUR, "good": good}
        run = hub.runs.get(key)
        if run is None:
            return 404, {}, b"{}"
        done = run["good"] if hub.now() >= run["ends"] else None
        return 200, {}, json.dumps({"good": done}).encode()
