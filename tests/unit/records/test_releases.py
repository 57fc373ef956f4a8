"""Names of repositories, and reasons that show what they hold."""

from __future__ import annotations

import pytest

from bot.records.releases import REPO_ID, Release, Skip, Wait


@pytest.mark.parametrize("name", ["org/model", "a/B", f"o/{'m' * 96}", "0.x/y_z-1"])
def test_names_on_a_hub(name: str) -> None:
    assert REPO_ID.fullmatch(name)


@pytest.mark.parametrize("name", ["model", "org/", "/m", "-o/m", "o/.m", "o/m/x", f"o/{'m' * 97}"])
def test_what_is_no_name(name: str) -> None:
    assert not REPO_ID.fullmatch(name)


def test_a_reason_of_a_stranger_takes_one_line_with_nothing_hidden() -> None:
    release = Release(repo_id="org/model", commit="c" * 40)
    decision = Skip(release=release, reason="dense\n\x1b[2Jby \u202eits config")
    assert decision.reason.isprintable()
    assert (decision.outcome, Wait(release=release, reason="x").until) == ("not_watched", None)
