"""Which tensors are rounded together: each alone where there are probes for all, else coarser."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Literal

from bot.tensors.roles import ROUTED, layer_of, role_of

Key = Callable[[str], Hashable]
Groups = tuple[tuple[str, ...], ...]


def groups_of(names: Sequence[str], budget: int | Literal["layers"]) -> Groups:
    """Tensors in at most `budget` groups, as fine as that allows.

    None without a budget; one by one; a layer's experts by matrix, and its attention and shared
    expert as one each; a layer's roles; the roles of 2, 3 and more layers that follow each other.
    Or each whole layer.
    """
    if budget == "layers":
        return layers_of(names)
    if not budget:
        return ()
    for key in _keys(names):
        grouped: dict[Hashable, list[str]] = defaultdict(list)
        for name in names:
            grouped[key(name)].append(name)
        if len(grouped) <= budget:
            break
    return tuple(tuple(group) for group in grouped.values())


def _keys(names: Sequence[str]) -> Iterator[Key]:
    """From fine to coarse; the last has a group for each role."""
    yield lambda name: name
    yield lambda name: (layer_of(name), _matrix(name))
    layers = 1 + max((layer_of(name) or 0 for name in names), default=0)
    run = 1
    while True:
        yield _by_run(run)
        if run >= layers:
            return
        run = min(run + max(run // 4, 1), layers)


def _matrix(name: str) -> str:
    role = role_of(name)
    return re.sub(r"^blk\.\d+\.", "", name) if role == ROUTED else role


def _by_run(run: int) -> Key:
    def key(name: str) -> Hashable:
        layer = layer_of(name)
        return None if layer is None else layer // run, role_of(name)

    return key


def layers_of(names: Sequence[str]) -> Groups:
    """The tensors of each layer, and those that lie outside of layers."""
    joined: dict[Hashable, list[str]] = defaultdict(list)
    for name in names:
        joined[layer_of(name)].append(name)
    return tuple(tuple(layer) for layer in joined.values())
