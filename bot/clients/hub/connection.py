"""Requests to a Hub and what becomes of them: who asks, when again, and every refusal as our error.

Reading is repeated a few times when the Hub stumbles. All requests of huggingface_hub go through
one HTTP client of this process, with an end to its waiting.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib.metadata
import logging
import random
import re
import sys
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
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    FileDuplicationError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
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
from bot.clients.wire import require_private
from bot.clock import Clock, SystemClock
from bot.errors import (
    NO_SPACE,
    AbsentError,
    AccessError,
    BotError,
    CapacityError,
    PublishError,
    SourceError,
    UnreachableError,
)
from bot.foreign import json_reply, json_rows
from bot.legible import legible

T = TypeVar("T")
log = logging.getLogger(__name__)
LIBRARY = "apex-bot"
TRIES = 4
LISTING = "the listing of models"
LONGEST_WAIT = 330.0  # seconds; the Hub's rate limit window is 300
TRANSIENT = (408, 429, 500, 502, 503, 504)
READERS = ("huggingface_hub", "httpx2", "hf_xet")  # libraries that take replies apart
STANDARD = sys.stdlib_module_names
Bucket = Literal["api", "resolvers"]
if HF_HUB_DISABLE_PROGRESS_BARS is None:  # the library's own would be drawn over the narrator's
    disable_progress_bars()


class Gate(Protocol):
    """Somebody who lets requests through one by one."""

    def pass_one(self, bucket: Bucket) -> None:
        """Return when one more request of this kind may be sent."""
        ...

    def limited(self, bucket: Bucket, wait: float) -> None:
        """The Hub said that no more of this kind are answered for `wait` seconds."""
        ...


class Lender(Protocol):
    """Somebody who gives tokens that hold for a while; `repo_id` is all they may change."""

    repo_id: str

    def token(self) -> str:
        """One that holds for some time yet."""
        ...

    def is_over(self, token: str) -> bool:
        """Whether a token that was given holds no more."""
        ...


# of the Hub that speaks in this thread: the library has one HTTP client for all
_SPEAKING: contextvars.ContextVar[tuple[str, Gate] | None] = contextvars.ContextVar(
    "speaking", default=None
)


# the servers that each token is for, as scheme, host and port
_MEANT: dict[str, set[tuple[str, str, int | None]]] = {}

# whether any reply came in what is spoken about now
_HEARD: contextvars.ContextVar[list[bool] | None] = contextvars.ContextVar("heard", default=None)


def _patient_client() -> httpx2.Client:
    """The library's own HTTP client, which waits for ever, with an end to its waiting.

    Every request it sends, redirects too, passes the gate of the Hub that speaks, and takes a
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
    if token in _MEANT and server not in _MEANT[token]:
        del request.headers["authorization"]


def _ask_gate(request: httpx2.Request) -> None:
    gate, bucket = _gate_of(request)
    if gate and bucket:
        gate.pass_one(bucket)


def _tell_gate(response: httpx2.Response) -> None:
    heard = _HEARD.get()
    if heard is not None:
        heard.append(True)
    gate, bucket = _gate_of(response.request)
    limit = parse_ratelimit_headers(response.headers)
    if not gate or not bucket:
        return
    if limit is not None and limit.remaining == 0:
        gate.limited(bucket, limit.reset_in_seconds + 1.0)
    elif response.status_code == 429:
        gate.limited(bucket, _retry_after(response.headers) or 60.0)


def _gate_of(request: httpx2.Request) -> tuple[Gate | None, Bucket | None]:
    speaking = _SPEAKING.get()
    if speaking is None or request.url.host != speaking[0]:
        return None, None
    return speaking[1], "api" if request.url.path.startswith("/api/") else "resolvers"


set_client_factory(_patient_client)


class Connection:
    """One Hub, seen with one token, or with the tokens that a lender gives one after another.

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
        self._variable = variable
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
            _MEANT.setdefault(token, set()).add((url.scheme, url.host, url.port))
        return token

    @property
    def _api(self) -> HfApi:
        """The library, with the token of the next request."""
        self._library.token = self._secret or False
        return self._library

    def ping(self) -> str | None:
        """None when a Hub answers within five seconds, else one line that says what is wrong."""
        try:
            with self._speaking(LISTING):
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
            raise AccessError(
                f"{self._variable} is not set; make a token at {self.name}/settings/tokens"
            )
        user: Any = self._repeat("the token's user", lambda: self._api.whoami())
        if not isinstance(user, dict):
            raise replies.not_a_hub(self.name)
        return user

    def ask(self, what: str, call: Callable[[HfApi], T]) -> T:
        """A call of the library that is safe to repeat; for the modules beside this one."""
        return self._repeat(what, lambda: call(self._api))

    def _models(self, repo_id: str) -> str:
        return f"{self.endpoint}/api/models/{quote(repo_id)}"

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
                with self._speaking(what):
                    return call()
            except AbsentError as error:
                if attempt > 1:
                    raise
                self._rest(error, attempt)
            except UnreachableError as error:
                if isinstance(error.__cause__, OfflineModeIsEnabled):
                    raise
                self._rest(error, attempt)
        with self._speaking(what):
            return call()

    def _rest(self, error: BotError, attempt: int) -> None:
        """Wait before a request is repeated: as long as the Hub says, else ever longer."""
        wait = _wanted_wait(error.__cause__) or self._pause * 2 ** (attempt - 1)
        wait *= random.uniform(1.0, 1.3)  # noqa: S311 - spreads watchers, hides nothing
        log.info("%s: trying again in %.1f s", error, wait)
        self._clock.sleep(min(wait, LONGEST_WAIT))

    @contextlib.contextmanager
    def _speaking(self, what: str) -> Iterator[None]:
        """The one place where the client's exceptions become ours."""
        heard: list[bool] = []
        speaking, hearing = _SPEAKING.set(self._gate), _HEARD.set(heard)
        try:
            with bounds.one_question():
                yield
        except bounds.Overfull as error:
            if what == LISTING:
                raise
            raise SourceError(f"{what}: {error.fact}; choose another model") from error
        except (httpx2.HTTPError, EntryNotFoundError, ConnectionError, TimeoutError) as error:
            raise self._translated(error, what) from error
        except LocalTokenNotFoundError as error:
            raise AccessError(
                f"{self._variable} is not set; make a token at {self.name}/settings/tokens"
            ) from error
        except HFValidationError as error:
            raise SourceError(f"{what} is not a name on a Hub; write OWNER/NAME") from error
        except FileDuplicationError as error:
            raise PublishError(
                f"{self.name} does not copy files to {what}: {self._clean(error)}; both "
                "repositories must lie in one storage region, and the token read the source"
            ) from error
        except ImportError as error:
            raise CapacityError(
                f"{error.name or error} is not installed; install apex-bot with all it needs"
            ) from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error.__cause__, HfHubHTTPError):  # create_commit, of README.md
                raise PublishError(
                    f"{self.name} does not accept {what}: {self._clean(error)}; correct the card"
                ) from error
            behind = error.__context__
            if isinstance(behind, httpx2.HTTPStatusError):  # a reason that is not as a Hub gives it
                raise self._refused(behind.response, "", what) from error
            if not heard or not _of_a_reply(error):
                raise  # a mistake of this program, not of the Hub's
            raise replies.not_a_hub(self.name) from error  # a reply cut short, or no Hub's
        except RuntimeError as error:
            if type(error) is not RuntimeError:
                raise
            # hf_xet's way to say so, and that of an upload around its reason
            raise self._translated(error.__cause__ or error, what) from error
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            raise CapacityError(f"no space left for {what}; free some and run it again") from error
        finally:
            _SPEAKING.reset(speaking)
            _HEARD.reset(hearing)

    def _translated(self, error: BaseException, what: str) -> BotError:
        match error:
            case LocalEntryNotFoundError(__cause__=HfHubHTTPError() as reason):
                return self._translated(reason, what)
            case OfflineModeIsEnabled():
                return UnreachableError("HF_HUB_OFFLINE is set; unset it to reach a Hub")
            case GatedRepoError():
                return AccessError(
                    f"{what} is gated; ask for access at {self.name} as the user of "
                    f"{self._variable}"
                )
            case RemoteEntryNotFoundError():
                return NoSuchFile(f"{what} does not exist on {self.name}; check the name")
            case RepositoryNotFoundError() | RevisionNotFoundError():
                return AbsentError(
                    f"{what} does not exist on {self.name}, or the token may not see it; "
                    "check the name"
                )
            case DisabledRepoError():
                return SourceError(f"{what} is disabled on {self.name}; choose another model")
            case HfHubHTTPError():
                return self._refused(error.response, error.server_message or "", what)
            case _:
                return self._unanswered(what, error)

    def _refused(self, response: httpx2.Response, message: str, what: str) -> BotError:
        status, reason = response.status_code, self._clean(message or response.reason_phrase)
        if status in (402, 403, 413, 507) and re.search(
            r"storage|quota|disk", reason, re.IGNORECASE
        ):
            return CapacityError(
                f"{self.name} has no room for {what} ({status} {reason}); give some back there "
                "(bot publish --prune), or get more"
            )
        if status in (401, 403):
            verdict = "may not do this" if status == 403 else "is not accepted"
            if self._lender is not None:
                lent_for = self._lender.repo_id
                return AccessError(
                    f"{self.name} refused {what} ({status} {reason}): the token lent for "
                    f"{lent_for} {verdict}; see {self.name}/{lent_for}/settings"
                )
            return AccessError(
                f"{self.name} refused {what} ({status} {reason}): {self._variable} "
                f"{verdict if self._own else 'is not set'}; see {self.name}/settings/tokens"
            )
        if status == 429:
            return UnreachableError(f"{self.name} limits our requests; run it again in 5 minutes")
        if status in TRANSIENT or status >= 500:
            return UnreachableError(
                f"{self.name} failed on {what} ({status} {reason}); run the same command again "
                "later"
            )
        if status in (409, 412):
            return moved_on(what)
        kind = AbsentError if response.request.method in ("GET", "HEAD") else PublishError
        return kind(f"{self.name} does not accept {what} ({status} {reason}); run `bot doctor`")

    def _unanswered(self, what: str, error: BaseException) -> UnreachableError:
        return UnreachableError(
            f"{self.name} did not answer for {what} ({type(error).__name__}); "
            "run the same command again later"
        )

    def _clean(self, message: object) -> str:
        """Words of a server or library on one line, short, without a token."""
        return legible(secrecy.redacted(str(message)), 200)


class NoSuchFile(AbsentError):
    """The repository is there, the file is not."""


class MovedOn(PublishError):
    """Somebody else's commit came between."""


def moved_on(repo_id: str) -> MovedOn:
    return MovedOn(f"{repo_id} was changed by somebody else meanwhile; run the same command again")


def _of_a_reply(error: BaseException) -> bool:
    """Whether an exception arose where a library took a reply apart, and not in code of ours.

    What the library calls of ours, such as a progress report, is ours again.
    """
    trace, ours = error.__traceback__, False
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if module in READERS:
            ours = False
        elif module not in STANDARD:
            ours = True
        trace = trace.tb_next
    return not ours


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
