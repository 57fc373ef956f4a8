"""The status page in a headless Chromium: people press its buttons, forgers press theirs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.status.page import VARIABLE
from tests.browser import Browser, browser
from tests.unit.status.status_page import TOKEN, Page, fill, running_page

pytestmark = pytest.mark.road


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setenv(VARIABLE, TOKEN)
    with running_page(tmp_path) as running:
        fill(running.ledger, time.time())
        yield running


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as running:
        yield running


def sign_in(chromium: Browser, page: Page, token: str) -> None:
    chromium.open(page.url)
    chromium.type("input[name=token]", token)
    chromium.click("Sign in")


def test_approve_retry_and_ignore_by_hand(chromium: Browser, page: Page) -> None:
    sign_in(chromium, page, TOKEN)
    chromium.wait("document.body.innerText.includes('Sign out')")
    chromium.click("Approve lab/Asked")
    chromium.wait("document.body.innerText.includes('Approved: it is queued.')")
    assert page.states()["lab/Asked"] == "queued"
    chromium.click("Retry lab/Failed")
    chromium.wait("location.search === '?done=retry'")
    assert page.states()["lab/Failed"] == "queued"
    chromium.click("Ignore lab/Queued")
    chromium.type("details[open] input[name=because]", "not this one")
    chromium.click("Ignore it")
    chromium.wait("location.search === '?done=ignore'")
    assert page.states()["lab/Queued"] == "ignored"
    assert page.queue.memory("lab/Queued", "", None).ignored == "not this one"
    chromium.click("Sign out")
    chromium.wait("document.body.innerText.includes('Sign in')")
    assert chromium.run("document.querySelectorAll('form[action=\"/act\"]').length") == 0


def test_a_wrong_token_opens_nothing(chromium: Browser, page: Page) -> None:
    sign_in(chromium, page, "not-the-token-at-all")
    chromium.wait("document.body.innerText.includes('That is not the token.')")
    assert chromium.run("document.querySelectorAll('form[action=\"/act\"]').length") == 0


def test_a_form_on_another_site_does_nothing_for_somebody_who_is_signed_in(
    chromium: Browser, page: Page, tmp_path: Path
) -> None:
    sign_in(chromium, page, TOKEN)
    chromium.wait("document.body.innerText.includes('Sign out')")
    proof = chromium.run("document.querySelector('input[name=proof]').value")
    before = page.states()
    evil = tmp_path / "evil.html"
    evil.write_text(
        f'<form method="post" action="{page.url}/act"><input name="proof" value="{proof}">'
        '<input name="action" value="approve"><input name="repo" value="lab/Asked">'
        "<button>Win a prize</button></form>"
    )
    chromium.open(evil.as_uri())
    chromium.click("Win a prize")
    chromium.wait(f"location.href === '{page.url}/act'")
    assert page.states() == before


@pytest.mark.long
def test_it_shows_what_changed_by_itself_but_not_under_somebodys_hands(
    chromium: Browser, page: Page
) -> None:
    sign_in(chromium, page, TOKEN)
    chromium.wait("document.body.innerText.includes('Sign out')")
    chromium.run("document.querySelector('details').open = true")
    page.queue.pause("a new disk", time.time())
    refreshed = "document.body.innerText.includes('paused: a new disk')"
    time.sleep(16)
    assert chromium.run(refreshed) is False
    chromium.run("document.querySelector('details').open = false")
    chromium.wait(refreshed)


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844), (320, 640)])
def test_nothing_is_cut_off(chromium: Browser, page: Page, width: int, height: int) -> None:
    chromium.size(width, height)
    sign_in(chromium, page, TOKEN)
    chromium.wait("document.body.innerText.includes('Sign out')")
    chromium.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert chromium.run("document.documentElement.scrollWidth") <= width
    small = (
        "[...document.querySelectorAll('button, summary')].filter(e => e.offsetParent"
        " && e.getBoundingClientRect().height < 34).length"
    )
    assert chromium.run(small) == 0
