"""A candidate against its reference: by hand, against itself, and against llama-perplexity."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from bot.clients.llama.session import Session
from bot.errors import BuildError
from bot.measures import divergence, logits, perplexity
from bot.measures.journal import Journal, empty
from bot.measures.windows import TextWindows, read_evaluation_text
from tests import evaluation as shared
from tests import llama_tools
from tests.evaluation import (
    KEY,
    SHARED,
    TINY,
    chunks_of,
    diverge,
    packed,
    quiet,
    reading,
    refer,
    some_logits,
    unpacked,
)

# what kl_divergence() prints, and where it stands in ours; Δp and same top are percent there
PRINTED = {
    "mean": (r"Mean    KLD: +(-?[\d.]+) ± +([\d.]+)", 1),
    "max": (r"Maximum KLD: +(-?[\d.]+)", 1),
    "p999": (r"99.9%   KLD: +(-?[\d.]+)", 1),
    "p99": (r"99.0%   KLD: +(-?[\d.]+)", 1),
    "p95": (r"95.0%   KLD: +(-?[\d.]+)", 1),
    "p90": (r"90.0%   KLD: +(-?[\d.]+)", 1),
    "median": (r"Median  KLD: +(-?[\d.]+)", 1),
    "ppl_ratio": (r"PPL\(Q\)/PPL\(base\) +: +([\d.]+) ± +([\d.]+)", 1),
    "delta_p_mean": (r"Mean    Δp: +(-?[\d.]+) ± +([\d.]+)", 100),
    "delta_p_rms": (r"RMS Δp +: +([\d.]+) ± +([\d.]+)", 100),
    "same_top": (r"Same top p: +([\d.]+) ± +([\d.]+)", 100),
}


def test_divergence_of_known_distributions() -> None:
    """Two tokens, probabilities written by hand: KLD = Σ p ln(p/q)."""
    p, q = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    codes, out = packed(np.log(p).astype(np.float32)[None]), empty(1)
    candidate = (np.log(q) + 3).astype(np.float32)[None]  # logits are free up to a constant
    divergence.compare_logits(candidate, codes, np.array([0], np.int32), out)
    assert out["kld"][0] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-5)
    assert out["nll"][0] == pytest.approx(math.log(2), abs=1e-6)
    assert out["nll_base"][0] == pytest.approx(-math.log(0.75), abs=1e-5)
    assert out["delta_p"][0] == pytest.approx(-0.25, abs=1e-5)
    assert out["same_top"][0]


@pytest.mark.parametrize("vocabulary", [700, logits.IN_CACHE - 1, 2 * logits.IN_CACHE + 11])
def test_rows_of_any_width_give_the_sums_by_hand(vocabulary: int) -> None:
    """The narrow rows go together, the wide ones in pieces; in f64 it is all one sum."""
    reference = some_logits(3, vocabulary)
    candidate = reference + some_logits(3, vocabulary, seed=1) * np.float32(0.05)
    candidate[1, vocabulary - 3] = reference.max() + 9  # the likeliest is in the last piece
    targets, out = np.array([0, vocabulary - 1, vocabulary // 2], np.int32), empty(3)
    rows, codes = np.arange(3), packed(reference)
    divergence.compare_logits(candidate, codes, targets, out)
    base = unpacked(codes, vocabulary).astype(np.float64)
    log_q = candidate - np.log(np.exp(candidate.astype(np.float64)).sum(1, keepdims=True))
    p = np.where(base > -16, np.exp(base), 0)
    assert out["kld"] == pytest.approx((p * (base - log_q)).sum(1), abs=2e-6)
    assert out["nll"] == pytest.approx(-log_q[rows, targets], abs=5e-6)
    assert out["nll_base"] == pytest.approx(-base[rows, targets], abs=5e-6)
    assert out["same_top"].tolist() == [True, False, True]


def test_tokens_lost_in_the_packing_do_not_count() -> None:
    codes, out = packed(np.array([[0.0, -15.0, -40.0]], np.float32)), empty(1)
    compared = np.array([[0.0, -15.0, 400.0]], np.float32)
    divergence.compare_logits(compared, codes, np.array([0], np.int32), out)
    # the third token is at -16 in the file: its 400 would count for e^-16 * 416 = 5e-5 alone
    assert out["kld"][0] == pytest.approx(400.0 * (1 + math.exp(-15)), rel=1e-5)
    assert not out["same_top"][0]


def test_percentiles_are_llama_perplexitys() -> None:
    values = empty(101)
    for name in ("nll", "nll_base", "delta_p"):
        values[name] = np.linspace(0.1, 1, 101)
    values["kld"] = np.arange(101)[::-1]
    values["same_top"] = np.arange(101) < 80
    kld = divergence.summarize(values)
    assert (kld.median, kld.max) == (50.0, 100.0)
    assert (kld.p90, kld.p99) == pytest.approx((90, 99))
    assert kld.p999 == pytest.approx(99.9, abs=1e-4)
    assert kld.mean == pytest.approx(50)
    assert kld.ppl_ratio == pytest.approx(1)
    assert kld.ppl_ratio_error == pytest.approx(0, abs=1e-6)
    assert kld.same_top == pytest.approx(80 / 101)


@pytest.mark.road
def test_beside_the_candidate_the_numbers_are_those_of_a_file(
    demo_model: Path, demo_candidate: Path, demo_text: str, tmp_path: Path
) -> None:
    base = tmp_path / "reference.logits"
    windows = chunks_of(demo_model, demo_text, 256, 10)
    reference = refer(demo_model, windows, base)
    from_file = diverge(demo_candidate, base, tmp_path / "tokens")
    journals = Journal(tmp_path / "one", KEY), Journal(tmp_path / "two", KEY)
    with (
        reading(demo_model, windows) as reference_session,
        reading(demo_candidate, windows) as session,
    ):
        beside = divergence.measure_beside(
            session, reference_session, windows, journals, threads=2, progress=quiet
        )
    assert beside == from_file
    assert perplexity.perplexity_of(journals[1].values["nll"]) == reference
    assert beside[1].mean > 1e-5  # they do differ


class _Stopped(Exception):
    pass


@pytest.mark.long
def test_stopped_between_groups_it_ends_with_the_same_bits(
    demo_model: Path, demo_candidate: Path, demo_text: str, tmp_path: Path
) -> None:
    windows = chunks_of(demo_model, demo_text, 256, 24)
    undisturbed, cut_short = tmp_path / "whole", tmp_path / "cut"
    expected = (
        refer(demo_model, windows, undisturbed),
        diverge(demo_candidate, undisturbed, tmp_path / "t"),
    )

    def stop(done: int, _total: int) -> None:
        if done >= 16:
            raise _Stopped

    reference_tokens, tokens = tmp_path / "told", tmp_path / "tokens"
    with reading(demo_model, windows) as session:
        for progress in (stop, quiet):
            journal = Journal(reference_tokens, KEY)
            assert len(journal.groups) == (0 if progress is stop else 2)
            try:
                reference = perplexity.reference_perplexity(
                    session, windows, cut_short, journal, threads=2, progress=progress
                )
            except _Stopped:
                continue
    assert cut_short.read_bytes() == undisturbed.read_bytes()
    with logits.open_base(cut_short) as base, reading(demo_candidate, windows) as session:
        with pytest.raises(_Stopped):
            divergence.measure_divergence(
                session, base, Journal(tokens, KEY), threads=2, progress=stop
            )
        journal = Journal(tokens, KEY)
        assert len(journal.groups) == 2
        summary = divergence.measure_divergence(session, base, journal, threads=2, progress=quiet)
    assert (reference, summary) == expected


def test_another_vocabulary_or_tokenizer_is_named(
    demo_model: Path, demo_text: str, tmp_path: Path
) -> None:
    windows = chunks_of(demo_model, demo_text, 128, 2)
    small = TextWindows(tokens=windows.tokens % 100, first=64, together=16)
    base = tmp_path / "other.logits"
    with base.open("wb") as file:
        logits.write_base_header(file.fileno(), 100, small)
        file.truncate(logits.base_bytes(100, 128, 2))
    message = "a vocabulary of 4096 tokens, other.logits one of 100"
    with pytest.raises(BuildError, match=message):
        diverge(demo_model, base, tmp_path / "tokens")
    other = shared.with_other_tokens(demo_model, tmp_path / "other.gguf")
    with (
        Session(other, n_ctx=32, threads=1) as session,
        pytest.raises(BuildError, match=r"other\.gguf cuts the text into other tokens than ref"),
    ):
        divergence.require_same_tokens(session, demo_text, windows, "ref")
    with Session(demo_model, n_ctx=32, threads=1) as session:
        divergence.require_same_tokens(session, demo_text, windows, "ref")
        assert session.tokenizer != Session(other, n_ctx=32, threads=1).tokenizer


@pytest.mark.long
@pytest.mark.skipif(not TINY.is_dir(), reason="shared data not present")
def test_equal_to_llama_perplexity(tmp_path: Path) -> None:
    """What another instruction set may change, as seen between AVX-512 with and without BF16.

    PPL 2e-4; values with an error half of it; percentiles a twentieth, the tail's a tenth: 99.9 %
    hangs on 15 tokens, the maximum on one.
    """
    base = tmp_path / "reference.logits"
    text = (SHARED / "text" / "wikitext2-test.txt").read_text()
    windows = chunks_of(TINY / "tiny-moe-BF16.gguf", text, 512, 60)
    reference = refer(TINY / "tiny-moe-BF16.gguf", windows, base)
    printed = (SHARED / "expected" / "perplexity-reference.txt").read_text()
    value, error = _numbers(printed, r"PPL = ([\d.]+) \+/- ([\d.]+)")
    assert reference.value == pytest.approx(value, rel=2e-4)
    assert reference.error == pytest.approx(error, rel=2e-3)
    ppl, kld = diverge(TINY / "tiny-moe-Q8_0.gguf", base, tmp_path / "tokens")
    printed = (SHARED / "expected" / "kl-q8_0.txt").read_text()
    assert ppl.value == pytest.approx(_numbers(printed, r"PPL\(Q\) +: +([\d.]+)")[0], rel=2e-4)
    loose = {"p999": 0.1, "max": 0.1}
    for name, (pattern, factor) in PRINTED.items():
        value, *errors = _numbers(printed, pattern)
        ours, relative = factor * getattr(kld, name), loose.get(name, 0.05)
        if errors:
            assert ours == pytest.approx(value, rel=0, abs=errors[0] / 2), name
            own = factor * getattr(kld, f"{name}_error")
            assert own == pytest.approx(errors[0], rel=0.05, abs=5e-4 * factor / 100), name
        else:
            assert ours == pytest.approx(value, rel=relative, abs=0), name


@pytest.mark.long
def test_equal_to_the_tool_beside_us(
    demo_model: Path, demo_candidate: Path, demo_text: str, tmp_path: Path
) -> None:
    """Built on this machine: PPL to 4 decimals, KLD to 1e-5, and files exchanged."""
    text, tool_base, own_base = tmp_path / "text.txt", tmp_path / "theirs", tmp_path / "ours"
    text.write_text(demo_text)
    options_of_text = ("-f", text, "-c", 512, "-t", 2, "--chunks", 20)
    arguments = ("llama-perplexity", *(str(part) for part in options_of_text), "-m")
    first = llama_tools.run(*arguments, demo_model, "--save-all-logits", tool_base)
    windows = chunks_of(demo_model, read_evaluation_text(text), 512, 20)
    reference = refer(demo_model, windows, own_base)
    value, error = _numbers(first, r"PPL = ([\d.]+) \+/- ([\d.]+)")
    assert (reference.value, reference.error) == pytest.approx((value, error), abs=1e-4)
    options = ("-m", demo_candidate, "-c", "512", "-t", "2", "--kl-divergence")
    printed = llama_tools.run("llama-perplexity", *options, "--kl-divergence-base", own_base)
    for base in (own_base, tool_base):
        ppl, kld = diverge(demo_candidate, base, tmp_path / f"{base.name}.tokens")
        value, error = _numbers(printed, r"Mean PPL\(Q\) +: +([\d.]+) ± +([\d.]+)")
        assert (ppl.value, ppl.error) == pytest.approx((value, error), abs=1e-4)
        for name, (pattern, factor) in PRINTED.items():
            numbers = _numbers(printed, pattern)
            close = 1e-5 if factor == 1 else 1e-3  # percent have three places
            assert factor * getattr(kld, name) == pytest.approx(numbers[0], abs=close), name
            if len(numbers) > 1:
                own = factor * getattr(kld, f"{name}_error")
                assert own == pytest.approx(numbers[1], abs=close), name


def _numbers(printed: str, pattern: str) -> tuple[float, ...]:
    match = re.search(pattern, printed)
    assert match is not None, pattern
    return tuple(float(group) for group in match.groups())
