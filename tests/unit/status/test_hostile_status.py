"""Words of strangers that lie in a ledger, whoever wrote it: on page, dashboard, chats, table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.actions import dashboard
from bot.cli.text import boards
from bot.settings.settings import load
from bot.store.board import board
from bot.store.sightings import Decided
from bot.watcher.notify import message
from tests.hostile import HOSTILE, hidden
from tests.unit.card.markdown import PARSER
from tests.unit.status.status_page import Page, running_page

WORDS = HOSTILE.encode("utf-8", "replace").decode()  # SQLite takes no surrogates
LINKS = ("javascript:alert(1)", "https://hub.example/x|<!channel>", "https://e/x) [a](https://evil")


def _decided(name: str) -> Decided:
    return Decided(
        repo=f"lab/{name}", commit=name[0] * 40, kind="build", outcome="eligible", reason=WORDS,
        until=None, look_at=None, weights=name, weights_at=None, facts={},
    )  # fmt: skip


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A ledger as another program, or an earlier version, may have left it."""
    with running_page(tmp_path) as running:
        for state, link in zip(("failed", "published", "asked"), LINKS, strict=True):
            made = running.queue.propose(_decided(state), (), 1.0, needs_approval=state == "asked")
            assert made is not None
            with running.ledger.writing() as db:
                db.execute(
                    "UPDATE tasks SET state = ?, error = ?, reason = ?, link = ?, page = ?"
                    " WHERE id = ?",
                    (state, WORDS, WORDS, link, link, made.id),
                )
        with running.ledger.writing() as db:
            db.execute("UPDATE events SET text = ?, link = ?", (WORDS, LINKS[1]))
            db.execute("UPDATE decisions SET reason = ?", (WORDS,))
        running.queue.pause(WORDS, 1.0)
        yield running


def test_the_page_shows_words_and_no_link_of_theirs(page: Page) -> None:
    _, _, html = page.ask("GET", "/")
    assert html.count("visible") > 5
    assert not hidden(html)
    assert "<script>alert" not in html
    assert not [to for to in re.findall(r'(?:href|src|action)="([^"]*)"', html) if "evil" in to]
    assert "javascript:" not in re.sub(r">[^<]*<", "><", html)
    _, _, json_text = page.ask("GET", "/status.json")
    assert not hidden(json_text)
    assert json.loads(json_text)["paused"] == WORDS


def test_the_dashboard_shows_words_as_code(page: Page) -> None:
    tasks = page.queue.tasks(("failed", "published", "asked"))
    said = dashboard.dashboard_text(tasks, page.queue.counts(), {}, WORDS)
    assert said.count("visible") > 3
    assert not hidden(said)
    assert dashboard.dashboard_commands(said) == ()
    inline = [child for token in PARSER.parse(said) for child in token.children or ()]
    assert not [child for child in inline if child.type in ("link_open", "image")]
    assert "@everyone" not in "".join(child.content for child in inline if child.type == "text")


@pytest.mark.parametrize("slack", [True, False])
def test_chats_get_words_as_code(page: Page, slack: bool) -> None:
    for event in page.queue.events(10):
        [said] = [v for v in message(event, None, slack=slack).values() if isinstance(v, str)]
        assert not hidden(said)
        assert "://" not in said
        assert "\n" not in said
        outside = "".join(said.split("`")[::2])
        assert not set(outside) & set("<>[]@#")


def test_the_table_has_a_line_each(page: Page) -> None:
    text = boards.board_text(board(page.ledger, load(None), 2.0))
    assert not hidden(text)
    assert not [line for line in text.splitlines() if line.startswith("Error: forged")]
