"""A machine that somebody has, and how it comes to hold a model."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30
GRAPHICS = (8, 12, 16, 24, 32, 48, 80)  # GiB of one card
MEMORY = (16, 32, 64, 128, 256, 512)  # GiB of main memory
PAIR = (24, 24)
# what a card holds beside the model, a driver and a screen: llama.cpp's margin (--fit-target)
SPARE = GIB
SPARE_MEMORY = 4 * GIB  # what the system and other programs take


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Bytes of each graphics card and of main memory, and what is to stay free of them."""

    cards: tuple[int, ...]
    memory: int
    spare: int = SPARE
    spare_memory: int = SPARE_MEMORY

    @property
    def room(self) -> tuple[int, ...]:
        """Bytes that a model may take of each card."""
        return tuple(max(card - self.spare, 0) for card in self.cards)

    @property
    def room_in_memory(self) -> int:
        """Bytes that a model may take of main memory."""
        return max(self.memory - self.spare_memory, 0)


def usual_machines() -> list[Machine]:
    """Pairs of graphics memory and main memory that people have."""
    cards = [*((size,) for size in GRAPHICS), PAIR]
    return [
        Machine(cards=tuple(size * GIB for size in each), memory=memory * GIB)
        for each in cards
        for memory in MEMORY
    ]
