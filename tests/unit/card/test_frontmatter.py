"""Front matter: what the Hub reads of a card, by its own client."""

from __future__ import annotations

from dataclasses import replace

import pytest
from huggingface_hub import ModelCard  # noqa: TID251 - judges what the Hub will read

from bot.records.results import Results
from tests.unit.card.markdown import read
from tests.unit.card.samples import (
    coinciding,
    nine_tiers,
    readme,
    with_baselines,
)


def test_front_matter_is_what_the_hub_wants() -> None:
    front = read(readme(nine_tiers())).front
    index = front.pop("model-index")
    assert front == {
        "license": "apache-2.0",
        "license_link": "https://huggingface.co/sample-lab/Sample-30B-A3B/blob/main/LICENSE",
        "language": ["en", "zh", "no"],
        "base_model": "sample-lab/Sample-30B-A3B",
        "base_model_relation": "quantized",
        "quantized_by": "someone",
        "library_name": "gguf",
        "pipeline_tag": "text-generation",
        "tags": [
            "gguf",
            "quantized",
            "apex",
            "moe",
            "mixture-of-experts",
            "imatrix",
            "qwen35moe",
        ],
    }
    assert [entry["dataset"]["type"] for entry in index[0]["results"]] == [
        "wiki-test-raw",
        "hellaswag",
    ]
    assert len(index[0]["results"][1]["metrics"]) == len(nine_tiers().tiers)


@pytest.mark.parametrize("results", [nine_tiers(), coinciding(), with_baselines()])
def test_the_hubs_own_client_reads_the_front_matter(results: Results) -> None:
    card_data = ModelCard(readme(results), ignore_metadata_errors=False).data
    index = card_data.get("eval_results")
    assert index, "its model-index is one that the client takes apart"
    assert {evaluation.metric_type for evaluation in index} == {"perplexity", "accuracy"}
    assert card_data.get("base_model") == "sample-lab/Sample-30B-A3B"
    assert card_data.get("license") == "apache-2.0"


def test_front_matter_without_release_or_imatrix() -> None:
    results = nine_tiers()
    plain = tuple(tier for tier in results.tiers if not tier.imatrix)
    front = read(readme(replace(results, release=None, tiers=plain, calibration=None))).front
    assert not {"license", "language", "base_model", "pipeline_tag"} & set(front)
    assert "imatrix" not in front["tags"]


@pytest.mark.parametrize(
    ("licence", "keys"),
    [
        (
            {"license": "other", "license_name": "lab-licence"},
            {"license": "other", "license_name": "lab-licence"},
        ),
        ({"license": "Lab Licence: v1"}, {"license": "other", "license_name": "Lab Licence: v1"}),
        ({"license": None}, {}),
        ({"license": "MIT"}, {"license": "mit"}),
        (
            {"license": "mit", "licenses": ("mit", "Lab Licence", "cc-by-4.0")},
            {"license": ["mit", "other", "cc-by-4.0"], "license_name": "Lab Licence"},
        ),
    ],
)
def test_licences(licence: dict[str, str | None], keys: dict[str, str]) -> None:
    results = nine_tiers()
    assert results.release is not None
    empty = dict.fromkeys(("license", "license_name", "license_link"))
    release = replace(results.release, **{**empty, **licence})  # type: ignore[arg-type]  # strings and None
    front = read(readme(replace(results, release=release))).front
    assert {k: v for k, v in front.items() if k.startswith("license")} == keys


def test_a_licence_file_is_found_in_the_source() -> None:
    results = nine_tiers()
    assert results.release is not None
    release = replace(results.release, license_link="LICENSE")
    link = read(readme(replace(results, release=release))).front["license_link"]
    assert link == (
        f"https://huggingface.co/sample-lab/Sample-30B-A3B/blob/{release.commit}/LICENSE"
    )


def test_a_hostile_family_is_no_tag() -> None:
    results = nine_tiers()
    family = replace(results.architecture, family="x\n- evil")
    tags = read(readme(replace(results, architecture=family))).front["tags"]
    assert tags == ["gguf", "quantized", "apex", "moe", "mixture-of-experts", "imatrix"]
