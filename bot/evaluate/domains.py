"""Divergences on named sets, one by one, as results hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bot.evaluate.bench import Bench
from bot.evaluate.subject import Measured
from bot.records.coding import load_record
from bot.records.measured import Divergence, DomainDivergence, Run
from bot.records.results import DomainFacts


def domain_divergence(name: str, measured: Measured) -> DomainDivergence:
    """What was measured of a file on a domain."""
    value = load_record(Divergence, measured.value["divergence"])
    return DomainDivergence(name=name, divergence=value)


def domain_runs(measured: Mapping[str, Measured]) -> tuple[Run, ...]:
    """How these came about, by the names of the domains."""
    return tuple(
        replace(row.run, measure=f"divergence on {name}") for name, row in measured.items()
    )


def domain_facts(name: str, bench: Bench) -> DomainFacts:
    """What a domain's bench measures on. Raises TypeError for one without a reference."""
    windows, text = bench.against.windows(bench.against.require_model()), bench.against.text
    return DomainFacts(
        name=name,
        text=text.text,
        context=windows.context,
        chunks=len(windows.tokens),
        scored_tokens=windows.scored * len(windows.tokens),
        rendered=text.conversations,
    )
