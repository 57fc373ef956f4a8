"""Healthy runs and planted faults, judged as the gate judges behaviour.

    python bench/bench_behaviour.py [SEEDS [FIRST]]

Prints each fault with the rules that caught it, and of SEEDS x 10 healthy tiers (20 seeds by
default, from FIRST on) those that were refused. Faults are planted where FIRST is 0.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.behaving import (
    BROKEN,
    TALKER,
    TYPES,
    behaviour,
    corrupt_experts,
    failed,
    prompt_file,
    sibling,
    tier,
    wrong_ropes,
)


def main() -> None:
    """Run all; healthy runs last."""
    given = [int(word) for word in sys.argv[1:]]
    seeds, first = given[0] if given else 20, given[1] if given[1:] else 0
    start = time.monotonic()
    with TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        asked = prompt_file(folder)
        reference = behaviour(TALKER, asked)
        print("reference", {h.name: f"{h.good} of {h.judged}" for h in reference.habits})
        planted = () if first else (*corrupt_experts(folder), *wrong_ropes(folder))
        for name, path in planted:
            print(f"fault {name}: {failed(behaviour(path, asked), reference) or 'MISSED'}")
        for name, template in () if first else BROKEN.items():
            broken = failed(behaviour(TALKER, asked, template), reference)
            print(f"fault template, {name}: {broken or 'MISSED'}", flush=True)
        runs = refused = 0
        for seed in range(first, first + seeds):
            source = sibling(folder, seed)
            for kind in TYPES:
                path = tier(source, folder / f"{kind}.gguf", kind)
                found = behaviour(path, asked)
                why = failed(found, reference)
                runs, refused = runs + 1, refused + bool(why)
                good = " ".join(f"{h.good}/{h.judged}" for h in found.habits)
                print(f"healthy {runs}: seed {seed} {kind} {good} {why or 'passed'}", flush=True)
        print(f"{refused} of {runs} healthy runs refused, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
