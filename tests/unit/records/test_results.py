"""results.json: read back as it was written, and strict."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from bot.records.coding import UNITS, from_json, to_json
from bot.records.results import RESULTS_VERSION, Results
from tests.unit.card.samples import nine_tiers


def test_results_come_back_as_they_were() -> None:
    results = nine_tiers()
    text = to_json(results)
    assert from_json(Results, text) == results
    assert to_json(from_json(Results, text)) == text
    document = json.loads(text)
    assert (document["version"], document["units"]) == (RESULTS_VERSION, UNITS)


def test_results_without_a_reference_are_none() -> None:
    document = json.loads(to_json(nine_tiers()))
    del document["reference"]
    with pytest.raises(ValidationError, match="reference"):
        from_json(Results, json.dumps(document))
