"""A table each: domains, behaviour, drafts, answers of lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from bot.card.tables.cells import CardTable
from bot.records.measured import Row
from bot.records.results import Results
from bot.wording.escape import Verbatim, escaped_text
from bot.wording.formats import (
    MISSING,
    fixed,
    percent,
    with_error,
)

PLACES = ("1st", "2nd", "3rd")
BEHAVIOUR = {
    "ends": "Ends by its stop token",
    "goes on": "No repetition",
    "calls": "Tool calls",
    "finds": "Found in long text",
    "closes": "Reasoning closed",
}


def domains(results: Results) -> CardTable | None:
    """Divergence by domain, in nats; None where none was measured.

    First the means over domains of 99.9 % and mean, then of each domain both, and same top.
    """
    facts = results.evaluation.domains
    files = [*results.tiers, *results.baselines, *results.others]
    rows = [row for row in files if row.same_as is None and row.scores.domains]
    if not facts or not rows:
        return None
    heads = ("Model", "KL 99.9% ↓", "KL mean ↓", *(domain.name for domain in facts))
    return CardTable(
        columns=tuple(escaped_text(head) for head in heads),
        rows=tuple(_on_domains(row, [domain.name for domain in facts]) for row in rows),
        sides="l" + "r" * (len(heads) - 1),
    )


def _on_domains(row: Row, names: Sequence[str]) -> tuple[Verbatim, ...]:
    by_name = {domain.name: domain.divergence for domain in row.scores.domains}
    known = [by_name[name] for name in names if name in by_name]
    whole = len(known) == len(names)
    p999, mean = (fmean(values) for values in ([d.p999 for d in known], [d.mean for d in known]))
    cells = [
        f"{fixed(of.p999, 2)} / {fixed(of.mean, 4)} / {percent(of.same_top)}" if of else MISSING
        for of in map(by_name.get, names)
    ]
    over = (fixed(p999, 2), fixed(mean, 4)) if whole else (MISSING, MISSING)
    return tuple(escaped_text(cell) for cell in (row.name, *over, *cells))


def behaviour(results: Results) -> CardTable | None:
    """What each file did with prompts in its chat template: good answers of those judged.

    None where nothing was asked. A habit that the reference was never judged for has no column.
    """
    tiers = [row for row in results.tiers if row.same_as is None and row.scores.behaviour]
    reference = results.reference.scores.behaviour
    if reference is None or not tiers:
        return None
    names = [habit.name for habit in reference.habits if habit.judged]
    rows = [results.reference, *sorted(tiers, key=lambda row: -row.bytes)]
    heads = ("Model", *(BEHAVIOUR[name] for name in names), "Edited middle, nats")
    return CardTable(
        columns=tuple(escaped_text(head) for head in heads),
        rows=tuple(_behaved(row, names) for row in rows),
        sides="l" + "r" * (len(heads) - 1),
    )


def _behaved(row: Row, names: Sequence[str]) -> tuple[Verbatim, ...]:
    found = row.scores.behaviour
    habits = [found.habit(name) if found else None for name in names]
    counts = [f"{h.good} of {h.judged}" if h and h.judged else MISSING for h in habits]
    worst = [edit.worst for edit in found.edits] if found else []
    known = [value for value in worst if value is not None]
    edits = f"{max(known):.1e}" if known and len(known) == len(worst) else MISSING
    return tuple(escaped_text(cell) for cell in (row.name, *counts, edits))


def drafts(results: Results) -> CardTable | None:
    """What prediction layers bring to each tier; None where nothing was measured of them.

    Shares of guesses kept, first, second and third of a draft, and tokens per second.
    """
    rows = [row for row in results.tiers if row.same_as is None and row.scores.drafts]
    if not rows:
        return None
    most = max(row.scores.drafts[-1].guesses for row in rows)
    heads = (
        *("Model", *(f"{place} kept" for place in PLACES[:most]), "tok/s without"),
        *(f"tok/s with {number + 1}" for number in range(most)),
    )
    return CardTable(
        columns=tuple(escaped_text(head) for head in heads),
        rows=tuple(_drafted(row, most) for row in rows),
        sides="l" + "r" * (len(heads) - 1),
    )


def _drafted(row: Row, most: int) -> tuple[Verbatim, ...]:
    drafts, longest = row.scores.drafts, row.scores.drafts[-1]
    shares = [
        f"{percent(place.kept / place.offered)} ({percent(place.low)}–{percent(place.high)})"
        if place.offered
        else MISSING
        for place in longest.places
    ]
    rates = [fixed(one.rate, 1) for one in drafts]
    cells = (
        *(row.name, *shares, *[MISSING] * (most - len(shares))),
        *(fixed(longest.rate_without, 1), *rates, *[MISSING] * (most - len(rates))),
    )
    return tuple(escaped_text(cell) for cell in cells)


def answers_of_harness(results: Results) -> CardTable | None:
    """What lm-evaluation-harness found of each file; None where nothing was asked.

    Of a group its own numbers, not those of its tasks. ± is the harness's standard error.
    """
    files = [row for row in (*results.tiers, *results.baselines) if row.same_as is None]
    rows = [row for row in (results.reference, *files, *results.others) if row.scores.benchmarks]
    titles = dict.fromkeys(title for row in rows for title in _of_harness(row))
    if not titles:
        return None
    heads = ("Model", *titles)
    body = ((row.name, *(_of_harness(row).get(title, MISSING) for title in titles)) for row in rows)
    return CardTable(
        columns=tuple(escaped_text(head) for head in heads),
        rows=tuple(tuple(escaped_text(cell) for cell in cells) for cells in body),
        sides="l" + "r" * len(titles),
    )


def _of_harness(row: Row) -> dict[str, str]:
    return {
        f"{one.measure} {'↓' if one.higher_is_better is False else '↑'}": with_error(
            100 * one.value, None if one.error is None else 100 * one.error, 1
        )
        for benchmark in row.scores.benchmarks
        for one in benchmark.scores
        if one.task == benchmark.name or not any(s.task == benchmark.name for s in benchmark.scores)
    }
