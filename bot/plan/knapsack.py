"""One type for each tensor so that the whole costs least and fits into so many bytes.

A multiple-choice knapsack, solved by HiGHS to within a stated gap. Costs are estimates of mean
divergence in nats, bytes those of tensors as they lie in a file, padding counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bot.errors import BuildError, SettingsError

GAP = 1e-4  # of the best cost
SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Option:
    """A type that a tensor may get: what it costs, and the bytes it takes."""

    type: str
    cost: float
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The type of each tensor; their cost and bytes together, and how near it is to the best."""

    types: dict[str, str]
    cost: float
    bytes: int
    gap: float


def choose(options: Mapping[str, Sequence[Option]], room: int) -> Chosen:
    """The cheapest choice of at most `room` bytes.

    Options that are dearer and no smaller than another are left out before. Raises SettingsError
    where the smallest do not fit, BuildError where the solver comes to no end.
    """
    useful = {name: _useful(each) for name, each in options.items()}
    smallest = sum(min(option.bytes for option in each) for each in useful.values())
    if smallest > room:
        raise SettingsError(
            f"the smallest types take {smallest:,} bytes, more than the {room:,} there are; "
            "ask for a larger size or allow smaller types"
        )
    flat = [(name, option) for name, each in useful.items() for option in each]
    rows = [number for number, each in enumerate(useful.values()) for _ in each]
    solved = _solved([option for _, option in flat], rows, room)
    if solved.x is None:
        raise BuildError(f"no choice of types was found in {SECONDS:.0f} s; ask for another size")
    taken = [pair for pair, share in zip(flat, solved.x, strict=True) if share > 0.5]
    chosen = Chosen(
        types={name: option.type for name, option in taken},
        cost=sum(option.cost for _, option in taken),
        bytes=sum(option.bytes for _, option in taken),
        gap=float(solved.mip_gap or 0.0),
    )
    return _within(chosen, useful, room)


def _solved(options: Sequence[Option], rows: Sequence[int], room: int) -> Any:
    """scipy's result: one option of each row, of at most `room` bytes, for the least cost."""
    # scipy takes half a second to come, for which every verb that knows of tiers would wait
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    costs = np.array([option.cost for option in options])
    sizes = np.array([option.bytes for option in options], np.float64)
    ones = csr_array((np.ones(len(options)), (rows, np.arange(len(options)))))
    unit = float(sizes.max())
    return milp(
        costs / costs.max() if costs.max() > 0 else costs,
        integrality=np.ones(len(options)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(ones, 1, 1),
            LinearConstraint(csr_array(sizes[None, :] / unit), ub=room / unit),
        ],
        options={"mip_rel_gap": GAP, "time_limit": SECONDS},
    )


# types whose numbers are computed; the others look theirs up in tables, which takes longer
COMPUTED = frozenset(
    {"Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K"}
)
ALIKE = 0.01  # a cost that is nearer is the same: errors are known no better


def _useful(options: Sequence[Option]) -> list[Option]:
    """Options by size, each cheaper than all smaller ones; of the same size the faster if alike."""
    kept: list[Option] = []
    for option in sorted(options, key=_by_size):
        if kept and kept[-1].bytes == option.bytes and _is_slower(kept[-1], option):
            if option.cost <= kept[-1].cost * (1 + ALIKE):
                kept[-1] = option
        elif not kept or option.cost < kept[-1].cost:
            kept.append(option)
    return kept


def _by_size(option: Option) -> tuple[int, float]:
    return option.bytes, option.cost


def _is_slower(one: Option, other: Option) -> bool:
    return one.type not in COMPUTED and other.type in COMPUTED


def _within(chosen: Chosen, options: Mapping[str, Sequence[Option]], room: int) -> Chosen:
    """The same where it fits to the byte; the solver's tolerance may let it be a few more.

    Then the tensor whose next smaller type costs least is made smaller, until it fits.
    """
    types, total = dict(chosen.types), chosen.bytes
    while total > room:
        steps = [
            (smaller.cost - now.cost, name, smaller, now)
            for name, each in options.items()
            for now in [next(o for o in each if o.type == types[name])]
            for smaller in each
            if smaller.bytes < now.bytes
        ]
        _, name, smaller, now = min(steps, key=lambda step: step[:2])
        types[name], total = smaller.type, total - now.bytes + smaller.bytes
    if total == chosen.bytes:
        return chosen
    cost = sum(next(o.cost for o in options[n] if o.type == t) for n, t in types.items())
    return Chosen(types=types, cost=cost, bytes=total, gap=chosen.gap)
