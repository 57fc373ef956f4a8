"""What an update would give back is what it gives back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.publish.reclaim import reclaim
from tests.publishing import REPO, Maker
from tests.unit.workplace.test_asked import PRUNED

FEW = ("nothing", "calibration", "a tier less")


@pytest.mark.parametrize(
    "which", [w if w in FEW else pytest.param(w, marks=pytest.mark.road) for w in PRUNED]
)
def test_what_a_prune_would_free_is_what_it_frees(
    machine: Maker, demo_model: Path, which: str
) -> None:
    given, tiers, changed, gone = PRUNED[which]
    named: dict[str, Any] = {"publish": {"file": "{tier}.gguf"}}
    machine("1.5", **named).publish()
    two = machine("2.5", tiers=tiers, **{**named, **given})
    two.changed = changed
    assert two.would_prune(demo_model) == gone
    if two.finds() is None:
        two.publish(tiers)
    keep = two.workplace.settings.publish.keep_builds
    assert [one.path for one in reclaim(two.workplace.hub, REPO, keep)] == gone


def test_a_newer_bot_stamps_files_anew(machine: Maker, demo_model: Path) -> None:
    named: dict[str, Any] = {"publish": {"file": "{tier}.gguf"}, "card": {"team": "Us"}}
    first = machine("1.5", publish=named["publish"])
    first.bot = "0.0.1"
    first.publish()
    assert machine("2.5", **named).would_prune(demo_model) == ["Balanced.gguf", "I-Mini.gguf"]


def test_what_a_person_has_to_merge_frees_nothing_yet(machine: Maker, demo_model: Path) -> None:
    machine("1.5", publish={"file": "{tier}.gguf"}).publish()
    asking = {"file": "{tier}.gguf", "approval": "pull-request"}
    two = machine("2.5", tiers=("Compact",), publish=asking)
    assert two.would_prune(demo_model) == []
