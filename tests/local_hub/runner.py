"""What a runner of GitHub Actions gives a job that may ask for id tokens, over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = "https://issuer.example"
PASSWORD = "runner-planted-planted"
CLAIMS = {
    "repository": "me/builds",
    "environment": "hub-publish",
    "ref": "refs/heads/main",
    "workflow": "apex-bot release",
}


class Runner(ThreadingHTTPServer):
    """Signs for whoever has the job's password; `given` are the id tokens, one after another."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.given: list[str] = []
        self.status = 200  # of the next replies

    @property
    def environment(self) -> dict[str, str]:
        """What the runner adds to the environment of the job's steps."""
        url = f"http://127.0.0.1:{self.server_port}/idtoken?api-version=2.0"
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": url,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": PASSWORD,
        }

    def signed(self, audience: str, *, key: Any = None, **claims: Any) -> str:
        """An id token; `claims` replace or add to the usual ones, None leaves one out."""
        now = int(time.time())
        usual: dict[str, Any] = {
            "iss": ISSUER,
            "sub": "repo:me/builds:environment:hub-publish",
            "aud": audience,
            "iat": now,
            "exp": now + 300,
            **CLAIMS,
        }
        payload = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode(payload, key or self.key, "RS256", {"kid": "one"})

    def public_keys(self, folder: Path) -> Path:
        """The JWKS file of this issuer."""
        row = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        path = folder / "jwks.json"
        path.write_text(json.dumps({"keys": [{**row, "kid": "one"}]}))
        return path


class _Handler(BaseHTTPRequestHandler):
    server: Runner

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        status = self.server.status
        if self.headers.get("Authorization") != f"Bearer {PASSWORD}" or "api-version" not in query:
            status = 401
        body: dict[str, Any] = {"message": "no"}
        if status == 200:
            token = self.server.signed(query["audience"][0])
            self.server.given.append(token)
            body = {"count": len(token), "value": token}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def running_runner() -> Iterator[Runner]:
    """A runner until the end of the block."""
    runner = Runner()
    thread = threading.Thread(target=runner.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield runner
    finally:
        runner.shutdown()
        thread.join()
        runner.server_close()
