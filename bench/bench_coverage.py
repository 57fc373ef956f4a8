"""How often printed intervals hold what they are of: simulated measurements of known truth.

    python bench/bench_coverage.py [TRIALS [CHUNKS...]]

Tokens of a chunk are correlated (a level of the chunk's own, and each token with the one before),
log-probabilities are lopsided, KL divergences heavy-tailed: log-normal, the mean some seven times
the median and the 99.9th percentile some forty times the mean, as those of real tiers are. Each
line says what share of 95 % intervals held the truth, in percent.
"""

from __future__ import annotations

import sys

from tests.coverage import SIZES, coverage, pairs_coverage

if __name__ == "__main__":
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for size in [int(word) for word in sys.argv[2:]] or SIZES:
        for measured in (pairs_coverage, coverage):
            for name, share in measured(size, trials, seed=size).items():
                print(f"| {size} | {name} | {share:.1%} |", flush=True)
