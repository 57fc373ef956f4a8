"""Which file to take: by the memory of a device, and on machines with main memory beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.card.tables.cells import CardTable
from bot.placement.fitting import command
from bot.records.model import Architecture
from bot.records.placements import Fits, Placement, Unplaced
from bot.records.results import Results
from bot.settings.showing import CardSettings
from bot.wording.escape import Verbatim, escaped_text
from bot.wording.formats import MISSING, percent
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


# ── machines ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class CardMachines:
    """Files by graphics memory and main memory, and llama.cpp's command for each that differs."""

    table: CardTable
    commands: tuple[MachineCommand, ...]
    shared: bool  # whether some machine has experts in main memory
    fits: Fits

    @property
    def spare(self) -> str:
        """What stays free of each card and of main memory."""
        return (
            f"{self.fits.spare / GIB:g} GiB of each card and {self.fits.spare_memory / GIB:g} GiB"
        )


@dataclass(frozen=True, kw_only=True)
class MachineCommand:
    """How a file is served on cards, whatever main memory is beside them."""

    cards: str
    name: str
    context: int
    memory: int  # bytes of main memory that it takes
    moved: str  # share of the experts there; empty: none
    line: str


def card_machines(fits: Fits | None) -> CardMachines | None:
    """None where every machine holds the same file whole, and nothing is to be decided."""
    if fits is None:
        return None
    held = {(placement.name, placement.resident) for placement in fits.placed}
    if not fits.unplaced and len(held) == 1 and fits.placed[0].resident:
        return None
    return CardMachines(
        table=_table(fits),
        commands=_commands(fits.placed),
        shared=any(not placement.resident for placement in fits.placed),
        fits=fits,
    )


def _table(fits: Fits) -> CardTable:
    every: tuple[Placement | Unplaced, ...] = (*fits.placed, *fits.unplaced)
    cells = {(one.cards, one.memory): one for one in every}
    cards = sorted({sizes for sizes, _ in cells}, key=lambda sizes: (sum(sizes), len(sizes)))
    columns: list[tuple[list[int], tuple[Verbatim, ...]]] = []
    for memory in sorted({memory for _, memory in cells}):
        column = tuple(_cell(cells.get((sizes, memory))) for sizes in cards)
        if columns and columns[-1][1] == column:
            columns[-1][0].append(memory)  # more of it changes nothing
        else:
            columns.append(([memory], column))
    heads = [_memory_words(memories, last=memories is columns[-1][0]) for memories, _ in columns]
    return CardTable(
        columns=tuple(escaped_text(head) for head in ("Graphics memory", *heads)),
        rows=tuple(
            (escaped_text(cards_words(sizes)), *row)
            for sizes, row in zip(cards, zip(*(c for _, c in columns), strict=True), strict=True)
        ),
        sides="r" + "l" * len(columns),
    )


def _memory_words(memories: Sequence[int], *, last: bool) -> str:
    first = f"{memories[0] // GIB}"
    if len(memories) == 1:
        return f"{first} GB"
    return f"{first} GB or more" if last else f"{first} to {memories[-1] // GIB} GB"


def _cell(one: Placement | Unplaced | None) -> Verbatim:
    """The file; in bold where it is on cards as a whole."""
    if not isinstance(one, Placement):
        return escaped_text(MISSING)
    name = escaped_text(one.name)
    return Verbatim(f"**{name}**") if one.resident else Verbatim(f"{name}, {_moved(one)}")


def _moved(one: Placement) -> str:
    return percent(one.moved, 0)


def cards_words(sizes: Sequence[int]) -> str:
    """`24 GB`, `2 × 24 GB`."""
    each = f"{sizes[0] // GIB} GB" if sizes else "none"
    return f"{len(sizes)} × {each}" if len(sizes) > 1 else each


def _commands(placements: Sequence[Placement]) -> tuple[MachineCommand, ...]:
    ordered = sorted(placements, key=lambda one: (sum(one.cards), len(one.cards), one.memory))
    distinct = {(one.cards, one.name, one.arguments): one for one in ordered}
    return tuple(
        MachineCommand(
            cards=cards_words(one.cards),
            name=one.name,
            context=one.context,
            memory=one.memory_used,
            moved="" if one.resident else _moved(one),
            line=command(one.file, one.arguments),
        )
        for one in distinct.values()
    )
