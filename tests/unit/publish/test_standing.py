"""A build that another machine published is known by its provenance and its files."""

from __future__ import annotations

from bot.clients.hub.changes import Writer
from bot.publish.standing import standing
from tests.publishing import REPO, Maker


def test_the_same_build_by_another_machine_stands(machine: Maker) -> None:
    machine("1.5").publish()
    two = machine("2.5")
    files, hub = two.files(), two.workplace.hub
    held = standing(hub, hub.release(REPO), files)
    assert held is not None
    assert {"Balanced.gguf", "I-Mini.gguf"} <= held.keys() < files.keys()
    assert "results.json" not in held  # its times are that machine's


def test_other_inputs_are_another_build(machine: Maker) -> None:
    machine("1.5").publish()
    two = machine("2.5", evaluation={"context": 256})
    hub = two.workplace.hub
    assert standing(hub, hub.release(REPO), two.files()) is None


def test_files_that_say_nothing_of_their_build_stand_nowhere(machine: Maker) -> None:
    machine("1.5").publish()
    two = machine("2.5")
    hub, files = two.workplace.hub, two.files()
    del files["provenance.json"]
    assert standing(hub, hub.release(REPO), files) is None


def test_a_build_that_lost_a_file_does_not_stand(machine: Maker) -> None:
    machine("1.5").publish()
    two = machine("2.5")
    hub = two.workplace.publisher(REPO)
    before = hub.release(REPO)
    hub.commit(REPO, {}, "Less", parent=before.commit, deletions=("I-Mini.gguf",))
    assert Writer(hub).history(REPO, 9)[0] != before.commit
    assert standing(hub, hub.release(REPO), two.files()) is None
