"""How an order ended, for people; and the disk given back."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bot.disk.paths import remove
from bot.errors import SourceError
from bot.jobs import claims
from bot.jobs.orders import Folder, Prepared, Sent, parse_record
from bot.jobs.travel import carrier_of, give_back
from bot.legible import code_span
from bot.records.releases import REPO_ID
from bot.workplace.workplace import Workplace

ENDING = 60.0  # seconds that a cancelled step may take to end


@dataclass(frozen=True, kw_only=True)
class Account:
    """What became of an order. `good`: every tier is published.

    `waiting`: every tier is in a pull request that a person has to merge first.
    """

    good: bool
    text: str  # Markdown; no word of it is a stranger's but names that are checked
    waiting: bool = False


def report_order(
    workplace: Workplace,
    folder: Folder | None,
    sentinel: str,
    sent_text: str,
    *,
    seals: str = "",
    count: int | None = None,
) -> Account:
    """Say which tiers are complete and which are published. Without a folder nothing was begun.

    What was ordered is known by its sentinel; `sent_text` is the JSON of Sent that the
    publishing job handed to the run; the Hub is asked whether it holds these files. `count` are the
    jobs that `prepare` asked for; 0: all was published before.
    """
    if count == 0:
        return Account(good=True, text="All of it was published before.\n")
    if folder is None or not sentinel:
        return account(None, None)
    carrier_of(workplace, folder).records()
    prepared = folder.prepared(sentinel)
    sent = parse_record(Sent, sent_text.encode()) if sent_text else folder.read(Sent)
    if sent is None or sent.key != prepared.key or not _is_ours(workplace, sent):
        return account(prepared, None, _complete(folder, prepared, seals))
    complete = _complete(folder, prepared, seals)
    return account(prepared, sent, complete, _lacking(workplace, sent))


def _complete(folder: Folder, prepared: Prepared, seals: str) -> frozenset[str]:
    """Tiers whose jobs are done, as far as this machine can tell."""
    if not seals and not folder.ledger("prepare").is_file():
        return frozenset()
    believed, _ = claims.complete_groups(
        folder, prepared, claims.known_seals(folder, prepared, seals), None
    )
    return frozenset(tier for group in believed.values() for tier in group.tiers)


def _is_ours(workplace: Workplace, sent: Sent) -> bool:
    """Whether its addresses are those of the repository it names, on the Hub of the settings."""
    site = workplace.settings.hub.endpoint
    waiting = re.fullmatch(r"/discussions/[0-9]{1,9}", (sent.waiting or "").removeprefix(sent.url))
    is_repo_id = REPO_ID.fullmatch(sent.repo_id) is not None
    ours = sent.url == f"{site}/{sent.repo_id}"
    return is_repo_id and ours and (waiting is not None or sent.waiting is None)


def _lacking(workplace: Workplace, sent: Sent) -> frozenset[str]:
    """Files of a publication that the Hub does not hold; none where it lets nobody look."""
    if sent.waiting is not None:
        return frozenset()
    try:
        held = workplace.hub.release(sent.repo_id, sent.commit).files
    except SourceError:
        return frozenset() if workplace.settings.publish.private else frozenset(sent.files)
    hashes = {file.path: file.sha256 for file in held}
    return frozenset(path for path, hashed in sent.files.items() if hashes.get(path) != hashed)


def account(
    prepared: Prepared | None,
    sent: Sent | None,
    complete: frozenset[str] = frozenset(),
    lacking: frozenset[str] = frozenset(),
) -> Account:
    """What was ordered, and what became of it; files that are `lacking` were lost again."""
    if prepared is None:
        return Account(good=False, text="Nothing was prepared: see the log of `prepare`.\n")
    sent_tiers = sent.tiers if sent is not None and not lacking else ()
    waiting = sent.waiting if sent is not None and sent_tiers else None
    rows = [
        f"| {tier} | {number} | {_state(tier, complete, sent_tiers, waiting)} |"
        for number, tiers in enumerate(prepared.groups, 1)
        for tier in tiers
    ]
    complete_order = set(prepared.tiers) <= set(sent_tiers)
    where = f"[{sent.repo_id}]({sent.url})" if sent is not None and sent_tiers else "not published"
    lines = [
        f"### {prepared.order.model} at {prepared.commit[:12]}: {where}",
        "",
        "| Tier | Job | State |",
        "|---|---|---|",
        *rows,
        "",
        *(
            f"The Hub does not hold {code_span(path)} as it was published."
            for path in sorted(lacking)
        ),
        _rest(complete_order, waiting),
    ]
    text = "\n".join(lines) + "\n"
    return Account(
        good=complete_order and not waiting,
        text=text,
        waiting=complete_order and waiting is not None,
    )


def _rest(all_sent: bool, waiting: str | None) -> str:
    if not all_sent:
        return "Rerun the failed jobs to complete it."
    if waiting:
        return f"Merge {waiting} to publish it, or close it to refuse; then order it again."
    return "All tiers are published."


def _state(tier: str, complete: frozenset[str], sent: tuple[str, ...], waiting: str | None) -> str:
    if tier in sent:
        return "waits for a person" if waiting else "published"
    return "complete, not published" if tier in complete else "**failed or not reached**"


def clean_order(workplace: Workplace, folder: Folder, sentinel: str, sent_text: str) -> bool | None:
    """Give disk back: unfinished files; and of an order that is all published, all but its record.

    Says whether the latter was done; then nothing travels any more either. None: there is nothing
    that this run is known to have prepared.
    """
    carrier = carrier_of(workplace, folder)
    carrier.records()
    prepared = folder.prepared(sentinel) if folder.file(Prepared).is_file() else None
    if prepared is None:
        return None
    name = prepared.order.model.split("/")[1]
    job = workplace.folders.job(name, prepared.key)
    with job.locked(patience=ENDING):
        for partial in job.folder.rglob("*.partial"):
            remove(partial, job.folder)
        if (
            workplace.settings.jobs.keep
            or not report_order(workplace, folder, sentinel, sent_text).good
        ):
            return False
        give_back(folder, prepared)
    carrier.close()
    return True
