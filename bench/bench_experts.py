"""Healthy tiers and corrupt experts, held against the model they were made of, row by row.

    python bench/bench_experts.py [SEEDS]

Prints of eight corrupt experts, rounded to each of ten types, those that were not caught by name,
and of SEEDS x 10 healthy tiers (20 seeds by default) those that were refused, and how near to its
limit the nearest came.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.errors import SourceError
from bot.fitting.rounded import compare_rows
from tests.behaving import TYPES, corrupt_experts, sibling, tier

ROWS = 4


def refused(file: Path, source: Path) -> tuple[str, float]:
    """Why a file is refused, and what share of its limit the furthest matrix takes."""
    try:
        found = compare_rows(file, source, rows=ROWS, threads=1, progress=lambda _d, _t: None)
    except SourceError as error:
        return str(error).partition(": ")[2], 1.0
    return "", found.furthest.share


def main() -> None:
    """Corrupt experts first."""
    seeds = int(sys.argv[1]) if sys.argv[1:] else 20
    looked = 0.0
    with TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        caught = planted = wrong = runs = 0
        original, target, nearest = sibling(folder, 0), folder / "tier.gguf", 0.0
        for name, path in corrupt_experts(folder, original):
            layer, expert = (words.split()[1] for words in name.split(", ")[1:])
            for kind in TYPES:
                why, _ = refused(tier(path, target, kind), original)
                named = why.startswith(f"blk.{layer}.ffn_down_exps.weight expert {expert} ")
                planted, caught = planted + 1, caught + named
                if not named or kind == "Q4_K_M":
                    print(f"{name}, {kind}: {why or 'MISSED'}", flush=True)
        print(f"{caught} of {planted} corrupt experts caught by name", flush=True)
        for seed in range(seeds):
            source = sibling(folder, seed)
            for kind in TYPES:
                tier(source, target, kind)
                start = time.monotonic()
                why, share = refused(target, source)
                looked += time.monotonic() - start
                runs, wrong, nearest = runs + 1, wrong + bool(why), max(nearest, share)
                if why:
                    print(f"healthy, seed {seed}, {kind}: {why}", flush=True)
            source.unlink()
        print(
            f"{wrong} of {runs} healthy tiers refused; nearest {nearest:.0%} of its limit; ", end=""
        )
        print(f"{looked / max(runs, 1):.2f} s each")


if __name__ == "__main__":
    main()
