"""How well calibration reached the experts, in a few lines."""

from __future__ import annotations

from collections.abc import Iterable

from bot.records.results import RARE_TOKENS, CalibrationFacts

MOST = 12  # layers, tensors or experts that are named before `and N more`


def coverage_lines(facts: CalibrationFacts | None) -> list[tuple[str, str]]:
    """Title and text of each thing to know; empty when every expert saw enough."""
    if facts is None:
        return []
    none = [
        f"layer {c.layer}: {_some(map(str, c.unreached), ', ')}"
        for c in facts.coverage
        if c.unreached
    ]
    rare = [
        f"layer {c.layer}: {len(c.rare)} of {c.experts}, the least used {c.fewest}"
        for c in facts.coverage
        if c.rare
    ]
    gaps = [f"{gap.tier} {gap.share:.1%}: {_some(gap.places, ', ')}" for gap in facts.gaps]
    raised = [_change(change) for change in facts.raised]
    titles = {
        "Experts that no calibration token reached": none,
        f"Experts that less than {RARE_TOKENS} calibration tokens reached": rare,
        "Rounded without calibration data, by share of a tier's weights": gaps,
        "Larger types for lack of calibration data": raised,
    }
    return [(title, _some(lines, "; ")) for title, lines in titles.items() if lines]


def _change(line: str) -> str:
    tier, tensor, old, new = line.split(" ")
    return f"{tier} {tensor} {new} for {old}"


def _some(lines: Iterable[str], between: str) -> str:
    every = list(lines)
    more = [f"and {len(every) - MOST} more (results.json)"] if len(every) > MOST else []
    return between.join([*every[:MOST], *more])
