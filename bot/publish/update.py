"""What a publication does to a repository that holds something already.

Ours is what the provenance.json there names, and the few files beside it. What people added stays;
a card that they wrote into is merged block by block.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.clients.hub.changes import Writer
from bot.clients.hub.hub import Hub
from bot.disk.hashes import sha256
from bot.disk.writing import keep_text
from bot.errors import PublishError, SourceError
from bot.publish.held import differing, verify_held
from bot.publish.reclaim import require_stored
from bot.publish.upload import CARD
from bot.records.built import Built
from bot.records.releases import Release, RepoFile
from bot.settings.advisories import Advisory, concerning
from bot.wording.blocks import merged_card
from bot.workplace import provenance
from bot.workplace.provenance import Provenance

CHANGES, RESULTS = "CHANGELOG.md", "results.json"
TEXT_LIMIT = 1_000_000  # bytes of a card or changelog
BESIDE = provenance.ALWAYS | {CHANGES}
TITLE = "# Changes\n"
PLOTS = "plots/"  # drawn anew with every number: of no interest in a list of changes


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one commit shall do, and why; `notes` say what was left alone."""

    files: Mapping[str, Built]
    deletions: tuple[str, ...]
    message: str
    notes: tuple[str, ...]


def plan_update(
    hub: Hub,
    before: Release,
    files: Mapping[str, Built],
    first: str,
    folder: Path,
    date: str,
    advisories: Sequence[Advisory] = (),
) -> Update:
    """The commit that makes the repository hold `files`; merged texts are written to `folder`.

    `first` is the message where nothing was published yet, `date` stands in the changelog.
    Raises PublishError where somebody else's file has the name of one of ours.
    """
    old = provenance.parse_statement(_json(hub, before, provenance.NAME))
    new = provenance.of_files(files)
    held_files = {file.path: file for file in before.files}
    own_paths = _owned(hub, before, old)
    if foreign := [
        p for p in differing(before, files) if p in held_files and p not in own_paths and p != CARD
    ]:
        raise PublishError(
            f"{before.repo_id} holds a {foreign[0]} that is not the bot's; rename it there or "
            "choose another repository with --to"
        )
    new_files, notes = dict(files), list[str]()
    if CARD in held_files and CARD in files:
        _merge_card(hub, before, new_files, folder, notes)
    deletions = tuple(_deletions(hub, before, old, files, notes)) if old else ()
    why = list(provenance.reasons(old, new)) if old and new else []
    if why and advisories:
        why += _mended(_json(hub, before, RESULTS), files, advisories)
    if why or deletions:
        new_files[CHANGES] = _changelog(
            hub, before, folder, date, why, _replaced(old, new), deletions
        )
    message = _message(why, deletions) if (why or deletions) else first
    return Update(files=new_files, deletions=deletions, message=message, notes=tuple(notes))


def _mended(
    old: Mapping[str, Any] | None, files: Mapping[str, Built], advisories: Sequence[Advisory]
) -> list[str]:
    """What was wrong with the published build, by the advisories, and is not with the new one."""
    new = json.loads(Path(files[RESULTS].path).read_bytes()) if RESULTS in files else None
    was, now = (concerning(advisories, *_made_with(results)) for results in (old, new))
    return [f"mended: {advisory.wrong}" for advisory in was if advisory not in now]


def _made_with(results: Mapping[str, Any] | None) -> tuple[str, str]:
    """llama-cpp-python's version and the family that a results.json names; empty where none."""
    try:
        tools, model = (results or {})["tools"], (results or {})["architecture"]
        return str(tools["llama_cpp_python"]), str(model["family"])
    except (KeyError, TypeError):
        return "", ""


def rollback_files(
    hub: Hub, repo_id: str, revision: str, folder: Path, date: str
) -> tuple[str, tuple[str, ...]]:
    """One commit that gives the bot's files what they held at `revision`; it, and what it changed.

    Files of others stay. The card is merged as ever, the changelog gets an entry. Raises
    PublishError where the Hub stores a file of that revision no more.
    """
    now, then = hub.release(repo_id), hub.release(repo_id, revision)
    held = [
        provenance.parse_statement(_json(hub, release, provenance.NAME)) for release in (now, then)
    ]
    ours = _owned(hub, now, held[0]) | _owned(hub, then, held[1])
    files_now, files_then = ({f.path: f for f in release.files} for release in (now, then))
    changed = [p for p in sorted(ours - {CHANGES}) if files_now.get(p) != files_then.get(p)]
    if not changed:
        return now.commit, ()
    back = {path: file.sha256 for path in changed if (file := files_then.get(path)) and file.sha256}
    require_stored(hub, then, back)
    sent, notes = dict[str, Built](), list[str]()
    if CARD in changed and CARD in files_then and CARD in files_now:
        old = hub.read_text(repo_id, then.commit, CARD, TEXT_LIMIT)
        sent[CARD] = _written(folder / "then" / CARD, old or "")
        _merge_card(hub, now, sent, folder, notes)
        changed.remove(CARD)
    why = [f"back to what it was at {then.commit[:12]}"]
    sent[CHANGES] = _changelog(hub, now, folder, date, why, (), ())
    paths = {path: Path(built.path) for path, built in sent.items()}
    message = f"Back to {then.commit[:12]}"
    commit = Writer(hub).restore(now, then, message, changed, paths)
    verify_held(hub, repo_id, commit, sent)
    return commit, (*changed, *sent)


def _owned(hub: Hub, before: Release, old: Provenance | None) -> frozenset[str]:
    """Paths that the bot put there. Before it wrote a provenance, results.json named them."""
    if old is not None:
        return BESIDE | frozenset(old.files)
    results = _json(hub, before, RESULTS)
    if results is None or "tiers" not in results:
        return frozenset()
    ours = (".gguf", ".png")
    return BESIDE | frozenset(f.path for f in before.files if f.path.endswith(ours))


def _deletions(
    hub: Hub, before: Release, old: Provenance, files: Mapping[str, Built], notes: list[str]
) -> Iterator[str]:
    """Files of ours that the new build does not have; one that somebody changed stays."""
    held_files = {file.path: file for file in before.files}
    for path in old.files:
        if path in files or path not in held_files:
            continue
        if _is_as_made(hub, before, held_files[path], old):
            yield path
        else:
            notes.append(f"{path} is not the bot's any more and stays; remove it yourself")


def _is_as_made(hub: Hub, before: Release, file: RepoFile, old: Provenance) -> bool:
    """Whether a file is still what the build made; the Hub has no sha256 of small ones."""
    if file.sha256 is not None:
        return file.sha256 == old.files[file.path]
    if file.path in old.blobs:
        return file.blob_id == old.blobs[file.path]
    return hub.sha256_of_small(before, file) == old.files[file.path]  # provenance of an older bot


def _merge_card(
    hub: Hub, before: Release, files: dict[str, Built], folder: Path, notes: list[str]
) -> None:
    held = hub.read_text(before.repo_id, before.commit, CARD, TEXT_LIMIT)
    text = merged_card(held, Path(files[CARD].path).read_text(encoding="utf-8")) if held else None
    if text is None:
        notes.append(
            f"{CARD} was written by somebody else and stays; its numbers are not the bot's"
        )
        del files[CARD]
    else:
        files[CARD] = _written(folder / CARD, text)


def _replaced(old: Provenance | None, new: Provenance | None) -> list[str]:
    if old is None or new is None:
        return []
    return sorted(p for p, sha in new.files.items() if old.files.get(p, sha) != sha)


def _changelog(
    hub: Hub,
    before: Release,
    folder: Path,
    date: str,
    why: Sequence[str],
    replaced: Sequence[str],
    deletions: Sequence[str],
) -> Built:
    """The repository's changelog with one more entry on top."""
    held = hub.read_text(before.repo_id, before.commit, CHANGES, TEXT_LIMIT) or TITLE
    lines = [
        *why,
        *(f"replaced: `{p}`" for p in replaced if not p.startswith(PLOTS)),
        *(f"removed: `{p}`" for p in deletions if not p.startswith(PLOTS)),
    ]
    entry = f"\n## {date}\n\n" + "".join(f"- {line}\n" for line in lines)
    rest = held.removeprefix(TITLE)
    return _written(folder / CHANGES, TITLE + entry + rest if rest != held else entry + held)


def _message(why: Sequence[str], deletions: Sequence[str]) -> str:
    lines = [*why, *(f"removed: {path}" for path in deletions)]
    return f"Update: {lines[0]}"[:200] + "\n\n" + "\n".join(f"* {line}" for line in lines)


def _json(hub: Hub, before: Release, path: str) -> dict[str, object] | None:
    if path not in {file.path for file in before.files}:
        return None
    try:
        return hub.read_json(before.repo_id, before.commit, path, provenance.LIMIT)
    except SourceError:  # no JSON object: not the bot's
        return None


def _written(path: Path, text: str) -> Built:
    keep_text(path, text)
    return Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))
