"""The whole card: its values, its structure, and what strangers cannot do to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard  # noqa: TID251 - judges what the Hub will read

from bot.card.tables import CardFile
from bot.errors import SettingsError
from bot.plots.pictures import Picture
from bot.records.measured import Divergence, Row
from bot.records.results import Results
from bot.settings.showing import CardSettings
from tests.unit.card.markdown import Page, read
from tests.unit.card.samples import (
    ABOUT,
    REPO,
    coinciding,
    divergence,
    files,
    nine_tiers,
    rendered,
    row,
    with_baselines,
)

PLOT = Picture(light="plots/size-vs-kld.png", dark="plots/size-vs-kld-dark.png", alt="Sizes | <x>")
PROGRAMS = ["LocalAI", "llama.cpp", "Ollama", "LM Studio", "llama-cpp-python", "Other programs"]
SECTIONS = [
    "Benchmark Results",
    "Highlights",
    "Available Files",
    "Which file should I choose?",
    "What is APEX?",
    "Architecture",
    "Run with",
    "Provenance",
    "Credits",
]


def _card(results: Results, **changed: Any) -> str:
    values: dict[str, Any] = {
        "repo_id": REPO,
        "files": files(results),
        "about": ABOUT,
        "plots": [PLOT],
        "quantized_by": "someone",
    }
    return rendered(results, **{**values, **changed})


def _sections(page: Page) -> list[str]:
    """Names of the card's blocks; those of programs below `Run with` are h3 and no blocks."""
    return [words for tag, words in page.headings if tag != "h1" and words not in PROGRAMS]


def _same(cell: str, value: float, factor: float = 1) -> None:
    """A printed number is the value at its own precision."""
    number = cell.removesuffix("%")
    places = len(number.partition(".")[2])
    assert abs(float(number) - value * factor) <= 0.500001 * 10**-places
    assert places >= 1


# ── what it says ────────────────────────────────────────────────────────────────────────────


def test_the_golden_card(golden: Callable[[str, str], None]) -> None:
    golden("card-nine-tiers.md", _card(nine_tiers()))


def test_the_golden_card_of_a_file_without_release(golden: Callable[[str, str], None]) -> None:
    results = replace(coinciding(), release=None)
    golden("card-coinciding-tiers.md", _card(results, plots=[], quantized_by=None))


def test_front_matter_is_what_the_hub_wants() -> None:
    front = read(_card(nine_tiers())).front
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
    card_data = ModelCard(_card(results), ignore_metadata_errors=False).data
    index = card_data.get("eval_results")
    assert index, "its model-index is one that the client takes apart"
    assert {evaluation.metric_type for evaluation in index} == {"perplexity", "accuracy"}
    assert card_data.get("base_model") == "sample-lab/Sample-30B-A3B"
    assert card_data.get("license") == "apache-2.0"


def test_front_matter_without_release_or_imatrix() -> None:
    results = nine_tiers()
    plain = tuple(tier for tier in results.tiers if not tier.imatrix)
    front = read(_card(replace(results, release=None, tiers=plain, calibration=None))).front
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
    front = read(_card(replace(results, release=release))).front
    assert {k: v for k, v in front.items() if k.startswith("license")} == keys


def test_a_licence_file_is_found_in_the_source() -> None:
    results = nine_tiers()
    assert results.release is not None
    release = replace(results.release, license_link="LICENSE")
    link = read(_card(replace(results, release=release))).front["license_link"]
    assert link == (
        f"https://huggingface.co/sample-lab/Sample-30B-A3B/blob/{release.commit}/LICENSE"
    )


def test_every_number_of_the_benchmark_table() -> None:
    results = nine_tiers()
    look = CardSettings(columns=("p999", "same_top", "bits"))
    head, *body = read(_card(results, look=look)).tables[0]
    assert head == [
        "Model",
        "Size",
        "PPL ↓",
        "KL mean ↓",
        "KL median ↓",
        "KL 99.9% ↓",
        "KL max ↓",
        "Same top ↑",
        "HellaSwag ↑",
        "BPW",
    ]
    tiers = sorted(results.tiers, key=lambda tier: -tier.bytes)
    names = ["BF16 (reference)", *(f"APEX {tier.name}" for tier in tiers)]
    assert [cells[0] for cells in body] == names
    for cells, tier_row in zip(body, [results.reference, *tiers], strict=True):
        _check_row(cells, tier_row)


def _check_row(cells: list[str], tier_row: Row) -> None:
    size, ppl, mean, *divergences, accuracy, bits = cells[1:]
    _same(bits, tier_row.bits_per_weight)
    _same(size.removesuffix(" GB"), tier_row.bytes / 1e9)
    assert tier_row.scores.perplexity
    _same(ppl.split(" ± ")[0], tier_row.scores.perplexity.value)
    _same(ppl.split(" ± ")[1], tier_row.scores.perplexity.error)
    choice = tier_row.scores.choices[0]
    share, low, high = re.fullmatch(r"(\S+%) \(([\d.]+)–([\d.]+)\)", accuracy).groups()  # type: ignore[union-attr]  # a mismatch fails the test
    _same(share, choice.accuracy, 100)
    _same(low, choice.low, 100)
    _same(high, choice.high, 100)
    if tier_row.scores.divergence is None:
        assert [mean, *divergences] == ["—"] * 5
    else:
        _check_divergence(mean, divergences, tier_row.scores.divergence)


def _check_divergence(mean: str, cells: list[str], measured: Divergence) -> None:
    _same(mean.split(" ± ")[0], measured.mean)
    _same(mean.split(" ± ")[1], measured.mean_error)
    assert float(mean.split(" ± ")[1]) > 0, "an error must not round to nothing"
    for cell, value in zip(cells, (measured.median, measured.p999, measured.max), strict=False):
        _same(cell, value)
    _same(cells[3], measured.same_top, 100)


def test_missing_values_are_dashes() -> None:
    results = nine_tiers()
    bare = replace(results.tiers[0], scores=replace(results.tiers[0].scores, choices=()))
    unmeasured = replace(row("Mini", 12_000_000_000, None), name="Mini")
    table = read(_card(replace(results, tiers=(bare, unmeasured)))).tables[0]
    assert table[2][0] == "APEX Quality"
    assert table[2][-1] == "—"
    assert table[3][3:6] == ["—"] * 3
    assert all(cell for cells in table for cell in cells)


def test_every_file_is_listed_with_size_and_hash() -> None:
    results = nine_tiers()
    listed = files(results)
    page = read(_card(results))
    cells = {line[0]: line for line in page.tables[1][1:]}
    listed = [file for file in listed if not file.path.startswith("plots/")]
    assert set(cells) == {file.path for file in listed}
    for file in listed:
        line = cells[file.path]
        assert int(line[5].replace(",", "")) == file.bytes
        assert line[6] == file.sha256[:12]
        bits = {tier.file: tier.bits_per_weight for tier in results.tiers}.get(file.path)
        if bits is None:
            assert line[4] == "—"
        else:
            _same(line[4], bits)
        assert line[3] == (file.note or ABOUT[file.tier or ""])
        assert file.path in page.links


def test_relative_links_lead_to_files_of_the_repository() -> None:
    results = nine_tiers()
    page = read(_card(results))
    local = {link for link in page.links if not link.startswith("https://")}
    assert local | {PLOT.light} == {file.path for file in files(results)}


def test_coinciding_tiers_are_one_file() -> None:
    card = _card(coinciding())
    page = read(card)
    assert "Balanced and Quality coincide for this model and are one file." in card
    assert "I-Balanced and I-Quality coincide for this model and are one file." in card
    assert [line[0] for line in page.tables[0][2:]] == [
        "APEX I-Balanced",
        "APEX I-Quality (= I-Balanced)",
        "APEX Balanced",
        "APEX Quality (= Balanced)",
    ]
    models = [line[:2] for line in page.tables[1][1:] if line[0].endswith("Balanced.gguf")]
    assert models == [
        ["Sample-30B-A3B-APEX-I-Balanced.gguf", "I-Balanced, I-Quality"],
        ["Sample-30B-A3B-APEX-Balanced.gguf", "Balanced, Quality"],
    ]


def test_without_plot_and_highlights_nothing_is_left_of_them() -> None:
    results = nine_tiers()
    same = divergence(0.9, 0.3)
    tiers = tuple(
        replace(tier, scores=replace(tier.scores, divergence=same)) for tier in results.tiers
    )
    page = read(_card(replace(results, tiers=tiers), plots=[]))
    assert _sections(page) == [name for name in SECTIONS if name != "Highlights"]
    assert page.pictures == []


def test_plots_are_shown_in_light_and_dark_and_described() -> None:
    second = Picture(light="plots/b.png", alt='of "quotes" & <tags>')
    page = read(_card(nine_tiers(), plots=[PLOT, second]))
    assert page.pictures == [("plots/size-vs-kld.png", "plots/size-vs-kld-dark.png", PLOT.alt)]
    assert page.images == [("plots/b.png", second.alt)]


def test_parts_that_could_not_be_converted_are_named() -> None:
    results = nine_tiers()
    reason = "without its vision or audio part: there is no <b>preprocessor_config.json</b>"
    model = replace(results.architecture, vision=True, lacks=(reason,))
    text = _card(replace(results, architecture=model))
    assert "**Not included**: Published without its vision or audio part: there is no" in text
    assert "<b>" not in text
    assert "Not included" not in _card(results)


def test_a_hostile_family_is_no_tag() -> None:
    results = nine_tiers()
    family = replace(results.architecture, family="x\n- evil")
    tags = read(_card(replace(results, architecture=family))).front["tags"]
    assert tags == ["gguf", "quantized", "apex", "moe", "mixture-of-experts", "imatrix"]


# ── templates of the user's ─────────────────────────────────────────────────────────────────


def test_a_users_block_replaces_ours_and_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "credits.md.j2").write_text("## Credits\n\nThanks, {{ results.tools.device }}.\n")
    results = nine_tiers()
    tools = replace(results.tools, device="<b>GPU</b>")
    card = _card(replace(results, tools=tools), templates=tmp_path)
    assert card.endswith("## Credits\n\nThanks, &lt;b&gt;GPU&lt;/b&gt;.\n")
    assert _sections(read(card)) == SECTIONS


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("## Credits\n\n{{ donor }}\n", r"credits\.md\.j2, line 3: 'donor' is undefined; mend"),
        ("{{ results.tools.gpu }}", r"credits\.md\.j2, line 1: .*no attribute 'gpu'"),
        ("a\n{% if %}", r"credits\.md\.j2, line 2: "),
        ("a\n{{ 1 / 0 }}", r"credits\.md\.j2, line 2: division by zero"),
        ("{{ ''.__class__.__mro__ }}", r"credits\.md\.j2, line 1: .*unsafe"),
        ("{{ name|wrong }}", r"credits\.md\.j2, line 1: No filter named 'wrong'"),
        ("{% include 'x.md.j2' %}", r"card templates: .*x\.md\.j2.* is missing"),
    ],
)
def test_a_wrong_template_is_named_with_its_line(
    tmp_path: Path, template: str, message: str
) -> None:
    (tmp_path / "credits.md.j2").write_text(template)
    with pytest.raises(SettingsError, match=message):
        _card(nine_tiers(), templates=tmp_path)


def test_a_missing_template_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="make it or leave templates out"):
        _card(nine_tiers(), templates=tmp_path / "none")


def test_without_tiers_there_is_nothing_to_run() -> None:
    page = read(_card(replace(nine_tiers(), tiers=()), files=[], plots=[]))
    silent = ("Highlights", "Which file should I choose?", "Run with")
    assert _sections(page) == [name for name in SECTIONS if name not in silent]
    assert len(page.tables[0]) == 2


def test_files_need_no_tier() -> None:
    extra = CardFile(path="mmproj.gguf", tier=None, bytes=1, sha256="00", note="")
    line = read(_card(nine_tiers(), files=[extra])).tables[1][1]
    assert line == ["mmproj.gguf", "—", "0.0 kB", "—", "1", "00"]
