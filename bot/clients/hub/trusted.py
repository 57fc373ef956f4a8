"""Trusted Publisher: tokens that a Hub lends to a job of GitHub Actions, each for one repository.

The job's runner vouches for it with an id token (GitHub's "OpenID Connect reference"), which the
Hub takes in exchange for a token of an hour (RFC 8693; huggingface.co/docs/hub/trusted-publishers).
Nothing is stored anywhere, and nobody else's token is used where the exchange fails.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import httpx2
from huggingface_hub import get_session

from bot import secrecy
from bot.clients.hub import replies
from bot.clients.wire import require_private
from bot.clock import Clock, SystemClock
from bot.errors import AccessError, UnreachableError
from bot.legible import legible

ADDRESS, PASSWORD = secrecy.RUNNER
RESOURCE = "HF_OIDC_RESOURCE"  # by which huggingface_hub is told the repository
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a name of the protocol
LIFETIME = 3600  # seconds, of a token whose reply does not say
SPARE = 12  # a token is renewed when a twelfth of its time is left: five minutes of an hour
TIMEOUT = 30.0  # seconds


def is_offered() -> bool:
    """Whether this is a job of GitHub Actions with `permissions: id-token: write`."""
    return bool(secrecy.value(ADDRESS) and secrecy.value(PASSWORD))


def require_offered() -> None:
    """Raise AccessError where no token can be asked for."""
    if not is_offered():
        raise AccessError(
            "publish.trusted_publisher is set, and this is no job of GitHub Actions that may ask "
            "for an id token; give it `id-token: write`, or unset it to publish with HF_TOKEN"
        )


class TrustedPublisher:
    """The tokens of one repository, one after another; safe from several threads.

    Every value that is secret is kept from being printed before it is used.
    """

    def __init__(self, endpoint: str, repo_id: str, clock: Clock | None = None) -> None:
        require_offered()
        resource = secrecy.value(RESOURCE)
        if resource and resource != repo_id:
            raise AccessError(f"{RESOURCE} is {resource}, not {repo_id}; unset it or check --to")
        self.endpoint, self.repo_id = endpoint.rstrip("/"), repo_id
        self.name = re.sub(r"//[^/@]*@", "//", self.endpoint)  # for messages: no password
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._token, self._since, self._until = "", 0.0, 0.0

    def token(self) -> str:
        """A valid token; a new one is exchanged shortly before the last expires.

        Raises AccessError where runner or Hub refuse, UnreachableError where they do not answer.
        """
        with self._lock:
            now = self._clock.now()
            if now >= self._until - (self._until - self._since) / SPARE:
                self._token, lifetime = self._exchange(self._id_token())
                self._since, self._until = now, now + lifetime
            return self._token

    def is_over(self, token: str) -> bool:
        """Whether a token that was given holds no more, by this machine's clock."""
        return token != self._token or self._clock.now() >= self._until

    def _id_token(self) -> str:
        """The runner's signed id token of this job, with this Hub as its audience."""
        audience = {"audience": self.endpoint}
        require_private(secrecy.value(ADDRESS), PASSWORD)
        answer = _answer(
            "the runner",
            lambda: get_session().get(
                # it has a query of its own, which `params` would replace
                httpx2.URL(secrecy.value(ADDRESS)).copy_merge_params(audience),
                headers={"Authorization": f"Bearer {secrecy.value(PASSWORD)}"},
                timeout=TIMEOUT,
                follow_redirects=False,
            ),
            "give the job `id-token: write`",
        )
        return _secret(answer.get("value"), "the runner")

    def _exchange(self, id_token: str) -> tuple[str, int]:
        """A token of the Hub, and the seconds that it holds."""
        require_private(self.endpoint, "the id token of this job")
        answer = _answer(
            self.name,
            lambda: get_session().post(
                f"{self.endpoint}/oauth/token",
                json={
                    "grant_type": EXCHANGE,
                    "subject_token_type": ID_TOKEN,
                    "subject_token": id_token,
                    "resource": self.repo_id,
                },
                timeout=TIMEOUT,
                follow_redirects=False,
            ),
            f"{self.repo_id} must exist and name this workflow as its trusted publisher: make it "
            f"once with a token that may write, then see {self.name}/{self.repo_id}/settings",
        )
        token = _secret(answer.get("access_token"), self.name)
        lifetime = answer.get("expires_in", LIFETIME)
        if type(lifetime) is not int or lifetime < 1:
            raise replies.not_a_hub(self.name)
        return token, lifetime


def _answer(who: str, ask: Callable[[], httpx2.Response], advice: str) -> dict[str, Any]:
    """A reply's JSON object. A refusal ends in `advice`."""
    try:
        reply = ask()
    except (httpx2.HTTPError, httpx2.InvalidURL, ConnectionError) as error:
        raise UnreachableError(
            f"{who} gave this job no token ({type(error).__name__}); run the same command again"
        ) from error
    status, answer = reply.status_code, _object(reply)
    if status == 429 or status >= 500:
        raise UnreachableError(f"{who} gave this job no token ({status}); run it again later")
    if status != 200 or not answer:
        why = secrecy.redacted(str(answer.get("error_description") or answer.get("error") or ""))
        words = legible(f"{status} {why}", 200)
        raise AccessError(f"{who} gives this job no token ({words.strip()}); {advice}")
    return answer


def _object(reply: httpx2.Response) -> dict[str, Any]:
    """A reply's JSON object; empty for what is none."""
    try:
        answer = reply.json()
    except (ValueError, RecursionError):  # no JSON, or no UTF-8
        return {}
    return answer if isinstance(answer, dict) else {}


def _secret(value: Any, who: str) -> str:
    """A token of a reply, never to be printed."""
    if not isinstance(value, str) or not re.fullmatch(f"[!-~]{{{secrecy.SHORTEST},}}", value):
        raise AccessError(f"{who} answered without a token; run `bot doctor`")
    secrecy.keep(value)
    return value
