"""How an order ended, for people; and the disk given back."""

from __future__ import annotations

from dataclasses import dataclass

from bot.pipeline.models import Pipeline
from bot.pipeline.orders import Folder, Prepared, Sent
from bot.pipeline.travel import remove, road

ENDING = 60.0  # seconds that a cancelled step may take to end


@dataclass(frozen=True, kw_only=True)
class Account:
    """What became of an order. `good`: every tier is published.

    `waiting`: every tier is in a pull request that a person has to merge first.
    """

    good: bool
    text: str  # Markdown; no word of it is a stranger's
    waiting: bool = False


def report(pipeline: Pipeline, folder: Folder | None, *, count: int | None = None) -> Account:
    """Say which tiers are complete and which are published. Without a folder nothing was begun.

    `count` are the jobs that `prepare` asked for; none: all was published before.
    """
    if folder is not None:
        road(pipeline, folder).records()
    told = account(folder)
    if folder is not None and count == 0 and not told.good:
        return Account(good=True, text="All of it was published before.\n")
    return told


def account(folder: Folder | None) -> Account:
    """What the records of an order say."""
    prepared = folder.read(Prepared) if folder is not None else None
    if folder is None or prepared is None:
        return Account(good=False, text="Nothing was prepared: see the log of `prepare`.\n")
    sent, complete = folder.read(Sent), folder.complete(prepared)
    there = sent.tiers if sent is not None and sent.key == prepared.key else ()
    waiting = sent.waiting if sent is not None and there else None
    rows = [
        f"| {tier} | {number} | {_state(tier, complete, there, waiting)} |"
        for number, tiers in enumerate(prepared.groups, 1)
        for tier in tiers
    ]
    whole = set(prepared.tiers) <= set(there)
    where = f"[{sent.repo_id}]({sent.url})" if sent is not None and there else "not published"
    lines = [
        f"### {prepared.order.model} at {prepared.commit[:12]}: {where}",
        "",
        "| Tier | Job | State |",
        "|---|---|---|",
        *rows,
        "",
        _rest(whole, waiting),
    ]
    text = "\n".join(lines) + "\n"
    return Account(good=whole and not waiting, text=text, waiting=whole and waiting is not None)


def _rest(whole: bool, waiting: str | None) -> str:
    if not whole:
        return "Rerun the failed jobs to complete it."
    if waiting:
        return f"Merge {waiting} to publish it, or close it to refuse; then order it again."
    return "All tiers are published."


def _state(
    tier: str, complete: tuple[str, ...], there: tuple[str, ...], waiting: str | None
) -> str:
    if tier in there:
        return "waits for a person" if waiting else "published"
    return "complete, not published" if tier in complete else "**failed or not reached**"


def clean(pipeline: Pipeline, folder: Folder) -> bool | None:
    """Give disk back: unfinished files; and of an order that is all published, all but its record.

    Says whether the latter was done; then nothing travels any more either. None: there is nothing.
    """
    way = road(pipeline, folder)
    prepared = folder.read(Prepared)
    if prepared is None:
        return None
    name = prepared.order.model.split("/")[1]
    job = pipeline.workspace.job(name, prepared.key)
    with job.locked(patience=ENDING):
        for partial in job.folder.rglob("*.partial"):
            partial.unlink()
        if pipeline.settings.jobs.keep or not account(folder).good:
            return False
        remove(pipeline, folder, prepared)
    way.close()
    return True
