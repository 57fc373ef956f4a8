import math
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bot.clients.llama.session import Session
from bot.errors import BuildError, SettingsError
from bot.evaluate import divergence, perplexity
from bot.evaluate.divergence import TokenScores
from bot.evaluate.perplexity import Floats

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
TINY = SHARED / "models" / "tiny-moe"


def quiet(_done: int, _total: int) -> None:
    """Nobody looks."""


def some_logits(rows: int, vocabulary: int, seed: int = 0) -> Floats:
    made = np.random.default_rng(seed).normal(0, 4, (rows, vocabulary))
    return made.astype(np.float32)


def test_packed_log_probabilities_come_back_within_half_a_step() -> None:
    logits = some_logits(5, 101)
    packed = perplexity.pack(logits)
    assert packed.shape == (5, 2 * 51 + 4)
    back = perplexity.unpack(packed, 101)
    for row, given in zip(back, logits.astype(np.float64), strict=True):
        exact = given - np.log(np.exp(given).sum())
        kept = exact > exact.max() - 15.9
        step = 16 / 65535
        assert np.abs(row - exact)[kept].max() < 0.51 * step + 2e-6


def test_rows_of_equal_logits_pack() -> None:
    back = perplexity.unpack(perplexity.pack(np.zeros((1, 64), np.float32)), 64)
    assert np.allclose(back, -math.log(64))


def test_mean_and_error_by_hand() -> None:
    values = np.array([1.0, 2.0] * 8)
    mean, error = perplexity.mean_and_error(values)
    assert mean == 1.5
    assert error == pytest.approx(0.5 / math.sqrt(15))
    assert perplexity.mean_and_error(values[:10])[1] == 0.0  # too few for an error


def test_divergence_of_known_distributions() -> None:
    """Two tokens, probabilities written by hand: KLD = Σ p ln(p/q)."""
    p, q = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    out = TokenScores.empty(1)
    base = np.log(p).astype(np.float32)[None]
    logits = (np.log(q) + 3).astype(np.float32)[None]  # logits are free up to a constant
    divergence.compare(logits, base, np.array([0], np.int32), out, slice(0, 1))
    assert out.kld[0] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-6)
    assert out.nll[0] == pytest.approx(math.log(2), abs=1e-6)
    assert out.nll_base[0] == pytest.approx(-math.log(0.75), abs=1e-6)
    assert out.delta_p[0] == pytest.approx(-0.25, abs=1e-6)


def test_tokens_lost_in_the_packing_do_not_count() -> None:
    base = np.array([[0.0, -16.0, -17.0]], np.float32)
    logits = np.array([[0.0, 50.0, 0.0]], np.float32)
    out = TokenScores.empty(1)
    divergence.compare(logits, base, np.array([0], np.int32), out, slice(0, 1))
    assert out.kld[0] == pytest.approx(50.0, abs=1e-4)
    assert not out.same_top[0]


def test_percentiles_are_llama_perplexitys() -> None:
    scores = TokenScores.empty(101)
    for part in (scores.nll, scores.nll_base, scores.delta_p):
        part[:] = np.linspace(0.1, 1, 101)
    scores.kld[:] = np.arange(101)[::-1]
    scores.same_top[:] = np.arange(101) < 80
    found = divergence.summarize(scores)
    assert (found.median, found.max) == (50.0, 100.0)
    assert (found.p90, found.p99) == pytest.approx((90, 99))
    assert found.p999 == pytest.approx(99.9, abs=1e-4)
    assert found.mean == pytest.approx(50)
    assert found.ppl_ratio == pytest.approx(1)
    assert found.ppl_ratio_error == pytest.approx(0, abs=1e-6)
    assert found.same_top == pytest.approx(80 / 101)


def test_blocks_run_everything_and_raise_the_first_error() -> None:
    seen: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        perplexity.in_blocks(pool, 21, lambda part: seen.extend(range(part.start, part.stop)))
        assert sorted(seen) == list(range(21))
        with pytest.raises(ZeroDivisionError):
            perplexity.in_blocks(pool, 9, lambda part: print(1 // (part.start - 8)))  # noqa: T201 - any use of the value


def test_a_model_against_itself(demo_model: Path, demo_text: str, tmp_path: Path) -> None:
    base = tmp_path / "reference.logits"
    with Session(demo_model, n_ctx=256, threads=2) as session:
        chunks = session.chunks(demo_text, 256, 3)
        measured = perplexity.measure_reference(session, chunks, base, threads=2, progress=quiet)
        opened = perplexity.open_base(base)
        again, kld = divergence.measure(session, opened, threads=2, progress=quiet)
    assert base.stat().st_size == perplexity.base_bytes(4096, 256, 3)
    assert again == measured
    assert abs(kld.mean) < 1e-5
    assert kld.ppl_ratio == pytest.approx(1, abs=1e-5)
    assert kld.same_top == 1.0


def test_a_cut_file_of_log_probabilities_is_refused(
    demo_model: Path, demo_text: str, tmp_path: Path
) -> None:
    base = tmp_path / "reference.logits"
    with Session(demo_model, n_ctx=128, threads=2) as session:
        chunks = session.chunks(demo_text, 128, 2)
        perplexity.measure_reference(session, chunks, base, threads=2, progress=quiet)
        with pytest.raises(SettingsError, match="less than two chunks"):
            session.chunks("short", 128, None)
    whole = base.read_bytes()
    for cut in (4, 15, len(whole) // 2, len(whole) - 1):
        base.write_bytes(whole[:cut])
        with pytest.raises(BuildError, match="measure the reference again"):
            perplexity.open_base(base)


@pytest.mark.skipif(not TINY.is_dir(), reason="shared data not present")
def test_equal_to_llama_perplexity(tmp_path: Path) -> None:
    """PPL to 2e-4, mean KLD to 2e-3 relative: what another instruction set may change."""
    text = (SHARED / "text" / "wikitext2-test.txt").read_text()
    base = tmp_path / "reference.logits"
    with Session(TINY / "tiny-moe-BF16.gguf", n_ctx=512, threads=2) as session:
        chunks = session.chunks(text, 512, 60)
        reference = perplexity.measure_reference(session, chunks, base, threads=2, progress=quiet)
    printed = (SHARED / "expected" / "perplexity-reference.txt").read_text()
    value, error = _numbers(printed, r"PPL = ([\d.]+) \+/- ([\d.]+)")
    assert reference.value == pytest.approx(value, rel=2e-4)
    assert reference.error == pytest.approx(error, rel=2e-3)
    with Session(TINY / "tiny-moe-Q8_0.gguf", n_ctx=512, threads=2) as session:
        opened = perplexity.open_base(base)
        ppl, kld = divergence.measure(session, opened, threads=2, progress=quiet)
    printed = (SHARED / "expected" / "kl-q8_0.txt").read_text()
    assert ppl.value == pytest.approx(_numbers(printed, r"PPL\(Q\) +: +([\d.]+)")[0], rel=2e-4)
    mean, mean_error = _numbers(printed, r"Mean    KLD: +([\d.]+) ± +([\d.]+)")
    assert kld.mean == pytest.approx(mean, rel=2e-3)
    assert kld.mean_error == pytest.approx(mean_error, rel=2e-2)
    ratio, ratio_error = _numbers(printed, r"PPL\(Q\)/PPL\(base\) +: +([\d.]+) ± +([\d.]+)")
    assert kld.ppl_ratio == pytest.approx(ratio, rel=2e-4)
    assert kld.ppl_ratio_error == pytest.approx(ratio_error, rel=2e-2)
    assert kld.median == pytest.approx(_numbers(printed, r"Median  KLD: +([\d.]+)")[0], rel=2e-2)
    assert kld.p99 == pytest.approx(_numbers(printed, r"99.0%   KLD: +([\d.]+)")[0], rel=2e-2)
    same, same_error = _numbers(printed, r"Same top p: +([\d.]+) ± +([\d.]+)")
    assert 100 * kld.same_top == pytest.approx(same, abs=0.05)
    assert 100 * kld.same_top_error == pytest.approx(same_error, abs=0.005)
    rms = _numbers(printed, r"RMS Δp +: +([\d.]+)")[0]
    assert 100 * kld.delta_p_rms == pytest.approx(rms, rel=2e-2)


def _numbers(printed: str, pattern: str) -> tuple[float, ...]:
    match = re.search(pattern, printed)
    assert match is not None, pattern
    return tuple(float(group) for group in match.groups())
