"""The choice of types: never more than its room, as cheap as any, the faster of equals."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bot.errors import SettingsError
from bot.plan.knapsack import Option, choose

Options = dict[str, list[Option]]


def made(seed: int, tensors: int = 5) -> Options:
    random = np.random.default_rng(seed)
    return {
        f"blk.{number}.w": [
            Option(type=kind, cost=float(random.exponential()), bytes=32 * int(size))
            for kind, size in zip(("Q8_0", "Q4_K", "IQ3_S", "Q2_K"), sizes, strict=True)
        ]
        for number, sizes in enumerate(random.integers(1, 400, (tensors, 4)))
    }


@pytest.mark.parametrize("seed", range(12))
def test_no_other_choice_of_so_many_bytes_is_cheaper(seed: int) -> None:
    options = made(seed)
    every = [
        (sum(o.bytes for o in each), sum(o.cost for o in each))
        for each in product(*options.values())
    ]
    smallest, largest = min(size for size, _ in every), max(size for size, _ in every)
    for room in np.linspace(smallest, largest, 7).astype(int).tolist():
        found = choose(options, room)
        best = min(cost for size, cost in every if size <= room)
        assert found.bytes <= room
        assert found.cost == pytest.approx(best, rel=2e-4)
        assert found.cost == pytest.approx(
            sum(o.cost for n, each in options.items() for o in each if o.type == found.types[n])
        )


def test_what_does_not_fit_is_refused_with_its_bytes() -> None:
    options = made(1)
    least = sum(min(o.bytes for o in each) for each in options.values())
    assert choose(options, least).bytes == least
    with pytest.raises(SettingsError, match=f"take {least:,} bytes, more than the {least - 1:,}"):
        choose(options, least - 1)


def test_of_types_of_one_size_that_are_alike_the_computed_one_is_taken() -> None:
    def pair(cost: float) -> Options:
        return {
            "w": [
                Option(type="IQ3_S", cost=1, bytes=110),
                Option(type="Q3_K", cost=cost, bytes=110),
            ]
        }

    assert choose(pair(1.005), 110).types == {"w": "Q3_K"}
    assert choose(pair(1.05), 110).types == {"w": "IQ3_S"}


def test_many_tensors_leave_little_room_empty() -> None:
    options = made(3, tensors=600)
    sizes = [o.bytes for each in options.values() for o in each]
    room = int(np.mean(sizes) * 600 * 0.7)
    found = choose(options, room)
    assert room * 0.999 <= found.bytes <= room
    assert found.gap <= 1e-4
