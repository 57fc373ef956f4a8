"""What the card says of tiers whose types were chosen for a size."""

from __future__ import annotations

from dataclasses import dataclass

from bot.card.tables.cells import CardTable
from bot.plan.knapsack import GAP
from bot.records.results import Results
from bot.records.sensitivity import Fitted
from bot.settings.showing import CardSettings
from bot.wording.escape import escaped_text
from bot.wording.formats import error_places, fixed, percent, size_text, with_error


@dataclass(frozen=True, kw_only=True)
class FittedSection:
    """Its table, and what its sentences name."""

    table: CardTable
    gap: str  # of the solver, the widest


def fitted_section(results: Results, look: CardSettings) -> FittedSection | None:
    """None without a fitted tier."""
    if not results.fitted:
        return None
    places = error_places((fit.error for fit in results.fitted), 4)
    heads = ("Model", "Size asked", "Mean KL", "Predicted", "By roles, same size", "Less by")
    rows = [tuple(map(escaped_text, _row(fit, places, look))) for fit in results.fitted]
    corrected = max(fit.rounds for fit in results.fitted)
    note = (
        "Mean KL on the calibration chunks, with the tensors rounded in place: what the choice "
        "was made by. What the files give on other text is in the table above."
    )
    times = {1: "once", 2: "twice"}.get(corrected, f"{corrected} times")
    more = [f"What was measured around a choice corrected it, up to {times}."] * (corrected > 0)
    kept = [fit.tier for fit in results.fitted if fit.by_roles]
    if kept:
        more.append(
            f"{', '.join(kept)}: the types of the tier by roles, made to fit, measured better than "
            "those that probes gave."
        )
    return FittedSection(
        table=CardTable(
            columns=tuple(escaped_text(head) for head in heads),
            rows=tuple(rows),
            sides="l" + "r" * (len(heads) - 1),
            notes=(note, *more),
        ),
        gap=percent(max(GAP, *(fit.gap for fit in results.fitted)), 2),
    )


def _row(fit: Fitted, places: int, look: CardSettings) -> tuple[str, ...]:
    beside, less = "—", "—"
    if fit.like is not None and fit.like_measured:
        beside = f"{fit.like} {fixed(fit.like_measured, places)}"
        less = percent(1 - fit.measured / fit.like_measured, 0)
    return (
        fit.tier,
        size_text(fit.asked_bytes, look.sizes),
        with_error(fit.measured, fit.error, places),
        fixed(fit.predicted, places),
        beside,
        less,
    )
