import numpy as np
import pytest

from bot.errors import BotError
from bot.evaluate import paired
from bot.records.measured import KLD, ON_DOMAIN, PPL, best, supported_claim


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(0, 0, 1.0), (3, 3, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (10, 2, 2 * 79 / 4096)],
)
def test_mcnemar_is_exact(gained: int, lost: int, p: float) -> None:
    """Twice the binomial tail: 5 to 0 is 2/2^5, 10 to 2 is 2(1 + 12 + 66)/2^12."""
    one = [True] * gained + [False] * lost + [True, False] * 20
    other = [False] * gained + [True] * lost + [True, False] * 20
    assert paired.mcnemar(one, other) == pytest.approx(p)
    assert paired.mcnemar(other, one) == pytest.approx(p)


def test_answers_to_other_tasks_cannot_be_paired() -> None:
    with pytest.raises(BotError, match="ask both the same tasks"):
        paired.mcnemar([True], [True, False])


def test_a_small_steady_difference_is_seen_where_single_errors_hide_it() -> None:
    random = np.random.default_rng(1)
    hard = random.gamma(1.0, 0.1, 60)  # some chunks are hard for every file
    values = {
        "a": hard,
        "b": hard * 1.05,
        "c": hard + random.normal(0, 0.02, 60) - 0.0001,
    }
    comparisons = paired.compare_divergences(KLD, values)
    assert [(c.one, c.other) for c in comparisons] == [("a", "b"), ("a", "c"), ("b", "c")]
    ab, ac, _ = comparisons
    assert ab.differs
    assert ab.difference == pytest.approx(-0.05 * hard.mean())
    assert ab.low is not None
    assert ab.high is not None
    assert ab.low < ab.difference < ab.high < 0
    assert hard.std() / np.sqrt(60) > abs(ab.difference)  # inside one standard error of either
    assert not ac.differs
    assert paired.compare_divergences(KLD, values) == comparisons  # the seed is fixed


def test_typical_means_agree_with_the_normal_interval() -> None:
    values = np.random.default_rng(2).normal(1, 1, (400, 1))
    means = paired.typical_means(values)[:, 0]
    assert means.std() == pytest.approx(values.std() / 20, rel=0.05)
    assert means.mean() == pytest.approx(values.mean(), abs=0.005)


def test_typical_means_are_those_of_every_subset_where_few_are_there() -> None:
    means = paired.typical_means(np.array([[1.0], [2.0], [6.0]]))[:, 0]
    assert sorted(means) == [1.0, 1.5, 2.0, 3.0, 3.5, 4.0, 6.0]


def test_equal_files_do_not_differ() -> None:
    same = np.linspace(0, 1, 30)
    (comparison,) = paired.compare_divergences(KLD, {"a": same, "b": same.copy()})
    assert (comparison.differs, comparison.p, comparison.difference) == (False, 1.0, 0.0)


def test_other_chunks_cannot_be_paired() -> None:
    with pytest.raises(BotError, match="same text"):
        paired.compare_divergences(KLD, {"a": np.ones(3), "b": np.ones(4)})


def test_claims_are_made_only_where_supported() -> None:
    values = {"a": np.linspace(1, 2, 40), "b": np.linspace(1.1, 2.1, 40), "c": np.full(40, 9.0)}
    answers = {"a": [True] * 20 + [False] * 20, "b": [False] * 40}
    comparisons = [
        *paired.compare_divergences(KLD, values),
        paired.compare_answers("HellaSwag", "a", "b", (answers["a"], answers["b"])),
    ]
    assert supported_claim(comparisons, KLD, "a", "b") is True
    assert supported_claim(paired.compare_divergences(PPL, values), PPL, "a", "b") is True
    assert supported_claim(comparisons, KLD, "b", "a") is False
    on_code = paired.compare_divergences(f"{ON_DOMAIN}code", values)
    assert supported_claim(on_code, f"{ON_DOMAIN}code", "a", "b") is True
    assert supported_claim(on_code, KLD, "a", "b") is None
    assert supported_claim(comparisons, "HellaSwag", "b", "a") is False
    assert supported_claim(comparisons, "HellaSwag", "a", "b") is True
    assert supported_claim(comparisons, "HellaSwag", "a", "c") is None
    assert best(comparisons, KLD, ["c", "b", "a"]) == "a"
    assert best(comparisons, "HellaSwag", ["a", "b", "c"]) is None
    assert best(comparisons, KLD, ["a"]) is None


def test_what_cannot_be_tested_takes_nothing_from_what_can() -> None:
    """A domain of three chunks is told as such, and others are not corrected for it."""
    tested = paired.compare_divergences(KLD, {"a": np.linspace(1, 2, 40), "b": np.full(40, 3.0)})
    few = paired.compare_divergences(f"{ON_DOMAIN}code", {"a": np.ones(3), "b": np.full(3, 2.0)})
    one, other = paired.corrected([*few, *tested])
    assert (one.differs, one.adjusted, one.test) == (False, 1.0, "none: 3 chunks, 10 at least")
    assert other == tested[0]
    both = paired.corrected([*tested, *tested])
    assert both[0].adjusted == pytest.approx(2 * tested[0].p)
