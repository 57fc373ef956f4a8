"""A candidate against its reference: KL divergence and what else one pass yields.

Formulas of kl_divergence() and log_softmax() in tools/perplexity/perplexity.cpp: divergence of the
candidate from the stored 16-bit log-probabilities in nats, tokens whose reference log-probability
is -16 or less left out of the sum.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bot.clients.llama.session import Session
from bot.errors import BuildError
from bot.evaluate.perplexity import (
    BaseFile,
    Floats,
    Progress,
    in_blocks,
    log_sum_exp,
    mean_and_error,
    perplexity_of,
    scored,
    unpack,
)
from bot.records import Divergence, Perplexity

SMALLEST = np.float32(-16)  # log-probabilities below are lost in the file's 16 bits


@dataclass(frozen=True, kw_only=True)
class TokenScores:
    """One value for each scored token, all [tokens]."""

    nll: NDArray[np.float64]
    nll_base: NDArray[np.float64]
    kld: NDArray[np.float64]
    delta_p: NDArray[np.float64]  # p(candidate) - p(reference) of the true token
    same_top: NDArray[np.bool_]

    @classmethod
    def empty(cls, count: int) -> TokenScores:
        """Room for `count` tokens."""
        room = [np.empty(count) for _ in range(4)]
        return cls(
            nll=room[0],
            nll_base=room[1],
            kld=room[2],
            delta_p=room[3],
            same_top=np.empty(count, np.bool_),
        )


def compare(
    logits: Floats, base: Floats, targets: NDArray[np.int32], out: TokenScores, at: slice
) -> None:
    """Score rows of candidate logits against reference log-probabilities, both [rows, vocabulary].

    f32 throughout with f64 sums, as llama-perplexity; results go to `out` at `at`.
    """
    rows = np.arange(len(targets))
    highest, log_sum = log_sum_exp(logits)
    nll = highest + log_sum - logits[rows, targets]
    nll_base = -base[rows, targets]
    terms = np.exp(base)
    terms *= base - logits + (highest + log_sum)[:, None]
    out.kld[at] = np.where(base > SMALLEST, terms, 0).sum(axis=1, dtype=np.float64)
    out.nll[at], out.nll_base[at] = nll, nll_base
    out.delta_p[at] = np.exp(-nll) - np.exp(-nll_base)
    out.same_top[at] = logits.argmax(axis=1) == base.argmax(axis=1)


def measure(
    session: Session, base: BaseFile, *, threads: int, progress: Progress
) -> tuple[Perplexity, Divergence]:
    """Perplexity and divergence of a loaded candidate in one pass over the reference's tokens.

    Raises BuildError when the vocabularies differ.
    """
    if session.vocabulary != base.vocabulary:
        raise BuildError(
            f"{session.path.name} has {session.vocabulary} tokens, its reference "
            f"{base.vocabulary}; compare files of one model"
        )
    per_chunk = base.tokens.shape[1] - 1 - base.tokens.shape[1] // 2
    out = TokenScores.empty(per_chunk * len(base.tokens))
    start = 0
    with ThreadPoolExecutor(threads) as pool:
        chunks = zip(scored(session, base.tokens, progress), base.rows(), strict=True)
        for (logits, targets), packed in chunks:

            def score(
                part: slice,
                logits: Floats = logits,
                packed: NDArray[np.uint16] = packed,
                targets: NDArray[np.int32] = targets,
                start: int = start,
            ) -> None:
                at = slice(start + part.start, start + part.stop)
                reference = unpack(packed[part], base.vocabulary)
                compare(logits[part], reference, targets[part], out, at)

            in_blocks(pool, len(targets), score)
            start += len(targets)
    return perplexity_of(out.nll), summarize(out)


def summarize(scores: TokenScores) -> Divergence:
    """The statistics llama-perplexity prints, from values for each token."""
    log_ppl, log_ppl_error = mean_and_error(scores.nll)
    log_base, log_base_error = mean_and_error(scores.nll_base)
    count = len(scores.nll)
    together = float((scores.nll * scores.nll_base).mean())
    covariance = (together - log_ppl * log_base) / (count - 1)
    log_ratio_error = np.sqrt(max(log_ppl_error**2 + log_base_error**2 - 2 * covariance, 0.0))
    ratio = float(np.exp(log_ppl - log_base))
    mean, mean_error = mean_and_error(scores.kld)
    delta, delta_error = mean_and_error(scores.delta_p)
    square, square_error = mean_and_error(np.square(scores.delta_p))
    rms = float(np.sqrt(square))
    top = float(scores.same_top.mean())
    ordered = np.sort(scores.kld.astype(np.float32))
    return Divergence(
        ppl_ratio=ratio,
        ppl_ratio_error=ratio * float(log_ratio_error),
        mean=mean,
        mean_error=mean_error,
        median=_median(ordered),
        p90=_percentile(ordered, 0.9),
        p95=_percentile(ordered, 0.95),
        p99=_percentile(ordered, 0.99),
        p999=_percentile(ordered, 0.999),
        max=float(ordered[-1]),
        delta_p_mean=delta,
        delta_p_mean_error=delta_error,
        delta_p_rms=rms,
        delta_p_rms_error=0.5 / rms * square_error if rms else 0.0,
        same_top=top,
        same_top_error=float(np.sqrt(top * (1 - top) / (count - 1))),
    )


def _median(ordered: Floats) -> float:
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return float(ordered[middle])
    return float(np.float32(0.5) * (ordered[middle] + ordered[middle - 1]))


def _percentile(ordered: Floats, fraction: float) -> float:
    """Linear interpolation in f32 between neighbours, as the tool's lambda does."""
    place = np.float32(fraction) * np.float32(len(ordered) - 1)
    below = int(place)
    rest = np.float32(place - below)
    above = min(below + 1, len(ordered) - 1)
    return float((1 - rest) * ordered[below] + rest * ordered[above])
