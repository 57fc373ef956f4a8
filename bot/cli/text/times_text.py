"""How long measuring takes, for people and for machines."""

from __future__ import annotations

from math import sqrt
from typing import Any

from bot.clock import span
from bot.evaluate.costing.budgeting import MeasureTimes, budget_line
from bot.evaluate.costing.measure_costs import MeasureCost
from bot.records.coding import dump
from bot.wording.columns import table

KNOWN_BY = {"measured": "measured before", "tried": "trial now", "assumed": "assumed"}


def times_text(times: MeasureTimes) -> str:
    """A line for each measure, the whole, and what a budget left out."""
    columns = ("measure", "files", "of each", "tokens of each", "minutes", "known by")
    body = [
        (
            cost.measure,
            f"{cost.files}",
            f"{cost.units:,} {cost.unit}",
            "" if cost.tokens is None else f"{cost.tokens:,}",
            _minutes(cost.seconds, cost.deviation),
            f"{KNOWN_BY[cost.pace.origin]} ({cost.pace.samples})",
        )
        for cost in times.costs
    ]
    total = sum(cost.seconds for cost in times.costs)
    lines = [table(columns, body), f"measuring: about {span(total)}, if nothing runs beside"]
    if times.budget is not None:
        lines.append(budget_line(times.budget))
    return "\n".join(lines)


def _minutes(seconds: float, deviation: float | None) -> str:
    spread = "" if deviation is None else f" ± {deviation / 60:.1f}"
    return f"{seconds / 60:.1f}{spread}"


def times_values(times: MeasureTimes) -> dict[str, Any]:
    """The same in seconds; `seconds_deviation` is null where one sample is all there is."""
    known = [cost.deviation for cost in times.costs if cost.deviation is not None]
    return {
        "measures": [_values(cost) for cost in times.costs],
        "seconds": sum(cost.seconds for cost in times.costs),
        "seconds_deviation": sqrt(sum(one * one for one in known)) if known else None,
        "budget": None if times.budget is None else dump(times.budget),
    }


def _values(cost: MeasureCost) -> dict[str, Any]:
    return {
        "measure": cost.measure,
        "files": cost.files,
        "unit": cost.unit,
        "units": cost.units,
        "tokens": cost.tokens,
        "setting": cost.setting,
        "seconds": cost.seconds,
        "seconds_deviation": cost.deviation,
        "origin": cost.pace.origin,
        "samples": cost.pace.samples,
    }
