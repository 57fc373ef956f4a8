"""Verbs about numbers: options, and what was measured already."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.records.coding import to_json
from bot.records.measured import Comparison
from tests.unit.card.samples import nine_tiers
from tests.unit.cli.running import bot


@pytest.mark.parametrize(
    "words",
    [
        ("a.gguf", "b.gguf"),
        ("a.gguf", "--out", "x.json"),
        ("a.gguf", "--keep-logits", "x"),
    ],
)
def test_several_files_need_a_reference_or_measures(words: tuple[str, ...]) -> None:
    assert "need --against or --measures" in bot("evaluate", *words, code=2)


def test_stored_comparisons_of_two_tiers(tmp_path: Path) -> None:
    first, second, third = (row.name for row in nine_tiers().tiers[:3])
    comparisons = tuple(
        Comparison(
            measure="kld", one=first, other=other, difference=0.25, p=0.01, differs=other == second,
            test="paired", low=0.2, high=0.3, adjusted=0.02,
        )
        for other in (second, third)
    )  # fmt: skip
    path = tmp_path / "results.json"
    path.write_text(to_json(replace(nine_tiers(), comparisons=comparisons)))
    stored = ("compare", second, first, "--results", str(path))
    (row,) = json.loads(bot(*stored, "--json"))
    assert (row["one"], row["other"], row["p"]) == (first, second, 0.01)
    assert bot(*stored) == (
        f"kld: {first} − {second} = +0.250000 [+0.200000, +0.300000], "
        "p = 0.01, corrected 0.02: they differ\n"
    )
    assert "cannot be told apart" in bot("compare", first, third, "--results", str(path))
    with pytest.raises(SettingsError, match="has no row None"):
        bot("compare", "None", first, "--results", str(path))


def test_numbers_of_others_are_read_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text("A-Q8_0 6.7198 82.5 0.0058 0.0021 9.7\nB 6.8 82.0 0.04 0.01 9.3\n")
    rows = json.loads(bot("import", str(path), "--json"))
    assert [row["name"] for row in rows] == ["A-Q8_0", "B"]
    text = bot("import", str(path))
    assert text.startswith("Measured by others, on texts and machines of their own:")
    assert "6.7198" in text
