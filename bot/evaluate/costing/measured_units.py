"""How many units a measure is of, by its value."""

from __future__ import annotations

from typing import Any

from bot.records.measured import BENCHMARK


def units_of(measure: str, value: Any, chunks: int) -> int:
    """How many units a measure's value is of; `chunks` of a text, where the value does not say."""
    match measure:
        case "divergence":
            return len(value["chunks"])
        case "perplexity":
            return chunks
        case "noise":  # the reference is written once, and read in each size of batch
            return sum(noise["chunks"] for noise in (value[0], *value))
        case "speed" | "drafts":
            return 1
        case "behaviour":
            return len(value["prompts"])
        case _:
            return int(value["requests"] if measure.startswith(BENCHMARK) else value["tasks"])
