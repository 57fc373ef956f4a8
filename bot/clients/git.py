"""One file in a branch of its own, without a history: each version replaces the last.

git itself does it. The token reaches it through the environment, never its arguments.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

from bot import secrecy
from bot.clients.wire import require_private
from bot.errors import BusyError, CapacityError, UnreachableError

COMMIT = re.compile(r"[0-9a-f]{40,64}")
WEB = ("http://", "https://")
LIMIT = 600  # seconds
MOST = 64 << 10  # bytes of what git prints that are read
ASKING = ("ls-remote", "fetch", "push")  # the commands that ask the remote, and need the token


class Shelf:
    """A branch that holds one file. `remote` is an address or a folder.

    Raises AccessError for an address where the token would travel in the open.
    """

    def __init__(self, remote: str, branch: str, token: str | None) -> None:
        self._remote, self._branch = remote, branch
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",  # none that starts a program of its own
            "LC_ALL": "C",
        }
        for role in ("AUTHOR", "COMMITTER"):
            self._environment[f"GIT_{role}_NAME"] = "apex-bot"
            self._environment[f"GIT_{role}_EMAIL"] = "apex-bot@users.noreply.github.com"
        self._lent: dict[str, str] = {}  # what `ASKING` commands are given besides
        if token and remote.startswith(WEB):
            require_private(remote, "GITHUB_TOKEN")
            basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
            secrecy.keep(basic)  # the token in other letters
            # git-config, http.<url>.*: to this address alone, wherever it might be led
            config = {
                f"http.{remote}.extraheader": f"AUTHORIZATION: basic {basic}",
                "http.followRedirects": "false",
            }
            self._lent = {"GIT_CONFIG_COUNT": str(len(config))}
            for i, (key, value) in enumerate(config.items()):
                self._lent |= {f"GIT_CONFIG_KEY_{i}": key, f"GIT_CONFIG_VALUE_{i}": value}

    def take(self, name: str, target: Path) -> str | None:
        """Write the branch's file to `target`; its commit, or None where there is no branch.

        Raises UnreachableError when the server does not answer or refuses.
        """
        with TemporaryDirectory() as folder:
            self._git(folder, "init", "--quiet")
            listed = self._git(folder, "ls-remote", self._remote, f"refs/heads/{self._branch}")
            commit = COMMIT.match(listed.decode())
            if commit is None:
                return None
            self._git(folder, "fetch", "--quiet", "--depth=1", self._remote, commit[0])
            blob = Path(folder) / "taken"
            with blob.open("wb") as file:
                self._git(folder, "cat-file", "blob", f"{commit[0]}:{name}", into=file)
            shutil.copyfile(blob, target)
            return commit[0]

    def put(self, name: str, source: Path, expected: str | None) -> str:
        """Make the branch hold `source`, if it is still at `expected`; its new commit.

        Raises BusyError when somebody else wrote meanwhile.
        """
        with TemporaryDirectory() as folder:
            self._git(folder, "init", "--quiet")
            (Path(folder) / name).write_bytes(source.read_bytes())
            self._git(folder, "add", name)
            self._git(folder, "commit", "--quiet", "--message", "What the watcher knows")
            head = self._git(folder, "rev-parse", "HEAD").decode().strip()
            lease = f"--force-with-lease=refs/heads/{self._branch}:{expected or ''}"
            target = f"HEAD:refs/heads/{self._branch}"
            try:
                self._git(folder, "push", "--quiet", lease, self._remote, target)
            except UnreachableError as error:
                if "stale info" not in str(error) and "fetch first" not in str(error):
                    raise
                raise BusyError(
                    f"another watcher wrote the branch {self._branch}; run only one"
                ) from error
            return head

    def _git(self, folder: str, *arguments: str, into: IO[bytes] | None = None) -> bytes:
        """What git prints, at most `MOST` bytes of it; nothing where it goes `into` a file."""
        environment = self._environment | (self._lent if arguments[0] in ASKING else {})
        with TemporaryFile() as out, TemporaryFile() as stderr:
            try:
                done = subprocess.run(
                    ["git", *arguments], cwd=folder, env=environment, stdout=into or out,
                    stdin=subprocess.DEVNULL, stderr=stderr, timeout=LIMIT, check=False,
                )  # fmt: skip
            except FileNotFoundError as error:
                raise CapacityError("git is not installed on this machine; install it") from error
            except subprocess.TimeoutExpired as error:
                raise UnreachableError(
                    f"git {arguments[0]} took longer than {LIMIT} s; run the same command again "
                    "later"
                ) from error
            if done.returncode:
                raise UnreachableError(
                    f"git {arguments[0]}: {_end(stderr)}; look at the token and the address"
                )
            out.seek(0)
            return out.read(MOST)


def _end(stderr: IO[bytes]) -> str:
    """The end of what git complained of, on one line."""
    stderr.seek(max(stderr.seek(0, os.SEEK_END) - MOST, 0))
    return stderr.read(MOST).decode("utf-8", "replace").strip().replace("\n", "; ")[-300:]
