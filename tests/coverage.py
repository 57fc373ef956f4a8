"""Simulated measurements whose truth is known, and how often intervals hold it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from scipy.signal import lfilter

from bot.evaluate.intervals import over_chunks
from bot.evaluate.paired import typical_means
from bot.evidence import LEVEL
from bot.measures.choices import wilson
from bot.measures.perplexity import mean_and_error

SIZES = (20, 60, 150, 580)  # chunks, of which 580 are WikiText-2's
SCORED = 256  # tokens of a chunk
NORMAL = 1.959964
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
