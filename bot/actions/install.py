"""The files that a repository of the user's needs to build releases, and how they are renewed.

.github/workflows/release.yml    a release; or release-single.yml, for one runner
.github/workflows/watch.yml      the watcher on a schedule; does nothing until it is switched on
.github/apex-bot.json            the files as they were installed, to merge later ones with
bot.yaml                         settings, commented
APEX-BOT.md                      what is still to be done by hand
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.actions.merge import merged_text
from bot.errors import SettingsError

RECORD = ".github/apex-bot.json"
RELEASE, SINGLE = ".github/workflows/release.yml", ".github/workflows/release-single.yml"
PLACES = {
    RELEASE: "release.yml",
    SINGLE: "release-single.yml",
    ".github/workflows/watch.yml": "watch.yml",
    "bot.yaml": "install/bot.yaml",
    "APEX-BOT.md": "install/APEX-BOT.md",
}
BRANCH = "apex-bot/init"
TITLE = "Build APEX releases with apex-bot"


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Files to write, by path, and what is to be said about them."""

    files: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def body(self) -> str:
        """The text of a pull request."""
        listed = "\n".join(f"* {note}" for note in self.notes)
        return f"{listed}\n\nNothing runs until this is merged. What is left to do: APEX-BOT.md.\n"


def wanted_files(workflows: Path, *, single: bool, namespace: str | None = None) -> dict[str, str]:
    """The files of this version, by path in the repository; `namespace` is the owner on the Hub."""
    left_out = RELEASE if single else SINGLE
    texts = {
        path: (workflows / name).read_text(encoding="utf-8")
        for path, name in PLACES.items()
        if path != left_out
    }
    if single:
        _replace(texts, "bot.yaml", "workflow: release.yml", "workflow: release-single.yml")
        name = "*apex-bot release on one runner*"
        _replace(texts, "APEX-BOT.md", "*apex-bot release*", name)
    if namespace is not None:
        _replace(texts, "bot.yaml", "namespace: null", f"namespace: {namespace}")
    return texts


def _replace(texts: dict[str, str], path: str, old: str, new: str) -> None:
    texts[path] = texts[path].replace(old, new)


def paths() -> tuple[str, ...]:
    """Every path that is read in a repository."""
    return (*PLACES, RECORD)


def proposal_of(present: Mapping[str, str], new: Mapping[str, str], *, upgrade: bool) -> Proposal:
    """What to write into a repository that holds `present`.

    Without `upgrade` a file that is there stays as it is. With it, a file the user did not touch is
    renewed, a file the user changed gets our changes merged in, one the user removed stays away.
    Raises SettingsError for an upgrade of what was never installed.
    """
    base = _installed(present) if upgrade else {}
    if upgrade and not base:
        raise SettingsError(f"there is no {RECORD}; run `bot init` without --upgrade")
    files: dict[str, str] = {}
    notes: list[str] = []
    for path, text in new.items():
        present_text = present.get(path)
        new_text, note = (
            _upgraded(path, present_text, base.get(path), text)
            if upgrade
            else _added(path, present_text, text)
        )
        notes += [note] if note else []
        if new_text is not None and new_text != present_text:
            files[path] = new_text
    record = json.dumps({"files": dict(new)}, indent=1, ensure_ascii=False) + "\n"
    if files or (upgrade and base != new):
        files[RECORD] = record
    return Proposal(files=files, notes=tuple(notes))


def _added(path: str, present_text: str | None, text: str) -> tuple[str | None, str | None]:
    if present_text is None:
        return text, f"`{path}` is new"
    return None, None if present_text == text else f"`{path}` is there already and stays as it is"


def _upgraded(
    path: str, present_text: str | None, base: str | None, text: str
) -> tuple[str | None, str | None]:
    """A file's text after an upgrade, None where it stays as it is; and a note about it."""
    if present_text is None:
        return (
            (None, f"`{path}` was removed and stays away") if base else (text, f"`{path}` is new")
        )
    if base is None or base == text or present_text == text:
        return None, None
    merged = merged_text(base, present_text, text)
    note = f"`{path}` is renewed" + ("" if present_text == base else "; your changes are kept")
    for lost in merged.refused:
        note += f"\n  One change meets yours and is left to you:\n  ```\n{lost}  ```"
    return merged.text, note


def installed_single(present: Mapping[str, str]) -> bool:
    """Whether what was installed last is the form for one runner."""
    return SINGLE in _installed(present)


def installed_namespace(present: Mapping[str, str]) -> str | None:
    """The owner on the Hub that was given when it was installed."""
    match = re.search(
        r"^  namespace: (\S+)$", _installed(present).get("bot.yaml", ""), re.MULTILINE
    )
    return match[1] if match and match[1] != "null" else None


def _installed(present: Mapping[str, str]) -> dict[str, str]:
    """The files as they were installed last. Raises SettingsError for a record that is none."""
    text = present.get(RECORD)
    if text is None:
        return {}
    try:
        files = json.loads(text)["files"]
        return {str(path): str(content) for path, content in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{RECORD} is damaged; take it from an older commit") from error
