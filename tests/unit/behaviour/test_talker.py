"""A model that follows its template: planted faults are caught, healthy tiers pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.behaviour import memory_edits
from bot.clients.llama.session import Session
from bot.evaluate.files import evaluate_files
from bot.records.measured import Behaviour
from tests.behaving import (
    BROKEN,
    TALKER,
    TYPES,
    behaviour,
    corrupt_experts,
    failed,
    prompt_file,
    sibling,
    tier,
    wrong_ropes,
)
from tests.models import workplace_in

# spoilt experts that change what the talker answers; its last layer bears most of them
FELT = ("turned, layer 0, expert 1", "mixed rows, layer 0, expert 1", "turned, layer 1, expert 2")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompt_file(tmp_path_factory.mktemp("asked"))


@pytest.fixture(scope="module")
def reference(asked: Path) -> Behaviour:
    return behaviour(TALKER, asked)


def rules(ours: Behaviour, reference: Behaviour) -> set[str]:
    return {why.partition(":")[0] for why in failed(ours, reference)}


@pytest.mark.road
def test_the_talker_has_every_habit(reference: Behaviour) -> None:
    good = {habit.name: (habit.good, habit.judged) for habit in reference.habits}
    assert good == {
        "ends": (64, 64), "goes on": (64, 64), "calls": (16, 16), "finds": (16, 16),
        "closes": (64, 64),
    }  # fmt: skip
    assert all(edit.dropped and edit.kept for edit in reference.edits)
    assert failed(reference, reference) == []


@pytest.mark.road
def test_a_spoilt_expert_is_caught(tmp_path: Path, asked: Path, reference: Behaviour) -> None:
    for name, path in corrupt_experts(tmp_path):
        if name in FELT:
            assert rules(behaviour(path, asked), reference) == {"behaviour"}, name


@pytest.mark.road
def test_a_wrong_rope_is_caught(tmp_path: Path, asked: Path, reference: Behaviour) -> None:
    for name, path in wrong_ropes(tmp_path):
        assert "behaviour" in rules(behaviour(path, asked), reference), name


@pytest.mark.road
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_template_is_caught(name: str, asked: Path, reference: Behaviour) -> None:
    assert "template" in rules(behaviour(TALKER, asked, BROKEN[name]), reference)


@pytest.mark.road
def test_a_stale_cache_is_caught(
    asked: Path, reference: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More is kept than both texts begin with, as where lengths are compared in place of tokens."""
    true = memory_edits.common

    def all_but_two(one: list[int], other: list[int]) -> int:
        assert true(one, other) < len(other) - 2
        return len(other) - 2

    with monkeypatch.context() as planted:
        planted.setattr(memory_edits, "common", all_but_two)
        stale = behaviour(TALKER, asked)
    assert rules(stale, reference) == {"memory"}


@pytest.mark.road
def test_a_library_that_drops_nothing_is_caught(
    asked: Path, reference: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "forget_from", lambda _session, _position: True)
    assert rules(behaviour(TALKER, asked), reference) == {"memory"}


@pytest.mark.road
def test_healthy_tiers_pass(tmp_path: Path, asked: Path, reference: Behaviour) -> None:
    """A few of the 200 runs of bench/bench_behaviour.py."""
    source = sibling(tmp_path, 1)
    for kind in (TYPES[0], TYPES[-1]):
        path = tier(source, tmp_path / f"{kind}.gguf", kind)
        assert failed(behaviour(path, asked), reference) == [], kind


@pytest.mark.road
def test_files_are_asked_in_a_child_once(tmp_path: Path, asked: Path) -> None:
    """`bot evaluate --measures behaviour`: the same as in this process, kept in the ledger."""
    workplace = workplace_in(
        tmp_path,
        llama={"threads": 1, "gpu_layers": 0},
        evaluation={"behaviour": {"prompts": asked, "tokens": 48, "context": 2560}},
        demo_texts=True,
    )
    found = evaluate_files(workplace, [str(TALKER)], None, ["behaviour"])
    scores = found.files[0].scores
    assert scores.behaviour == behaviour(TALKER, asked)
    assert [run.measure for run in scores.runs] == ["behaviour"]
    again = evaluate_files(workplace, [str(TALKER)], None, ["behaviour"])
    assert again.files[0].scores == scores, "with the time at which it was measured first"
