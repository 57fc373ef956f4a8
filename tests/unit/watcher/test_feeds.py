"""Listings of a simulated Hub: read to a mark, one watcher at a time, nothing missed or twice."""

from __future__ import annotations

import pytest

from bot.errors import UnreachableError
from bot.records.releases import Decision
from tests.simulation.population import DAY, HOUR
from tests.unit.watcher.world import MINUTES, World


def test_a_look_asks_for_pages_and_for_candidates_and_for_nothing_twice(world: World) -> None:
    for _ in range(25):
        world.model(moe=False)
    moe = world.model()
    watcher = world.watcher()
    [looked] = watcher.created()
    assert (looked.pages, looked.decided) == (4, 26)  # pages of ten repeat three rows
    assert world.asked() == 4 + 2
    assert world.queued() == [moe.name]
    world.clock.time += 10 * MINUTES
    [again] = watcher.created()
    assert again.decided == 0
    late = world.model()
    world.clock.time += 10 * MINUTES
    world.asked()
    [third] = watcher.created()
    assert third.decided == 1
    assert world.queued() == sorted((moe.name, late.name))


def test_a_listing_that_did_not_change_is_not_sent_again(world: World) -> None:
    world.model()
    watcher = world.watcher()
    watcher.created()
    world.clock.time += 10 * MINUTES
    [looked] = watcher.created()
    assert (looked.pages, looked.rows) == (1, 0)


def test_reading_ends_at_the_mark_less_the_overlap(world: World) -> None:
    watcher = world.watcher(overlap_minutes=30)
    for _ in range(40):
        world.clock.time += 10 * MINUTES
        world.model(moe=False)
    watcher.created()
    world.clock.time += 10 * MINUTES
    world.model(moe=False)
    [looked] = watcher.created()
    assert looked.pages == 1
    assert looked.since is not None
    assert looked.since < world.clock.time - 40 * MINUTES


def test_an_outage_is_made_up_for_and_said(world: World) -> None:
    watcher = world.watcher()
    world.model(moe=False)
    watcher.created()
    expected = []
    for _ in range(30):
        world.clock.time += HOUR
        expected.append(world.model().name)
    watcher.created()
    assert world.queued() == sorted(expected)
    [said] = world.said
    assert said.startswith("away for 1 d 6 h: read created again since ")
    assert "30 new" in said
    assert world.queue.events(1)[0].text == said


def test_a_time_from_the_future_hides_nothing(world: World) -> None:
    watcher = world.watcher(overlap_minutes=5)
    strange = world.model(moe=False)
    world.population.by_created[:] = [(world.clock.time + 400 * DAY, strange.row)]
    strange.created = world.clock.time + 400 * DAY
    watcher.created()
    world.clock.time += HOUR
    for _ in range(20):
        world.model(moe=False)
    moe = world.model()
    for _ in range(20):
        world.model(moe=False)
    watcher.created()
    assert world.queued() == [moe.name]


def test_a_model_made_public_later_is_found_by_the_sweep(world: World) -> None:
    watcher = world.watcher()
    world.model(moe=False)
    watcher.created()
    world.clock.time += 10 * DAY
    for _ in range(15):
        world.model(moe=False)
    watcher.created()
    hidden = world.model(ago=5 * DAY)
    watcher.created()
    assert world.queued() == []
    watcher.sweep()
    assert world.queued() == [hidden.name]


def test_two_watchers_do_not_read_a_listing_side_by_side(world: World) -> None:
    world.model()
    one, other = world.watcher("one"), world.watcher("other")
    assert world.sightings.take("created", "one", world.clock.time) is not None
    assert other.created() == []
    assert len(one.created()) == 1
    assert len(other.created()) == 1


def test_a_dead_watcher_is_replaced(world: World) -> None:
    world.model()
    world.sightings.take("created", "dead", world.clock.time)
    world.clock.time += HOUR
    assert len(world.watcher().created()) == 1


def test_a_watcher_stopped_in_the_middle_of_a_look_misses_nothing(world: World) -> None:
    models = [world.model() for _ in range(12)]
    left = 5

    def die(_decision: Decision) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.watcher(on_decision=die).created()
    assert len(world.queued()) == 4
    world.asked()
    world.watcher("next").created()
    assert world.queued() == sorted(model.name for model in models)
    assert world.asked() == 2 + 2 * 8


def test_a_hub_that_is_away_is_an_error_and_loses_nothing(world: World) -> None:
    watcher = world.watcher()
    model = world.model()
    world.hub.trouble = 1.0
    with pytest.raises(UnreachableError):
        watcher.created()
    world.hub.trouble = 0.0
    world.clock.time += HOUR
    watcher.created()
    assert world.queued() == [model.name]


def test_changes_of_followed_owners_are_read(world: World) -> None:
    model = world.model(weights=False)
    owner = model.name.partition("/")[0]
    watcher = world.watcher(follow=[owner])
    watcher.created()
    world.push(model, weights=True)
    world.clock.time += MINUTES
    [looked] = watcher.modified()
    assert looked.feed == f"modified:{owner}"
    assert world.queued() == [model.name]


def test_a_listing_that_cannot_be_read_does_not_keep_others_from_being_read(world: World) -> None:
    model = world.model()
    owner = model.name.partition("/")[0]
    watcher = world.watcher(owners=["nobody", owner])
    world.hub.odd = lambda path: 500 if "nobody" in path else None
    with pytest.raises(UnreachableError):
        watcher.created()
    assert world.queued() == [model.name]
