"""Three versions of a text → one: what the user changed stays, what we changed comes in.

`git merge-file` does it (git-merge-file(1)).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.errors import BuildError, CapacityError

SIZE = 43  # characters of a mark of git's: longer than any line of marks in a text
MOST = 127  # conflicts that its exit code can tell; what is beyond is a failure


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A merged text. `refused` are changes of ours that met one of the user's: theirs stands."""

    text: str
    refused: tuple[str, ...] = ()


def merged_text(base: str, theirs: str, ours: str) -> Merged:
    """The user's text with our changes since `base`. Raises CapacityError where there is no git."""
    with TemporaryDirectory() as folder:
        for name, text in (("theirs", theirs), ("base", base), ("ours", ours)):
            (Path(folder) / name).write_bytes(text.encode())
        marked = _git(folder, "--diff3", "-L", "theirs", "-L", "base", "-L", "ours")
        return Merged(text=_git(folder, "--ours"), refused=tuple(_refused(marked)))


def _refused(marked: str) -> Iterator[str]:
    """Our side of each conflict: the lines between its second mark and its last."""
    lines: list[str] | None = None
    for line in marked.splitlines(keepends=True):
        if line.rstrip("\n") == "=" * SIZE:
            lines = []
        elif lines is not None and line.rstrip("\n") == ">" * SIZE + " ours":
            yield "".join(lines)
            lines = None
        elif lines is not None:
            lines.append(line)


def _git(folder: str, *options: str) -> str:
    command = ("git", "merge-file", "-p", f"--marker-size={SIZE}", *options)
    try:
        process = subprocess.run(
            (*command, "theirs", "base", "ours"), cwd=folder, capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise CapacityError("git is not installed on this machine; install it") from error
    if not 0 <= process.returncode <= MOST:
        raise BuildError(
            f"git merge-file failed: {process.stderr.decode('utf-8', 'replace')[:200]}"
        )
    return process.stdout.decode()
