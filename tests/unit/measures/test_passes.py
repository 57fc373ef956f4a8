"""A model's pass over a text, in one lane or two."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bot.errors import BuildError
from bot.measures.journal import Journal, Values
from bot.measures.logits import Floats, Ints, base_bytes, nll_of
from bot.measures.passes import run_pass
from tests.evaluation import KEY, chunks_of, diverge, quiet, reading, refer, with_nan


@pytest.mark.road
@pytest.mark.parametrize("lanes", [1, 2])
def test_a_model_against_itself(
    demo_model: Path, demo_text: str, tmp_path: Path, lanes: int
) -> None:
    base = tmp_path / "reference.logits"
    windows = chunks_of(demo_model, demo_text, 256, 18)  # two whole groups of eight and a part
    measured = refer(demo_model, windows, base, lanes)
    again, kld = diverge(demo_model, base, tmp_path / "tokens", lanes)
    assert base.stat().st_size == base_bytes(4096, 256, 18)
    assert again == measured
    assert abs(kld.mean) < 1e-5
    assert kld.ppl_ratio == pytest.approx(1, abs=1e-5)
    assert kld.same_top > 0.999  # two likeliest tokens may have one code in the file


def test_logits_that_are_no_numbers_are_named(
    demo_model: Path, demo_text: str, tmp_path: Path
) -> None:
    broken = with_nan(demo_model, tmp_path / "broken.gguf")
    windows = chunks_of(demo_model, demo_text, 128, 2)
    base, tokens = tmp_path / "reference.logits", tmp_path / "tokens"
    message = r"broken\.gguf gives logits that are no numbers .* in chunk 1 at position 64"
    with pytest.raises(BuildError, match=message):
        refer(broken, windows, base)
    assert Journal(base.with_suffix(".journal"), KEY).groups == []
    refer(demo_model, windows, base)
    with pytest.raises(BuildError, match=message):
        diverge(broken, base, tokens)
    assert Journal(tokens, KEY).groups == []


def test_a_pass_begins_at_a_group_and_keeps_them_in_order(demo_model: Path, demo_text: str) -> None:
    windows = replace(chunks_of(demo_model, demo_text, 128, 5), together=2)
    groups: list[Values] = []
    scored: list[tuple[int, int]] = []

    def score(logits: Floats, targets: Ints, *, group: int, row: int, out: Values) -> None:
        scored.append((group, row))
        out["nll"] = nll_of(logits, targets)

    def measure(start: int) -> None:
        with reading(demo_model, windows) as session:
            run_pass(session, windows, score, groups.append, start=start, threads=2, progress=quiet)

    measure(0)
    assert [len(values) for values in groups] == [2 * 63, 2 * 63, 63]
    assert {group for group, _ in scored} == {0, 1, 2}
    all_groups = groups.copy()
    groups.clear()
    scored.clear()
    measure(2)
    assert {group for group, _ in scored} == {2}
    assert np.array_equal(groups[0], all_groups[2])
