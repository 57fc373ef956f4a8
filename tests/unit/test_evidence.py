"""Statistics against published tables and against what they are defined by."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from bot import evidence


def test_holm_corrects_for_all_that_is_looked_at() -> None:
    assert evidence.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert evidence.holm([0.5, 0.9]) == (1.0, 1.0)
    assert evidence.holm([]) == ()


@pytest.mark.parametrize(
    ("t", "degrees", "p"),
    [
        (12.7062, 1, 0.05), (4.30265, 2, 0.05), (3.18245, 3, 0.05), (2.36462, 7, 0.05),
        (2.06866, 23, 0.05), (2.00100, 59, 0.05), (3.49995, 7, 0.01), (3.76763, 23, 0.001),
        (0.0, 5, 1.0),
    ],
)  # fmt: skip
def test_student_agrees_with_published_tables(t: float, degrees: int, p: float) -> None:
    """Critical values as in the NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2."""
    assert evidence.student(t, degrees) == pytest.approx(p, rel=2e-3)
    assert evidence.student(-t, degrees) == pytest.approx(p, rel=2e-3)


def test_errors_alone_have_to_be_exceeded_for_all_claims() -> None:
    assert evidence.sure(1) == pytest.approx(1.959964, abs=1e-6)
    assert evidence.sure(1, sides=1) == pytest.approx(1.644854, abs=1e-6)
    assert evidence.sure(36) > evidence.sure(10) > evidence.sure(1)
    assert evidence.pairs(12) == len(list(combinations(range(12), 2)))


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (3, 3), (0, 5), (6, 0), (2, 9), (7, 4)])
def test_mcnemars_p_is_the_share_of_equal_coins_that_fall_as_far_apart(
    gained: int, lost: int
) -> None:
    throws = [sum(coins) for coins in product((0, 1), repeat=gained + lost)]
    far = [n for n in throws if abs(2 * n - len(throws).bit_length() + 1) >= abs(gained - lost)]
    assert evidence.discordant(gained, lost) == pytest.approx(len(far) / len(throws))


def test_a_mean_without_a_tail_is_tested_by_students_t() -> None:
    plain = evidence.against_the_tail(0.5, 1.0, 0.0, 16)
    assert plain == pytest.approx(evidence.student(2.0, 15))
    towards, away = (evidence.against_the_tail(0.5, 1.0, skew, 16) for skew in (2.0, -0.5))
    assert towards < plain < away, "a long tail on the other side may be what lacks"
    assert evidence.against_the_tail(0.0, 0.0, 0.0, 16) == 1.0
    assert evidence.against_the_tail(0.5, 0.0, 0.0, 16) == 0.0
