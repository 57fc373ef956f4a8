"""A release as LocalAI's gallery holds it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from bot.catalogue.localai_gallery import (
    SidePart,
    SideParts,
    gallery_entries,
    gallery_text,
    slug,
)
from bot.records.built import Shard
from bot.records.results import Results
from tests.gallery_rules import violations
from tests.unit.card.samples import nine_tiers

REPO, NAME = "someone/Sample-30B-A3B-APEX-GGUF", "Sample-30B-A3B"


def entries(
    results: Results, projector: SidePart | None = None, drafter: SidePart | None = None
) -> list[dict[str, Any]]:
    beside = SideParts(projector=projector, drafter=drafter)
    text = gallery_text(results, REPO, name=NAME, beside=beside)
    assert text is not None
    loaded: list[dict[str, Any]] = yaml.safe_load(text)
    return loaded


def test_entries_are_what_the_gallery_takes() -> None:
    made = entries(nine_tiers())
    assert violations(made) == []
    hub, *tiers = made
    assert len(tiers) == 9
    assert hub["name"] == "sample-30b-a3b"
    assert hub["variants"] == [{"model": tier["name"]} for tier in tiers]
    assert {"sample-30b-a3b-apex-i-mini", "sample-30b-a3b-apex-quality"} <= {
        tier["name"] for tier in tiers
    }


def test_each_file_is_there_with_its_hash() -> None:
    results = nine_tiers()
    told = {file["uri"]: file["sha256"] for entry in entries(results) for file in entry["files"]}
    assert told == {
        f"huggingface://{REPO}/{file.file}": file.sha256
        for row in results.tiers
        for file in row.files
    }


def test_the_one_that_chooses_is_what_the_card_names() -> None:
    hub = entries(nine_tiers())[0]
    assert hub["overrides"]["parameters"]["model"].endswith("I-Balanced.gguf")


def test_prediction_layers_go_with_every_tier_and_are_switched_on() -> None:
    made = entries(nine_tiers(), drafter=SidePart(path="mtp-Sample.gguf", sha256="e" * 64))
    assert violations(made) == []
    for entry in made:
        overrides = entry["overrides"]
        assert overrides["draft_model"] == f"llama-cpp/models/{REPO}/mtp-Sample.gguf"
        assert overrides["options"] == [
            *("use_jinja:true", "spec_type:draft-mtp", "spec_n_max:2", "spec_p_min:0")
        ]
        assert {"mtp", "speculative"} <= set(entry["tags"])
        assert entry["files"][-1]["sha256"] == "e" * 64


def test_a_projector_goes_with_every_tier() -> None:
    made = entries(nine_tiers(), SidePart(path="mmproj.gguf", sha256="d" * 64))
    assert violations(made) == []
    for entry in made:
        overrides = entry["overrides"]
        assert overrides["mmproj"] == f"llama-cpp/mmproj/{REPO}/mmproj.gguf"
        assert overrides["known_usecases"] == ["chat", "vision"]
        assert "vision" in entry["tags"]


def test_shards_are_listed_with_the_first_first() -> None:
    results = nine_tiers()
    shards = tuple(
        Shard(file=f"M-0000{n}-of-00002.gguf", bytes=5, sha256=str(n) * 64) for n in (2, 1)
    )
    tier = replace(results.tiers[0], shards=shards)
    made = entries(replace(results, tiers=(tier,)))
    assert violations(made) == []
    for entry in made:
        first, second = entry["files"]
        assert entry["overrides"]["parameters"]["model"] == first["filename"]
        assert first["uri"].endswith("M-00001-of-00002.gguf")
        assert second["sha256"] == "2" * 64


def test_sampling_settings_are_the_makers() -> None:
    results = nine_tiers()
    told = (("temp", 0.7), ("top_k", 20), ("penalty_last_n", 64))
    model = replace(results.architecture, sampling=told)
    hub = entries(replace(results, architecture=model))[0]
    parameters = hub["overrides"]["parameters"]
    assert (parameters["temperature"], parameters["top_k"]) == (0.7, 20)
    assert set(parameters) == {"model", "temperature", "top_k"}


def test_a_name_that_no_address_takes_makes_no_entry() -> None:
    results = nine_tiers()
    odd = replace(results.tiers[0], file="M@v2.gguf")
    assert gallery_entries(replace(results, tiers=(odd,)), REPO, name=NAME) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen3.6-35B-A3B", "qwen3.6-35b-a3b"),
        ("gpt_oss 20b", "gpt-oss-20b"),
        ("Ünïcode", "n-code"),
        ("---", "model"),
        ("a" * 200, "a" * 96),
    ],
)
def test_names_are_in_the_gallerys_letters(name: str, expected: str) -> None:
    assert slug(name) == expected


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ({"name": "a"}, "installs nothing"),
        ({"name": "a", "url": "u", "colour": 1}, "no key"),
        ({"name": "a", "url": "u", "variants": [{"model": "b"}]}, "no entry"),
        ({"name": "a", "url": "u", "variants": [{"model": "a"}]}, "with variants"),
        ({"name": "a", "files": [{"filename": "../x", "sha256": "0" * 64}]}, "no place"),
        ({"name": "a", "files": [{"filename": "x", "sha256": "0" * 63}]}, "no sha256"),
        ({"name": "a", "url": "u", "overrides": {"parameters": {"model": "x"}}}, "none of its"),
    ],
)
def test_the_rules_find_what_is_broken(broken: dict[str, object], fault: str) -> None:
    assert any(fault in found for found in violations([broken]))
