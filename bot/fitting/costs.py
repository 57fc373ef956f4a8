"""What probes say of types that were not tried, and of whole files.

Divergence is taken to be the sum of what each rounded tensor adds, and that to grow with its
weighted squared error: KLD is quadratic in small changes of weights. Neither holds far out, so what
whole choices gave tells how a sum is to be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np

from bot.records.sensitivity import Probe, Sensitivity

SMALLEST = 1e-9  # nats: what is measured as less is noise
STEEPEST = 1.5  # of divergence by sum, in logarithms, beyond what was measured


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Divergence that each type adds in each tensor, in nats."""

    by_tensor: Mapping[str, Mapping[str, float]]

    def of(self, types: Mapping[str, str]) -> float:
        """The sum over some tensors; a tensor's own type adds none."""
        return sum(self.by_tensor[name].get(kind, 0.0) for name, kind in types.items())

    def weighed(self, factors: Mapping[str, float]) -> Costs:
        """The same with some tensors' multiplied."""
        return Costs(
            by_tensor={
                name: {kind: cost * factors.get(name, 1.0) for kind, cost in costs.items()}
                for name, costs in self.by_tensor.items()
            }
        )


def costs_of(found: Sensitivity) -> Costs:
    """By the probes of groups. What a group gave is divided among its tensors by weighted error.

    Tensors of no group cost their weighted error alone, in units of nothing: a curve makes nats of
    them.
    """
    by_types = {tuple(sorted(probe.types.items())): probe for probe in found.probes}
    energy = sum(found.energy.values()) or 1.0
    by_tensor = {
        name: {kind: each * found.energy[name] / energy for kind, each in errors.items()}
        for name, errors in found.rounding.items()
    }
    for group in found.groups:
        probe = next(p for t, p in by_types.items() if {name for name, _ in t} == {*group})
        errors = {name: found.rounding[name][probe.types[name]] for name in group}
        shares = {name: found.energy[name] * error for name, error in errors.items()}
        whole = sum(shares.values())
        for name in group:
            share = shares[name] / whole if whole else 1 / len(group)
            given, error = max(probe.mean, SMALLEST) * share, errors[name]
            by_tensor[name] = {
                kind: given * each / error if error else 0.0
                for kind, each in found.rounding[name].items()
            }
    return Costs(by_tensor=by_tensor)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Divergence of whole files by the sum of what their tensors add: measured points, by sum."""

    points: tuple[tuple[float, float], ...]

    def at(self, cost: float) -> float:
        """Between points, and beyond them, along straight lines of logarithms.

        Without two points in proportion to the one, or the sum itself.
        """
        if cost <= 0:
            return 0.0
        if not self.points:
            return cost
        places, values = (np.log([point[axis] for point in self.points]) for axis in (0, 1))
        place = log(cost)
        if len(places) == 1:
            return exp(values[0] + place - places[0])
        slopes = np.clip(np.diff(values) / np.diff(places), 1 / STEEPEST, STEEPEST)
        if place < places[0]:
            return exp(values[0] + slopes[0] * (place - places[0]))
        if place > places[-1]:
            return exp(values[-1] + slopes[-1] * (place - places[-1]))
        return exp(np.interp(place, places, values))


def curve_of(costs: Costs, whole: Sequence[Probe]) -> Curve:
    """By probes of whole files. Of sums that are nearly one the mean, and it never falls."""
    pairs = sorted((costs.of(probe.types), probe.mean) for probe in whole)
    points: list[tuple[float, float]] = []
    for cost, mean in pairs:
        if cost <= 0 or mean <= 0:
            continue
        if points and (cost < points[-1][0] * 1.02 or mean < points[-1][1]):
            before = points.pop()
            cost, mean = (cost * before[0]) ** 0.5, (mean * before[1]) ** 0.5
        points.append((cost, mean))
    return Curve(points=tuple(points))
