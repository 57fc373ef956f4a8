"""Who may act on the status page: whoever knew its token, for some hours, from its own forms.

Nothing is kept: a session is a time and a random word signed with the token, a form's proof is
signed with the session. Another token ends all sessions.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from bot.serving.refusal import Refusal

COOKIE = "bot_session"
LASTS = 12 * 3600  # seconds


def begin_session(response: Response, token: SecretStr, now: float, *, secure: bool) -> None:
    """Give a browser a session."""
    text = f"{int(now) + LASTS}.{secrets.token_hex(16)}"
    response.set_cookie(
        COOKIE,
        f"{text}.{_signed(token, 'session', text)}",
        max_age=LASTS,
        httponly=True,
        samesite="strict",
        secure=secure,
    )


def end_session(response: Response) -> None:
    """Take the session back."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def session_of(request: Request, token: SecretStr | None, now: float) -> str | None:
    """The session of a request, if it is one of ours and lasts still."""
    cookie = request.cookies.get(COOKIE, "")
    text, _, signature = cookie.rpartition(".")
    expires = text.partition(".")[0]
    if token is None or not expires.isdecimal() or int(expires) < now:
        return None
    is_valid = hmac.compare_digest(signature.encode(), _signed(token, "session", text).encode())
    return cookie if is_valid else None


def proof(token: SecretStr, session: str) -> str:
    """The hidden value of a form, against requests forged by other sites: HMAC of the session."""
    return _signed(token, "form", session)


def require_own_form(request: Request, token: SecretStr, session: str, form_proof: str) -> None:
    """Raise Refusal 403 unless a form was shown to this session by this page."""
    require_same_origin(request)
    if not hmac.compare_digest(form_proof.encode(), proof(token, session).encode()):
        raise Refusal(403, "The form is not of this page or too old; load the page again")


def require_same_origin(request: Request) -> None:
    """Raise Refusal 403 when a browser says that another site sent the request."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    host = request.headers.get("host", "")
    if (origin is not None and urlsplit(origin).netloc != host) or site not in (
        "same-origin",
        "none",
    ):
        raise Refusal(403, "The form came from another site")


def _signed(token: SecretStr, purpose: str, text: str) -> str:
    key = hashlib.sha256(b"apex-bot status " + token.get_secret_value().encode()).digest()
    return hmac.new(key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()
