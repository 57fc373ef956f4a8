"""What probes say of types that were not tried: sums of costs, and how a sum is to be read."""

from __future__ import annotations

import pytest

from bot.fitting.costs import Curve, costs_of, curve_of
from bot.fitting.fitter import better
from bot.fitting.probe_groups import groups_of, layers_of
from bot.records.sensitivity import Probe, ProbeText, Sensitivity

FFN = [
    f"blk.{n}.ffn_{part}.weight" for n in range(8) for part in ("up_exps", "down_exps", "up_shexp")
]
ATTENTION = [f"blk.{n}.attn_{part}.weight" for n in range(8) for part in ("q", "k", "output")]
NAMES = ["token_embd.weight", *FFN, *ATTENTION]


def probe(mean: float, **types: str) -> Probe:
    return Probe(types=types, mean=mean, error=0.0, p999=0.0, chunks=(mean, mean))


def sensitivity(*probes: Probe) -> Sensitivity:
    return Sensitivity(
        source_sha256="0" * 64,
        matrix_sha256="0" * 64,
        read=ProbeText(texts=(), chunks=(2,), context=64),
        llama_cpp="b1",
        groups=(("a", "b"), ("c",)),
        probes=probes,
        rounding={
            "a": {"IQ1_M": 0.2, "Q4_K": 0.01},
            "b": {"IQ1_M": 0.1, "Q4_K": 0.005},
            "c": {"Q2_K": 0.05, "Q8_0": 0.0001},
        },
        energy={"a": 1.0, "b": 6.0, "c": 9.0},
    )


def test_a_groups_divergence_is_divided_by_weighted_error() -> None:
    costs = costs_of(
        sensitivity(probe(0.08, a="IQ1_M", b="IQ1_M"), probe(0.01, c="Q2_K"), probe(9.0, a="Q4_K"))
    )
    assert costs.of({"a": "IQ1_M"}) == pytest.approx(0.02)  # 0.2 of 0.2 + 0.6
    assert costs.of({"b": "IQ1_M"}) == pytest.approx(0.06)
    assert costs.of({"b": "Q4_K", "c": "Q8_0"}) == pytest.approx(0.003 + 0.00002)
    assert costs.of({"a": "BF16", "b": "BF16"}) == 0
    doubled = costs.weighed({"c": 2.0})
    assert doubled.of({"a": "IQ1_M", "c": "Q2_K"}) == pytest.approx(0.02 + 0.02)


def test_a_sum_is_read_between_points_and_never_falls_beyond() -> None:
    curve = Curve(points=((0.01, 0.02), (0.1, 0.1), (1.0, 0.4)))
    assert [curve.at(x) for x, _ in curve.points] == pytest.approx([0.02, 0.1, 0.4])
    places = [1e-4, 1e-3, 0.01, 0.03, 0.1, 0.5, 1.0, 3.0]
    values = [curve.at(place) for place in places]
    assert values == sorted(values)
    assert curve.at(0) == 0
    assert Curve(points=()).at(0.3) == 0.3
    assert Curve(points=((0.1, 0.2),)).at(0.05) == pytest.approx(0.1)


def test_points_that_contradict_each_other_become_one() -> None:
    found = sensitivity(probe(0.08, a="IQ1_M", b="IQ1_M"), probe(0.01, c="Q2_K"))
    low = probe(0.03, a="Q4_K", b="Q4_K", c="Q8_0")
    high = probe(0.02, a="Q4_K", b="Q4_K", c="Q2_K")  # measured as less, though more was rounded
    curve = curve_of(costs_of(found), [low, high])
    assert len(curve.points) == 1
    assert 0.02 < curve.points[0][1] < 0.03


@pytest.mark.parametrize(
    ("budget", "groups"),
    [(0, 0), (1000, 49), (49, 49), (48, 33), (33, 33), (30, 25), (20, 13), (4, 4)],
)
def test_groups_are_as_fine_as_probes_allow(budget: int, groups: int) -> None:
    found = groups_of(NAMES, budget)
    assert sorted(name for group in found for name in group) == (sorted(NAMES) if budget else [])
    assert len(found) == groups <= max(budget, 4)


def test_layers_are_put_back_whole() -> None:
    layers = layers_of(NAMES)
    assert [len(names) for names in layers] == [1, *(6,) * 8]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0.9, 1.9, 2.9, 3.9), (1.0, 2.0, 3.0, 4.0), True),  # less in each, by the same
        ((1.0, 2.0, 3.0, 4.0), (0.9, 1.9, 2.9, 3.9), False),
        ((1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0), False),
        ((0.9, 2.3, 2.6, 3.9), (1.0, 2.0, 3.0, 4.0), False),  # less on the whole, within error
        ((0.5, 1.2, 2.4, 3.6), (1.0, 2.0, 3.0, 4.0), True),
    ],
)
def test_a_correction_is_better_where_its_chunks_say_so(
    one: tuple[float, ...], other: tuple[float, ...], expected: bool
) -> None:
    def measured(chunks: tuple[float, ...]) -> Probe:
        return Probe(types={}, mean=sum(chunks) / 4, error=9.0, p999=0.0, chunks=chunks)

    assert better(measured(one), measured(other)) is expected


def test_whole_layers_can_be_probed() -> None:
    groups = groups_of(NAMES, "layers")
    assert groups == layers_of(NAMES)
    assert len(groups) == 9
