"""Files on machines, for people."""

from __future__ import annotations

from collections.abc import Sequence

from bot.placement.fitting import command
from bot.placement.machines import GIB, Machine
from bot.records.placements import Placement, Unplaced
from bot.wording.columns import table
from bot.wording.formats import percent


def placement_text(placement: Placement | Unplaced, machine: Machine) -> str:
    """What `bot fits` prints for one machine."""
    if isinstance(placement, Unplaced):
        return (
            f"nothing fits: the smallest lacks {_gib(placement.lacking)} GiB; take a smaller file, "
            "a shorter --context, or --cache q8_0"
        )
    rows = [
        (f"card {number}", _gib(used), _gib(room))
        for number, (used, room) in enumerate(zip(placement.cards_used, machine.room, strict=True))
    ]
    rows.append(("main memory", _gib(placement.memory_used), _gib(machine.room_in_memory)))
    lines = [
        f"{placement.name}, {placement.context:,} tokens of context",
        _where(placement),
        "",
        table(("", "takes GiB", "of GiB"), rows),
        "",
        command(placement.file, placement.arguments),
    ]
    return "\n".join(lines)


def _where(placement: Placement) -> str:
    if not placement.cards:
        return "everything in main memory"
    if placement.resident:
        return "everything on the cards"
    return f"{percent(placement.moved)} of the experts in main memory"


def machines_table(placements: Sequence[Placement | Unplaced]) -> str:
    """What `bot fits` prints for usual machines: a row for each answer that differs."""
    rows: list[tuple[str, ...]] = []
    before: tuple[object, ...] = ()
    for one in placements:
        answer: tuple[object, ...] = (one.cards, *_answer(one))
        if isinstance(one, Placement):
            answer = (*answer, one.arguments)
        if answer == before:
            continue  # more memory changes nothing
        before = answer
        rows.append((cards_text(one.cards), f"{one.memory / GIB:.0f}", *_answer(one)))
    names = ("cards GiB", "memory GiB", "file", "context", "experts in memory")
    how = "Memory is the least that will do. With --vram and --ram: the arguments for one machine."
    return f"{table(names, rows, left=3)}\n\n{how}"


def _answer(one: Placement | Unplaced) -> tuple[str, str, str]:
    if isinstance(one, Unplaced):
        return f"none: the smallest lacks {_gib(one.lacking)} GiB", "", ""
    return one.name, f"{one.context:,}", "none" if one.resident else percent(one.moved)


def cards_text(cards: Sequence[int]) -> str:
    """`24`, or `2 × 24` of equal ones."""
    sizes = [f"{card / GIB:g}" for card in cards]
    if len(sizes) > 1 and len(set(sizes)) == 1:
        return f"{len(sizes)} × {sizes[0]}"
    return " + ".join(sizes) or "none"


def _gib(count: int) -> str:
    return f"{count / GIB:.2f}"
