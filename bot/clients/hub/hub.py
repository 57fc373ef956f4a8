"""A Hugging Face Hub over HTTP; only the modules called hub know huggingface_hub.

Every method returns our records and raises our errors. A commit is repeated only after the Hub was
asked what it holds, and it did not land.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    get_session,
    hf_raise_for_status,
)
from huggingface_hub.lfs import UploadInfo, post_lfs_batch_info
from pydantic import SecretStr

from bot.clients.hub import xet_storage
from bot.clients.hub.beyond import is_committed, is_sent, is_xet_available, mark_large, mark_sent
from bot.clients.hub.connection import TRIES, Gate, Lender
from bot.clients.hub.reading import Reader
from bot.clients.hub.refusals import moved_on
from bot.clock import Clock
from bot.errors import (
    AbsentError,
    AccessError,
    BotError,
    PublishError,
    SourceError,
    UnreachableError,
)
from bot.records.built import Built
from bot.records.releases import Release, RepoFile

log = logging.getLogger(__name__)
RENEWALS = 24  # of a lent token while one file is sent


class Hub(Reader):
    """A Hub that is read and written to: repositories, contents, commits, tags."""

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
        super().__init__(
            endpoint,
            token,
            pause=pause,
            timeout=timeout,
            clock=clock,
            gate=gate,
            variable=variable,
        )
        self._sent: dict[tuple[str, str], _Sent] = {}  # by repository and path in it
        self._copied: dict[tuple[str, str], _Copied] = {}  # the same
        self._asked_for_xet = False

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

    def make_public(self, repo_id: str) -> None:
        """Show the repository to everybody."""
        self.ask(repo_id, lambda api: api.update_repo_settings(repo_id, visibility="public"))

    def preupload(self, repo_id: str, files: Mapping[str, Built]) -> None:
        """Send contents of large files, by path in the repository, ahead of the commit with them.

        Nothing becomes visible, and a later `commit` of this object neither hashes nor sends them
        again. Small files are left to the commit. A file that is not here any more must be on the
        Hub. Raises as `commit`, and PublishError when the Hub does not hold such a file.
        """
        for path, built in files.items():
            addition, state = _announced(path, built), _state(Path(built.path))
            if state is None:
                with self._requests(repo_id):
                    mark_sent(addition, sent=self._keeps(repo_id, addition.upload_info))
            else:
                self._send_contents(repo_id, [addition])
            if is_sent(addition):
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
        if sent and not is_committed(sent.addition) and state in (None, sent.state):
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
        additions = [self._addition(repo_id, path, file) for path, file in files.items()]
        self._send_contents(
            repo_id,
            [addition for addition in additions if isinstance(addition, CommitOperationAdd)],
        )
        return [*additions, *(CommitOperationDelete(path_in_repo=path) for path in deletions)]

    def _send_contents(self, repo_id: str, additions: list[CommitOperationAdd]) -> None:
        """Send large contents; the library repeats its own requests, with the token it began with.

        Where that is lent and runs out meanwhile, the same call goes on with the next one; where
        the Hub's Xet storage fails, without it.
        """
        for _ in range(RENEWALS):
            token = self._repeat(repo_id, lambda: self._secret)
            by_xet = self._takes_xet(repo_id, additions)
            try:
                with self._requests(repo_id), contextlib.ExitStack() as way:
                    if not by_xet:
                        way.enter_context(xet_storage.by_lfs(additions))
                    self._api.preupload_lfs_files(repo_id, additions=additions, revision="main")
            except (AccessError, UnreachableError) as error:
                if self._lender is not None and self._lender.is_over(token):
                    log.info("%s: going on with a new token after %s", repo_id, error)
                elif by_xet and isinstance(error.__cause__, xet_storage.FAILURES):
                    self._storage.give_up(error)
                else:
                    raise
            else:
                return
        raise UnreachableError(f"{repo_id} outlasted {RENEWALS} tokens; run the same command again")

    def _takes_xet(self, repo_id: str, additions: Sequence[CommitOperationAdd]) -> bool:
        """Whether contents can go into the Hub's Xet storage, which is asked for once."""
        if not is_xet_available() or self._storage.is_given_up:
            return False
        if self._asked_for_xet or all(map(is_sent, additions)):
            return True
        self._asked_for_xet = True
        try:
            with self._requests(repo_id):
                reply = get_session().get(
                    f"{self._models(repo_id)}/xet-write-token/main",
                    headers=self._headers(),
                    timeout=self._timeout,
                )
                hf_raise_for_status(reply)
        except AbsentError as error:  # no such address: a Hub without Xet
            self._storage.give_up(error)
        except BotError as error:  # of the token, or for a moment: sending tells which
            log.info("%s: no Xet token yet: %s", repo_id, error)
        else:
            address = reply.headers.get(xet_storage.ADDRESS)
            if address is not None and not xet_storage.is_known(address, self.endpoint):
                self._storage.give_up(f"{address} is no storage of {self.name}")
            elif address is not None and not self._storage.is_reached(address):
                self._storage.give_up(f"{address} is out of reach")
        return not self._storage.is_given_up

    def send(self, repo_id: str, operations: Sequence[Any], message: str, parent: str) -> str:
        """One commit of the library's operations, asked for once; returns its sha."""
        title, _, description = message.partition("\n\n")
        with self._requests(repo_id):
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
                    raise moved_on(repo_id) from error
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
        by_path = {file.path: file for file in now.files}
        return not any(path in by_path for path in deletions) and all(
            path in by_path and self._same(now, by_path[path], file) for path, file in files.items()
        )

    def sha256_of_small(self, release: Release, file: RepoFile) -> str:
        """The hash of a file that the Hub does not hash itself: one request."""
        content = self._content(release.repo_id, release.commit, file.path, file.size)
        return hashlib.sha256(content).hexdigest()

    def _same(self, now: Release, on_hub: RepoFile, file: Path) -> bool:
        if (copied := self._copied.get((now.repo_id, on_hub.path))) is not None:
            return on_hub.sha256 == copied.sha256
        if not file.is_file():  # freed after it was sent
            sent = self._sent.get((now.repo_id, on_hub.path))
            return sent is not None and on_hub.sha256 == sent.addition.upload_info.sha256.hex()
        if on_hub.size != file.stat().st_size:
            return False
        sha256 = on_hub.sha256
        if sha256 is None:  # a small file, which the Hub does not hash
            sha256 = self.sha256_of_small(now, on_hub)
        with file.open("rb") as stream:
            return sha256 == hashlib.file_digest(stream, "sha256").hexdigest()

    def tag(self, repo_id: str, name: str, commit: str) -> None:
        """Name a commit; a tag that exists stays where it is."""
        self.ask(
            f"the tag {name} of {repo_id}",
            lambda api: api.create_tag(repo_id, tag=name, revision=commit, exist_ok=True),
        )


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
    mark_large(addition)
    return addition


def _state(file: Path) -> tuple[str, int, int] | None:
    """What changes when somebody writes to a file: path, size, time in nanoseconds."""
    if not file.is_file():
        return None
    status = file.stat()
    return str(file), status.st_size, status.st_mtime_ns
