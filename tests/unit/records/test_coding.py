"""Records as JSON and back, and the schema of results.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from bot.records.built import Built, Shard
from bot.records.coding import digest, dump, from_json, load_record, schema_of, to_json
from bot.records.results import RESULTS_VERSION, Results

SHIPPED = Path(__file__).resolve().parents[3] / "bot.schema.json"
BUILT = Built(
    path="ü/m.gguf", bytes=3, sha256="ab", shards=(Shard(file="m.gguf", bytes=3, sha256="ab"),)
)


def test_the_shipped_schema_of_results_is_that_of_the_records() -> None:
    shipped = SHIPPED.with_name("results.schema.json").read_text(encoding="utf-8")
    assert shipped == schema_of(Results), "run bot config schema --results"
    assert json.loads(shipped)["properties"]["version"]["default"] == RESULTS_VERSION


def test_a_record_comes_back_as_it_was() -> None:
    assert from_json(Built, to_json(BUILT)) == BUILT
    assert load_record(Built, dump(BUILT)) == BUILT
    assert to_json(BUILT).endswith("}\n")


@pytest.mark.parametrize("text", ["{}", "[]", '{"path": 1, "bytes": 2, "sha256": "x"}', "{"])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        from_json(Built, text)


def test_a_digest_depends_on_values_and_not_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1, "b": [2]}) != digest({"a": 1, "b": [2.0]})
    # of the canonical form {"a":"\u00fc"}, by sha256sum
    assert digest({"a": "ü"}).startswith("09b7cce2")
