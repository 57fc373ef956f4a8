"""A Hugging Face Hub over HTTP: the only module that knows huggingface_hub.

Every method returns our records and raises our errors. Reading is repeated a few times when the
Hub stumbles; a commit only after the Hub was asked what it holds, and it did not land.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import httpx2  # the HTTP library of huggingface_hub, for its timeouts and errors
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    get_session,
    hf_hub_url,
    hf_raise_for_status,
    set_client_factory,
)
from huggingface_hub.constants import HF_HUB_DISABLE_PROGRESS_BARS, MAX_HTTP_DOWNLOAD_SIZE
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
from huggingface_hub.file_download import HfFileMetadata, get_hf_file_metadata, http_get
from huggingface_hub.lfs import UploadInfo, post_lfs_batch_info
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import default_client_factory, parse_ratelimit_headers
from huggingface_hub.utils._runtime import is_xet_available
from huggingface_hub.utils._xet import (
    XetFileData,
    get_xet_session,
    refresh_xet_connection_info,
    xet_headers_without_auth,
)
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    tqdm,
)
from pydantic import SecretStr

from bot import secrecy
from bot.clients import header, replies, safetensors
from bot.clients.replies import Listed, Page
from bot.clock import Clock, SystemClock
from bot.errors import (
    NO_SPACE,
    AccessError,
    BotError,
    CapacityError,
    PublishError,
    SourceError,
    UnreachableError,
)
from bot.records import Built, HeaderTensor, Release, RepoFile
from bot.weights import INDEX
from bot.workspace import require_safe

T = TypeVar("T")
Sort = Literal["created_at", "last_modified", "trending_score"]

log = logging.getLogger(__name__)

EXPANDED = (
    *("author", "config", "createdAt", "disabled", "gated", "lastModified", "library_name"),
    *("pipeline_tag", "private", "sha", "tags", "likes", "downloads", "trendingScore"),
)
SORT_NAMES = {
    "created_at": "createdAt",
    "last_modified": "lastModified",
    "trending_score": "trendingScore",
}
LIBRARY = "apex-bot"
TRIES = 4
LONGEST_WAIT = 330.0  # seconds; the Hub's rate limit window is 300
TRANSIENT = (408, 429, 500, 502, 503, 504)
XET_WINDOW = 128 << 20  # bytes that one stream may read ahead
RENEWALS = 24  # of a lent token while one file is sent


Bucket = Literal["api", "resolvers"]


class Gate(Protocol):
    """Somebody who lets requests through one by one."""

    def pass_one(self, bucket: Bucket) -> None:
        """Return when one more request of this kind may be sent."""
        ...

    def told(self, bucket: Bucket, wait: float) -> None:
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


def _patient_client() -> httpx2.Client:
    """The library's own HTTP client, which waits for ever, with an end to its waiting.

    Every request it sends, redirects too, passes the gate of the Hub that speaks.
    """
    client = default_client_factory()
    client.timeout = httpx2.Timeout(120.0, connect=10.0)
    hooks = client.event_hooks
    client.event_hooks = {
        "request": [*hooks["request"], _ask_gate],
        "response": [*hooks["response"], _tell_gate],
    }
    return client


def _ask_gate(request: httpx2.Request) -> None:
    gate, bucket = _gate_of(request)
    if gate and bucket:
        gate.pass_one(bucket)


def _tell_gate(response: httpx2.Response) -> None:
    gate, bucket = _gate_of(response.request)
    limit = parse_ratelimit_headers(response.headers)
    if not gate or not bucket:
        return
    if limit is not None and limit.remaining == 0:
        gate.told(bucket, limit.reset_in_seconds + 1.0)
    elif response.status_code == 429:
        gate.told(bucket, _retry_after(response.headers) or 60.0)


def _gate_of(request: httpx2.Request) -> tuple[Gate | None, Bucket | None]:
    speaking = _SPEAKING.get()
    if speaking is None or request.url.host != speaking[0]:
        return None, None
    return speaking[1], "api" if request.url.path.startswith("/api/") else "resolvers"


set_client_factory(_patient_client)


class Hub:
    """One Hub, seen with one token, or with the tokens that a lender gives one after another.

    Without a token nothing is sent and none is looked for elsewhere (saved logins of the `hf`
    command are for people). `pause` is the first wait, in seconds, before a repeated request,
    by `clock`, `timeout` that of a small reply. Every request passes `gate`.
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
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.name = re.sub(r"//[^/@]*@", "//", self.endpoint)  # for messages: no password
        self._lender = None if token is None or isinstance(token, SecretStr) else token
        self._own = token.get_secret_value() if isinstance(token, SecretStr) else ""
        if not re.fullmatch(r"[!-~]*", self._own):
            raise AccessError("HF_TOKEN holds characters that no token has; copy it again")
        secrecy.keep(self._own)
        self._pause, self._timeout, self._clock = pause, timeout, clock or SystemClock()
        self._sent: dict[tuple[str, str], _Sent] = {}  # by repository and path in it
        self._copied: dict[tuple[str, str], _Copied] = {}  # the same
        self._gate = (urlsplit(self.endpoint).hostname or "", gate) if gate else None
        self._library = HfApi(
            endpoint=self.endpoint,
            token=False,
            library_name=LIBRARY,
            library_version=_version(),
        )
        if not sys.stderr.isatty() and HF_HUB_DISABLE_PROGRESS_BARS is None:
            disable_progress_bars()

    @property
    def _secret(self) -> str:
        """The token of the next request; empty for none. Raises what a lender raises."""
        return self._lender.token() if self._lender else self._own

    @property
    def _api(self) -> HfApi:
        """The library, with the token of the next request."""
        self._library.token = self._secret or False
        return self._library

    # ── who and whether ─────────────────────────────────────────────────────────────────────

    def ping(self) -> str | None:
        """None when a Hub answers within five seconds, else one line that says what is wrong."""
        try:
            with self._speaking("the listing of models"):
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

    @functools.cached_property
    def _user(self) -> str:
        if not self._secret:
            raise AccessError(f"HF_TOKEN is not set; make a token at {self.name}/settings/tokens")
        reply = self._repeat("the token's user", lambda: self._api.whoami())
        name = reply.get("name")
        if not isinstance(name, str):
            raise replies.not_a_hub(self.name)
        return name

    # ── reading ─────────────────────────────────────────────────────────────────────────────

    def newest(
        self, limit: int, page: int, sort: Sort = "created_at", author: str | None = None
    ) -> Iterator[Listed]:
        """The first `limit` models of a listing, newest first, one request per `page` models.

        The next page is asked for only when it is needed. A model that moves to the next page
        meanwhile is given once.
        """
        following: str | None = None
        seen: set[str] = set()
        while len(seen) < limit:
            found = self.page(min(page, limit), sort, author, following=following)
            for model in found.rows:
                if model.repo_id not in seen and len(seen) < limit:
                    seen.add(model.repo_id)
                    yield model
            following = found.following
            if following is None:
                return

    def page(
        self,
        size: int,
        sort: Sort = "created_at",
        author: str | None = None,
        *,
        following: str | None = None,
        etag: str | None = None,
    ) -> Page:
        """One page of a listing: the first, or the one whose address the page before gave.

        One request. With the `etag` of an earlier first page, `unchanged` says that the Hub has
        nothing else to show.
        """
        params: dict[str, Any] = {"sort": SORT_NAMES[sort], "limit": size}
        params |= {"expand": list(EXPANDED)} | ({"author": author} if author else {})
        url = following or f"{self.endpoint}/api/models"
        given: Mapping[str, Any] = {} if following else params
        headers = self._headers() | ({"If-None-Match": etag} if etag else {})

        def ask() -> Page:
            reply = get_session().get(
                url, params=dict(given) or None, headers=headers, timeout=self._timeout
            )
            if reply.status_code == 304:
                return Page(rows=(), unchanged=True, etag=etag, now=_date(reply.headers))
            hf_raise_for_status(reply)
            rows, more = self._listing(reply)
            return Page(
                rows=tuple(self._named(rows)),
                following=more,
                etag=reply.headers.get("ETag"),
                now=_date(reply.headers),
            )

        return self._repeat("the listing of models", ask)

    def _named(self, rows: Sequence[Any]) -> Iterator[Listed]:
        for row in rows:
            model = replies.listed(row)
            if model is None:
                log.warning("%s listed a model without a usable name", self.name)
            else:
                yield model

    def listed(self, repo_id: str) -> Listed:
        """A repository as a listing shows it. One request, and one more where it was renamed.

        Raises SourceError, AccessError, UnreachableError.
        """
        params = {"expand": list(EXPANDED)}
        reply = self._repeat(repo_id, lambda: self._json(self._models(repo_id), params))
        row = replies.listed(reply)
        if row is None:
            raise replies.not_a_hub(self.name)
        return row

    def release(self, repo_id: str, revision: str = "main") -> Release:
        """A repository at the commit that `revision` names now, with sizes and hashes of files.

        One request. Raises SourceError, AccessError, UnreachableError.
        """
        url = f"{self._models(repo_id)}/revision/{quote(revision, safe='')}"
        reply = self._repeat(f"{repo_id}@{revision}", lambda: self._json(url, {"blobs": "true"}))
        return replies.release(reply, self.name)

    def head(self, repo_id: str) -> str:
        """The commit that main is at."""
        return self.release(repo_id).commit

    def exists(self, repo_id: str) -> bool:
        """Whether the repository exists and the token may see it."""
        return self._repeat(repo_id, lambda: self._api.repo_exists(repo_id))

    def read_json(
        self, repo_id: str, commit: str, path: str, limit: int = 1_000_000
    ) -> dict[str, Any] | None:
        """A small JSON object of a repository at a commit; None when there is no such file.

        One request, at most `limit` bytes. Raises SourceError for anything but an object.
        """
        name = f"{path} of {repo_id}"
        try:
            return replies.json_object(self._content(repo_id, commit, path, limit), name)
        except _NoSuchFile:
            return None

    def read_text(self, repo_id: str, commit: str, path: str, limit: int) -> str | None:
        """A small text of a repository at a commit; None when there is no such file.

        One request, at most `limit` bytes; what is no UTF-8 comes as replacement characters.
        """
        try:
            return self._content(repo_id, commit, path, limit).decode("utf-8", "replace")
        except _NoSuchFile:
            return None

    def card_data(self, repo_id: str, commit: str) -> dict[str, Any]:
        """What the Hub read in the front matter of a card at a commit; empty without any."""
        url = f"{self._models(repo_id)}/revision/{quote(commit, safe='')}"
        reply = self._repeat(repo_id, lambda: self._json(url, {"expand": ["cardData"]}))
        found = reply.get("cardData") if isinstance(reply, dict) else None
        return found if isinstance(found, dict) else {}

    def index(self, release: Release) -> dict[str, Any] | None:
        """The index of a checkpoint, where names of files alone do not tell what belongs to it."""
        if not safetensors.needs_index(release):
            return None
        return self.read_json(release.repo_id, release.commit, INDEX, safetensors.LONGEST_INDEX)

    def safetensors(
        self,
        release: Release,
        index: Mapping[str, Any] | None = None,
        report: Callable[[int, int], None] | None = None,
    ) -> tuple[HeaderTensor, ...]:
        """Every tensor of a release's checkpoint at its commit, from the headers of its files.

        One or two requests a file, some files at a time. `index` is what `index` gave. `report` is
        told of files as they are read. Raises SourceError, AccessError, UnreachableError.
        """

        def fetch(path: str, start: int, stop: int) -> bytes:
            return self._range(release.repo_id, release.commit, path, start, stop)

        return safetensors.read_headers(fetch, release, index, report)

    def gguf_header(self, release: Release, file: RepoFile, target: Path) -> None:
        """A file as long as `file` on paper, that holds its header alone: for `gguf.read`.

        Asks for ranges of growing length until the header is whole; takes as much of the disk.
        Raises SourceError for a file that is not GGUF, AccessError, UnreachableError.
        """
        header.write_stand_in(
            lambda start, stop: self._range(
                release.repo_id, release.commit, file.path, start, stop
            ),
            file.size,
            target,
        )

    def may_read(self, repo_id: str, commit: str) -> bool:
        """Whether the token has passed the gate of a gated repository; one request.

        A HEAD of config.json. A repository without that file lets us see that it has none.
        """
        url = self._file(repo_id, commit, "config.json")
        try:
            self._repeat(f"config.json of {repo_id}", lambda: self._stored(url))
        except _NoSuchFile:
            return True
        except AccessError:
            return False
        return True

    def download(
        self,
        repo_id: str,
        commit: str,
        path: str,
        folder: Path,
        advance: Callable[[int], None] = lambda _bytes: None,
        *,
        kind: Literal["model", "dataset"] = "model",
    ) -> Path:
        """Fetch one file of a repository at a commit into `folder`; returns its path.

        What an earlier call left in PATH.partial is gone on from, so the caller compares sha256
        at the end. `advance` is told of bytes as they arrive, negative when some were in vain;
        what it raises ends the download.
        Raises SourceError, AccessError, UnreachableError, CapacityError.
        """
        require_safe(path, repo_id)
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            raise SourceError(f"{target.parent} leads out of {folder}; remove that link")
        partial = target.with_name(f"{target.name}.partial")
        what = f"{path} of {repo_id}"
        url = self._file(repo_id, commit, path, kind)
        self._repeat(what, lambda: self._transfer(self._stored(url), partial, what, advance))
        partial.replace(target)
        return target

    # ── writing ─────────────────────────────────────────────────────────────────────────────

    def create_private(self, repo_id: str) -> None:
        """Make a private model repository. One that exists is left as it is, public or not."""
        self._create(repo_id, private=True)

    def create_public(self, repo_id: str) -> None:
        """Make a model repository that everybody sees. One that exists is left as it is."""
        self._create(repo_id, private=False)

    def _create(self, repo_id: str, *, private: bool) -> None:
        if self._lender is not None:
            raise AccessError(
                f"{repo_id} does not exist, and a token of a trusted publisher makes none; make it "
                "once with a token that may write"
            )
        self.ask(repo_id, lambda api: api.create_repo(repo_id, private=private, exist_ok=True))

    def visibility(self, repo_id: str) -> bool:
        """Whether everybody can see the repository."""
        return not self.release(repo_id).private

    def make_public(self, repo_id: str) -> None:
        """Show the repository to everybody."""
        self._show(repo_id, "public")

    def make_private(self, repo_id: str) -> None:
        """Hide the repository from everybody but its owner."""
        self._show(repo_id, "private")

    def preupload(self, repo_id: str, files: Mapping[str, Built]) -> None:
        """Send contents of large files, by path in the repository, ahead of the commit with them.

        Nothing becomes visible, and a later `commit` of this object neither hashes nor sends them
        again. Small files are left to the commit. A file that is not here any more must be on the
        Hub. Raises as `commit`, and PublishError when the Hub does not hold such a file.
        """
        for path, built in files.items():
            addition, state = _announced(path, built), _state(Path(built.path))
            with _without_bars():
                if state is None:
                    with self._speaking(repo_id):
                        addition._is_uploaded = self._keeps(repo_id, addition.upload_info)
                else:
                    self._send_contents(repo_id, [addition])
            if addition._is_uploaded:
                self._sent[repo_id, path] = _Sent(addition=addition, state=state)
            elif state is None:
                raise PublishError(
                    f"{self.name} holds {path} no more, nor is it here; run the same command again"
                )

    def copies(self, repo_id: str, files: Mapping[str, RepoFile], source: Release) -> None:
        """Have the next commit with these paths take `files` of another repository of this Hub.

        The Hub copies contents itself: nothing is fetched or sent, and no file need be here. The
        token must be able to read `source`. Only large files, which the Hub keeps a sha256 of.
        """
        for path, file in files.items():
            if file.sha256 is None:
                raise TypeError(f"{file.path} of {source.repo_id} is not a large file")
            operation = CommitOperationCopy(
                file.path,
                path,
                src_revision=source.commit,
                src_repo_id=source.repo_id,
                src_repo_type="model",
            )
            self._copied[repo_id, path] = _Copied(operation=operation, sha256=file.sha256)

    def is_sent(self, repo_id: str, path: str) -> bool:
        """Whether this object sent a file's content, so that a commit needs it here no more."""
        return (repo_id, path) in self._sent

    def _keeps(self, repo_id: str, info: UploadInfo) -> bool:
        """Whether the Hub has a content: asked to take it, it names no place to send it to."""
        rows, _, _ = post_lfs_batch_info(
            [info],
            token=None,
            headers=self._headers(),
            repo_type="model",
            repo_id=repo_id,
            endpoint=self.endpoint,
        )
        return len(rows) == 1 and "actions" not in rows[0]

    def _addition(
        self, repo_id: str, path: str, file: Path
    ) -> CommitOperationAdd | CommitOperationCopy:
        """A file of a commit: a copy, or what was sent before, while the file is what it was."""
        if (copied := self._copied.get((repo_id, path))) is not None:
            return copied.operation
        sent, state = self._sent.get((repo_id, path)), _state(file)
        if sent and not sent.addition._is_committed and state in (None, sent.state):
            return sent.addition
        if state is None:
            raise SourceError(f"{file} is not here any more; run `bot publish`")
        return CommitOperationAdd(path_in_repo=path, path_or_fileobj=str(file))

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, Path],
        message: str,
        parent: str,
        deletions: Sequence[str] = (),
    ) -> str:
        """Put local `files` (by their path in the repository) on main as one commit after `parent`.

        Large files are sent first, so that the commit itself is one small request; what the Hub
        holds already is not sent again. What follows an empty line in `message` is the commit's
        description. Returns the commit's sha, which is the head where nothing changed.
        After an unknown outcome the Hub is asked what it holds: only where main is still at
        `parent` the commit is tried again, and `parent` keeps two of it from landing.
        Raises PublishError when main moved on; UnreachableError when the commit did not land,
        after which the same call may be made again.
        """
        operations = self.operations(repo_id, files, deletions)
        return self.settle(
            repo_id,
            lambda: self.send(repo_id, operations, message, parent),
            lambda now: self._holds(now, files, deletions),
            parent,
        )

    def operations(
        self, repo_id: str, files: Mapping[str, Path], deletions: Sequence[str] = ()
    ) -> list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete]:
        """A later commit's parts, as the library has them; contents of large files are sent."""
        found = [self._addition(repo_id, path, file) for path, file in files.items()]
        self._send_contents(repo_id, [one for one in found if isinstance(one, CommitOperationAdd)])
        return [*found, *(CommitOperationDelete(path_in_repo=path) for path in deletions)]

    def _send_contents(self, repo_id: str, additions: list[CommitOperationAdd]) -> None:
        """Send large contents; the library repeats its own requests, with the token it began with.

        Where that is lent and runs out meanwhile, the same call goes on with the next one.
        """
        for _ in range(RENEWALS):
            token = self._repeat(repo_id, lambda: self._secret)
            try:
                with self._speaking(repo_id):
                    self._api.preupload_lfs_files(repo_id, additions=additions, revision="main")
            except (AccessError, UnreachableError) as error:
                if self._lender is None or not self._lender.is_over(token):
                    raise
                log.info("%s: going on with a new token after %s", repo_id, error)
            else:
                return
        raise UnreachableError(f"{repo_id} outlasted {RENEWALS} tokens; run the same command again")

    def send(self, repo_id: str, operations: Sequence[Any], message: str, parent: str) -> str:
        """One commit of the library's operations, asked for once; returns its sha."""
        title, _, description = message.partition("\n\n")
        with self._speaking(repo_id):
            return self._api.create_commit(
                repo_id,
                operations,
                commit_message=title,
                commit_description=description or None,
                revision="main",
                parent_commit=parent,
            ).oid

    def settle(
        self,
        repo_id: str,
        commit: Callable[[], str],
        landed: Callable[[Release], bool],
        parent: str,
    ) -> str:
        """Call `commit` until it is known to have landed on `parent`, at most `TRIES` times.

        `landed` tells whether a repository holds what the commit was to bring.
        """
        for attempt in range(1, TRIES + 1):
            try:
                return commit()
            except (UnreachableError, PublishError) as error:
                now = self.release(repo_id)
                if now.commit != parent and landed(now):
                    return now.commit
                if now.commit != parent:
                    raise _moved_on(repo_id) from error
                if isinstance(error, PublishError):
                    raise
                if attempt == TRIES:
                    raise UnreachableError(
                        f"{self.name} did not take the commit to {repo_id}; "
                        "run the same command again"
                    ) from error
                self._rest(error, attempt)
        raise AssertionError("the last attempt returns or raises")

    def _holds(self, now: Release, files: Mapping[str, Path], deletions: Sequence[str]) -> bool:
        there = {file.path: file for file in now.files}
        return not any(path in there for path in deletions) and all(
            path in there and self._same(now, there[path], file) for path, file in files.items()
        )

    def _same(self, now: Release, there: RepoFile, file: Path) -> bool:
        if (copied := self._copied.get((now.repo_id, there.path))) is not None:
            return there.sha256 == copied.sha256
        if not file.is_file():  # freed after it was sent
            sent = self._sent.get((now.repo_id, there.path))
            return sent is not None and there.sha256 == sent.addition.upload_info.sha256.hex()
        if there.size != file.stat().st_size:
            return False
        sha256 = there.sha256
        if sha256 is None:  # a small file, which the Hub does not hash
            content = self._content(now.repo_id, now.commit, there.path, there.size)
            sha256 = hashlib.sha256(content).hexdigest()
        with file.open("rb") as stream:
            return sha256 == hashlib.file_digest(stream, "sha256").hexdigest()

    def tag(self, repo_id: str, name: str, commit: str) -> None:
        """Name a commit; a tag that exists stays where it is."""
        self.ask(
            f"the tag {name} of {repo_id}",
            lambda api: api.create_tag(repo_id, tag=name, revision=commit, exist_ok=True),
        )

    def _show(self, repo_id: str, visibility: Literal["public", "private"]) -> None:
        self.ask(
            repo_id,
            lambda api: api.update_repo_settings(repo_id, visibility=visibility, repo_type="model"),
        )

    # ── requests ────────────────────────────────────────────────────────────────────────────

    def ask(self, what: str, call: Callable[[HfApi], T]) -> T:
        """A call of the library that is safe to repeat; for the modules beside this one."""
        return self._repeat(what, lambda: call(self._api))

    def _models(self, repo_id: str) -> str:
        return f"{self.endpoint}/api/models/{quote(repo_id)}"

    def _file(self, repo_id: str, commit: str, path: str, kind: str = "model") -> str:
        return hf_hub_url(repo_id, path, repo_type=kind, revision=commit, endpoint=self.endpoint)

    def _stored(self, url: str) -> HfFileMetadata:
        """Where and how a file is stored: size, address, Xet hash. Redirects of the Hub only."""
        return get_hf_file_metadata(
            url, token=self._secret or False, headers=self._headers(), endpoint=self.endpoint
        )

    def _transfer(
        self, stored: HfFileMetadata, partial: Path, what: str, advance: Callable[[int], None]
    ) -> None:
        """Append to `partial` what it still lacks, over Xet where the file is stored so."""
        size = stored.size
        if size is None:
            raise replies.not_a_hub(self.name)
        with partial.open("ab") as file:
            there = file.tell()
            if there > size:  # of something else
                there = file.seek(0)
                file.truncate()
            xet = stored.xet_file_data
            if there == size:
                pass
            elif xet is not None and is_xet_available():
                self._stream(xet, size, file, what, advance)
            elif size - there > MAX_HTTP_DOWNLOAD_SIZE:
                raise CapacityError(
                    f"{what} is too large for plain HTTP; install hf_xet, unset HF_HUB_DISABLE_XET"
                )
            else:
                self._get(stored, size, file, what, advance)
            file.flush()
            os.fsync(file.fileno())

    def _get(
        self,
        stored: HfFileMetadata,
        size: int,
        file: BinaryIO,
        what: str,
        advance: Callable[[int], None],
    ) -> None:
        """The rest of a file over HTTP; the library goes on by itself after short trouble."""
        ours = urlsplit(stored.location)[:2] == urlsplit(self.endpoint)[:2]
        # the token is for nobody else
        headers = {"Accept-Encoding": "identity"} | (self._headers() if ours else {})
        try:
            with _whole(what):
                http_get(
                    stored.location,
                    file,
                    resume_size=file.tell(),
                    headers=headers,
                    expected_size=size,
                    tqdm_class=_told(advance),
                )
        except HfHubHTTPError as error:
            if ours:
                raise
            # the address of a stored file holds for an hour only
            raise UnreachableError(f"{what} stopped; run the same command again") from error

    def _stream(
        self,
        xet: XetFileData,
        size: int,
        file: BinaryIO,
        what: str,
        advance: Callable[[int], None],
    ) -> None:
        """The rest of a file over Xet, in order. hf_xet's own download to a file starts anew.

        In windows: a stream reads ahead by gigabytes.
        """
        from hf_xet import XetFileInfo

        headers = self._headers()
        try:
            given = refresh_xet_connection_info(file_data=xet, headers=headers)
        except ValueError as error:
            raise replies.not_a_hub(self.name) from error
        session = get_xet_session()  # type: ignore[no-untyped-call]  # the library's
        group = session.new_download_stream_group(
            endpoint=given.endpoint,
            token=given.access_token,
            token_expiry_unix_secs=given.expiration_unix_epoch,
            token_refresh_url=xet.refresh_route,
            token_refresh_headers=headers,
            custom_headers=xet_headers_without_auth(headers),
        )
        info = XetFileInfo(xet.file_hash, size)
        while (start := file.tell()) < size:
            with _whole(what):
                for chunk in group.download_stream(info, start, min(start + XET_WINDOW, size)):
                    file.write(chunk)
                    advance(len(chunk))
            if file.tell() == start:
                raise ConnectionError("Xet gave no more")

    def _headers(self) -> dict[str, str]:
        return build_hf_headers(
            token=self._secret or False, library_name=LIBRARY, library_version=_version()
        )

    def _json(self, url: str, params: Mapping[str, Any]) -> Any:
        reply = get_session().get(
            url, params=dict(params) or None, headers=self._headers(), timeout=self._timeout
        )
        hf_raise_for_status(reply)
        return reply.json()

    def _listing(self, reply: httpx2.Response) -> tuple[list[Any], str | None]:
        """The rows of a page, and the address of the next one on the same Hub."""
        rows, following = reply.json(), reply.links.get("next", {}).get("url")
        if not isinstance(rows, list):
            raise replies.not_a_hub(self.name)
        if following and urlsplit(following)[:2] != urlsplit(self.endpoint)[:2]:
            raise replies.not_a_hub(self.name)  # the token would go to another server
        return rows, following

    def _content(self, repo_id: str, commit: str, path: str, limit: int) -> bytes:
        url = hf_hub_url(repo_id, path, revision=commit, endpoint=self.endpoint)

        def fetch() -> bytes:
            content = bytearray()
            sent, limit_s = self._headers(), self._timeout
            with get_session().stream("GET", url, headers=sent, timeout=limit_s) as reply:
                hf_raise_for_status(reply)
                for chunk in reply.iter_bytes():
                    content.extend(chunk)
                    if len(content) > limit:
                        raise SourceError(
                            f"{path} of {repo_id} is larger than {limit} bytes; "
                            "its maker has to repair it"
                        )
            return bytes(content)

        return self._repeat(f"{path} of {repo_id}", fetch)

    def _range(self, repo_id: str, commit: str, path: str, start: int, stop: int) -> bytes:
        """Bytes of a file from `start` to `stop`, whether or not the server knows of ranges."""
        url = self._file(repo_id, commit, path)
        asked = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}

        def fetch() -> bytes:
            content = bytearray()
            sent = {**self._headers(), **asked}
            with get_session().stream("GET", url, headers=sent, timeout=30.0) as reply:
                hf_raise_for_status(reply)
                skipped = 0 if reply.status_code == 206 else start
                for chunk in reply.iter_bytes():
                    content.extend(chunk)
                    if len(content) >= skipped + stop - start:
                        break
            part = bytes(content[skipped : skipped + stop - start])
            if len(part) < stop - start:
                raise ConnectionError("the reply was cut short")
            return part

        return self._repeat(f"{path} of {repo_id}", fetch)

    # ── trouble ─────────────────────────────────────────────────────────────────────────────

    def _repeat(self, what: str, call: Callable[[], T]) -> T:
        """Call something that is safe to repeat, until it is answered or `TRIES` are used up."""
        for attempt in range(1, TRIES):
            try:
                with self._speaking(what):
                    return call()
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
        speaking = _SPEAKING.set(self._gate)
        try:
            yield
        except (httpx2.HTTPError, EntryNotFoundError, ConnectionError, TimeoutError) as error:
            raise self._translated(error, what) from error
        except LocalTokenNotFoundError as error:
            raise AccessError(
                f"HF_TOKEN is not set; make a token at {self.name}/settings/tokens"
            ) from error
        except HFValidationError as error:
            raise SourceError(f"{what} is not a name on a Hub; write OWNER/NAME") from error
        except FileDuplicationError as error:
            raise PublishError(
                f"{self.name} does not copy files to {what}: {self._clean(error)}; both "
                "repositories must lie in one storage region, and the token read the source"
            ) from error
        except (
            json.JSONDecodeError,
            UnicodeDecodeError,
            KeyError,
        ) as error:  # a reply cut short, or no Hub's
            raise replies.not_a_hub(self.name) from error
        except ValueError as error:  # create_commit: the Hub's own check of README.md failed
            raise PublishError(
                f"{self.name} does not accept {what}: {self._clean(error)}; correct the card"
            ) from error
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

    def _translated(self, error: BaseException, what: str) -> BotError:
        match error:
            case LocalEntryNotFoundError(__cause__=HfHubHTTPError() as reason):
                return self._translated(reason, what)
            case OfflineModeIsEnabled():
                return UnreachableError("HF_HUB_OFFLINE is set; unset it to reach a Hub")
            case GatedRepoError():
                return AccessError(
                    f"{what} is gated; ask for access at {self.name} as the user of HF_TOKEN"
                )
            case RemoteEntryNotFoundError():
                return _NoSuchFile(f"{what} does not exist on {self.name}; check the name")
            case RepositoryNotFoundError() | RevisionNotFoundError():
                return SourceError(
                    f"{what} does not exist on {self.name}, or the token may not see it; "
                    "check the name"
                )
            case DisabledRepoError():
                return SourceError(f"{what} is disabled on {self.name}; choose another model")
            case HfHubHTTPError():
                return self._refused(error, what)
            case _:
                return self._unanswered(what, error)

    def _refused(self, error: HfHubHTTPError, what: str) -> BotError:
        status = error.response.status_code
        said = self._clean(error.server_message or error.response.reason_phrase)
        if status in (402, 403, 413, 507) and re.search(r"storage|quota|disk", said, re.IGNORECASE):
            return CapacityError(
                f"{self.name} has no room for {what} ({status} {said}); give some back there "
                "(bot publish --prune), or get more"
            )
        if status in (401, 403):
            held = "may not do this" if status == 403 else "is not accepted"
            if self._lender is not None:
                lent_for = self._lender.repo_id
                return AccessError(
                    f"{self.name} refused {what} ({status} {said}): the token lent for {lent_for} "
                    f"{held}; see {self.name}/{lent_for}/settings"
                )
            return AccessError(
                f"{self.name} refused {what} ({status} {said}): HF_TOKEN "
                f"{held if self._own else 'is not set'}; see {self.name}/settings/tokens"
            )
        if status == 429:
            return UnreachableError(f"{self.name} limits our requests; run it again in 5 minutes")
        if status in TRANSIENT or status >= 500:
            return UnreachableError(
                f"{self.name} failed on {what} ({status} {said}); run the same command again later"
            )
        if status in (409, 412):
            return _moved_on(what)
        kind = SourceError if error.response.request.method in ("GET", "HEAD") else PublishError
        return kind(f"{self.name} does not accept {what} ({status} {said}); run `bot doctor`")

    def _unanswered(self, what: str, error: BaseException) -> UnreachableError:
        return UnreachableError(
            f"{self.name} did not answer for {what} ({type(error).__name__}); "
            "run the same command again later"
        )

    def _clean(self, said: object) -> str:
        """Words of a server or library on one line, short, without a token."""
        line = secrecy.redacted(" ".join(str(said).split()))
        return "".join(letter for letter in line if letter.isprintable())[:200]


@dataclass(frozen=True, kw_only=True)
class _Copied:
    """A content of another repository, and which it is."""

    operation: CommitOperationCopy
    sha256: str


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """A content that the Hub has, and the file as it was then."""

    addition: CommitOperationAdd
    state: tuple[str, int, int] | None


def _announced(path: str, built: Built) -> CommitOperationAdd:
    """A file of a later commit, whose hash is known; the file may be gone."""
    sha256 = bytes.fromhex(built.sha256)
    if Path(built.path).is_file():
        addition = CommitOperationAdd(path_in_repo=path, path_or_fileobj=built.path)
        addition.upload_info.sha256 = sha256
        return addition
    addition = CommitOperationAdd(path_in_repo=path, path_or_fileobj=b"")
    addition.upload_info = UploadInfo(size=built.bytes, sample=b"", sha256=sha256)
    addition._upload_mode = "lfs"
    return addition


def _state(file: Path) -> tuple[str, int, int] | None:
    """What changes when somebody writes to a file: path, size, time in nanoseconds."""
    if not file.is_file():
        return None
    status = file.stat()
    return str(file), status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """The library's own bars would be drawn over those of work that goes on beside."""
    shown = not are_progress_bars_disabled()
    if shown:
        disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


@contextlib.contextmanager
def _whole(what: str) -> Iterator[None]:
    """What the libraries say of a reply cut short: an OSError that is not of this machine."""
    try:
        yield
    except OSError as error:
        if isinstance(error, HfHubHTTPError) or error.errno is not None:
            raise
        raise UnreachableError(f"{what} came cut short; run the same command again") from error


def _told(advance: Callable[[int], None]) -> type[tqdm]:
    """A progress bar in the library's sense that shows nothing and tells `advance`."""

    class Told(tqdm):
        def __init__(self, *_args: Any, **_kwargs: Any) -> None:
            super().__init__(disable=True)  # type: ignore[no-untyped-call]  # the library's

        def update(self, n: float | None = 1) -> bool | None:
            advance(int(n or 0))
            return None

    return Told


class _NoSuchFile(SourceError):
    """The repository is there, the file is not."""


class MovedOn(PublishError):
    """Somebody else's commit came between."""


def _moved_on(repo_id: str) -> MovedOn:
    return MovedOn(f"{repo_id} was changed by somebody else meanwhile; run the same command again")


def _wanted_wait(error: BaseException | None) -> float | None:
    """Seconds that a refused request is told to wait: `RateLimit`, else `Retry-After`."""
    if not isinstance(error, HfHubHTTPError):
        return None
    limit = parse_ratelimit_headers(error.response.headers)
    if error.response.status_code == 429 and limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds + 1.0
    return _retry_after(error.response.headers)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    told = headers.get("Retry-After", "")
    return float(told) if re.fullmatch(r"[0-9]{1,6}", told) else None


def _date(headers: Mapping[str, str]) -> float | None:
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
