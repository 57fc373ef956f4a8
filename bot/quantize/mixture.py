"""Which chunk of which text comes next: several texts in named proportions, always the same way."""

from __future__ import annotations

from collections.abc import Sequence

from bot.errors import SettingsError

Pick = tuple[int, int]  # number of a text, number of its chunk


def mix(
    lengths: Sequence[int], weights: Sequence[float | None], limit: int | None
) -> tuple[Pick, ...]:
    """Chunks in the order they are decoded; any beginning of it has the proportions of the whole.

    `lengths` are the chunks that each text has. Without weights a text counts by its length, so
    that all of all texts is taken; with weights as much as the proportions allow without taking a
    chunk twice. At most `limit` chunks. Raises SettingsError when some texts have a weight and
    others have none.
    """
    given_weights = [weight for weight in weights if weight is not None]
    if given_weights and len(given_weights) < len(weights):
        raise SettingsError("some calibration texts have a weight and others none; give all one")
    shares = given_weights or [float(length) for length in lengths]
    total = sum(shares)
    if not given_weights:
        possible = sum(lengths)
    else:
        limits = (length * total / share for length, share in zip(lengths, shares, strict=True))
        possible = int(min(limits) + 1e-9)
    return _in_turn(lengths, shares, possible if limit is None else min(possible, limit))


def _in_turn(lengths: Sequence[int], shares: Sequence[float], count: int) -> tuple[Pick, ...]:
    """Each time the text that is furthest behind its share, the first of several."""
    chunk_counts, total = [0] * len(lengths), sum(shares)
    picks: list[Pick] = []
    for step in range(1, count + 1):
        unfinished = [i for i, length in enumerate(lengths) if chunk_counts[i] < length]
        behind = max(unfinished, key=lambda i: shares[i] * step / total - chunk_counts[i])
        picks.append((behind, chunk_counts[behind]))
        chunk_counts[behind] += 1
    return tuple(picks)
