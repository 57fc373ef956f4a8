"""Which file to take: by the memory of a device, a KV cache counted."""

from __future__ import annotations

from dataclasses import dataclass

from bot.records.model import Architecture
from bot.records.results import Results
from bot.settings.showing import CardSettings
from bot.wording.rows import CardRow, files_of, less_divergent

GIB = 1 << 30
BUFFERS = GIB  # of llama.cpp for computing, and what a desktop takes
CACHE_BYTES = 2  # F16, llama.cpp's default


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The file for a device of so much memory; none where no file fits."""

    memory: int  # GiB, which devices call GB
    row: CardRow | None
    needed: int  # bytes: file, cache and buffers
    longest: int | None  # tokens of context that fit; None: not known, or the model's own limit
    sure: bool  # it surely diverges less than every other file that fits, and there are some


def cache_bytes(model: Architecture, tokens: int) -> int:
    """KV cache for so many tokens at F16; 0 where the model's file did not tell its heads.

    Recurrent states do not grow with context and are left to the buffers.
    """
    window_tokens = min(tokens, model.cache_window) if model.cache_window else tokens
    return CACHE_BYTES * (model.cache_values * tokens + model.cache_window_values * window_tokens)


def choices(results: Results, look: CardSettings) -> list[Choice]:
    """One for each size of memory that changes the choice, the smallest first.

    Of the files that fit, the one whose mean divergence is least; the smaller of two that cannot be
    told apart. Where nothing was measured the largest that fits.
    """
    model = results.architecture
    tokens = min(look.context, model.context_length or look.context)
    fixed = cache_bytes(model, tokens) + BUFFERS
    chosen = []
    for memory in sorted(set(look.memory_gb)):
        fits = [row for row in files_of(results, "tier") if 0 < row.bytes <= memory * GIB - fixed]
        row = _best(results, fits)
        chosen.append(
            Choice(
                memory=memory,
                row=row,
                needed=(row.bytes if row else 0) + fixed,
                longest=_longest(model, memory * GIB - BUFFERS - row.bytes) if row else None,
                sure=row is not None and _is_sure(results, row, fits),
            )
        )
    return chosen


def _best(results: Results, fits: list[CardRow]) -> CardRow | None:
    measured = [row for row in fits if row.mean is not None]
    if not measured:
        return max(fits, key=lambda row: row.bytes, default=None)
    first = min(measured, key=lambda row: (row.mean or 0, row.bytes))
    alike = [
        row
        for row in measured
        if row.mean_error is not None and less_divergent(results, first, row) is None
    ]
    return min([first, *alike], key=lambda row: (row.bytes, row.mean or 0))


def _is_sure(results: Results, row: CardRow, fits: list[CardRow]) -> bool:
    rest = [other for other in fits if other.name != row.name]
    return bool(rest) and all(less_divergent(results, row, other) is True for other in rest)


def _longest(model: Architecture, room: int) -> int | None:
    """The context that fits into `room` bytes, in whole thousands below the model's own limit."""
    if not model.cache_values or cache_bytes(model, model.context_length) <= room:
        return None
    token_bytes = room - CACHE_BYTES * model.cache_window_values * model.cache_window
    return max(token_bytes, 0) // (CACHE_BYTES * model.cache_values) // 1000 * 1000
