"""The whole card: its values, its structure, and what strangers cannot do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.plan.recipe import NO_SMALLER
from bot.plots.pictures import Picture
from bot.records.model import StoredShare
from bot.records.results import LeftOut
from tests.unit.card.markdown import Page, read
from tests.unit.card.samples import (
    PLOT,
    coinciding,
    divergence,
    files,
    nine_tiers,
    readme,
)

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


def _sections(page: Page) -> list[str]:
    """Names of the card's blocks; those of programs below `Run with` are h3 and no blocks."""
    return [words for tag, words in page.headings if tag != "h1" and words not in PROGRAMS]


# ── what it says ────────────────────────────────────────────────────────────────────────────


def test_the_golden_card(golden: Callable[[str, str], None]) -> None:
    golden("card-nine-tiers.md", readme(nine_tiers()))


def test_the_golden_card_of_a_file_without_release(golden: Callable[[str, str], None]) -> None:
    results = replace(coinciding(), release=None)
    golden("card-coinciding-tiers.md", readme(results, plots=[], quantized_by=None))


def test_relative_links_lead_to_files_of_the_repository() -> None:
    results = nine_tiers()
    page = read(readme(results))
    local = {link for link in page.links if not link.startswith("https://")}
    assert local - {"#which-file-should-i-choose"} | {PLOT.light} == {
        file.path for file in files(results)
    }
    assert ("h2", "Which file should I choose?") in page.headings  # the Hub's anchor of it


def test_coinciding_tiers_are_one_file() -> None:
    card = readme(coinciding())
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
    page = read(readme(replace(results, tiers=tiers), plots=[]))
    assert _sections(page) == [name for name in SECTIONS if name != "Highlights"]
    assert page.pictures == []


def test_plots_are_shown_in_light_and_dark_and_described() -> None:
    second = Picture(light="plots/b.png", alt='of "quotes" & <tags>')
    page = read(readme(nine_tiers(), plots=[PLOT, second]))
    assert page.pictures == [("plots/size-vs-kld.png", "plots/size-vs-kld-dark.png", PLOT.alt)]
    assert page.images == [("plots/b.png", second.alt)]


def test_parts_that_could_not_be_converted_are_named() -> None:
    results = nine_tiers()
    reason = "without its vision or audio part: there is no <b>preprocessor_config.json</b>"
    model = replace(results.architecture, vision=True, lacks=(reason,))
    text = readme(replace(results, architecture=model))
    assert "**Not included**: Published without its vision or audio part: there is no" in text
    assert "<b>" not in text
    assert "Not included" not in readme(results)


# ── templates of the user's ─────────────────────────────────────────────────────────────────


def test_a_users_block_replaces_ours_and_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "credits.md.j2").write_text("## Credits\n\nThanks, {{ results.tools.device }}.\n")
    results = nine_tiers()
    tools = replace(results.tools, device="<b>GPU</b>")
    card = readme(replace(results, tools=tools), templates=tmp_path)
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
        readme(nine_tiers(), templates=tmp_path)


def test_a_missing_template_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="make it or leave templates out"):
        readme(nine_tiers(), templates=tmp_path / "none")


def test_without_tiers_there_is_nothing_to_run() -> None:
    page = read(readme(replace(nine_tiers(), tiers=()), files=[], plots=[]))
    silent = ("Highlights", "Which file should I choose?", "Run with")
    assert _sections(page) == [name for name in SECTIONS if name not in silent]
    assert len(page.tables[0]) == 2


def test_an_original_in_four_bits_is_the_reference_as_it_is_and_unmade_tiers_are_named() -> None:
    results = nine_tiers()
    shares = (
        StoredShare(precision="MXFP4", weights=9, bytes=5),
        StoredShare(precision="BF16", weights=1, bytes=2),
    )
    model = replace(
        results.architecture, family="gpt-oss", source_type="MXFP4", source_shares=shares
    )
    unmade = LeftOut(tier="Quality", recipe="0" * 64, reason=NO_SMALLER, made=False)
    tiers = tuple(row for row in results.tiers if row.name != "Quality")
    native = replace(results, architecture=model, tiers=tiers, left_out=(unmade,))
    text = readme(native)
    assert "the original in its makers' own precision (MXFP4, BF16), nothing expanded" in text
    assert "**Source precision**: MXFP4, BF16, as published" in text
    assert "Quality is not made: it would be as large as the original." in text
    assert "nothing expanded" not in readme(results)
