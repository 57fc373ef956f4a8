"""Requests to a Hub: with which token, through which gate, and when again.

Reads are repeated a few times after errors that may pass. All requests of huggingface_hub go
through one HTTP client of this process, which has timeouts.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib.metadata
import logging
import random
import re
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import httpx2  # the HTTP library of huggingface_hub, for its timeouts and errors
from huggingface_hub import (
    HfApi,
    get_session,
    hf_hub_url,
    hf_raise_for_status,
    set_client_factory,
)
from huggingface_hub.constants import HF_HUB_DISABLE_PROGRESS_BARS
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils.tqdm import (
    disable_progress_bars,
)
from pydantic import SecretStr

from bot import secrecy
from bot.clients import bounds
from bot.clients.hub import replies
from bot.clients.hub.beyond import (
    build_hf_headers,
    default_client_factory,
    parse_ratelimit_headers,
)
from bot.clients.hub.refusals import RAISED, Refusals
from bot.clients.wire import require_private
from bot.clock import Clock, SystemClock
from bot.errors import AbsentError, AccessError, BotError, SourceError, UnreachableError
from bot.foreign import json_reply, json_rows

T = TypeVar("T")
log = logging.getLogger(__name__)
LIBRARY = "apex-bot"
TRIES = 4
LISTING = "the listing of models"
LONGEST_WAIT = 330.0  # seconds; the Hub's rate limit window is 300
Bucket = Literal["api", "resolvers"]
if HF_HUB_DISABLE_PROGRESS_BARS is None:  # the library's own would be drawn over the narrator's
    disable_progress_bars()


class Gate(Protocol):
    """Limits the rate of requests to a Hub."""

    def pass_one(self, bucket: Bucket) -> None:
        """Return when one more request of this kind may be sent."""
        ...

    def limited(self, bucket: Bucket, wait: float) -> None:
        """The Hub's rate limit for this kind is used up for `wait` seconds."""
        ...


class Lender(Protocol):
    """A source of short-lived tokens, which may change the repository `repo_id` alone."""

    repo_id: str

    def token(self) -> str:
        """A token that is valid for some minutes at least."""
        ...

    def is_over(self, token: str) -> bool:
        """Whether a token that was lent has expired."""
        ...


# whom this thread asks: the library has one HTTP client for all
_ASKED: contextvars.ContextVar[tuple[str, Gate] | None] = contextvars.ContextVar(
    "asked", default=None
)
# a mark for each reply in the block of `_through`
_REPLIES: contextvars.ContextVar[list[bool] | None] = contextvars.ContextVar(
    "replies", default=None
)
# the servers that each token is for, as scheme, host and port
_SERVERS: dict[str, set[tuple[str, str, int | None]]] = {}


@contextlib.contextmanager
def _through(gate: tuple[str, Gate] | None) -> Iterator[list[bool]]:
    """Requests of this block and thread to a host pass its gate; yields a mark for each reply."""
    marks: list[bool] = []
    asked_before, replies_before = _ASKED.set(gate), _REPLIES.set(marks)
    try:
        yield marks
    finally:
        _ASKED.reset(asked_before)
        _REPLIES.reset(replies_before)


def _patient_client() -> httpx2.Client:
    """The library's own HTTP client, with timeouts, which it lacks.

    Every request it sends, redirects too, passes the gate of the Hub that is asked, and takes a
    token to that token's own Hub alone.
    """
    client = bounds.hold(default_client_factory())
    client.timeout = httpx2.Timeout(120.0, connect=10.0)
    hooks = client.event_hooks
    client.event_hooks = {
        "request": [*hooks["request"], _keep_token, _ask_gate],
        "response": [*hooks["response"], _tell_gate],
    }
    return client


def _keep_token(request: httpx2.Request) -> None:
    """Send a token to nobody else than it is for.

    The library gives it to whatever address a reply names: the next page of a listing (its
    utils/_pagination.py), where a sent file is confirmed (its lfs.py).
    """
    token = request.headers.get("authorization", "").rpartition(" ")[2]
    server = (request.url.scheme, request.url.host, request.url.port)
    if token in _SERVERS and server not in _SERVERS[token]:
        del request.headers["authorization"]


def _ask_gate(request: httpx2.Request) -> None:
    gate, bucket = _gate_of(request)
    if gate and bucket:
        gate.pass_one(bucket)


def _tell_gate(response: httpx2.Response) -> None:
    marks = _REPLIES.get()
    if marks is not None:
        marks.append(True)
    gate, bucket = _gate_of(response.request)
    limit = parse_ratelimit_headers(response.headers)
    if not gate or not bucket:
        return
    if limit is not None and limit.remaining == 0:
        gate.limited(bucket, limit.reset_in_seconds + 1.0)
    elif response.status_code == 429:
        gate.limited(bucket, _retry_after(response.headers) or 60.0)


def _gate_of(request: httpx2.Request) -> tuple[Gate | None, Bucket | None]:
    asked = _ASKED.get()
    if asked is None or request.url.host != asked[0]:
        return None, None
    return asked[1], "api" if request.url.path.startswith("/api/") else "resolvers"


set_client_factory(_patient_client)


class Connection:
    """Requests to one Hub with one token, or with the tokens of a lender, one after another.

    Without a token nothing is sent, and none is looked for elsewhere. `pause` is the first wait, in
    seconds, before a repeated request, by `clock`, `timeout` that of a small reply. Every request
    passes `gate`. Messages call the token by `variable`.
    """

    def __init__(
        self,
        endpoint: str,
        token: SecretStr | Lender | None,
        *,
        pause: float = 0.5,
        timeout: float = 30.0,
        clock: Clock | None = None,
        gate: Gate | None = None,
        variable: str = "HF_TOKEN",
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.name = re.sub(r"//[^/@]*@", "//", self.endpoint)  # for messages: no password
        self._lender = None if token is None or isinstance(token, SecretStr) else token
        self._own = token.get_secret_value() if isinstance(token, SecretStr) else ""
        if not re.fullmatch(r"[!-~]*", self._own):
            raise AccessError(f"{variable} holds characters that no token has; copy it again")
        if token is not None:
            require_private(endpoint, variable)
        self._refusals = Refusals(
            hub=self.name,
            variable=variable,
            has_token=bool(self._own),
            lent_for=self._lender.repo_id if self._lender else None,
        )
        secrecy.keep(self._own)
        self._pause, self._timeout, self._clock = pause, timeout, clock or SystemClock()
        self._gate = (urlsplit(self.endpoint).hostname or "", gate) if gate else None
        self._library = HfApi(
            endpoint=self.endpoint,
            token=False,
            library_name=LIBRARY,
            library_version=_version(),
        )

    @property
    def _secret(self) -> str:
        """The token of the next request; empty for none. Raises what a lender raises."""
        token = self._lender.token() if self._lender else self._own
        if token:
            url = httpx2.URL(self.endpoint)
            _SERVERS.setdefault(token, set()).add((url.scheme, url.host, url.port))
        return token

    @property
    def _api(self) -> HfApi:
        """The library, with the token of the next request."""
        self._library.token = self._secret or False
        return self._library

    def ping(self) -> str | None:
        """None when a Hub answers within five seconds, else one line that says what is wrong."""
        try:
            with self._requests(LISTING):
                reply = get_session().get(
                    f"{self.endpoint}/api/models",
                    params={"limit": 1},
                    headers=self._headers(),
                    timeout=5.0,
                )
                hf_raise_for_status(reply)
                self._listing(reply)
        except BotError as error:
            return str(error)
        return None

    def whoami(self) -> str:
        """Name of the token's user. Asked once: the Hub limits this call strictly."""
        return self._user

    def require_owner(self, owner: str) -> None:
        """Raise AccessError where the token's user surely may not publish for `owner`."""
        user = self._whoami
        roles = {
            str(org.get("name")): org.get("roleInOrg")
            for org in user.get("orgs") or ()
            if isinstance(org, dict)
        }
        if owner != self._user and owner not in roles:
            owners = ", ".join((self._user, *roles))
            raise AccessError(
                f"{self._user} may not publish for {owner} on {self.name}, only for {owners}; "
                "choose another owner, or another token"
            )
        if roles.get(owner) == "read":
            raise AccessError(f"{self._user} may only read what is {owner}'s; ask for write there")

    @functools.cached_property
    def _user(self) -> str:
        name = self._whoami.get("name")
        if not isinstance(name, str):
            raise replies.not_a_hub(self.name)
        return name

    @functools.cached_property
    def _whoami(self) -> Mapping[str, Any]:
        if not self._secret:
            raise self._refusals.no_token()
        user: Any = self._repeat("the token's user", lambda: self._api.whoami())
        if not isinstance(user, dict):
            raise replies.not_a_hub(self.name)
        return user

    def ask(self, what: str, call: Callable[[HfApi], T]) -> T:
        """A call of the library that is safe to repeat; for the modules beside this one."""
        return self._repeat(what, lambda: call(self._api))

    def _models(self, repo_id: str, kind: str = "model") -> str:
        return f"{self.endpoint}/api/{kind}s/{quote(repo_id)}"

    def _file(self, repo_id: str, commit: str, path: str, kind: str = "model") -> str:
        return hf_hub_url(repo_id, path, repo_type=kind, revision=commit, endpoint=self.endpoint)

    def _headers(self) -> dict[str, str]:
        return build_hf_headers(
            token=self._secret or False, library_name=LIBRARY, library_version=_version()
        )

    def _json(self, url: str, params: Mapping[str, Any]) -> Any:
        reply = get_session().get(
            url, params=dict(params) or None, headers=self._headers(), timeout=self._timeout
        )
        hf_raise_for_status(reply)
        repo_id = url.removeprefix(f"{self.endpoint}/api/models/").partition("/revision/")[0]
        return self._parsed(json_reply, reply, f"what {self.name} says of {repo_id}")

    def _parsed(self, parse: Callable[[bytes, str], T], reply: httpx2.Response, what: str) -> T:
        """A reply's JSON. Raises UnreachableError for what is none, SourceError as `parse` does."""
        try:
            return parse(reply.content, what)
        except ValueError as error:  # a reply cut short, or no Hub's
            raise replies.not_a_hub(self.name) from error

    def _listing(self, reply: httpx2.Response) -> tuple[list[Any], str | None]:
        """The rows of a page, and the address of the next one on the same Hub."""
        rows = self._parsed(json_rows, reply, "the listing of models")
        following = reply.links.get("next", {}).get("url")
        if not isinstance(rows, list):
            raise replies.not_a_hub(self.name)
        if following and urlsplit(following)[:2] != urlsplit(self.endpoint)[:2]:
            raise replies.not_a_hub(self.name)  # the token would go to another server
        return rows, following

    def _repeat(self, what: str, call: Callable[[], T]) -> T:
        """Call something that is safe to repeat, until it is answered or `TRIES` are used up.

        What is not there is asked for twice: one of many servers may be behind, or wrong.
        """
        for attempt in range(1, TRIES):
            try:
                with self._requests(what):
                    return call()
            except AbsentError as error:
                if attempt > 1:
                    raise
                self._rest(error, attempt)
            except UnreachableError as error:
                if isinstance(error.__cause__, OfflineModeIsEnabled):
                    raise
                self._rest(error, attempt)
        with self._requests(what):
            return call()

    def _rest(self, error: BotError, attempt: int) -> None:
        """Wait before a request is repeated: as long as the Hub says, else ever longer."""
        wait = _wanted_wait(error.__cause__) or self._pause * 2 ** (attempt - 1)
        wait *= random.uniform(1.0, 1.3)  # noqa: S311 - spreads watchers, hides nothing
        log.info("%s: trying again in %.1f s", error, wait)
        self._clock.sleep(min(wait, LONGEST_WAIT))

    @contextlib.contextmanager
    def _requests(self, what: str) -> Iterator[None]:
        """Requests for `what`, which pass the gate; what the client raises becomes our errors."""
        with _through(self._gate) as replied:
            try:
                with bounds.one_question():
                    yield
            except bounds.Overfull as error:
                if what == LISTING:
                    raise
                raise SourceError(f"{what}: {error.fact}; choose another model") from error
            except RAISED as error:
                refusal = self._refusals.explained(error, what, replied=bool(replied))
                if refusal is None:
                    raise  # a mistake of this program, not of the Hub's
                raise refusal from error


def _wanted_wait(error: BaseException | None) -> float | None:
    """Seconds that a refused request is told to wait: `RateLimit`, else `Retry-After`."""
    if not isinstance(error, HfHubHTTPError):
        return None
    limit = parse_ratelimit_headers(error.response.headers)
    if error.response.status_code == 429 and limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds + 1.0
    return _retry_after(error.response.headers)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    seconds = headers.get("Retry-After", "")
    return float(seconds) if re.fullmatch(r"[0-9]{1,6}", seconds) else None


def date_of(headers: Mapping[str, str]) -> float | None:
    """The Hub's clock, POSIX seconds."""
    try:
        return parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except ValueError:
        return None


@functools.cache
def _version() -> str:
    try:
        return importlib.metadata.version("apex-bot")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "0"
