"""Quantizing that notes how far it is whenever a note can be taken, not every ten seconds.

`python -m tests.stepping bot VERB …` is the command, `python -m tests.stepping pass MODEL FOLDER
TIER,TIER` one pass over a model with a made-up importance matrix.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bot.quantize.passes import onepass


def one_pass(model: str, folder: str, tiers: str) -> None:
    """Make the tiers."""
    from tests.unit.quantize.passes.test_onepass import matrix_for, quiet, tier_specs

    source = Path(model)
    specs = tier_specs(source, Path(folder), matrix_for(source), *tiers.split(","))
    onepass.quantize_all(source, specs, threads=1, memory=1 << 30, progress=quiet)


if __name__ == "__main__":
    onepass.LOOK_EVERY = onepass.SAVE_EVERY = 0.0
    if sys.argv[1] == "pass":
        one_pass(*sys.argv[2:])
    else:
        from bot.cli.main import main

        del sys.argv[1]
        main()
