"""A file for each size of memory, with its cache, and no file where none fits."""

from __future__ import annotations

from dataclasses import replace

from bot.card.choosing import BUFFERS, GIB, cache_bytes, choices
from bot.records.measured import KLD, Comparison
from bot.records.results import Results
from bot.settings.showing import CardSettings
from tests.unit.card.samples import divergence, nine_tiers, row

VALUES = 10 * 2 * 2 * 256  # ten layers, two heads, keys and values of 256


def _cached() -> Results:
    full = nine_tiers()
    return replace(full, architecture=replace(full.architecture, cache_values=VALUES))


def test_the_best_file_that_fits_with_its_cache() -> None:
    look = CardSettings()
    by_memory = {choice.memory: choice for choice in choices(_cached(), look)}
    assert list(by_memory) == [8, 12, 16, 24, 32, 48, 80]
    names = {memory: c.row.name if c.row else None for memory, c in by_memory.items()}
    assert names == {
        8: None, 12: "I-Nano", 16: "I-Compact", 24: "I-Balanced", 32: "I-Balanced",
        48: "I-Balanced", 80: "I-Balanced",
    }  # fmt: skip
    cache = 2 * VALUES * 8192
    assert cache_bytes(_cached().architecture, 8192) == cache
    for choice in by_memory.values():
        if choice.row:
            assert choice.needed == choice.row.bytes + cache + BUFFERS <= choice.memory * GIB


def test_the_longest_context_is_what_is_left() -> None:
    (choice,) = choices(_cached(), CardSettings(memory_gb=(16,)))
    assert choice.row is not None
    assert choice.longest is not None
    room = 16 * GIB - BUFFERS - choice.row.bytes
    assert cache_bytes(_cached().architecture, choice.longest) <= room
    assert cache_bytes(_cached().architecture, choice.longest + 1000) > room
    (largest,) = choices(_cached(), CardSettings(memory_gb=(80,)))
    assert largest.longest is None


def test_a_window_bounds_the_cache() -> None:
    model = replace(
        nine_tiers().architecture, cache_values=100, cache_window_values=1000, cache_window=512
    )
    assert cache_bytes(model, 8192) == 2 * (100 * 8192 + 1000 * 512)
    assert cache_bytes(model, 100) == 2 * (100 * 100 + 1000 * 100)


def test_of_two_that_cannot_be_told_apart_the_smaller_is_taken() -> None:
    large = row("L", 9 * GIB, divergence(0.0100, 0.0002))
    small = row("S", 5 * GIB, divergence(0.0103, 0.0002))
    look = CardSettings(memory_gb=(16,))
    (choice,) = choices(replace(nine_tiers(), tiers=(large, small)), look)
    assert choice.row is not None
    assert choice.row.name == "S"
    surely = Comparison(
        measure=KLD, one="L", other="S", difference=-0.0003, p=0.001, differs=True, test="paired"
    )
    (choice,) = choices(replace(nine_tiers(), tiers=(large, small), comparisons=(surely,)), look)
    assert choice.row is not None
    assert choice.row.name == "L", "a paired test sees what both errors together do not"
