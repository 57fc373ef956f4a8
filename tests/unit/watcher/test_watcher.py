"""The watcher against a simulated Hub over real HTTP, on a clock that goes by hand."""

from __future__ import annotations

import pytest

from bot.detect.listed import Machine
from bot.records.releases import Release
from tests.simulation.population import DAY, HOUR, START
from tests.unit.watcher.world import MINUTES, World


def test_originals_of_a_look_are_decided_before_their_copies(world: World) -> None:
    seen: list[str] = []
    watcher = world.watcher(on_decision=lambda decision: seen.append(decision.release.repo_id))
    copy, original = world.model(ago=HOUR), world.model(ago=2 * HOUR)
    watcher.created()
    assert seen == [original.name, copy.name]


def test_weights_that_come_late_are_seen_with_fewer_and_fewer_looks(world: World) -> None:
    watcher = world.watcher()
    model = world.model(weights=False)
    watcher.created()
    assert world.last(model) == ("wait", "no_weights_yet")
    world.asked()
    for _ in range(3 * 24 * 6):
        world.clock.time += 10 * MINUTES
        watcher.again()
    assert world.asked() < 40
    world.push(model, weights=True)
    for _ in range(24):
        world.clock.time += HOUR
        watcher.again()
    assert world.queued() == [model.name]


def test_waiting_ends(world: World) -> None:
    watcher = world.watcher(policy={"wait_days": 5})
    model = world.model(weights=False)
    watcher.created()
    for _ in range(8):
        world.clock.time += DAY
        watcher.again()
    assert world.last(model) == ("skip", "no_weights_yet")
    assert "gave up after 5 days: no weights yet" in world.sightings.history(model.name)[-1].reason
    world.asked()
    world.clock.time += 9 * DAY
    assert watcher.again() == 0


def test_a_renamed_model_is_the_same(world: World) -> None:
    watcher = world.watcher()
    model, late = world.model(), world.model(weights=False)
    watcher.created()
    for one in (model, late):
        world.population._rename(one)
    world.clock.time += HOUR
    watcher.created()
    assert world.last(model) == ("skip", "done_before")
    assert len(world.queue.tasks(("queued",))) == 1
    world.push(late, weights=True)
    world.clock.time += DAY
    watcher.again()
    assert len(world.queue.tasks(("queued",))) == 2


def test_a_task_knows_how_large_its_weights_are(world: World) -> None:
    world.model()
    watcher = world.watcher()
    watcher.created()
    [task] = world.queue.tasks(("queued",))
    [past] = world.sightings.history(task.repo)
    assert task.bytes == world.sightings.facts(past.id)["weights"]["bytes"] > 0


def test_what_takes_too_long_on_the_named_machine_is_not_built(world: World) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def hours(release: Release, tiers: tuple[str, ...]) -> float:
        asked.append((release.repo_id, tiers))
        return 30.0 if release.repo_id == long.name else 3.0

    policy = {"max_hours": 24, "runner": "box", "tiers": ["I-Mini"]}
    watcher = world.watcher(policy=policy, hours=hours)
    short, long, dense = world.model(), world.model(), world.model(moe=False)
    watcher.created()
    assert world.queued() == [short.name]
    assert world.last(long) == ("skip", "not_wanted")
    [past] = world.sightings.history(long.name)
    assert past.reason == "would take 30 hours, policy.max_hours is 24"
    assert sorted(asked) == sorted([(short.name, ("I-Mini",)), (long.name, ("I-Mini",))])
    assert world.last(dense)[0] == "skip", "and nobody asked how long it would take"


def test_new_weights_are_built_and_a_new_card_is_not(world: World) -> None:
    watcher = world.watcher()
    model = world.model()
    watcher.created()
    task = world.queue.claim(world.clock.time, at_once=1, per_hour=1)
    assert task is not None
    world.queue.started(task, None, world.clock.time)
    world.queue.published(world.queue.running()[0], None, world.clock.time)
    world.clock.time += DAY
    world.push(model, weights=False)
    watcher.again()
    assert world.last(model) == ("skip", "done_before")
    assert world.queued() == []
    world.clock.time += DAY
    world.push(model, weights=True)
    watcher.again()
    assert world.last(model) == ("build", "eligible")
    assert world.queued() == [model.name]


@pytest.mark.parametrize(
    ("github", "decision"),
    [({}, ("build", "eligible")), ({"repo": "me/builds"}, ("skip", "done_before"))],
)
def test_a_new_template_is_refreshed_where_builds_are_made_here(
    world: World, github: dict[str, str], decision: tuple[str, str]
) -> None:
    watcher = world.watcher(github=github)
    model = world.model()
    watcher.created()
    task = world.queue.claim(world.clock.time, at_once=1, per_hour=1)
    assert task is not None
    world.queue.started(task, None, world.clock.time)
    world.clock.time += DAY
    model.templates += 1  # while it is built: seen when that is over
    world.push(model, weights=False)
    watcher.again()
    while_built = ("wait", "settling") if not github else ("skip", "done_before")
    assert world.last(model) == while_built
    world.queue.published(world.queue.running()[0], None, world.clock.time)
    world.clock.time += DAY
    watcher.again()
    assert world.last(model) == decision
    assert world.queued() == ([] if github else [model.name])


@pytest.mark.parametrize(("rebuild", "card", "weights"), [("any", 1, 1), ("never", 0, 0)])
def test_rebuilding_is_a_matter_of_policy(
    world: World, rebuild: str, card: int, weights: int
) -> None:
    watcher = world.watcher(policy={"rebuild": rebuild})
    model = world.model()
    watcher.created()
    for new_weights, expected in ((False, card), (True, weights)):
        for task in world.queue.tasks(("queued",)):
            claimed = world.queue.claim(world.clock.time, at_once=9, per_hour=99)
            assert claimed is not None
            assert claimed.id == task.id
            world.queue.started(claimed, None, world.clock.time)
            world.queue.published(world.queue.running()[0], None, world.clock.time)
        world.clock.time += 2 * DAY
        world.push(model, weights=new_weights)
        watcher.again()
        assert len(world.queue.tasks(("queued",))) == expected


def test_weights_rest_before_they_are_built(world: World) -> None:
    watcher = world.watcher(policy={"settle_hours": 3})
    model = world.model()
    watcher.created()
    past = world.sightings.history(model.name)[-1]
    assert (past.kind, past.outcome, past.until) == ("wait", "settling", START + 3 * HOUR)
    world.clock.time += 2 * HOUR
    world.push(model, weights=False)  # a card does not begin the rest anew
    watcher.again()
    world.clock.time += HOUR
    watcher.again()
    assert world.queued() == [model.name]


def test_a_new_policy_is_asked_about_what_the_old_one_refused(world: World) -> None:
    model = world.model()
    world.watcher().changed()
    strict = world.watcher(policy={"approval": True, "licenses": ["mit"]})
    strict.changed()
    strict.created()
    assert world.last(model) == ("skip", "not_wanted")
    asking = world.watcher(policy={"approval": True})
    assert asking.changed() == 1
    asking.again()
    assert world.last(model) == ("ask", "awaiting_approval")
    assert world.queued() == []
    free = world.watcher()
    free.changed()
    free.again()
    assert world.queued() == [model.name]
    assert free.changed() == 0


def test_a_new_converter_is_asked_about_what_the_old_one_could_not(world: World) -> None:
    model = world.model()
    world.machine = Machine(supported=frozenset({"LlamaForCausalLM"}))
    watcher = world.watcher()
    watcher.changed()
    watcher.created()
    assert world.last(model) == ("wait", "unsupported_converter")
    world.clock.time += 60 * DAY
    assert watcher.again() == 0
    world.machine = Machine(supported=frozenset({"LlamaForCausalLM", "MixtralForCausalLM"}))
    assert watcher.changed() == 1
    watcher.again()
    assert world.queued() == [model.name]


def test_a_model_with_few_likes_is_built_once_it_has_them(world: World) -> None:
    model = world.model()
    watcher = world.watcher(policy={"likes": 7})
    watcher.created()
    assert world.last(model) == ("wait", "unpopular")
    assert world.asked() == 1  # the row of the listing was enough
    model.row += 7  # which is what its likes are made of
    world.clock.time += HOUR
    watcher.again()
    assert world.queued() == [model.name]


def test_a_deleted_model_is_gone_and_may_come_back(world: World) -> None:
    watcher = world.watcher()
    model = world.model(weights=False)
    watcher.created()
    model.deleted = world.clock.time
    world.clock.time += HOUR
    watcher.again()
    assert world.last(model) == ("wait", "gone")
    for _ in range(32):
        world.clock.time += DAY
        watcher.again()
    assert world.last(model) == ("skip", "gone")
    model.deleted = None
    world.push(model, weights=True)
    world.model(moe=False)
    watcher.created()
    assert world.queued() == [model.name]


def test_a_hint_is_looked_at_and_one_that_lies_costs_one_look(world: World) -> None:
    watcher = world.watcher()
    model = world.model(ago=90 * DAY)
    now = world.clock.time
    assert world.sightings.hint(model.name, model.commit, now)
    assert not world.sightings.hint(model.name, model.commit, now)
    assert world.sightings.hint("nobody/Nothing", None, now)
    watcher.again()
    assert world.asked() == 3 + 2  # what is not there is asked for twice
    assert world.sightings.counts() == {}
    assert world.queued() == [model.name]
    assert not world.sightings.hint(model.name, model.commit, now)
    assert watcher.again() == 0


def test_an_ignored_model_stays_so_until_somebody_asks_again(world: World) -> None:
    watcher = world.watcher()
    model = world.model()
    world.queue.ignore(model.name, "because I say so", world.clock.time)
    watcher.created()
    assert world.last(model) == ("skip", "ignored")
    assert world.queue.retry(model.name, world.clock.time) is None
    watcher.again()
    assert world.queued() == [model.name]


def test_one_repository_in_trouble_stops_no_other(world: World) -> None:
    watcher = world.watcher()
    broken, fine = world.model(weights=False), world.model(weights=False)
    watcher.created()
    world.push(fine, weights=True)
    world.population.names[broken.name] = None  # type: ignore[assignment]  # so it answers 404
    world.clock.time += DAY
    watcher.again()
    assert world.queued() == [fine.name]


@pytest.mark.road
def test_the_budget_is_never_exceeded(world: World) -> None:
    for _ in range(60):
        world.model()
    watcher = world.watcher(budget={"api": 20, "resolvers": 15}, limit=100)
    watcher.created()
    assert len(world.queued()) == 60
    for bucket, most in (("api", 20), ("resolvers", 15)):
        assert max(n for (b, _), n in world.hub.windows.items() if b == bucket) <= most


def test_decisions_are_made_again_from_what_was_kept(world: World) -> None:
    from bot.detect.listed import unpacked
    from bot.store.queue_tables import Memory
    from bot.watcher.rules import Weighed, memory_of

    models = [world.model(), world.model(moe=False), world.model(weights=False)]
    watcher = world.watcher()
    watcher.created()
    for model in models:
        [past] = world.sightings.history(model.name)
        facts = world.sightings.facts(past.id)
        found = Weighed(**facts["weights"]) if "weights" in facts else None
        memory = memory_of(facts["memory"]) if "memory" in facts else Memory()
        again = watcher.judge(unpacked(facts), memory, found, world.clock.time)
        assert (type(again).__name__.lower(), again.outcome, again.reason) == (
            past.kind, past.outcome, past.reason,
        )  # fmt: skip


def failed(world: World, *, final: bool = True) -> None:
    """The queue's task is begun, and fails."""
    task = world.queue.claim(world.clock.time, at_once=1, per_hour=9)
    assert task is not None
    world.queue.started(task, None, world.clock.time)
    [task] = world.queue.running()
    world.queue.failed(task, "no", None, world.clock.time, attempts=1, final=final)


def test_what_failed_while_its_source_was_hidden_is_built_when_that_is_back(world: World) -> None:
    watcher = world.watcher()
    model = world.model()
    watcher.created()
    failed(world)
    model.deleted = world.clock.time
    world.clock.time += DAY
    watcher.again()
    assert world.last(model) == ("wait", "gone")
    assert world.queued() == []
    model.deleted = None
    world.clock.time += DAY
    watcher.again()
    assert world.last(model) == ("build", "eligible")
    [task] = world.queue.tasks(("queued",))
    assert (task.repo, task.attempts, task.error) == (model.name, 0, None)


def test_what_failed_stays_so_until_something_changes_and_is_then_tried_again(
    world: World,
) -> None:
    watcher = world.watcher()
    model = world.model()
    watcher.changed()
    watcher.created()
    failed(world)
    for _ in range(5):
        world.clock.time += DAY
        watcher.changed()
        watcher.created()
        watcher.sweep()
        watcher.again()
    assert world.queued() == []
    world.machine = Machine(tools="a newer llama.cpp")
    assert watcher.changed() == 1
    watcher.again()
    assert world.queued() == [model.name]


def test_one_answer_that_a_release_is_not_there_loses_nothing(world: World) -> None:
    watcher = world.watcher()
    model = world.model()
    world.hub.odd = lambda path: 404 if "/api/models/" in path else None  # and listed all the same
    watcher.created()
    assert world.last(model) == ("wait", "gone")
    world.hub.odd = lambda _path: None
    world.clock.time += HOUR
    watcher.created()
    watcher.again()
    assert world.queued() == [model.name]
