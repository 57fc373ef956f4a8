"""How publications and other work ended, for people: the text that verbs print."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bot.cli.text.short_size import size
from bot.legible import legible
from bot.records.results import Results
from bot.wording.columns import table

if TYPE_CHECKING:
    from bot.publish.publication import Published, RolledBack, Version
    from bot.publish.reclaim import Replaced
    from bot.records.findings import Finding
    from bot.verbs.cleaning import Cleaned
    from bot.verbs.demo import Demonstrated

from bot.cli.text.scores_text import results_table


def published_text(published: Published) -> str:
    """How a publication ended, and what it lacks."""
    return "\n".join(map(legible, (_published(published, published.url), *published.lacks)))


def ended_text(published: Published, measured: Path) -> str:
    """How a publication ended: the scores of what was sent, its address, tensors without data.

    `measured` is the results.json of its job, which need not be there.
    """
    lines = [published_text(published), *gap_lines(measured)]
    if published.changed and measured.is_file():
        from bot.records.coding import from_json

        lines = [results_table(from_json(Results, measured.read_bytes())), "", *lines]
    return "\n".join(lines)


def gap_lines(path: Path) -> list[str]:
    """A line for each tier of results.json that was rounded without data of some weights."""
    from bot.quantize.quantize import gap_text
    from bot.records.coding import from_json

    if not path.is_file():
        return []
    results = from_json(Results, path.read_bytes())
    gaps = results.calibration.gaps if results.calibration else ()
    return [legible(gap_text(gap)) for gap in gaps]


def _published(published: Published, where: str) -> str:
    access = "public" if published.public else "private"
    if published.waiting:
        return (
            f"{where} ({access}) waits for a person: merge {published.waiting} to publish "
            f"{len(published.files)} files, or close it; then run the same command again"
        )
    freed = (
        f"; {size(published.reclaimed)} of replaced files given back" if published.reclaimed else ""
    )
    if published.shown and not published.changed:
        return f"{where} is public now: {len(published.files)} files, every hash verified{freed}"
    count = len(published.files)
    if not published.changed:
        return f"nothing to do: {where} ({access}) already holds these {count} files{freed}"
    sent = f"{len(published.changed)} of {count} files"
    commit = published.commit[:12]
    return f"{where} ({access}), {sent} in commit {commit}, every hash verified{freed}"


def prune_text(replaced: Sequence[Replaced], repo_id: str) -> str:
    """What storage a publication would give back, and of which files."""
    if not replaced:
        return f"--prune would give back nothing of {repo_id}"
    rows = [(file.path, size(file.bytes), file.sha256[:12]) for file in replaced]
    total = sum(file.bytes for file in replaced)
    head = f"--prune would give back {total} bytes ({size(total)}) of {repo_id}:"
    return f"{head}\n{table(('file', 'size', 'sha256'), rows)}"


def builds_table(versions: Sequence[Version]) -> str:
    """What `bot rollback REPO` prints."""
    if not versions:
        return "no build of the bot's has a tag there"
    rows = [
        (version.name, version.commit[:12], "now" if version.current else "")
        for version in versions
    ]
    return table(("build", "commit", ""), rows, left=3)


def rolled_back_text(done: RolledBack) -> str:
    """How a rollback ended."""
    if not done.changed:
        return f"nothing to do: {done.url} holds the files of {done.revision[:12]}"
    return f"{done.url} is back at {done.revision[:12]}: commit {done.commit[:12]}"


def cleaned_text(cleaned: Cleaned) -> str:
    """What `bot clean` removed, or would, and what stays; each with its reason."""
    if not cleaned.places:
        return f"nothing to free in {cleaned.folder}"
    verb = ("goes", "stays") if cleaned.dry_run else ("removed", "kept")
    rows = [
        (place.path, verb[0] if place.goes else verb[1], place.reason, size(place.bytes))
        for place in cleaned.places
    ]
    stays = sum(place.bytes for place in cleaned.places if not place.goes)
    verb_text = "would free" if cleaned.dry_run else "freed"
    summary = f"{verb_text} {size(cleaned.freed)} of {cleaned.folder}; {size(stays)} {verb[1]}"
    return f"{table(('place', '', 'why', 'size'), rows, left=3)}\n{summary}"


def finding_line(finding: Finding) -> str:
    """A line of the doctor."""
    mark = {True: "ok", False: "FAIL", None: "note"}[finding.good]
    return f"{mark:<5} {finding.name:<10} {legible(finding.text)}"


def _command() -> str:
    """How this program is called here: `bot` where a shell finds it, else its path."""
    if shutil.which("bot"):
        return "bot"
    path = Path(sys.argv[0]).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def demonstrated_text(demo: Demonstrated, folder: Path, port: int) -> str:
    """What the demo made, and how to look at it."""
    coinciding = [f"{r.name} (the same as {r.same_as})" for r in demo.results.tiers if r.same_as]
    gguf = sum(row.same_as is None for row in demo.results.tiers)
    lines = [
        results_table(demo.results),
        "",
        _published(demo.published, f"{demo.published.repo_id} on the local Hub"),
        f"{gguf} GGUF files"
        + (f"; not built again: {', '.join(coinciding)}" if coinciding else ""),
        f"files: {demo.published.folder}",
        f"{demo.sample_file}, downloaded again, continues: {' '.join(demo.sample.split())!r}",
        "",
        f"see the card:  {_command()} hub serve {folder / 'hub'} --port {port}",
        f"               then open http://127.0.0.1:{port}/{demo.published.repo_id}",
    ]
    return "\n".join(lines)
