"""Why a release was decided as it was: what the ledger holds, and the same facts asked again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite
from typing import Any

from bot.clock import SystemClock, iso, moment
from bot.errors import SettingsError, SourceError
from bot.legible import legible, legible_flat, legible_json
from bot.records.releases import Decision, Wait
from bot.store.queue import Queue
from bot.store.queue_tables import Event, Memory
from bot.store.sightings import AGAIN, DAMAGED, Past, Sightings
from bot.workplace.workplace import Workplace


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A release's decisions and events, and what its last facts lead to today."""

    repo: str
    decisions: tuple[Past, ...]
    facts: dict[str, Any]
    today: str
    same: bool  # whether today's decision is the last one
    events: tuple[Event, ...]


def why_decided(workplace: Workplace, repo: str) -> Explained:
    """Explain the decisions about a repository. Raises SourceError when it was never seen."""
    sightings = Sightings(workplace.ledger)
    past = sightings.history(repo)
    if not past and sightings.is_known(repo):
        raise SourceError(
            f"what was decided about {repo} is older than watch.keep_days; `bot retry {repo}` has "
            "it looked at again"
        )
    if not past:
        raise SourceError(f"{repo} was never seen; `bot watch --once` looks now")
    facts = sightings.facts(past[-1].id)
    try:
        today = replayed(workplace, facts)
        _facts(facts)
    except (LookupError, TypeError, AttributeError, ValueError) as error:  # of another shape
        raise SettingsError(f"{DAMAGED}; {AGAIN}") from error
    kind = type(today).__name__.lower()
    return Explained(
        repo=repo,
        decisions=tuple(past),
        facts=facts,
        today=as_line(today),
        same=(kind, today.outcome) == (past[-1].kind, past[-1].outcome),
        events=tuple(reversed(Queue(workplace.ledger).events(20, repo))),
    )


def replayed(workplace: Workplace, facts: dict[str, Any]) -> Decision:
    """The decision that kept facts lead to with today's policy and machine. Asks no Hub."""
    # here, as listing decisions that were made takes none of it
    from bot.detect.inspection import machine
    from bot.detect.listed import unpacked
    from bot.watcher.rules import Weighed, judged, memory_of

    weighed = Weighed(**facts["weights"]) if "weights" in facts else None
    memory = memory_of(facts["memory"]) if "memory" in facts else Memory()
    on_this, now = partial(machine, workplace), SystemClock().now()
    return judged(unpacked(facts), memory, weighed, workplace.settings, on_this, now)


def explanation_json(explained: Explained) -> str:
    """What `bot why --json` prints: as kept; what a config has instead of a number is null."""
    return legible_json(_numbered(asdict(explained)))


def _numbered(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _numbered(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_numbered(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def explanation_text(explained: Explained) -> str:
    """What `bot why` prints."""
    lines = [past_line(past) for past in explained.decisions]
    lines += ["", "rested on", *_facts(explained.facts)]
    verdict = "the same" if explained.same else "another"
    lines += ["", f"with today's settings, {verdict}: {explained.today}"]
    if explained.events:
        lines += [
            "",
            *(legible_flat(f"{moment(e.at)}  {e.kind}  {e.text}") for e in explained.events),
        ]
    return "\n".join(lines)


def as_line(decision: Decision) -> str:
    """A decision for people: what, which, why."""
    kind = type(decision).__name__
    return f"{kind:<5}  {decision.release.repo_id}  {decision.reason}"


def decision_json(decision: Decision) -> str:
    """A decision for machines, on one line."""
    return legible_json(
        {
            "decision": type(decision).__name__.lower(),
            "repo_id": decision.release.repo_id,
            "commit": decision.release.commit,
            "outcome": decision.outcome,
            "reason": decision.reason,
            "until": iso(decision.until) if isinstance(decision, Wait) else None,
        }
    )


def past_line(past: Past) -> str:
    """A kept decision on one line."""
    line = f"{moment(past.at)}  {past.kind:<5}  {past.repo}@{past.commit[:8]}  {past.reason}"
    return legible_flat(line)


def past_json(past: Past) -> dict[str, Any]:
    """A kept decision for machines."""
    return {
        "at": iso(past.at),
        "decision": past.kind,
        "repo_id": past.repo,
        "commit": past.commit,
        "outcome": past.outcome,
        "reason": past.reason,
        "until": iso(past.until),
    }


def _facts(facts: dict[str, Any]) -> list[str]:
    """Facts for people, a line each; what is empty is left out."""
    listed, release, config = facts["listed"], facts["release"], facts["config"]
    rows: list[tuple[str, Any]] = [
        ("created", listed["created_at"]),
        ("modified", (release or listed)["last_modified"]),
        ("type", listed["model_type"]),
        ("tags", ", ".join(listed["tags"][:12])),
        ("likes", listed["likes"]),
        ("downloads", listed["downloads"]),
        ("gated", "yes" if listed["gated"] else None),
        ("files", len(release["files"]) if release else None),
        ("weights", f"{facts['weights']['bytes'] / 1e9:.3g} GB" if "weights" in facts else None),
        ("config", f"{len(config)} keys of config.json" if config else None),
        ("trouble", facts["trouble"]["reason"] if facts["trouble"] else None),
    ]
    return [f"  {name:<10} {legible(value)}" for name, value in rows if value]
