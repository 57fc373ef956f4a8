"""After a publication: word in the job's folder, the owner's collection, storage given back."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from unittest.mock import Mock

import httpx2
import pytest
from pydantic import SecretStr

from bot.clock import SystemClock
from bot.progress import Narrator
from bot.publish.afterwards import follow
from bot.publish.publication import Published
from bot.publish.reclaim import replaced
from bot.workplace.workplace import Workplace
from tests.local_hub.server import Hub
from tests.publishing import REPO, Machine, Maker


def note_of(machine: Machine) -> dict[str, str] | None:
    path = machine.folder.with_name("published.json")
    return json.loads(path.read_text()) if path.is_file() else None


def collections(hub: Hub) -> list[tuple[str, list[str]]]:
    reply = httpx2.get(f"{hub.url}/api/collections", params={"owner": "alice"}).json()
    return [(found["title"], [item["id"] for item in found["items"]]) for found in reply]


def test_the_job_s_folder_says_where_it_went(machine: Maker, hub: Hub) -> None:
    one = machine("1.5")
    published = one.publish()
    assert follow(one.workplace, published) == published
    assert note_of(one) == {
        "repo_id": REPO, "commit": published.commit, "url": f"{hub.url}/{REPO}",
    }  # fmt: skip
    assert collections(hub) == []


def test_a_part_of_a_release_leaves_its_job_open(machine: Maker) -> None:
    one = machine("1.5")
    follow(one.workplace, one.publish(), complete=False)
    assert note_of(one) is None


def test_what_waits_for_a_person_is_left_alone(machine: Maker) -> None:
    one = machine("1.5", publish={"collection": "Quants", "prune": True})
    waiting = replace(one.publish(), waiting="http://pull")
    assert follow(one.workplace, waiting) is waiting
    assert note_of(one) is None


@pytest.mark.parametrize("public", [True, False])
def test_what_everybody_sees_is_collected_once(machine: Maker, hub: Hub, public: bool) -> None:
    one = machine("1.5", publish={"collection": "Quants"})
    published = replace(one.publish(), public=public)
    for _ in range(2):
        follow(one.workplace, published)
    assert collections(hub) == ([("Quants", [REPO])] if public else [])


def changed(machine: Maker, **publish: object) -> tuple[Machine, Published]:
    """The second of two builds, whose tier replaced the first's of 900 times its name."""
    machine("1.5").publish()
    two = machine("2.5", evaluation={"context": 256}, publish=publish)
    two.changed = ("I-Mini",)
    return two, two.publish()


def test_storage_of_what_was_replaced_is_given_back(machine: Maker) -> None:
    two, published = changed(machine, prune=True)
    expected = sum(file.bytes for file in replaced(two.workplace.hub, REPO))
    assert expected >= 900 * len("I-Mini")
    assert follow(two.workplace, published).reclaimed == expected
    assert follow(two.workplace, published).reclaimed == 0


def test_earlier_builds_are_kept_as_the_settings_say(machine: Maker) -> None:
    two, published = changed(machine, prune=True, keep_builds=1)
    assert follow(two.workplace, published).reclaimed == 0


def test_a_hub_that_is_away_by_then_is_said_and_the_release_is_out(
    machine: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SystemClock, "sleep", lambda _clock, _seconds: None)  # no patience
    monkeypatch.setattr("huggingface_hub.utils._http.time", Mock())  # it has its own
    one = machine("1.5", publish={"collection": "Quants", "prune": True})
    published = one.publish()
    away = machine("2.5", url="http://127.0.0.1:1", publish={"collection": "Quants", "prune": True})
    out = io.StringIO()
    workplace = Workplace(away.workplace.settings, Narrator(out), SecretStr("token"))
    assert follow(workplace, published) == published
    assert [line.partition(":")[0] for line in out.getvalue().splitlines()] == [
        f"{REPO} is not in the collection 'Quants' yet",
        f"{REPO} keeps the storage of replaced files",
    ]
