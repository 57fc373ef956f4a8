from dataclasses import replace

from bot.card.words import MOST, coverage_lines
from bot.records.results import CalibrationFacts, LayerCoverage
from tests.unit.card import samples

FACTS = samples.nine_tiers().calibration


def facts(*layers: LayerCoverage, raised: tuple[str, ...] = ()) -> CalibrationFacts:
    assert FACTS is not None
    return replace(FACTS, coverage=layers, raised=raised)


def layer(
    number: int, unreached: tuple[int, ...] = (), rare: tuple[int, ...] = ()
) -> LayerCoverage:
    fewest = 0 if unreached else 9
    return LayerCoverage(
        layer=number, experts=256, fewest=fewest, median=800, unreached=unreached, rare=rare
    )


def test_nothing_is_said_where_every_expert_saw_enough() -> None:
    assert coverage_lines(None) == []
    assert coverage_lines(facts(layer(0), layer(1))) == []


def test_layers_with_experts_that_saw_little_and_what_was_done() -> None:
    raised = ("I-Nano blk.3.ffn_up_exps.weight IQ2_XXS Q2_K",)
    coverage = facts(layer(0), layer(3, (5, 9)), layer(4, rare=(1, 2, 3)), raised=raised)
    assert coverage_lines(coverage) == [
        ("Experts that no calibration token reached", "layer 3: 5, 9"),
        (
            "Experts that less than 64 calibration tokens reached",
            "layer 4: 3 of 256, the least used 9",
        ),
        (
            "Larger types for lack of calibration data",
            "I-Nano blk.3.ffn_up_exps.weight Q2_K for IQ2_XXS",
        ),
    ]


def test_a_long_list_ends() -> None:
    many = facts(*(layer(n, tuple(range(100))) for n in range(40)))
    ((_, text),) = coverage_lines(many)
    assert text.count("layer") == MOST
    assert text.endswith(f"and {40 - MOST} more (results.json)")
    assert f"and {100 - MOST} more (results.json)" in text
