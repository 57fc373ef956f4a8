"""How many complete tiers are enough; all else of describing is in tests/e2e."""

from __future__ import annotations

import pytest

from bot.errors import BuildError
from bot.jobs.describing import require_enough


@pytest.mark.parametrize(
    ("policy", "complete", "enough"),
    [
        ("all", 3, True), ("all", 2, False), ("any", 1, True), ("any", 0, False),
        ("min:2", 2, True), ("min:2", 1, False), ("min:9", 3, True), ("min:9", 2, False),
    ],
)  # fmt: skip
def test_the_policy_says_how_many_tiers_are_enough(
    policy: str, complete: int, enough: bool
) -> None:
    ordered = ("A", "B", "C")
    if enough:
        require_enough(policy, ordered[:complete], ordered)
    else:
        with pytest.raises(BuildError, match="nothing is published"):
            require_enough(policy, ordered[:complete], ordered)
