"""Numbers on the card: contexts, errors, sizes, layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.lint.number_rules import is_size
from tests.unit.lint.repositories import (
    card_with,
    require_error,
    require_fine,
    require_rules,
    with_model,
)

SIZED = "\n| File | Size |\n|---|---|\n| [x](M-Q6_K.gguf) | {} |\n"


# a defect as repositories have it: how it is made, and the rules that find it
MADE = {
    "another context": (
        card_with("# M", "# M\nPerplexity at context 2048: `llama-perplexity -m x -f y`"),
        {"context-differs"},
    ),
    "layers by hand": (with_model("M-Q6_K.gguf", layers=48), {"layers-differ"}),
    "no uncertainty": (card_with(" ± 0.1", ""), {"no-uncertainty"}),
}


@pytest.mark.parametrize("defect", MADE)
def test_each_defect_is_found_and_nothing_else(folder: Path, defect: str) -> None:
    require_rules(folder, *MADE[defect])


BROKEN = {
    "size": (card_with("# M", "# M" + SIZED.format("7.1 GB")), "size-differs"),
    "size with thousands": (card_with("# M", "# M" + SIZED.format("9,000 MiB")), "size-differs"),
    "size in bytes": (
        card_with("# M", "# M" + SIZED.format("9,123,456,789 bytes")),
        "size-differs",
    ),
    "size with a comma": (card_with("# M", "# M" + SIZED.format("7,1 GB")), "size-differs"),
    "size without its unit": (
        card_with("# M", "# M" + SIZED.replace("Size", "size/GB").format("3.3")),
        "size-differs",
    ),
    "size of a row with a label": (
        card_with("# M", "# M\n| Quant | Size |\n|---|---|\n| Q6_K | **21.3 GiB** |\n"),
        "size-differs",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_an_error(folder: Path, what: str) -> None:
    require_error(folder, *BROKEN[what])


FINE = {
    "a word that holds a measure": "| ARCHITECTURE | SPARCITY |\n|---|---|\n| MoE | 3 |\n",
    "a measure without numbers": "| ARC | KL |\n|---|---|\n| a gas | a city |\n",
    "context of another thing": "Context 262,144. Perplexity is in the table below.\n",
    "size in other units": SIZED.format("288 kB").replace("288 kB", "0.3 kB"),
    "size of a reference": "| Model | Size |\n|---|---|\n| BF16 | 61 GB |\n",
    "size of memory": "| M-Q6_K.gguf | needs |\n|---|---|\n| M-Q6_K.gguf | 24 GB |\n",
}


@pytest.mark.parametrize("what", FINE)
def test_what_is_right_is_not_called_wrong(folder: Path, what: str) -> None:
    require_fine(folder, FINE[what])


def test_sizes_are_right_as_far_as_their_digits_go() -> None:
    for count, cell in (
        (21_256_789_000, "21.3 GB"), (21_256_789_000, "19.8 GiB"), (21_256_789_000, "19.8GB"),
        (21_256_789_000, "20 GB"), (21_256_789_000, "21 GB"), (21_256_789_000, "~21.26 GB"),
        (21_256_789_000, "21,256.8 MB"), (21_256_789_000, "21,26 GB"), (7_123_000_000, "7,123 MB"),
        (21_256_789_000, "21,256,789,000 bytes"), (30_000, "30B"), (21_256_789_000, "1,2,3 GB"),
        (950_000_000, "0.95G"), (21_256_789_000, "—"), (21_256_789_000, "see below"),
    ):  # fmt: skip
        assert is_size("Size", cell, count), cell
    for cell in ("25 GB", "21.3 MB", "18.0 GB", "2.13 GB", "2,13 GB", "21,256,789 bytes"):
        assert not is_size("Size", cell, 21_256_789_000), cell
