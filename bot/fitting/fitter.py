"""From probes to types: groups are probed, types chosen for a size, and what that gave corrects it.

Each measure is told as it is made and known again by its types, so that a run that was killed goes
on behind the last one, and another size costs no probe of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from bot.evidence import LEVEL, student
from bot.fitting.costs import Costs, Curve, costs_of, curve_of
from bot.fitting.probe_groups import Groups, layers_of
from bot.fitting.probing import Prober
from bot.fitting.sixteen import StoredTensor
from bot.fitting.tensor_errors import Rounding
from bot.plan.fitted import GAUSSIAN
from bot.plan.knapsack import Chosen, Option, choose
from bot.records.coding import digest
from bot.records.sensitivity import Fitted, Probe, Sensitivity
from bot.tensors.sizes import bits_per_weight, padded

PROBED = "IQ1_M"  # what tensors are rounded to: far enough that experts chosen otherwise, which
PROBED_PLAIN = "Q2_K"  # any small change brings about, are not all that is heard
PROBED_SHORT = "Q4_0"
PROBED_TYPES = (PROBED, PROBED_PLAIN, PROBED_SHORT)
ANCHORS = (2.2, 2.8, 3.6, 4.6, 6.0)  # bits a weight of whole choices that are measured ahead
STEP = 0.7  # of a correction: the power to which what was measured changes what is believed
RELUCTANCE = 1000.0  # by which a type costs more that is smaller than a tier's own
Tell = Callable[[Probe], None]
Types = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A tier to be fitted: bytes for the tensors whose types are chosen, and for the file."""

    tier: str
    room: int
    asked_bytes: int
    like: str | None = None  # a tier by roles to stand beside it
    like_types: Types = field(default_factory=dict)
    like_bytes: int | None = None


class Measures:
    """Probes, each made once. `tell` hears of new ones."""

    def __init__(
        self, prober: Prober, known: Iterable[Probe], tell: Tell, step: Callable[[], None]
    ) -> None:
        self._prober, self._tell, self._step = prober, tell, step
        self._known = {_key(probe.types): probe for probe in known}

    def of(self, types: Types) -> Probe:
        """Divergence of the model with these tensors rounded."""
        key = _key(types)
        if key not in self._known:
            with self._prober.rounded(types):
                found, chunks = self._prober.divergence()
            probe = Probe(
                types=dict(types),
                mean=found.mean,
                error=found.mean_error,
                p999=found.p999,
                chunks=chunks,
            )
            self._known[key] = probe
            self._tell(probe)
        self._step()
        return self._known[key]

    @property
    def all(self) -> tuple[Probe, ...]:
        """All that is known."""
        return tuple(self._known.values())


def corrections(targets: int, rounds: int, layers: int) -> int:
    """Probes of whole choices, and of layers put back around them, at most."""
    return len(ANCHORS) + targets * (3 + rounds * (1 + layers))


def _key(types: Types) -> str:
    return digest(sorted(types.items()))


class TypeFitter:
    """Types for sizes, of one model and one text."""

    def __init__(
        self,
        measures: Measures,
        tensors: Mapping[str, StoredTensor],
        free: Mapping[str, Sequence[str]],
        groups: Groups,
        found: Sensitivity,
    ) -> None:
        """`free` are the types that each tensor may get; `found` holds the errors of all types."""
        self._measures, self._tensors, self._free = measures, tensors, free
        self._groups, self._found = groups, found
        self._anchors: list[Probe] = []

    def sense(self) -> Sensitivity:
        """Probe each group, and some whole choices."""
        for group in self._groups:
            self._measures.of(probe_types(group, self._found.rounding))
        rooms = [room for bits in ANCHORS if (room := self._bytes_at(bits)) >= self._least]
        choices = [choose(self._options(self.costs), room).types for room in rooms]
        self._anchors = [self._measures.of(types) for types in choices]
        return replace(self._found, probes=self._measures.all)

    @cached_property
    def costs(self) -> Costs:
        """By the probes of groups."""
        return costs_of(replace(self._found, probes=self._measures.all))

    def curve(self, costs: Costs) -> Curve:
        """By the whole choices of `sense` alone: what else was asked for changes no answer."""
        return curve_of(costs, self._anchors)

    def fit(self, target: Target, rounds: int) -> Fitted:
        """The best choice for a size that was measured, after at most so many corrections.

        A corrected one is kept, and corrected again, where it is better beyond error. With few
        probes costs say little: the tier by roles, made to fit, is taken where it measures better.

        Raises SettingsError where the smallest types do not fit.
        """
        costs = self.costs
        chosen = choose(self._options(costs), target.room)
        kept = self._measures.of(chosen.types)
        best = _fitted(target, chosen, kept, self.curve(costs).at(costs.of(chosen.types)), 0)
        for number in range(1, rounds + 1):
            costs = self._corrected(costs, kept)
            chosen = choose(self._options(costs), target.room)
            probe = self._measures.of(chosen.types)
            if not better(probe, kept):
                break
            predicted = self.curve(costs).at(costs.of(chosen.types))
            best, kept = _fitted(target, chosen, probe, predicted, number), probe
        if target.like is None:
            return best
        return replace(
            self._guarded(target, best),
            like=target.like,
            like_types=target.like_types,
            like_bytes=target.like_bytes,
            like_measured=self._measures.of(target.like_types).mean,
        )

    def _guarded(self, target: Target, best: Fitted) -> Fitted:
        """The choice, or the types of the tier by roles, made to fit, if these diverge less."""
        costs = self.costs
        chosen = choose(self._options(costs, target.like_types), target.room)
        probe = self._measures.of(chosen.types)
        if probe.mean >= best.measured:
            return best
        predicted = self.curve(costs).at(costs.of(chosen.types))
        found = _fitted(target, chosen, probe, predicted, best.rounds)
        return replace(found, by_roles=True)

    def _corrected(self, costs: Costs, probe: Probe) -> Costs:
        """Costs with each layer's share as it was measured around a choice.

        A layer's share is what is lost of the divergence when its tensors are put back.
        """
        factors: dict[str, float] = {}
        layers = layers_of([*self._tensors])
        shares, believed = [], []
        for names in layers:
            without = {n: k for n, k in probe.types.items() if n not in names}
            back = {name: self._tensors[name].kind for name in names}
            shares.append(max(probe.mean - self._measures.of({**without, **back}).mean, 0.0))
            believed.append(costs.of({name: probe.types[name] for name in names}))
        for names, share, belief in zip(layers, shares, believed, strict=True):
            if share and belief:
                factor = (share / sum(shares)) / (belief / sum(believed))
                factors |= dict.fromkeys(names, factor**STEP)
        return costs.weighed(factors)

    def _options(self, costs: Costs, around: Types | None = None) -> dict[str, tuple[Option, ...]]:
        """What each tensor may get; of less than its type in `around` only where it must be."""

        def option(name: str, kind: str) -> Option:
            tensor = self._tensors[name]
            size, cost = stored_bytes(tensor, kind), costs.by_tensor[name].get(kind, 0.0)
            if around is not None and size < stored_bytes(tensor, around[name]):
                cost *= RELUCTANCE
            return Option(type=kind, cost=cost, bytes=size)

        return {
            name: tuple(option(name, kind) for kind in kinds) for name, kinds in self._free.items()
        }

    def _bytes_at(self, bits: float) -> int:
        weights = sum(t.length * t.rows * t.matrices for t in self._tensors.values())
        return int(bits * weights / 8)

    @property
    def _least(self) -> int:
        return sum(
            min(stored_bytes(self._tensors[name], kind) for kind in kinds)
            for name, kinds in self._free.items()
        )


def better(one: Probe, other: Probe) -> bool:
    """Whether `one` diverges less than `other` beyond error: Student's t over paired chunks."""
    less = np.subtract(other.chunks, one.chunks)
    error = float(less.std(ddof=1)) / len(less) ** 0.5
    if less.mean() <= 0 or not error:
        return bool(less.mean() > 0)
    return student(float(less.mean()) / error, len(less) - 1) < LEVEL


def stored_bytes(tensor: StoredTensor, kind: str) -> int:
    """Bytes of a tensor in a file, padding counted."""
    return padded(int(bits_per_weight(kind) * tensor.length / 8) * tensor.rows * tensor.matrices)


def probe_types(
    group: Sequence[str], rounding: Mapping[str, Mapping[str, float]]
) -> dict[str, str]:
    """What each tensor of a group is rounded to for its probe."""
    return {name: _probed(rounding[name]) for name in group}


def _probed(errors: Mapping[str, float]) -> str:
    for kind in PROBED_TYPES:
        if kind in errors:
            return kind
    return max(errors, key=errors.__getitem__)


def _fitted(target: Target, chosen: Chosen, probe: Probe, predicted: float, rounds: int) -> Fitted:
    return Fitted(
        tier=target.tier,
        asked_bytes=target.asked_bytes,
        types=chosen.types,
        predicted=predicted,
        measured=probe.mean,
        error=probe.error,
        gap=chosen.gap,
        rounds=rounds,
    )


def rounding_of(
    rounding: Rounding, tensor: StoredTensor, free: Sequence[str]
) -> tuple[dict[str, float], float]:
    """Errors of a tensor's types, of those that are probed too, and its weighted size."""
    low = PROBED if rounding.has_data(tensor.name) else PROBED_PLAIN
    probed = low if tensor.length % 256 == 0 else PROBED_SHORT
    kinds = dict.fromkeys([*(k for k in free if k in GAUSSIAN), probed])
    return rounding.errors(tensor, tuple(kinds))
