"""Simulated measurements whose truth is known, and how often intervals hold it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from scipy.signal import lfilter

from bot.evaluate.intervals import divergence_interval, means_of_chunks, over_chunks
from bot.evaluate.paired import typical_means
from bot.evidence import LEVEL
from bot.measures.choices import wilson
from bot.measures.divergence import summarize
from bot.measures.journal import TOKEN
from bot.measures.perplexity import mean_and_error

SIZES = (20, 60, 150, 580)  # chunks, of which 580 are WikiText-2's
SCORED = 256  # tokens of a chunk
NORMAL = 1.959964
CHANGE = 0.15  # of a token's -ln p, the share by which a tier usually changes it
CHUNK, NEXT = 0.3, 0.3  # share of variance that is a chunk's own; correlation with the token before
KLD, NLL = 1.9, 1.0  # deviations of the logarithms
Floats = np.ndarray[Any, np.dtype[np.float64]]


def correlated(random: np.random.Generator, chunks: int) -> Floats:
    """Standard normal values [chunks, tokens]."""
    own = random.normal(size=(chunks, 1))
    noise = random.normal(size=(chunks, SCORED))
    noise[:, 1:] *= np.sqrt(1 - NEXT**2)
    noise = lfilter([1.0], [1.0, -NEXT], noise, axis=1)
    values: Floats = np.sqrt(CHUNK) * own + np.sqrt(1 - CHUNK) * noise
    return values


def coverage(chunks: int, trials: int, seed: int) -> dict[str, float]:
    """The share of 95 % intervals that hold the truth, by what they are of."""
    random, held = np.random.default_rng(seed), Counter[str]()
    truths = {"KLD": np.exp(KLD**2 / 2), "PPL": np.exp(NLL**2 / 2), "same top": 0.9}
    for _ in range(trials):
        values = {
            "KLD": np.exp(KLD * correlated(random, chunks)),
            "PPL": np.exp(NLL * correlated(random, chunks)),
            "same top": (correlated(random, chunks) < 1.2815516).astype(np.float64),
        }
        for name, found in values.items():
            truth = truths[name]
            mean, error = mean_and_error(found.ravel())
            held[f"{name}, ± over tokens"] += abs(mean - truth) <= NORMAL * error
            bounds = over_chunks(found.mean(axis=1))
            held[f"{name}, over chunks"] += bounds is not None and (
                bounds.low <= truth <= bounds.high
            )
        one, other = (np.exp(KLD * correlated(random, chunks)).mean(axis=1) for _ in range(2))
        typical = typical_means((one - other)[:, None], 1 << 11)[:, 0]
        low, high = np.quantile(typical, [LEVEL / 2, 1 - LEVEL / 2])
        held["difference of two files"] += bool(low <= 0 <= high)
        low, high = wilson(int((random.random(400) < 0.8).sum()), 400)
        held["accuracy of 400 tasks"] += bool(low <= 0.8 <= high)
    return {name: count / trials for name, count in held.items()}


def changed_by(z: Floats) -> Floats:
    """The logarithm of the factor on -ln p, of standard normal values: with heavier tails."""
    factor: Floats = CHANGE * z * np.sqrt(1 + z**2 / 4)
    return factor


def truths() -> dict[str, float]:
    """What `pairs_coverage` measures, by quadrature (Gauss and Hermite) over its two variables."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    share = np.outer(weights, weights) / (2 * np.pi)
    base = np.exp(NLL * nodes)[:, None]
    nll = base * np.exp(changed_by(nodes))[None, :]
    delta = np.exp(-nll) - np.exp(-base)
    return {
        "ppl_ratio": float(np.exp((share * (nll - base)).sum())),
        "delta_p_mean": float((share * delta).sum()),
        "delta_p_rms": float(np.sqrt((share * delta**2).sum())),
        "same_top": 0.9,
    }


def pairs_coverage(chunks: int, trials: int, seed: int) -> dict[str, float]:
    """As `coverage`, of what a tier and its reference give together, with the bot's own numbers."""
    random, held, true = np.random.default_rng(seed), Counter[str](), truths()
    for _ in range(trials):
        base = np.exp(NLL * correlated(random, chunks))
        nll = base * np.exp(changed_by(correlated(random, chunks)))
        values = np.zeros(base.size, TOKEN)
        values["nll"], values["nll_base"] = nll.ravel(), base.ravel()
        values["delta_p"] = np.exp(-nll.ravel()) - np.exp(-base.ravel())
        values["same_top"] = correlated(random, chunks).ravel() < 1.2815516
        printed = summarize(values)
        for of, means in means_of_chunks(values, SCORED).items():
            value, error = getattr(printed, of), getattr(printed, f"{of}_error")
            held[f"{of}, ± over tokens"] += abs(value - true[of]) <= NORMAL * error
            bounds = divergence_interval(of, np.array(means))
            held[f"{of}, over chunks"] += bounds is not None and (
                bounds.low <= true[of] <= bounds.high
            )
    return {name: count / trials for name, count in held.items()}
