"""What is remembered of a Hub: decisions, times to look again, how far feeds were read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.store.ledger import Ledger
from bot.store.sightings import LEASE, MANY, MOST_HINTS, Decided, Feed, Sightings

NOW = 1_790_000_000.0
DECIDED = Decided(
    repo="maker/Model", commit="a" * 40, kind="wait", outcome="settling", reason="rests",
    until=NOW + 60, look_at=NOW + 60, weights="w", weights_at=NOW,
    facts={"listed": {"created_at": "2026-01-01T00:00:00Z"}},
)  # fmt: skip


@pytest.fixture
def sightings(tmp_path: Path) -> Sightings:
    return Sightings(Ledger(tmp_path / "l.sqlite"))


def test_the_same_decision_is_kept_once_and_its_facts_with_it(sightings: Sightings) -> None:
    sightings.record([DECIDED, DECIDED], NOW)
    sightings.record([replace(DECIDED, look_at=None)], NOW + 1)
    sightings.record([replace(DECIDED, kind="build", outcome="eligible", until=None)], NOW + 2)
    first, second = sightings.history("maker/Model")
    assert (first.kind, first.at, second.kind) == ("wait", NOW, "build")
    assert sightings.facts(first.id) == DECIDED.facts
    assert DECIDED.created == "2026-01-01T00:00:00Z"
    assert [past.kind for past in sightings.since(NOW + 2)] == ["build"]


def test_more_repositories_than_one_question_takes(sightings: Sightings) -> None:
    names = [f"maker/{number}" for number in range(MANY + 1)]
    sightings.record([replace(DECIDED, repo=name) for name in names], NOW)
    known = sightings.known([*names, "maker/never-seen"])
    assert set(known) == set(names)
    assert known[names[-1]].commit == DECIDED.commit


def test_weights_that_a_look_does_not_tell_stay_known(sightings: Sightings) -> None:
    sightings.record([DECIDED], NOW)
    sightings.record([replace(DECIDED, weights=None, weights_at=None, reason="other")], NOW)
    sighting = sightings.known(["maker/Model"])["maker/Model"]
    assert (sighting.weights, sighting.weights_at) == ("w", NOW)


def test_the_longest_due_comes_first(sightings: Sightings) -> None:
    for repo, look_at in (("a/late", NOW), ("a/later", NOW + 1), ("a/first", NOW - 5)):
        sightings.record([replace(DECIDED, repo=repo, look_at=look_at)], NOW)
    assert [due.repo for due in sightings.due(NOW, 9)] == ["a/first", "a/late"]
    assert [due.repo for due in sightings.due(NOW, 1)] == ["a/first"]
    sightings.look_again("a/first", NOW + 9)
    assert sightings.reconsider(["settling"], NOW) == 3
    assert {(due.repo, due.commit) for due in sightings.due(NOW, 9)} == {
        ("a/first", ""), ("a/late", ""), ("a/later", ""),
    }  # fmt: skip


def test_hints_are_news_once_and_bounded(sightings: Sightings) -> None:
    assert sightings.hint("maker/New", None, NOW)
    assert not sightings.hint("maker/New", None, NOW + 1)
    sightings.record([DECIDED], NOW)
    assert not sightings.hint("maker/Model", DECIDED.commit, NOW + 1)
    assert sightings.hint("maker/Model", "b" * 40, NOW + 1)
    rows = [(f"maker/{number}", NOW) for number in range(MOST_HINTS)]
    with sightings.ledger.writing() as db:
        db.executemany(
            "INSERT INTO releases (repo, commit_id, first_seen, kind, outcome)"
            " VALUES (?, '', ?, 'wait', 'hinted')",
            rows,
        )
    assert not sightings.hint("maker/one-too-many", None, NOW)


def test_a_past_goes_with_a_new_name(sightings: Sightings) -> None:
    sightings.record([DECIDED], NOW)
    sightings.renamed("maker/Model", "maker/Model-2")
    assert not sightings.is_known("maker/Model")
    assert [past.reason for past in sightings.history("maker/Model-2")] == ["rests"]


def test_a_feed_is_read_by_one_that_lives(sightings: Sightings) -> None:
    feed = sightings.take("created", "me", NOW)
    assert feed == Feed(name="created", mark=None, etag=None, looked=None)
    assert sightings.take("created", "you", NOW) is None
    assert sightings.take("created", "me", NOW) is not None
    assert sightings.take("created", "you", NOW, is_dead=lambda name: name == "me") is not None
    assert not sightings.hold("created", "me", NOW)
    sightings.read(replace(feed, mark=NOW, etag="e", looked=NOW), "me")  # it is another's now
    assert sightings.feeds() == [feed]
    sightings.leave("created", "you")
    assert sightings.take("created", "me", NOW) is not None
    assert sightings.hold("created", "me", NOW)
    sightings.read(replace(feed, mark=NOW, etag="e", looked=NOW), "me")
    assert sightings.feeds() == [Feed(name="created", mark=NOW, etag="e", looked=NOW)]
    assert sightings.take("created", "me", NOW) is not None
    assert sightings.take("created", "you", NOW + LEASE) is not None


def test_what_waits_is_counted_and_weights_that_never_come_are_last(sightings: Sightings) -> None:
    waiting = [("a/none", "no_weights_yet", NOW + 1), ("a/rests", "settling", NOW)]
    for repo, outcome, at in waiting:
        sightings.record([replace(DECIDED, repo=repo, outcome=outcome)], at)
    assert [past.repo for past, _look_at in sightings.waiting(9)] == ["a/rests", "a/none"]
    assert sightings.counts() == {"no_weights_yet": 1, "settling": 1}
