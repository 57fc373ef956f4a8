"""GitHub over HTTP: the client, and each of its failures as an error of ours.

Version 2022-11-28 of the API is asked for by name: later ones leave out keys that github3.py
4.0.1 needs.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from github3 import GitHub
from github3.exceptions import GitHubError, GitHubException, TransportError
from github3.session import GitHubSession
from requests.exceptions import RequestException
from urllib3.util import Retry

from bot import secrecy
from bot.clients import bounds
from bot.clients.wire import require_private
from bot.clock import SystemClock
from bot.errors import AccessError, BotError, SettingsError, UnreachableError
from bot.legible import legible

API_VERSION = "2022-11-28"
TIMEOUT = 30.0  # seconds without an answer
# what github3, and taking its answers apart, raises at those of another form than GitHub's:
# nothing else happens between a question and its answer
ODD = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
PATIENCE, MOST_PATIENCE = 60.0, 3_600.0  # seconds after a refusal that names none


class Unanswered(UnreachableError):
    """No usable answer: whether GitHub did what it was asked is not known."""


class Unclear(Unanswered):
    """A refusal that GitHub's API does not give for what was asked: of a proxy, for example."""


class Limited(UnreachableError):
    """GitHub wants no requests until `until`, in POSIX seconds; nothing was done."""

    def __init__(self, text: str, until: float) -> None:
        super().__init__(text)
        self.until = until


@dataclass(frozen=True)
class Redaction(logging.Filter):
    """Keeps a token, and the signatures of a log's address, out of other libraries' records."""

    token: str

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, without secrets."""
        message = record.getMessage()
        clean = message.replace(self.token, "[token]") if self.token else message
        clean = re.sub(r"([?&](?:sig|signature|token)=)[^&\s\"']+", r"\1[…]", clean)
        if clean != message:
            record.msg, record.args = clean, ()
        return True


def connect(token: str | None, api_url: str, timeout: float = TIMEOUT) -> GitHub:
    """A client for the GitHub at `api_url`: github.com, an Enterprise server, or a local one."""
    if token:
        require_private(api_url, "GITHUB_TOKEN")
    session = GitHubSession(default_connect_timeout=5, default_read_timeout=timeout)
    session.base_url = api_url.rstrip("/")
    retry = Retry(
        total=3,
        connect=1,
        read=1,
        allowed_methods=("GET",),
        status_forcelist=(500, 502, 503, 504),
        backoff_factor=0.3,
        respect_retry_after_header=False,
        raise_on_status=False,
    )
    for scheme in ("https://", "http://"):
        session.mount(scheme, bounds.Adapter(max_retries=retry))
    for name in ("github3", "urllib3.connectionpool", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(Redaction(token or ""))
    return GitHub(token=token or "", session=session, api_version=API_VERSION)


def token() -> str | None:
    """GITHUB_TOKEN of the environment."""
    return secrecy.value("GITHUB_TOKEN") or None


def api_url() -> str:
    """GITHUB_API_URL of the environment (set on every runner), else github.com's."""
    return os.environ.get("GITHUB_API_URL", "https://api.github.com")


def requests_left(client: GitHub) -> int:
    """How many requests the hour still allows.

    Raises AccessError for a refused token, UnreachableError when nothing answers.
    """
    with asking("telling its limits"):
        return int(client.rate_limit()["resources"]["core"]["remaining"])


@contextmanager
def asking(doing: str) -> Iterator[None]:
    """One request to GitHub, its failures as our errors. `doing` names the request in messages."""
    try:
        with bounds.one_question():
            yield
    except (GitHubException, RequestException, *ODD) as error:
        raise explained(error, doing, SystemClock().now()) from error


def explained(error: Exception, doing: str, now: float, patience: float = PATIENCE) -> BotError:
    """An exception of github3 as our error. `doing` names the request in messages."""
    code = getattr(error, "code", None)
    if isinstance(error, GitHubError) and code is not None and int(code) >= 400:
        return _refusal(error, int(code), doing, now, patience)
    if isinstance(error, TransportError | RequestException):
        return Unanswered(f"GitHub did not answer ({doing}); look at GITHUB_API_URL")
    return Unanswered(
        f"GitHub's answer is not understood ({doing}); is GITHUB_API_URL an address of its API?"
    )


def _refusal(error: Any, code: int, doing: str, now: float, patience: float) -> BotError:
    reason = _words(error.msg)
    if code >= 500:
        return Unanswered(f"GitHub is in trouble ({code}, {doing}); try again")
    until = _limited(error, code, now, patience)
    if until is not None:
        wait = max(int(until - now), 1)
        return Limited(f"GitHub allows no more requests for {wait} s ({doing}); wait", until)
    if isinstance(error.msg, bytes):  # github3's sign of a body that is not in GitHub's own form
        return Unclear(
            f"something refused ({code}, {doing}): {reason}; try again, or look at the proxy"
        )
    if code == 401:
        return AccessError(f"GitHub refused the token ({code}); renew GITHUB_TOKEN")
    if code == 403:
        return AccessError(f"GITHUB_TOKEN may not do this ({doing}: {reason}); give it the right")
    if code == 404:
        return AccessError(
            f"GitHub has no such thing, or GITHUB_TOKEN may not see it ({doing}); look at `github` "
            "in bot.yaml and whether `bot init` was merged"
        )
    if code in (409, 422):  # the only ones that tell of what was sent, and of nothing done
        return SettingsError(
            f"GitHub refused ({code}, {doing}): {reason}; `bot init --upgrade` may help"
        )
    return Unclear(f"GitHub refused ({code}, {doing}): {reason}; try again, or look at the proxy")


def _limited(error: Any, code: int, now: float, patience: float) -> float | None:
    """When the rate limit behind a 403 or 429 ends, POSIX seconds; None for another refusal.

    The rules are those of GitHub's "Rate limits for the REST API": Retry-After, else the reset
    of a limit that is used up, else a minute and ever longer.
    """
    headers = error.response.headers
    after, reset = headers.get("Retry-After", ""), headers.get("X-RateLimit-Reset", "")
    if code not in (403, 429):
        return None
    if after.isdecimal():
        return now + int(after)
    if headers.get("X-RateLimit-Remaining") == "0" and reset.isdecimal():
        return max(float(reset), now + 1)
    return now + patience if code == 429 or "rate limit" in _words(error.msg).lower() else None


def _words(message: object) -> str:
    text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message or "")
    return legible(text, 200)
