"""The watcher's ledger kept in a branch, for runners that keep nothing."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from bot import secrecy
from bot.clients.git import Shelf
from bot.disk.folders import Folders
from bot.disk.writing import write_text, writing
from bot.errors import SettingsError
from bot.store.ledger import Ledger

BRANCH = "apex-bot-ledger"
NAME = "ledger.sqlite.gz"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,99}/[\w.-]{1,100}", re.ASCII)


def shelf(remote: str | None) -> Shelf:
    """The branch of `remote`, or of the repository whose workflow this is.

    Raises SettingsError outside a workflow, when no remote is named.
    """
    name = os.environ.get("GITHUB_REPOSITORY", "")
    if remote is None and not REPOSITORY.fullmatch(name):
        raise SettingsError("there is no GITHUB_REPOSITORY here; name a remote with --remote")
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com").rstrip("/")
    token = secrecy.value("GITHUB_TOKEN") or None
    return Shelf(remote or f"{server}/{name}.git", BRANCH, token)


def recall_ledger(folders: Folders, where: Shelf) -> bool:
    """Replace the ledger of the working folder by the branch's; False where there is none."""
    folders.root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folders.root) as folder:
        packed = Path(folder) / NAME
        commit = where.take(NAME, packed)
        if commit is not None:
            for rest in ("-wal", "-shm"):  # of the one that is replaced
                folders.ledger.with_name(folders.ledger.name + rest).unlink(missing_ok=True)
            with (
                gzip.open(packed) as source,
                writing(folders.ledger) as partial,
                partial.open("wb") as target,
            ):
                shutil.copyfileobj(source, target)
            Ledger(folders.ledger)  # SettingsError for what is none
    write_text(_expected(folders), commit or "")
    return commit is not None


def remember_ledger(folders: Folders, where: Shelf) -> str:
    """Write the ledger to the branch; its commit. Raises BusyError when it changed meanwhile."""
    noted = _expected(folders)
    expected = noted.read_text(encoding="ascii") if noted.is_file() else ""
    with TemporaryDirectory(dir=folders.root) as folder:
        copy, packed = Path(folder) / "ledger.sqlite", Path(folder) / NAME
        Ledger(folders.ledger).backup(copy)
        with copy.open("rb") as source, gzip.GzipFile(packed, "wb", mtime=0) as target:
            shutil.copyfileobj(source, target)
        commit = where.put(NAME, packed, expected or None)
    write_text(noted, commit)
    return commit


def _expected(folders: Folders) -> Path:
    return folders.root / "ledger.commit"
