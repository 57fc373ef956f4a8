"""What goes wrong between us and a Hub, as our errors: exceptions of the client's libraries, HTTP
statuses, replies that no Hub gives.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

import httpx2
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

from bot import secrecy
from bot.clients.hub import replies
from bot.clients.hub.beyond import validate_repo_id
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
from bot.legible import legible

TRANSIENT = (408, 429, 500, 502, 503, 504)
FULL = re.compile(r"storage|quota|disk", re.IGNORECASE)  # in the reason of a Hub without room
READERS = ("huggingface_hub", "httpx2", "hf_xet")  # libraries that take replies apart
STANDARD = sys.stdlib_module_names

# what a library raises that takes a reply apart which is not as it expects
ODD = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
# what requests to a Hub may raise; `Refusals.explained` tells the Hub's from ours
RAISED = (
    *(httpx2.HTTPError, EntryNotFoundError, LocalTokenNotFoundError, HFValidationError),
    *(FileDuplicationError, ImportError, RuntimeError, OSError),
    *ODD,
)


class NoSuchFile(AbsentError):
    """The repository is there, the file is not."""


class MovedOn(PublishError):
    """Somebody else's commit came between."""


def moved_on(repo_id: str) -> MovedOn:
    """The error for a repository whose head is not what a change was made for."""
    return MovedOn(f"{repo_id} was changed by somebody else meanwhile; run the same command again")


def require_repo_id(repo_id: str, advice: str) -> None:
    """Raise SourceError, ending in `advice`, for what is no OWNER/NAME of a Hub."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        reason = str(error).replace(f": '{repo_id}'", "").rstrip(".")
        raise SourceError(f"{repo_id!r} is no name on a Hub ({reason}); {advice}") from error
    if repo_id.count("/") != 1:
        raise SourceError(f"{repo_id!r} is no OWNER/NAME of a Hub; {advice}")


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """Words for what one Hub refuses.

    `hub` is its address without a password, `variable` what the token is called, `lent_for` the
    repository that a lent token is for.
    """

    hub: str
    variable: str
    has_token: bool
    lent_for: str | None

    def explained(self, error: Exception, what: str, *, replied: bool) -> BotError | None:
        """One of `RAISED` as our error; None for a mistake of this program.

        `what` was asked for; `replied` says whether any reply came.
        """
        match error:
            case LocalTokenNotFoundError():
                return self.no_token()
            case EntryNotFoundError() | httpx2.HTTPError() | ConnectionError() | TimeoutError():
                return self._translated(error, what)
            case HFValidationError():
                return SourceError(f"{what} is not a name on a Hub; write OWNER/NAME")
            case FileDuplicationError():
                return PublishError(
                    f"{self.hub} does not copy files to {what}: {_clean(error)}; both "
                    "repositories must lie in one storage region, and the token read the source"
                )
            case ImportError():
                return CapacityError(
                    f"{error.name or error} is not installed; install apex-bot with all it needs"
                )
            case RuntimeError() if type(error) is RuntimeError:
                # hf_xet's way to say so, and that of an upload around its reason
                return self._translated(error.__cause__ or error, what)
            case OSError() if error.errno in NO_SPACE:
                return CapacityError(f"no space left for {what}; free some and run it again")
            case RecursionError() | ValueError() | LookupError() | TypeError() | AttributeError():
                return self._odd(error, what, replied=replied)
            case _:
                return None

    def no_token(self) -> AccessError:
        """Nobody gave a token, and this needs one."""
        return AccessError(
            f"{self.variable} is not set; make a token at {self.hub}/settings/tokens"
        )

    def _odd(self, error: Exception, what: str, *, replied: bool) -> BotError | None:
        """What one of `ODD` means; None where it is a mistake of this program."""
        if isinstance(error.__cause__, HfHubHTTPError):  # create_commit, of README.md
            return PublishError(
                f"{self.hub} does not accept {what}: {_clean(error)}; correct the card"
            )
        behind = error.__context__
        if isinstance(behind, httpx2.HTTPStatusError):  # a reason that is not as a Hub gives it
            return self._refused(behind.response, "", what)
        if not replied or not _of_a_reply(error):
            return None
        return replies.not_a_hub(self.hub)  # a reply cut short, or no Hub's

    def _translated(self, error: BaseException, what: str) -> BotError:
        match error:
            case LocalEntryNotFoundError(__cause__=HfHubHTTPError() as reason):
                return self._translated(reason, what)
            case OfflineModeIsEnabled():
                return UnreachableError("HF_HUB_OFFLINE is set; unset it to reach a Hub")
            case GatedRepoError():
                return AccessError(
                    f"{what} is gated; ask for access at {self.hub} as the user of {self.variable}"
                )
            case RemoteEntryNotFoundError():
                return NoSuchFile(f"{what} does not exist on {self.hub}; check the name")
            case RepositoryNotFoundError() | RevisionNotFoundError():
                return AbsentError(
                    f"{what} does not exist on {self.hub}, or the token may not see it; "
                    "check the name"
                )
            case DisabledRepoError():
                return SourceError(f"{what} is disabled on {self.hub}; choose another model")
            case HfHubHTTPError():
                return self._refused(error.response, error.server_message or "", what)
            case _:
                return UnreachableError(
                    f"{self.hub} did not answer for {what} ({type(error).__name__}); "
                    "run the same command again later"
                )

    def _refused(self, response: httpx2.Response, message: str, what: str) -> BotError:
        """A status of 400 or more; `message` is the Hub's, where it gave one."""
        status, reason = response.status_code, _clean(message or response.reason_phrase)
        if status in (402, 403, 413, 507) and FULL.search(reason):
            return CapacityError(
                f"{self.hub} has no room for {what} ({status} {reason}); give some back there "
                "(bot publish --prune), or get more"
            )
        if status in (401, 403):
            return self._forbidden(status, reason, what)
        if status == 429:
            return UnreachableError(f"{self.hub} limits our requests; run it again in 5 minutes")
        if status in TRANSIENT or status >= 500:
            return UnreachableError(
                f"{self.hub} failed on {what} ({status} {reason}); run the same command again later"
            )
        if status in (409, 412):
            return moved_on(what)
        kind = AbsentError if response.request.method in ("GET", "HEAD") else PublishError
        return kind(f"{self.hub} does not accept {what} ({status} {reason}); run `bot doctor`")

    def _forbidden(self, status: int, reason: str, what: str) -> AccessError:
        verdict = "may not do this" if status == 403 else "is not accepted"
        if self.lent_for is not None:
            return AccessError(
                f"{self.hub} refused {what} ({status} {reason}): the token lent for "
                f"{self.lent_for} {verdict}; see {self.hub}/{self.lent_for}/settings"
            )
        return AccessError(
            f"{self.hub} refused {what} ({status} {reason}): {self.variable} "
            f"{verdict if self.has_token else 'is not set'}; see {self.hub}/settings/tokens"
        )


def _clean(message: object) -> str:
    """Words of a server or library on one line, short, without a token."""
    return legible(secrecy.redacted(str(message)), 200)


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
