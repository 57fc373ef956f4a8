"""Nobody acts without the token, a session that lasts, and a form of that session."""

from __future__ import annotations

import re

import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from bot.serving.refusal import Refusal
from bot.status.sessions import LASTS, begin_session, proof, require_own_form, session_of
from tests.unit.status.status_page import ACT, Page, signed_in

TOKEN = SecretStr("a token that nobody guesses")


def request(**headers: str) -> Request:
    """A browser's request with these headers."""
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": sent})


def cookie(now: float) -> str:
    """The session that a browser is given."""
    response = Response()
    begin_session(response, TOKEN, now, secure=True)
    text = response.headers["set-cookie"]
    assert "Secure" in text
    return text.partition(";")[0]


def test_a_session_lasts_some_hours_and_ends_with_its_token() -> None:
    session = session_of(request(cookie=cookie(100.0)), TOKEN, 101.0)
    assert session is not None
    again = request(cookie=f"bot_session={session}")
    assert session_of(again, TOKEN, 100.0 + LASTS) == session
    assert session_of(again, TOKEN, 101.0 + LASTS) is None
    assert session_of(again, SecretStr("another"), 101.0) is None
    assert session_of(again, None, 101.0) is None
    assert session_of(request(), TOKEN, 101.0) is None


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({"host": "status.lan"}, True),
        ({"host": "status.lan", "origin": "https://status.lan"}, True),
        ({"host": "status.lan", "sec_fetch_site": "none"}, True),
        ({"host": "status.lan", "origin": "https://evil.lan"}, False),
        ({"host": "status.lan", "origin": "null"}, False),
        ({"host": "status.lan", "sec_fetch_site": "same-site"}, False),
    ],
)
def test_a_form_comes_from_this_page(headers: dict[str, str], good: bool) -> None:
    own = proof(TOKEN, "session")
    if good:
        require_own_form(request(**headers), TOKEN, "session", own)
    else:
        with pytest.raises(Refusal, match="came from another site"):
            require_own_form(request(**headers), TOKEN, "session", own)
    with pytest.raises(Refusal, match=r"another site|not of this page"):
        require_own_form(request(**headers), TOKEN, "another session", own)


def test_a_wrong_token_a_forged_form_or_another_site_does_nothing(page: Page) -> None:
    session, proof = signed_in(page)
    other_session, other_proof = signed_in(page)
    assert session != other_session
    before = page.states()
    good = {"Cookie": session}
    changed = session[:-1] + ("0" if session[-1] != "0" else "1")
    later = re.sub(r"=(\d+)\.", lambda m: f"={int(m[1]) + 9}.", session)
    forged = [
        ({**ACT, "proof": proof}, {}),
        ({**ACT, "proof": proof}, {"Cookie": "bot_session=1.2.3"}),
        ({**ACT, "proof": proof}, {"Cookie": changed}),
        ({**ACT, "proof": proof}, {"Cookie": later}),
        (ACT, good),
        ({**ACT, "proof": "0" * 64}, good),
        ({**ACT, "proof": other_proof}, good),
        ({**ACT, "proof": proof}, {**good, "Origin": "https://evil.example"}),
        ({**ACT, "proof": proof}, {**good, "Origin": "null"}),
        ({**ACT, "proof": proof}, {**good, "Sec-Fetch-Site": "cross-site"}),
    ]
    for form, sent in forged:
        assert page.ask("POST", "/act", form, sent)[0] == 403, (form, sent)
    status, headers, text = page.ask("POST", "/sign-in", {"token": "wrong"})
    assert status == 403
    assert "Set-Cookie" not in headers
    assert "That is not the token" in text
    assert page.ask("GET", "/act", headers=good)[0] == 405
    assert page.states() == before
