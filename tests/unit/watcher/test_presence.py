"""Which watchers live: told by locks, not by leases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bot.watcher.presence import Presence
from tests.unit.watcher.world import World

HOLDER = """
import sys; from pathlib import Path; from bot.watcher.presence import Presence
present = Presence(Path(sys.argv[1])); present.begin("killed"); print(flush=True); input()
"""


def test_a_listing_of_a_watcher_that_was_killed_is_read_at_once(
    world: World, tmp_path: Path
) -> None:
    world.model()
    presence = Presence(tmp_path / "watchers")
    killed = subprocess.Popen(
        [
            sys.executable, "-c",
            HOLDER,
            str(tmp_path / "watchers"),
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert killed.stdout is not None
    killed.stdout.readline()
    assert world.sightings.take("created", "killed", world.clock.time) is not None
    watcher = world.watcher("other", is_dead=presence.is_dead)
    assert watcher.created() == []
    assert watcher.busy == ["created"]
    killed.kill()
    killed.communicate()
    assert len(watcher.created()) == 1
    assert not presence.is_dead("never-heard-of")
    presence.clear()
    assert list((tmp_path / "watchers").iterdir()) == []
