"""GitHub's client: what it says of itself, and every failure of its in our words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bot.clients.github import github_client
from bot.errors import AccessError, UnreachableError


@contextmanager
def answering(status: int, body: object) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A GitHub that gives one answer; yields its address and the headers it was asked with."""
    requests: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append({"path": self.path, **dict(self.headers)})
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api/v3/", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


LIMITS = {"resources": {"core": {"limit": 5000, "remaining": 4321, "reset": 1}}}


def test_requests_left_with_the_pinned_version() -> None:
    with answering(200, LIMITS) as (url, requests):
        assert github_client.requests_left(github_client.connect("ghp_secret", url)) == 4321
    assert requests[0]["path"] == "/api/v3/rate_limit"
    assert requests[0]["X-GitHub-Api-Version"] == github_client.API_VERSION
    assert requests[0]["Authorization"] == "token ghp_secret"


def test_no_token_is_sent_where_there_is_none() -> None:
    with answering(200, LIMITS) as (url, requests):
        github_client.requests_left(github_client.connect(None, url))
    assert "Authorization" not in requests[0]


def test_a_refused_token_is_said_and_not_shown() -> None:
    with (
        answering(401, {"message": "Bad credentials"}) as (url, _),
        pytest.raises(AccessError, match="renew GITHUB_TOKEN") as refused,
    ):
        github_client.requests_left(github_client.connect("ghp_secret", url))
    assert "ghp_secret" not in str(refused.value)


def test_nobody_answers() -> None:
    with pytest.raises(UnreachableError, match="did not answer"):
        github_client.requests_left(github_client.connect(None, "http://127.0.0.1:9"))


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1/api/v3")
    monkeypatch.setenv("GITHUB_TOKEN", " ghp_x ")
    assert (github_client.api_url(), github_client.token()) == (
        "http://127.0.0.1:1/api/v3",
        "ghp_x",
    )
    monkeypatch.setenv("GITHUB_TOKEN", "")
    assert github_client.token() is None
