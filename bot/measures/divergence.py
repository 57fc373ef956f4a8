"""A candidate against its reference: KL divergence and what else one pass yields.

Formulas of kl_divergence() and log_softmax() in tools/perplexity/perplexity.cpp: divergence of the
candidate from the reference's 16-bit log-probabilities in nats, tokens whose log-probability there
is -16 or less left out of the sum. Where the reference runs beside the candidate, its
log-probabilities go through the same 16 bits, so that the numbers are the same with and without a
file.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from bot.clients.llama.ggml import exponentials
from bot.clients.llama.session import Session
from bot.clients.llama.vocabulary import Vocabulary
from bot.errors import BuildError
from bot.kernels.rows.rowwork import Compared, RowKernels
from bot.measures.journal import Journal, Values
from bot.measures.logits import (
    BaseFile,
    Codes,
    Floats,
    Ints,
    codes_of,
    dot,
    pack,
    parts,
    room,
    scales,
    softmax,
    unpack_one,
    unpack_rows,
    width,
)
from bot.measures.passes import Progress, Running, decode, run_pass
from bot.measures.perplexity import mean_and_error, perplexity_of
from bot.measures.windows import TextWindows
from bot.records.measured import Divergence, Perplexity

SMALLEST = np.float32(-16)  # log-probabilities below are lost in the file's 16 bits


def compare_logits(
    logits: Floats,
    packed: Codes,
    targets: Ints,
    out: Values,
    kernels: RowKernels | None = None,
) -> None:
    """Score rows of candidate logits, [rows, vocabulary], against rows of the file.

    f32 throughout, sums as good as llama-perplexity's in f64; by `kernels` where they are given,
    and fit: the same but for rounding.
    """
    if kernels is not None and kernels.fit(logits, targets) and packed.flags.c_contiguous:
        kld, nll, nll_base, same_top = kernels.compare(logits, packed, targets)
    else:
        kld, nll, nll_base, same_top = _compared(logits, packed, targets)
    out["kld"], out["nll"], out["nll_base"], out["same_top"] = kld, nll, nll_base, same_top
    out["delta_p"] = np.exp(-nll) - np.exp(-nll_base)


def _compared(logits: Floats, packed: Codes, targets: Ints) -> Compared:
    candidate = softmax(logits)
    total, kld = candidate.total, np.zeros(len(targets))
    scale, floor = scales(packed)
    some_lost = floor.min() <= SMALLEST
    for part in parts(logits.shape[1]):
        above = unpack_rows(packed, scale, part)  # log-probabilities above the row's floor
        p = room("exp", *above.shape)
        exponentials(above, -floor, p)
        if some_lost:
            np.multiply(p, above > (SMALLEST - floor)[:, None], out=p)
        above -= logits[:, part]
        above += (floor + total)[:, None]
        kld += dot(above, p)
    nll = total - logits[np.arange(len(targets)), targets]
    # codes rise with log-probabilities, and the first of equals is the tool's choice too
    same_top = candidate.best == codes_of(packed)[:, : logits.shape[1]].argmax(axis=1)
    return Compared(kld, nll, -unpack_one(packed, targets), same_top)


def require_same_vocabulary(words: Vocabulary, vocabulary: int, reference: str) -> None:
    """Raise BuildError when a candidate has another number of tokens than its reference."""
    if words.vocabulary != vocabulary:
        raise BuildError(
            f"{words.path.name} has a vocabulary of {words.vocabulary} tokens, {reference} "
            f"one of {vocabulary}; compare files of one model"
        )


def require_same_tokens(words: Vocabulary, text: str, windows: TextWindows, reference: str) -> None:
    """Raise BuildError when a candidate cuts `text` into other tokens than its reference did.

    A text's beginning will do: as many windows are compared as it fills.
    """
    candidate_tokens = words.tokenize(text)
    count = min(len(candidate_tokens) // windows.context, len(windows.tokens))
    reference_tokens = windows.tokens[:count].reshape(-1)
    if not count or candidate_tokens[: count * windows.context] != reference_tokens.tolist():
        raise BuildError(
            f"{words.path.name} cuts the text into other tokens than {reference}: another "
            "tokenizer; compare files of one model"
        )


def measure_divergence(
    session: Session,
    base: BaseFile,
    journal: Journal,
    *,
    together: int | None = None,
    threads: int,
    progress: Progress,
    kernels: RowKernels | None = None,
) -> tuple[Perplexity, Divergence]:
    """Perplexity and divergence of a loaded candidate in one pass over the reference's tokens.

    Goes on where the journal ends. `together` chunks are decoded at once, where not as many as
    usual. Raises BuildError when the vocabularies differ.
    """
    require_same_vocabulary(session, base.vocabulary, base.path.name)
    windows = replace(base.windows, together=together or base.windows.together)
    rows = windows.together * windows.scored

    def score(logits: Floats, targets: Ints, *, group: int, row: int, out: Values) -> None:
        first = group * rows + row
        packed = base.read(first, first + len(targets))
        compare_logits(logits, packed, targets, out, kernels)

    start = len(journal.groups)
    run_pass(session, windows, score, journal.add, start=start, threads=threads, progress=progress)
    return summary(journal.values)


def measure_beside(
    session: Session,
    reference: Session,
    windows: TextWindows,
    journals: tuple[Journal, Journal],
    *,
    threads: int,
    progress: Progress,
    kernels: RowKernels | None = None,
) -> tuple[Perplexity, Divergence]:
    """Perplexity and divergence of a candidate with its reference loaded too, and no file.

    While one model decodes, the other's logits are worked on. `journals` are the candidate's and
    the reference's; the latter ends with the values of its perplexity. Goes on behind the last
    group that both have. Raises as `measure_divergence`.
    """
    journal, reference_journal = journals
    require_same_vocabulary(session, reference.vocabulary, reference.path.name)
    total, packed = len(windows.tokens), _PackedGroup(windows, session.vocabulary, kernels)
    done = min(len(journal.groups), len(reference_journal.groups))
    journal.keep(done)
    reference_journal.keep(done)
    with ThreadPoolExecutor(threads) as pool:
        last: Running | None = None
        for group in range(done, windows.groups):
            progress(group * windows.together, total)
            reference_logits = decode(reference, windows, group)
            if last:
                journal.add(last.wait())
            packing = Running(pool, reference, windows, group, reference_logits, packed.pack)
            logits = decode(session, windows, group)
            reference_journal.add(packing.wait())
            last = Running(pool, session, windows, group, logits, packed.compare)
        if last:
            journal.add(last.wait())
    progress(total, total)
    return summary(journal.values)


class _PackedGroup:
    """A group's log-probabilities of the reference, as rows of the file, [rows, width]."""

    def __init__(self, windows: TextWindows, vocabulary: int, kernels: RowKernels | None) -> None:
        rows, self._kernels = windows.together * windows.scored, kernels
        self._packed: Codes = np.empty((rows, width(vocabulary)), np.uint16)

    def pack(self, logits: Floats, targets: Ints, *, group: int, row: int, out: Values) -> None:
        """Take the reference's logits in; their -ln p goes to `out`."""
        del group
        packed = self._packed[row : row + len(targets)]
        out["nll"] = pack(logits, targets, packed, self._kernels)

    def compare(self, logits: Floats, targets: Ints, *, group: int, row: int, out: Values) -> None:
        """Score the candidate's logits against those that were packed last."""
        del group
        packed = self._packed[row : row + len(targets)]
        compare_logits(logits, packed, targets, out, self._kernels)


def summary(values: Values) -> tuple[Perplexity, Divergence]:
    """All that a pass yields, from its values."""
    return perplexity_of(values["nll"]), summarize(values)


def summarize(values: Values) -> Divergence:
    """The statistics llama-perplexity prints, from values for each token."""
    nll, nll_base = (values[name].astype(np.float64) for name in ("nll", "nll_base"))
    delta_p = values["delta_p"].astype(np.float64)
    log_ppl, log_ppl_error = mean_and_error(nll)
    log_base, log_base_error = mean_and_error(nll_base)
    count = len(values)
    covariance = (float((nll * nll_base).mean()) - log_ppl * log_base) / (count - 1)
    log_ratio_error = np.sqrt(max(log_ppl_error**2 + log_base_error**2 - 2 * covariance, 0.0))
    ratio = float(np.exp(log_ppl - log_base))
    mean, mean_error = mean_and_error(values["kld"])
    delta, delta_error = mean_and_error(delta_p)
    square, square_error = mean_and_error(np.square(delta_p))
    rms = float(np.sqrt(square))
    top = float(values["same_top"].mean())
    ordered = np.sort(values["kld"].astype(np.float32))
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
