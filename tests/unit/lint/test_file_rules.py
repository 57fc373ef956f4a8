"""Files: damaged, other than hashes or measurements say, of other types than they claim."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.lint.contents import Head, LintedRepository, ListedFile
from bot.lint.defects import defects_of
from bot.records.coding import to_json
from bot.records.model import Tensor
from tests.unit.card.samples import nine_tiers
from tests.unit.lint.repositories import (
    CARD,
    card_with,
    defects_in,
    model,
    require_rules,
    sums,
    with_model,
)


def swapped(folder: Path) -> None:
    model(folder / "M-Q6_K.gguf", name="another")


def _gone(folder: Path) -> None:
    (folder / "imatrix.gguf").write_bytes(b"x")
    sums(folder)
    (folder / "imatrix.gguf").unlink()


def _twins(folder: Path) -> None:
    model(folder / "M-APEX-I-Mini-Q3_K_S.gguf", file_type=11)
    model(folder / "M-APEX-Mini-Q3_K_S.gguf", file_type=12)
    sums(folder)


def _results(folder: Path) -> None:
    """results.json of other files than those that are there."""
    results = nine_tiers()
    (folder / "results.json").write_text(to_json(results))
    tier = results.tiers[0].file
    (folder / "M-Q6_K.gguf").rename(folder / tier)
    card_with("M-Q6_K.gguf", tier)(folder)


# a defect as repositories have it: how it is made, and the rules that find it
MADE = {
    "general.name of a folder": (with_model("M-Q6_K.gguf", name="Safetensors"), {"general-name"}),
    "base type": (_twins, {"base-type-differs", "ambiguous-label", "ambiguous-tag"}),
    "no verification": (lambda folder: (folder / "SHA256SUMS").unlink(), {"no-hashes"}),
    "hash": (swapped, {"hash-differs"}),
    "missing": (_gone, {"missing-file"}),
}


@pytest.mark.parametrize("defect", MADE)
def test_each_defect_is_found_and_nothing_else(folder: Path, defect: str) -> None:
    require_rules(folder, *MADE[defect])


def test_a_weight_that_no_rule_covered() -> None:
    narrow = Tensor(name="a", shape=(256, 256), type="Q6_K", bytes=1)
    wide = Tensor(name="blk.0.ffn_gate_up_exps.weight", shape=(256, 64), type="BF16", bytes=1)
    head = Head(name="M 30B", file_type=18, layers=40, tensors=(narrow, wide))
    files = (ListedFile(path="M-Q6_K.gguf", bytes=1),)
    repository = LintedRepository(files=files, card=CARD, sums={}, heads={"M-Q6_K.gguf": head})
    assert "left-wide" in {defect.rule for defect in defects_of(repository)}


def test_files_are_held_against_their_measurements(folder: Path) -> None:
    _results(folder)
    defects = defects_in(folder)
    assert {"size-differs", "missing-file"} <= {defect.rule for defect in defects}
    assert sum("is in results.json and not in" in defect.text for defect in defects) == 8


def test_without_a_gate_it_is_said(folder: Path) -> None:
    (defect,) = defects_in(folder)
    assert (defect.rule, defect.level) == ("not-measured", "warning")
