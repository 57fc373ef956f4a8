"""Which layer has which kind of attention, in words. Pure, and below everything else."""

from __future__ import annotations

from collections.abc import Sequence

MEANING = {"none": "no"}


def attention_pattern(layers: Sequence[str]) -> str:
    """The kinds of attention by layer: `full attention every 4th layer, linear otherwise`.

    A pattern is named where one of two kinds recurs at a fixed distance; otherwise each kind is
    counted.
    """
    kinds = sorted(set(layers), key=lambda kind: (layers.count(kind), kind))
    if not kinds:
        return "unknown"
    if len(kinds) == 1:
        return f"{_kind(kinds[0])} attention in every layer"
    if len(kinds) == 2:
        rare, usual = kinds
        step, first = _recurrence([i for i, kind in enumerate(layers) if kind == rare], len(layers))
        if step:
            start = "" if first == step - 1 else f" from layer {first + 1}"
            return f"{_kind(rare)} attention every {ordinal(step)} layer{start}, {usual} otherwise"
    return ", ".join(_counted(kind, layers.count(kind)) for kind in kinds[::-1])


def _counted(kind: str, count: int) -> str:
    return f"{_kind(kind)} attention in {count} layer{'s' if count > 1 else ''}"


def _kind(word: str) -> str:
    return MEANING.get(word, word)


def _recurrence(places: Sequence[int], count: int) -> tuple[int, int]:
    """Distance and first place of a pattern that fills `count` layers; (0, 0) for none."""
    if len(places) < 2:
        return 0, 0
    first, step = places[0], places[1] - places[0]
    fills = first < step and list(places) == list(range(first, count, step))
    return (step, first) if fills else (0, 0)


def ordinal(number: int) -> str:
    """2nd, 3rd, 4th, 11th, 21st."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
