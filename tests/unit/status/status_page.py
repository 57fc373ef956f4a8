"""A running status page over a ledger, for tests."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from bot.serving.serving import Server, listen, url_of
from bot.settings.settings import load
from bot.status.page import page_application
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.sightings import Decided, Feed, Sightings

TOKEN = "a-token-that-is-long-enough"
SECRET = "a-secret-that-is-long-enough"

ACT = {"action": "approve", "repo": "lab/Asked"}


@dataclass(frozen=True, kw_only=True)
class Page:
    """The page's address and what is behind it."""

    url: str
    ledger: Ledger

    @property
    def queue(self) -> Queue:
        return Queue(self.ledger)

    @property
    def sightings(self) -> Sightings:
        return Sightings(self.ledger)

    def states(self) -> dict[str, str]:
        every = ("asked", "queued", "starting", "running", "published", "failed", "ignored")
        return {task.repo: task.state for task in self.queue.tasks(every)}

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, str] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Message, str]:
        """One request without redirects: status, headers, text."""
        sent = dict(headers or {})
        data = body if isinstance(body, bytes) or body is None else urlencode(body).encode()
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)) as line:
            line.request(method, path, data, sent)
            reply = line.getresponse()
            return reply.status, reply.headers, reply.read().decode()


def fill(ledger: Ledger, now: float) -> None:
    """One release in each state that people act on, and one that waits."""
    queue, sightings = Queue(ledger), Sightings(ledger)

    def decided(repo: str, letter: str, kind: str = "build", reason: str = "8 experts") -> Decided:
        outcome = "eligible" if kind == "build" else "settling"
        return Decided(
            repo=repo, commit=letter * 40, kind=kind, outcome=outcome, reason=reason, until=None,
            look_at=now + 600, weights=letter, weights_at=now, facts={},
        )  # fmt: skip

    queue.propose(decided("lab/Failed", "f"), (), now - 90, needs_approval=False)
    task = queue.claim(now - 80, at_once=1, per_hour=9)
    assert task is not None
    queue.failed(task, "<b>no room</b>", "/data/log", now - 70, attempts=1, final=False)
    queue.propose(decided("lab/Asked", "a"), ("I-Mini",), now - 60, needs_approval=True)
    queue.propose(decided("lab/Queued", "b"), (), now - 50, needs_approval=False)
    sightings.record([decided("lab/Waiting", "d", "wait", "rests until later")], now - 40)


def alive(ledger: Ledger, now: float) -> None:
    """A watcher that beats and reads."""
    ledger.remember("heartbeat", "host 1", now)
    assert Sightings(ledger).take("created", "me", now) is not None
    feed = Feed(name="created", mark=now, etag=None, looked=now)
    Sightings(ledger).read(feed, "me")


@contextmanager
def running_page(folder: Path, **watch: Any) -> Iterator[Page]:
    """The application on a free port; secrets are those of the environment."""
    ledger = Ledger(folder / "ledger.sqlite")
    app = page_application(ledger, load(None, watch=watch), ["127.0.0.1"])
    with closing(listen("127.0.0.1", 0)) as bound:
        listening = threading.Event()
        server = Server(app, listening.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        assert listening.wait(timeout=30)
        try:
            yield Page(url=url_of(bound), ledger=ledger)
        finally:
            server.should_exit = True
            thread.join(timeout=20)


def signed_in(page: Page) -> tuple[str, str]:
    """A session's cookie and the proof that its forms hold."""
    status, headers, _ = page.ask("POST", "/sign-in", {"token": TOKEN})
    assert status == 303
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    session = cookie.partition(";")[0]
    _, _, text = page.ask("GET", "/", headers={"Cookie": session})
    proof = re.search(r'name="proof" value="([0-9a-f]{64})"', text)
    assert proof is not None
    return session, proof[1]
