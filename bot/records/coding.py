"""Records as JSON and back: strictly, and the same bytes for the same values."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

from pydantic import TypeAdapter

from bot.legible import legible_json

T = TypeVar("T")


SCHEMA = "https://json-schema.org/draft/2020-12/schema"


# of each value in results.json; the errors of a value have its unit
UNITS = {
    "perplexity": "exp of nats per token; error: one standard error",
    "divergence.mean, median, p90, p95, p99, p999, max": "nats per token",
    "divergence.mean_error": "nats per token, one standard error",
    "divergence.ppl_ratio": "1, relative to the reference; error: one standard error",
    "divergence.delta_p_mean, delta_p_rms, same_top": "fraction; error: one standard error",
    "domains.divergence": "as divergence",
    "choices.low, high": "fraction, 95 % Wilson interval",
    "benchmarks.scores.value": "as the harness has it; error: its own standard error",
    "speed.mean, spread": "tokens per second; spread: standard deviation of the runs",
    "noise.mean, max": "nats per token",
    "intervals.low, high": "kld: nats per token; others: as what they are of; 95 %, over chunks",
    "behaviour.edits.worst": "nats per token",
    "comparisons.difference, low, high": "kld, kld on, ppl: nats per token; tasks: fraction",
    "runs.seconds": "s",
    "runs.batch": "tokens",
    "bytes": "bytes",
    "bits_per_weight": "bits",
}


def dump(record: Any) -> Any:
    """A record as plain JSON values."""
    return TypeAdapter(type(record)).dump_python(record, mode="json")


def load_record(kind: type[T], data: Any) -> T:
    """The record of JSON values that `dump` made. Raises pydantic.ValidationError on others."""
    return TypeAdapter(kind).validate_python(data)


def to_json(record: Any) -> str:
    """A record as indented JSON with a final newline; floats keep every digit."""
    return legible_json(dump(record), indent=2) + "\n"


def from_json(kind: type[T], text: str | bytes) -> T:
    """Parse JSON that `to_json` wrote. Raises pydantic.ValidationError on anything else."""
    return TypeAdapter(kind).validate_json(text)


def schema_of(kind: type) -> str:
    """The JSON schema (2020-12) of a record as `to_json` writes it, with what docstrings say."""
    schema = TypeAdapter(kind).json_schema(mode="serialization")
    return json.dumps({"$schema": SCHEMA} | schema, indent=2, ensure_ascii=False) + "\n"


def digest(value: Any) -> str:
    """sha256 (hex) of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
