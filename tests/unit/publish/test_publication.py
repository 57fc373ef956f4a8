"""What a repository holds already, and what machines side by side make of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bot.clients.hub.hub import Hub as Client
from bot.errors import BotError, SourceError
from bot.publish.publication import Published, back, published_builds
from bot.workplace.asked import order_of
from tests.local_hub.server import Hub, regular
from tests.publishing import PINNED, REPO, TIERS, Machine, Maker
from tests.unit.clients.hub.between import Fault, between
from tests.unit.workplace.test_asked import DAMAGES


def test_the_second_machine_finds_what_the_first_published(machine: Maker, hub: Hub) -> None:
    one, two = machine("1.5"), machine("2.5")
    assert two.finds() is None
    done = one.publish()
    assert hub.commits(REPO) == 1
    found = two.finds()
    assert found is not None
    assert (found.commit, found.changed, found.public) == (done.commit, (), True)
    for _ in range(2):  # and where it did the work all the same: times are no reason for a commit
        for each in (two, one):
            again = each.publish()
            assert (again.commit, again.changed) == (done.commit, ())
    assert hub.commits(REPO) == 1


# of the requests of a publication: the first look, the contents, the commit, and after it
MODEL = f"/api/models/{REPO}"


SOME = {
    "private": (
        f"GET {MODEL}",
        f"POST {MODEL}/preupload/main",
        f"POST {MODEL}/commit/main",
        f"POST {MODEL}/tag/HASH",
    ),
    "pull-request": (
        f"GET {MODEL}/revision/main?blobs=true",
        f"GET {MODEL}/revision/refs%2Fpr%2F1?blobs=true",
        f"POST {MODEL}/discussions/1/merge",
    ),
}


Kind = tuple[str, int]  # a request without hashes, the how manieth of these


def kinds(requests: Iterable[str]) -> Iterator[Kind]:
    """What requests ask for. Numbers of all would count those that a slow machine repeats."""
    seen: Counter[str] = Counter()
    for request in requests:
        name = re.sub(r"\b[0-9a-f]{40,64}\b", "HASH", request)
        seen[name] += 1
        yield name, seen[name]


class Meanwhile:
    """Has something done, once, before a request of a kind reaches the Hub."""

    def __init__(self, kind: Kind, act: Callable[[], object]) -> None:
        self._kind, self._act, self._seen = kind, act, list[str]()

    def __call__(self, _number: int, method: str, path: str) -> Fault | None:
        self._seen.append(f"{method} {path}")
        if self._kind not in list(kinds(self._seen))[-1:]:
            return None
        return Fault(method="", part="", status=0, arrives=True, meanwhile=self._act)


def _publishing(machine: Machine, done: list[Published]) -> None:
    done.append(machine.publish())


def raced(hub: Hub, folder: Path, hidden: str, chosen: Iterable[str] = ()) -> None:
    """Before a request of one machine's publication the other publishes wholly.

    Before each request in turn, or the first of each that is chosen.
    """
    given: dict[str, Any] = {"publish": {"hidden": hidden}}
    with between(hub.url) as proxy:

        def machine(time: str, url: str) -> Machine:
            made = Machine(folder / f"machine-{time}", url, hub.token, time, **given)
            made.workplace.hub.whoami()  # the library asks it behind a lock of this process
            return made

        calm = machine("0.5", proxy.url)
        before = len(proxy.requests)
        calm.publish()
        places = [(name, 1) for name in chosen] or [*kinds(proxy.requests[before:])]
        calm.workplace.hub.ask(REPO, lambda api: api.delete_repo(REPO))
        for number, kind in enumerate(places, 1):
            one, two = machine(f"{number}.1", hub.url), machine(f"{number}.2", proxy.url)
            first: list[Published] = []
            proxy.choose = Meanwhile(kind, partial(_publishing, one, first))
            second = two.publish()
            proxy.choose = None
            if not first and kind[1] > 1:  # the calm one repeated a request
                first.append(one.publish())
            assert hub.commits(REPO) == 1, kind
            assert [done.commit for done in first] == [second.commit], kind
            assert first[0].public
            assert second.public
            one.workplace.hub.ask(REPO, lambda api: api.delete_repo(REPO))


@pytest.mark.road
@pytest.mark.parametrize("hidden", SOME)
def test_published_by_another_meanwhile(hub: Hub, tmp_path: Path, hidden: str) -> None:
    raced(hub, tmp_path, hidden, SOME[hidden])


@pytest.mark.long
@pytest.mark.parametrize("hidden", SOME)
def test_published_by_another_at_any_request(hub: Hub, tmp_path: Path, hidden: str) -> None:
    raced(hub, tmp_path, hidden)


def test_builds_are_listed_and_gone_back_to_by_the_digits_that_are_printed(machine: Maker) -> None:
    first = machine("1.5").publish()
    two = machine("2.5", quantize={"stamp": False})
    second = two.publish()
    listed = published_builds(two.workplace, REPO)
    assert [(one.commit, one.current) for one in listed] == [
        (second.commit, True),
        (first.commit, False),
    ]
    done = back(two.workplace, REPO, first.commit[:12])
    assert "results.json" in done.changed
    assert back(two.workplace, REPO, listed[1].name).changed == ()
    with pytest.raises(SourceError, match="does not exist"):
        back(two.workplace, REPO, "0123456789ab")


def test_two_orders_of_one_model_are_two_commits(machine: Maker, hub: Hub) -> None:
    machine("1.5").publish()
    machine("2.5", quantize={"stamp": False}).publish()
    assert hub.commits(REPO) == 2


def test_some_of_the_tiers_are_held_only_for_who_asks_so(machine: Maker) -> None:
    machine("1.5").publish()
    few = machine("2.5")
    few.order = order_of(few.workplace.settings, PINNED, ("I-Mini",))
    assert few.finds() is None
    assert few.finds(superset=True) is not None
    few.order = order_of(few.workplace.settings, PINNED, (*TIERS, "I-Nano"))
    assert few.finds(superset=True) is None


def test_a_tier_that_was_left_out_is_tried_again(machine: Maker, hub: Hub) -> None:
    one = machine("1.5")
    one.publish(("Balanced",))  # the gate refused the other, for want of memory perhaps
    two = machine("2.5")
    assert two.finds() is None
    assert two.finds(superset=True) is not None
    two.publish()
    assert hub.commits(REPO) == 2
    assert two.finds() is not None


@pytest.mark.parametrize("which", DAMAGES)
def test_what_somebody_damaged_is_not_held(machine: Maker, hub: Hub, which: str) -> None:
    machine("1.5").publish()
    assert hub.commit(REPO, DAMAGES[which]).status == 200
    two = machine("2.5")
    assert two.finds() is None
    assert two.finds(superset=True) is None


def test_a_card_that_people_wrote_in_is_left_alone(machine: Maker, hub: Hub) -> None:
    one = machine("1.5")
    one.publish()
    text = one.workplace.hub.read_text(REPO, "main", "README.md", 10_000)
    assert text is not None
    hub.commit(REPO, regular("README.md", f"{text}\nOurs is good.\n".encode()))
    assert machine("2.5").finds() is not None
    assert machine("3.5").publish().changed == ()


def test_a_build_that_nobody_sees_yet_is_shown_by_who_made_it_too(machine: Maker, hub: Hub) -> None:
    """The first machine died between its commit and the end."""
    with between(hub.url) as proxy:
        proxy.faults.append(Fault(method="PUT", part="/settings", status=403, arrives=False))
        with pytest.raises(BotError):
            machine("1.5", url=proxy.url).publish()
    two = machine("2.5")
    assert two.finds() is None
    done = two.publish()
    assert (done.public, done.shown, done.changed) == (True, True, ())
    assert hub.commits(REPO) == 1
    assert not Client(hub.url, None).release(REPO).private


def test_a_look_costs_two_requests(machine: Maker, hub: Hub) -> None:
    machine("1.5").publish()
    with between(hub.url) as proxy:
        two = machine("2.5", url=proxy.url)
        assert two.finds() is not None
        assert len(proxy.requests) == 2
