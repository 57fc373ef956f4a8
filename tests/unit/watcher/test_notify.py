"""Notifications to a real receiver over HTTP, in Slack's and Discord's words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.errors import SettingsError, UnreachableError
from bot.settings.running import WatchSettings
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.queue_tables import Event
from bot.watcher.notify import VARIABLE, address, message, post
from tests.hand_clock import HandClock
from tests.hostile import HOSTILE, hidden


@contextmanager
def receiver(*statuses: int) -> Iterator[tuple[str, list[Any]]]:
    """Someone who takes messages, answering each with the next status."""
    got: list[Any] = []
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(left.pop(0) if left else 200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(Ledger(tmp_path / "l.sqlite"))


def test_each_event_goes_out_once_and_again_only_where_it_was_not_taken(queue: Queue) -> None:
    clock = HandClock()
    for text in ("first", "second"):
        queue.say(clock.now(), "asked", text, "maker/Model")
    queue.say(clock.now(), "queued", "of no interest", "maker/Model")
    with receiver(200, 500) as (url, got):
        with pytest.raises(UnreachableError, match="status 500"):
            post(queue, WatchSettings(), SecretStr(url), clock)
        assert post(queue, WatchSettings(), SecretStr(url), clock) == 1
        assert post(queue, WatchSettings(), SecretStr(url), clock) == 0
    assert [body["text"].rpartition(" ")[2] for body in got] == ["`first`", "`second`", "`second`"]
    assert got[0]["text"] == "`maker/Model` waits for approval: `first`"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_message_is_said_and_the_next_goes_out(queue: Queue, status: int) -> None:
    clock, said = HandClock(), list[str]()
    for text in ("refused", "taken"):
        queue.say(clock.now(), "asked", text, "maker/Model")
    with receiver(status) as (url, got):
        assert post(queue, WatchSettings(), SecretStr(url), clock, said.append) == 1
        assert post(queue, WatchSettings(), SecretStr(url), clock, said.append) == 0
    assert len(got) == 2
    assert said == [f"a notification was refused (status {status}): maker/Model refused"]


@pytest.mark.parametrize("status", [302, 401, 403, 404, 410, 429, 500])
def test_trouble_of_the_address_keeps_every_message(queue: Queue, status: int) -> None:
    clock = HandClock()
    queue.say(clock.now(), "asked", "x", "maker/Model")
    with receiver(status) as (url, _):
        with pytest.raises(UnreachableError):
            post(queue, WatchSettings(), SecretStr(url), clock)
        assert post(queue, WatchSettings(), SecretStr(url), clock) == 1


def test_nobody_listening_is_an_error_that_does_not_tell_the_address(queue: Queue) -> None:
    queue.say(HandClock().now(), "asked", "x")
    url = "http://127.0.0.1:9/secret-hook"
    with pytest.raises(UnreachableError) as caught:
        post(queue, WatchSettings(), SecretStr(url), HandClock())
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


EVENT = Event(
    id=1, at=0, kind="published", repo="maker/Model", text="<!channel> & @everyone\n  now",
    link="https://hub/x",
)  # fmt: skip


def test_words_of_strangers_mention_nobody() -> None:
    slack = message(EVENT, "https://page", slack=True)
    assert slack == {
        "text": "`maker/Model` is published: `&lt;!channel&gt; &amp; @everyone now`\n"
        "https://hub/x\nhttps://page",
        "link_names": False,
    }
    discord = message(EVENT, None, slack=False)
    assert discord["allowed_mentions"] == {"parse": []}
    assert discord["content"].startswith(
        "`maker/Model` is published: `<!channel> & @everyone now`\n"
    )


@pytest.mark.parametrize("slack", [True, False])
def test_no_link_is_a_strangers(slack: bool) -> None:
    """Neither in words nor in what a server calls the address of a run."""
    for link in (
        "https://h/x|<!channel>",
        "https://h/x)[a](https://evil)",
        "javascript:x",
        "https://h/ x",
    ):
        event = Event(id=1, at=0, kind="failed", repo="o/M", text=HOSTILE, link=link)
        [text] = [part for key, part in message(event, None, slack=slack).items() if key in KEYS]
        assert "://" not in text
        assert text.count("`") == 4
        assert "\n" not in text
        assert not hidden(text)
        assert not slack or not set(text) & set("<>")


KEYS = ("text", "content")


def test_a_path_is_no_link() -> None:
    event = Event(id=1, at=0, kind="failed", repo=None, text="t", link="/data/log")
    assert message(event, None, slack=True)["text"] == "`t`"


def test_the_address_is_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert address() is None
    monkeypatch.setenv(VARIABLE, "hooks.slack.com/x")
    with pytest.raises(SettingsError, match="no web address"):
        address()
