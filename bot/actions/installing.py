"""`bot init`: the workflows proposed to a repository on GitHub, or written into a checkout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bot import rights
from bot.actions import install
from bot.clients.github import github_client, pull_requests
from bot.disk.writing import write_text
from bot.errors import AccessError, SettingsError
from bot.settings.sections import data_folder
from bot.settings.settings import Settings

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,38}/[\w.-]{1,100}", re.ASCII)
OWNER = re.compile(r"[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What was proposed or written; `where` is a pull request's address, or a folder."""

    where: str | None  # None where nothing is to do, or nothing was to be done
    files: Mapping[str, str]
    notes: tuple[str, ...]


def into_folder(
    folder: Path, *, single: bool, upgrade: bool, dry_run: bool, namespace: str | None = None
) -> Installed:
    """Write into a checkout; committing is left to its owner."""
    if not (folder / ".git").exists():
        raise SettingsError(f"{folder} is no checkout of a repository; name one, or OWNER/REPO")
    present = {
        path: (folder / path).read_text(encoding="utf-8")
        for path in install.paths()
        if (folder / path).is_file()
    }
    proposal = _proposal(present, single=single, upgrade=upgrade, namespace=namespace)
    if not dry_run:
        for path, text in proposal.files.items():
            write_text(folder / path, text)
            rights.hand_out(folder / path)
    where = str(folder) if proposal.files and not dry_run else None
    return Installed(where=where, files=proposal.files, notes=proposal.notes)


def into_repository(
    settings: Settings,
    name: str,
    *,
    single: bool,
    upgrade: bool,
    dry_run: bool,
    namespace: str | None = None,
) -> Installed:
    """Open a pull request, or bring the open one up to date.

    Raises AccessError without a token; it needs Contents, Pull requests and Workflows: write.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is neither OWNER/REPO nor a folder here; check it")
    token = github_client.token()
    if token is None:
        raise AccessError("GITHUB_TOKEN is not set; make one that may write contents and workflows")
    client = github_client.connect(token, settings.github.api_url or github_client.api_url())
    present = pull_requests.read_files(client, name, install.paths())
    proposal = _proposal(present, single=single, upgrade=upgrade, namespace=namespace)
    where = None
    if proposal.files and not dry_run:
        where = pull_requests.propose_files(
            client, name, install.BRANCH, proposal.files, install.TITLE, proposal.body
        )
    return Installed(where=where, files=proposal.files, notes=proposal.notes)


def _proposal(
    present: Mapping[str, str], *, single: bool, upgrade: bool, namespace: str | None
) -> install.Proposal:
    if namespace is not None and not OWNER.fullmatch(namespace):
        raise SettingsError(f"{namespace!r} is no name of an owner on the Hub; check --namespace")
    if upgrade:
        single = install.installed_single(present)
        namespace = namespace or install.installed_namespace(present)
    new = install.wanted_files(data_folder("workflows"), single=single, namespace=namespace)
    return install.proposal_of(present, new, upgrade=upgrade)
