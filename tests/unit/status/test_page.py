"""The status page over HTTP: what it shows, and that nobody acts without token and own form."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.settings.settings import load
from bot.status.page import VARIABLE, serve_page
from bot.store.ledger import Ledger
from bot.store.sightings import Decided, Feed
from tests.unit.status.status_page import ACT, Page, alive, fill, running_page, signed_in


def test_everybody_sees_the_state_and_nobody_a_button(page: Page) -> None:
    status, headers, text = page.ask("GET", "/")
    assert status == 200
    for word in ("lab/Asked", "lab/Queued", "lab/Failed", "lab/Waiting", "no watcher runs"):
        assert word in text
    assert "&lt;b&gt;no room&lt;/b&gt;" in text
    assert 'action="/act"' not in text
    assert "'unsafe-inline'" not in headers["Content-Security-Policy"].partition("style-src")[0]
    assert headers["Cache-Control"] == "no-store"


def test_the_same_as_json(page: Page) -> None:
    _, _, text = page.ask("GET", "/status.json")
    values = json.loads(text)
    assert values["counts"] == {"asked": 1, "failed": 1, "queued": 1}
    assert values["waiting"][0]["decision"]["repo"] == "lab/Waiting"


def test_health_is_a_living_watcher_that_reads(page: Page) -> None:
    assert page.ask("GET", "/healthz")[0] == 503
    alive(page.ledger, time.time())
    status, _, text = page.ask("GET", "/healthz")
    assert (status, json.loads(text)["healthy"]) == (200, True)
    alive(page.ledger, time.time() - 3600)
    page.ledger.remember("heartbeat", "host 1", time.time())
    status, _, text = page.ask("GET", "/healthz")
    assert (status, json.loads(text)["trouble"]) == (
        503,
        "the Hub was not read to the end for long",
    )


SAID = "quantizing 9 tiers: 33 of 69 MB, 71 of 148 tensors, 120 s, 16.8 MB/s, 125 s left"


def building(page: Page, folder: Path, said: str = SAID) -> str:
    """A build of this machine whose log says something; its task."""
    log = folder / "runs" / "x-1-7" / "log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"measuring: 1 of 2, 3 s\n{said}\n")
    task = page.queue.claim(time.time(), at_once=9, per_hour=9)
    assert task is not None
    page.queue.started(task, str(log), time.time())
    return task.id


def test_a_build_shows_how_far_it_is_and_how_long_it_takes_and_its_log(
    page: Page, tmp_path: Path
) -> None:
    task = building(page, tmp_path)
    text = page.ask("GET", "/")[2]
    assert SAID in text
    assert '<progress max="1" value="0.4783"' in text
    assert "48 %, about 2 min left of this step" in text
    assert f'href="/log/{task}"' not in text  # for those who are signed in
    assert page.ask("GET", f"/log/{task}")[0] == 403
    session, _ = signed_in(page)
    assert f'href="/log/{task}"' in page.ask("GET", "/", headers={"Cookie": session})[2]
    status, headers, log = page.ask("GET", f"/log/{task}", headers={"Cookie": session})
    assert (status, log) == (200, f"measuring: 1 of 2, 3 s\n{SAID}\n")
    assert headers["Content-Type"].startswith("text/plain")
    assert page.ask("GET", "/log/other", headers={"Cookie": session})[0] == 404
    assert json.loads(page.ask("GET", "/status.json")[2])["steps"][task]["left"] == 125.0


@pytest.mark.parametrize(
    "said", ["", "<b>x</b>", "a: 1 of 0", "a: 3 of 2, 1 s", "\xff\x1b[2J", "9" * 9_000]
)
def test_any_last_line_of_a_log_is_shown_as_text(page: Page, tmp_path: Path, said: str) -> None:
    building(page, tmp_path, said)
    status, _, text = page.ask("GET", "/")
    assert status == 200
    assert "<b>x</b>" not in text


def test_what_is_counted_as_waiting_is_named(page: Page) -> None:
    now = time.time()
    bare = Decided(
        repo="lab/Bare", commit="e" * 40, kind="wait", outcome="no_weights_yet", until=None,
        reason="no weights yet", look_at=now + 600, weights=None, weights_at=None, facts={},
    )  # fmt: skip
    page.sightings.record([bare], now)
    text = page.ask("GET", "/")[2]
    assert "lab/Bare" in text
    assert "1 for weights, " in text
    assert "1 until their weights have rested" in text


def test_health_is_of_the_listings_that_the_settings_name(tmp_path: Path) -> None:
    """Listings of owners that are watched no more were read last when they were."""
    now = time.time()
    with running_page(tmp_path, owners=["lab"]) as page:
        for name, looked in (("created", now - 9_999), ("created:old", now - 9_999)):
            assert page.sightings.take(name, "me", now) is not None
            page.sightings.read(Feed(name=name, mark=None, etag=None, looked=looked), "me")
        page.ledger.remember("heartbeat", "host 1", now)
        assert page.ask("GET", "/healthz")[0] == 503
        assert page.sightings.take("created:lab", "me", now) is not None
        page.sightings.read(Feed(name="created:lab", mark=None, etag=None, looked=now), "me")
        assert page.ask("GET", "/healthz")[0] == 200


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"action": "approve", "repo": "lab/Asked"}, {"lab/Asked": "queued"}),
        ({"action": "retry", "repo": "lab/Failed"}, {"lab/Failed": "queued"}),
        (
            {"action": "ignore", "repo": "lab/Queued", "because": "no"},
            {"lab/Queued": "ignored"},
        ),
    ],
)
def test_acting(page: Page, form: dict[str, str], expected: dict[str, str]) -> None:
    session, proof = signed_in(page)
    before = page.states()
    status, headers, _ = page.ask("POST", "/act", {**form, "proof": proof}, {"Cookie": session})
    assert (status, headers["Location"]) == (303, f"/?done={form['action']}")
    assert page.states() == before | expected


def test_pausing_and_resuming(page: Page) -> None:
    session, proof = signed_in(page)
    for action, paused in (("pause", True), ("resume", False)):
        form = {"action": action, "proof": proof}
        assert page.ask("POST", "/act", form, {"Cookie": session})[0] == 303
        assert (page.ledger.remembered("paused") is not None) is paused


def test_what_cannot_be_done_is_said(page: Page) -> None:
    session, proof = signed_in(page)
    good = {"Cookie": session, "Accept": "text/html"}
    form = {"action": "approve", "repo": "lab/Queued", "proof": proof}
    status, _, text = page.ask("POST", "/act", form, good)
    assert status == 409
    assert "nothing was asked about lab/Queued" in text
    assert page.ask("POST", "/act", {"action": "destroy", "proof": proof}, good)[0] == 400
    assert page.ask("POST", "/act", b"x" * 20_000, good)[0] == 413
    assert page.ask("POST", "/act", b"\xff", good)[0] == 400


def test_another_host_name_is_refused(page: Page) -> None:
    assert page.ask("GET", "/", headers={"Host": "evil.example"})[0] == 400


def test_without_a_token_nobody_can_act(tmp_path: Path) -> None:
    with running_page(tmp_path) as page:
        fill(page.ledger, time.time())
        assert "/sign-in" not in page.ask("GET", "/")[2]
        assert page.ask("POST", "/sign-in", {"token": ""})[0] == 403
        assert page.ask("POST", "/act", ACT)[0] == 403
        assert page.states()["lab/Asked"] == "asked"


def test_an_address_that_others_reach_needs_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path / "l.sqlite")
    with pytest.raises(SettingsError, match=f"set {VARIABLE} first"):
        serve_page(ledger, load(None), 0, "0.0.0.0")  # noqa: S104 - that is the point
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(SettingsError, match="shorter than 16"):
        serve_page(ledger, load(None), 0)
