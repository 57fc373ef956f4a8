"""Which experts stay in main memory: as few bytes as the graphics cards leave no room for.

A token passes every layer and a few experts of each, so what slows it down is the share of experts
that main memory has to deliver. Layers go to cards in their order, as llama.cpp divides them;
of each card's layers those experts stay in main memory whose bytes exceed what is missing by the
least. APEX's layers are not equal, so they are chosen by their bytes and not by their number.
"""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain, combinations, islice, product
from math import comb, gcd, prod

import numpy as np

from bot.clients.llama.placing import Asked, Held, Placed
from bot.placement.machines import Machine

EXPERTS = re.compile(r"\Ablk\.(\d+)\.ffn_(up|down|gate|gate_up)_(ch|)exps")
# tensors that llama.cpp leaves in main memory wherever the layers go (llama-arch.cpp, LAYER_INPUT)
INPUTS = ("token_embd", "per_layer_token_embd", "token_types", "position_embd")
TRIES = 300  # placements that llama.cpp is asked for in one search, at most
EVERY_WAY = 128  # sets of equal bytes that are all tried; of more, some that differ most
LAYERS = 1 << 16  # more than any model has
LITTLE = 0.75  # of what a card was seen to compute in: what the search begins with


@dataclass(frozen=True, kw_only=True)
class Split:
    """How a model lies on a machine; bytes as llama.cpp would report them.

    `asked` is the placement, `cards` and `memory` are what they hold, `moved` the bytes of experts
    in main memory, of `experts` in all.
    """

    asked: Asked
    cards: tuple[int, ...]
    memory: int
    moved: int
    experts: int
    blocks: int  # layers of the model

    def fits(self, machine: Machine) -> bool:
        """Whether each card holds its part."""
        return all(used <= room for used, room in zip(self.cards, machine.room, strict=True))

    @property
    def all_on_cards(self) -> bool:
        """Whether main memory delivers nothing but the embedding of a token."""
        return not self.asked.in_memory and self.asked.layers in (-1, self.blocks + 1)


class Places:
    """Placements of one model in one context, each asked for once."""

    def __init__(self, place: Callable[[Asked], Placed], blocks: int, setup: Asked) -> None:
        self._place, self._blocks, self.setup = cache(place), blocks, setup

    @cache  # noqa: B019 - as long as the model is asked about
    def inventory(self) -> Held:
        """Every tensor that is loaded, and what every layer remembers."""
        asked = replace(self.setup, cards=1, layers=-1, parts=(), in_memory=(), everything=True)
        return self._place(asked).devices[0]

    def smallest(self) -> int:
        """Bytes of weights and cache, wherever they lie: what no placement can do without."""
        held = self.inventory()
        return sum(held.weights.values()) + sum(held.cache.values())

    @cache  # noqa: B019 - as above
    def experts(self) -> Mapping[int, int]:
        """Bytes of routed experts by layer."""
        by_layer = defaultdict[int, int](int)
        for name, size in self.inventory().weights.items():
            found = EXPERTS.match(name)
            if found:
                by_layer[int(found[1])] += size
        return dict(sorted(by_layer.items()))

    def split(
        self,
        machine: Machine,
        *,
        layers: int = -1,
        parts: tuple[int, ...] = (),
        in_memory: tuple[int, ...] = (),
    ) -> Split:
        """A placement, counted."""
        asked = replace(
            self.setup,
            cards=len(machine.cards),
            layers=layers,
            parts=parts,
            in_memory=in_memory,
        )
        placed, held = self._place(asked), self.inventory()
        on_cards = {
            name for card in placed.devices for name in card.weights if not name.startswith(INPUTS)
        }
        cached = {name for card in placed.devices for name in card.cache}
        weights = {name: size for name, size in held.weights.items() if name not in on_cards}
        caches = sum(size for name, size in held.cache.items() if name not in cached)
        return Split(
            asked=asked,
            cards=tuple(card.total for card in placed.devices),
            memory=sum(weights.values()) + caches + placed.host_compute,
            moved=sum(size for name, size in weights.items() if EXPERTS.match(name)),
            experts=sum(self.experts().values()),
            blocks=self._blocks,
        )

    def best(self, machine: Machine) -> Split | None:
        """The placement that fits with the fewest bytes of experts in main memory; None: none does.

        Where even without experts the layers are too many for the cards, the first stay in main
        memory, whole.
        """
        if self.smallest() > sum(machine.room) + machine.room_in_memory:
            return None
        split = self._with_all_layers(machine) or self._with_fewer_layers(machine)
        return split if split.memory <= machine.room_in_memory else None

    def _with_all_layers(self, machine: Machine) -> Split | None:
        """Experts alone move: sets of layers in the order of their bytes, until one fits.

        What a card needs to compute in depends on the very set, by the order in which llama.cpp
        finds room for its numbers, so each is asked for.
        """
        if not machine.cards:
            return None
        divisions = _divided(self._blocks + 1, len(machine.cards))
        heap = [choice for parts in divisions if (choice := self._first(machine, parts))]
        known, tries = {choice.levels for choice in heap}, 0
        heapq.heapify(heap)
        while heap and tries < TRIES:
            choice = heapq.heappop(heap)
            for moved in choice.ways():
                tries += 1
                split = self.split(machine, parts=choice.parts, in_memory=moved)
                if split.fits(machine):
                    return split
            for after in choice.following():
                if after.levels not in known:
                    known.add(after.levels)
                    heapq.heappush(heap, after)
        return None

    def _first(self, machine: Machine, parts: tuple[int, ...]) -> _Choice | None:
        """The least that has to leave each card if computing took little; None: all is not it."""
        none = self._place(self.split(machine, parts=parts).asked).devices
        # a card computes in copies of experts that lie in memory: with all of them there it is told
        every = self._place(
            self.split(machine, parts=parts, in_memory=tuple(self.experts())).asked
        ).devices
        levels = []
        for card, (start, stop) in enumerate(_ranges(parts)):
            sizes = {n: size for n, size in self.experts().items() if start <= n < stop}
            stays = none[card].total - none[card].compute
            missing = stays + int(LITTLE * every[card].compute) - machine.room[card]
            fits = none[card].total <= machine.room[card]
            level = _Level.of(tuple(sizes.items()), 0 if fits else max(missing, 1))
            if level is None:
                return None
            levels.append(level)
        return _Choice.of(parts, tuple(levels))

    def _with_fewer_layers(self, machine: Machine) -> Split:
        """Experts of all layers, and the first layers whole, in main memory."""
        experts = tuple(self.experts())
        few, many = 0, self._blocks + 1 if machine.cards else 0
        best = self.split(machine, layers=0)
        while few < many:
            layers = (few + many + 1) // 2
            parts = next(_divided(layers, len(machine.cards), balanced=True))
            split = self.split(machine, layers=layers, in_memory=experts, parts=parts)
            if split.fits(machine):
                few, best = layers, split
            else:
                many = layers - 1
        return best


@dataclass(frozen=True)
class _Level:
    """Of a card's layers, sets whose experts come to one number of bytes.

    `counts` are layers of each size, `sizes` all layers' with their numbers.
    """

    bytes: int
    counts: tuple[tuple[int, int], ...]
    sizes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, sizes: tuple[tuple[int, int], ...], least: int) -> _Level | None:
        """The fewest bytes that are at least `least`; None where all layers have less."""
        by_size = defaultdict[int, int](int)
        for _, size in sizes:
            by_size[size] += 1
        counts = fewest(by_size, least)
        if counts is None:
            return None
        total = sum(size * count for size, count in counts.items())
        return cls(total, tuple(counts.items()), sizes)

    def ways(self) -> Iterator[tuple[int, ...]]:
        """Sets of layers: all, or where they are many the first, the last and an even choice."""
        groups = [
            ([layer for layer, of_layer in self.sizes if of_layer == size], count)
            for size, count in self.counts
        ]
        if prod(comb(len(layers), count) for layers, count in groups) <= EVERY_WAY:
            for each in product(*(combinations(layers, count) for layers, count in groups)):
                yield tuple(chain.from_iterable(each))
            return
        yield tuple(chain.from_iterable(layers[:count] for layers, count in groups))
        yield tuple(chain.from_iterable(layers[len(layers) - count :] for layers, count in groups))
        yield tuple(
            layers[number * len(layers) // count]
            for layers, count in groups
            for number in range(count)
        )


@dataclass(frozen=True, order=True)
class _Choice:
    """A level of each card, ordered by their bytes, then by how equal the cards' parts are."""

    bytes: int
    count: int
    apart: int
    parts: tuple[int, ...]
    levels: tuple[_Level, ...] = field(compare=False)

    @classmethod
    def of(cls, parts: tuple[int, ...], levels: tuple[_Level, ...]) -> _Choice:
        count = sum(number for level in levels for _, number in level.counts)
        apart = max(parts, default=0) - min(parts, default=0)
        return cls(sum(level.bytes for level in levels), count, apart, parts, levels)

    def ways(self) -> Iterator[tuple[int, ...]]:
        """Sets of layers of all cards, sorted."""
        for each in islice(product(*(level.ways() for level in self.levels)), EVERY_WAY):
            yield tuple(sorted(chain.from_iterable(each)))

    def following(self) -> Iterator[_Choice]:
        """The next level of each card in turn."""
        for number, level in enumerate(self.levels):
            after = _Level.of(level.sizes, level.bytes + 1)
            if after is not None:
                levels = (*self.levels[:number], after, *self.levels[number + 1 :])
                yield _Choice.of(self.parts, levels)


def _divided(layers: int, cards: int, *, balanced: bool = False) -> Iterator[tuple[int, ...]]:
    """Layers of each card: all ways of two, the most equal of more, nothing to say of one."""
    if cards == 1:
        yield ()
    elif balanced or cards > 2:
        yield tuple(layers // cards + (number < layers % cards) for number in range(cards))
    else:
        yield from ((first, layers - first) for first in range(1, layers))


def _ranges(parts: tuple[int, ...]) -> list[tuple[int, int]]:
    """From which layer to before which each card holds; of one card all."""
    if not parts:
        return [(0, LAYERS)]
    ends = np.cumsum(parts).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def fewest(available: Mapping[int, int], least: int) -> dict[int, int] | None:
    """How many of each size, of those available, come to `least` and as little more as can be.

    None where all are not enough. Solved exactly, in units that divide every size, by HiGHS.
    """
    # half a second, for which every verb that knows of placements would wait
    from scipy.optimize import LinearConstraint, milp

    if least <= 0:
        return {}
    if sum(size * count for size, count in available.items()) < least:
        return None
    unit = gcd(*available)
    values = np.array([size // unit for size in available], np.float64)
    solved = milp(
        values,
        integrality=np.ones(len(values)),
        bounds=(0, np.array([*available.values()])),
        constraints=LinearConstraint(values[None, :], lb=-(-least // unit)),
        options={"mip_rel_gap": 0},
    )
    counts = np.rint(solved.x).astype(int).tolist()
    return {size: count for size, count in zip(available, counts, strict=True) if count}
