"""How a release's files lie on machines that people have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A model's file on a machine; sizes in bytes.

    `file` is the first of its files, `arguments` are llama.cpp's, as words of a command line.
    `moved` is the share of the experts' bytes that main memory delivers; `resident` says that
    everything but the embeddings of tokens lies on cards.
    """

    cards: tuple[int, ...]
    memory: int
    name: str  # of the tier, or of the file
    file: str
    context: int  # tokens
    arguments: tuple[str, ...]
    moved: float
    resident: bool
    cards_used: tuple[int, ...]
    memory_used: int


@dataclass(frozen=True, kw_only=True)
class Unplaced:
    """A machine that no file fits: so many bytes the smallest lacks."""

    cards: tuple[int, ...]
    memory: int
    lacking: int


@dataclass(frozen=True, kw_only=True)
class Fits:
    """fits.json: machines with what each can hold best, and how that was counted."""

    version: int = 1
    llama_cpp: str
    cache_type: str
    micro_batch: int
    spare: int  # bytes of each card that stay free
    spare_memory: int  # and of main memory
    placed: tuple[Placement, ...]
    unplaced: tuple[Unplaced, ...] = ()
