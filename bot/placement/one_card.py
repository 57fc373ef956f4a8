"""The largest file that one graphics card holds whole, with its context."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bot.errors import CapacityError
from bot.placement.asking import PAPERS, asking
from bot.placement.fitting import Candidate, Fitter, Wish
from bot.placement.machines import GIB, Machine
from bot.placement.onpaper import put_on_paper
from bot.settings.settings import Settings

NEAR = 0.001  # of the card's room that may stay empty
TRIES = 12
Draft = Callable[[int], Mapping[str, str]]


def largest_file(
    settings: Settings, source: Path, draft: Draft, machine: Machine, context: int
) -> int:
    """Bytes of the largest file, as llama.cpp would place it, for a machine with one card.

    `draft` gives types for a file of so many bytes; sizes are tried until no more fits. Raises
    CapacityError where the card does not hold the smallest.
    """
    (room,) = machine.room
    size = room
    fitting = 0
    for number in range(TRIES):
        used = _used(settings, source, draft(size), machine, context)
        if used <= room:
            fitting = max(fitting, size)
            if room - used <= NEAR * room:
                break
        size += (room - used) - (number * size) // 10_000
        if size <= 0:
            break
    if not fitting:
        raise CapacityError(
            f"a card of {machine.cards[0] / GIB:g} GiB does not hold {context:,} tokens of context "
            "and the smallest types; shorten --context, or see `bot fits` for main memory beside"
        )
    return fitting


def _used(
    settings: Settings, source: Path, types: Mapping[str, str], machine: Machine, context: int
) -> int:
    with tempfile.TemporaryDirectory(prefix=PAPERS) as place:
        paper = put_on_paper(source, Path(place) / "model.gguf", types)
        candidate = Candidate(name="model", file="model.gguf", paper=paper)
        fitter = Fitter([candidate], Wish(context=context), asking(settings))
        return fitter.all_on_cards(candidate, machine, context)
