"""Every rule of the policy, each with the reason that a user reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bot.clients.hub.replies import Listed, listed_of
from bot.errors import SettingsError
from bot.records.releases import Ask, Build, Release, RepoFile, Skip, Wait
from bot.settings.policies import Policy
from bot.settings.settings import load
from bot.settings.showing import GateSettings
from bot.store.queue_tables import Memory, QueuedRelease
from bot.watcher.rules import (
    Weighed,
    memory_of,
    recalled,
    refused_by_rules,
    wanted_by_policy,
    weighed,
)

NOW = 1_790_000_000.0
MADE = "2026-09-01T00:00:00Z"
FOUND = Weighed(digest="w", bytes=60_000_000_000, since=NOW - 3600)


def release(**changes: Any) -> Release:
    made = Release(repo_id="maker/Model", commit="c" * 40, license="mit", created_at=MADE)
    return replace(made, **changes)


def row(**changes: Any) -> Listed:
    found = listed_of({"id": "maker/Model", "likes": 3, "downloads": 50, "trendingScore": 1.5})
    assert found is not None
    return replace(found, **changes)


def task(**changes: Any) -> QueuedRelease:
    made = QueuedRelease(
        id="1", repo="maker/Model", commit="d" * 40, weights="w", tiers=("I-Mini",), reason="r",
        state="published", attempts=1, due=NOW, error=None, link=None, created=NOW, changed=NOW,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("policy", "tags", "reason"),
    [
        ({"deny": ["maker/M*"]}, (), "policy.deny names it"),
        ({"allow": ["Qwen", "other/*"]}, (), "policy.allow does not name it"),
        ({"rules": [{"match": ["maker"], "build": False}]}, (), "a rule of the policy says build"),
        ({"finetunes": False}, ("base_model:finetune:a/b",), "a finetune, and policy.finetunes is"),
        ({"merges": False}, ("base_model:merge:a/b",), "a merge, and policy.merges is false"),
        ({"licenses": ["gpl"]}, ("license:other",), "policy.licenses does not hold mit and other"),
        ({"licenses": ["apache-2.0"]}, (), "policy.licenses does not hold mit"),
        ({"licenses": ["mit"]}, ("license:cc-by-4.0",), "policy.licenses does not hold cc-by"),
    ],
)
def test_what_is_not_wanted(policy: dict[str, Any], tags: tuple[str, ...], reason: str) -> None:
    found = refused_by_rules(release(tags=tags), row(), Policy.model_validate(policy), None)
    assert isinstance(found, Skip)
    assert found.outcome == "not_wanted"
    assert found.reason.startswith(reason)


@pytest.mark.parametrize(
    ("policy", "tags"),
    [
        ({"allow": ["MAKER"], "deny": ["maker/Other"]}, ()),
        ({"finetunes": False, "merges": False}, ("base_model:a/b", "license:mit")),
        ({"licenses": ["mit", "apache-2.0"]}, ("license:mit",)),
        ({"likes": 3, "downloads": 50, "trending": 1}, ()),
        ({"build": False, "rules": [{"match": ["maker"], "build": True}]}, ()),
    ],
)
def test_what_is_wanted(policy: dict[str, Any], tags: tuple[str, ...]) -> None:
    assert refused_by_rules(release(tags=tags), row(), Policy.model_validate(policy), None) is None


def test_likes_are_waited_for() -> None:
    found = refused_by_rules(release(), row(), Policy(likes=10, downloads=7), None)
    assert found == Wait(release=release(), reason="has 3 of 10 likes yet", outcome="unpopular")


def test_what_people_ignore_goes_before_all() -> None:
    found = refused_by_rules(release(), row(), Policy(), "I said so")
    assert found == Skip(release=release(), reason="ignored: I said so", outcome="ignored")


BUILD = Build(release=release(), reason="8 experts")


def decide(memory: Memory = Memory(), found: Weighed = FOUND, **policy: Any) -> Any:  # noqa: B008
    return wanted_by_policy(BUILD, Policy.model_validate(policy), memory, found, NOW)


def test_without_a_policy_or_a_past_it_is_built() -> None:
    assert decide() is BUILD


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"min_gb": 61}, "60 GB, policy.min_gb is 61"),
        ({"max_gb": 59.5}, "60 GB, policy.max_gb is 59.5"),
    ],
)
def test_sizes(policy: dict[str, Any], reason: str) -> None:
    found = decide(**policy)
    assert (type(found), found.outcome, found.reason) == (Skip, "not_wanted", reason)


def test_hours_count_where_the_policy_bounds_them() -> None:
    found = decide(found=replace(FOUND, hours=50.0), max_hours=48, runner="box")
    assert isinstance(found, Skip)
    assert found.reason == "would take 50 hours, policy.max_hours is 48"
    assert decide(found=replace(FOUND, hours=47.9), max_hours=48, runner="box") is BUILD
    assert decide(found=replace(FOUND, hours=50.0)) is BUILD
    assert decide(max_hours=48, runner="box") is BUILD, "nobody knows"
    with pytest.raises(SettingsError, match=r"max_hours needs policy\.runner"):
        load(None, policy={"max_hours": 3, "runner": "box"})
    load(None, policy={"rules": [{"match": ["a/*"], "max_hours": 3}], "runner": "box"},
         runners={"box": {}})  # fmt: skip


def test_weights_rest_from_when_they_were_pushed() -> None:
    found = decide(settle_hours=2)
    assert (type(found), found.outcome, found.until) == (Wait, "settling", NOW + 3600)
    assert decide(settle_hours=1) is BUILD


def test_approval_is_asked_for_once() -> None:
    asked = task(commit="c" * 40, state="asked")
    assert isinstance(decide(approval=True), Ask)
    assert isinstance(decide(Memory(own=asked), approval=True), Ask)
    assert decide(Memory(own=replace(asked, state="queued")), approval=True) is BUILD


@pytest.mark.parametrize(
    ("state", "made", "built"),
    [
        ("queued", "2026-09-02T00:00:00Z", True),  # the other is a copy of this one
        ("asked", "2026-09-02T00:00:00Z", True),
        ("running", "2026-09-02T00:00:00Z", False),
        ("published", "2026-09-02T00:00:00Z", False),
        ("queued", "2026-08-31T00:00:00Z", False),
        ("queued", None, False),
    ],
)
def test_an_original_goes_before_a_copy_that_was_not_started(
    state: str, made: str | None, built: bool
) -> None:
    memory = Memory(same=task(repo="a/B", state=state), same_created=made)
    assert (decide(memory) is BUILD) == built


@pytest.mark.parametrize(
    ("licences", "gate", "reason"),
    [
        (("mit", "cc-by-nc-nd-4.0"), {}, "the licence cc-by-nc-nd-4.0 forbids"),
        ((), {}, "names no licence"),
        ((), {"unlicensed": "publish"}, None),
        (("mit",), {"licences": ("apache-2.0",)}, "gate.licences does not hold mit"),
    ],
)
def test_what_the_gate_always_refuses_is_never_built(
    licences: tuple[str, ...], gate: dict[str, Any], reason: str | None
) -> None:
    build = replace(BUILD, release=release(license=next(iter(licences), None), licenses=licences))
    found = wanted_by_policy(
        build, Policy(), Memory(), FOUND, NOW, GateSettings.model_validate(gate)
    )
    if reason is None:
        assert found is build
    else:
        kind = Skip if licences else Wait  # its card may come later
        assert (type(found), found.outcome) == (kind, "not_wanted")
        assert reason in found.reason


@pytest.mark.parametrize(
    ("memory", "policy", "reason"),
    [
        (
            Memory(same=task(repo="a/B", commit="c" * 40)),
            {"rebuild": "any"},
            "the same commit as a/B, which is published",
        ),
        (Memory(same=task(repo="a/B", state="queued")), {}, "the same weights as a/B, which is q"),
        (Memory(own=task()), {}, "its weights are those of dddddddd, which is published"),
        (Memory(own=task(state="running")), {"rebuild": "any"}, "its weights are those of dddd"),
        (Memory(own=task(weights="v")), {"rebuild": "never"}, "published at dddddddd, and pol"),
    ],
)
def test_what_was_done_before(memory: Memory, policy: dict[str, Any], reason: str) -> None:
    found = decide(memory, **policy)
    assert isinstance(found, Skip)
    assert found.outcome == "done_before"
    assert found.reason.startswith(reason)


@pytest.mark.parametrize(
    ("memory", "policy"),
    [
        (Memory(own=task(weights="v")), {}),
        (Memory(own=task()), {"rebuild": "any"}),
        (Memory(own=task(state="failed")), {}),  # its maker may have mended it
        (Memory(own=task(state="running", weights="v")), {}),
    ],
)
def test_what_is_built_again(memory: Memory, policy: dict[str, Any]) -> None:
    assert decide(memory, **policy) is BUILD


OLD = {"chat_template.jinja": "a", "config.json": "c", "README.md": "d"}
NEW = {**OLD, "chat_template.jinja": "b", "generation_config.json": "e"}
WORDS = "chat_template.jinja, generation_config.json changed, its weights are those of dddddddd"


@pytest.mark.parametrize(
    ("state", "policy", "kind", "outcome"),
    [
        ("published", {}, Build, "eligible"),
        ("published", {"rebuild": ["metadata"]}, Build, "eligible"),
        ("published", {"rebuild": "weights"}, Skip, "done_before"),
        ("published", {"rebuild": "never"}, Skip, "done_before"),
        ("published", {"rebuild": "any"}, Build, "eligible"),
        ("running", {}, Wait, "settling"),
        ("failed", {}, Build, "eligible"),
        ("published", {"approval": True}, Ask, "awaiting_approval"),
    ],
)
def test_new_metadata_is_a_reason_of_its_own(
    state: str, policy: dict[str, Any], kind: type, outcome: str
) -> None:
    memory = Memory(own=task(state=state, texts=OLD))
    found = decide(memory, replace(FOUND, texts=NEW), **policy)
    assert (type(found), found.outcome) == (kind, outcome)
    named = kind is not Skip and state != "failed" and policy.get("rebuild") != "any"
    assert not named or WORDS in found.reason
    assert memory_of(recalled(memory)) == memory


def test_unchanged_or_unknown_metadata_is_none() -> None:
    for before, now in ((NEW, NEW), (None, NEW), (OLD, {})):  # None: a task of an older bot
        found = decide(Memory(own=task(texts=before)), replace(FOUND, texts=now))
        assert (type(found), found.outcome) == (Skip, "done_before")


def test_new_weights_are_no_business_of_metadata_alone() -> None:
    found = decide(Memory(own=task(weights="v", texts=OLD)), rebuild=["metadata"])
    assert isinstance(found, Skip)
    assert found.reason == "published at dddddddd, and policy.rebuild is metadata"


@pytest.mark.parametrize("words", ["sometimes", [], ["any", "weights"], ["never", "metadata"]])
def test_words_of_rebuild_that_mean_nothing(words: Any) -> None:
    with pytest.raises(ValueError, match="rebuild"):
        Policy.model_validate({"rebuild": words})


def test_of_a_card_only_what_a_header_holds_counts() -> None:
    card = RepoFile(path="README.md", size=9, blob_id="1")
    one = weighed(release(files=(card,)), NOW)
    prose = weighed(release(files=(replace(card, blob_id="2"),)), NOW)
    assert one.texts == prose.texts
    assert weighed(release(files=(card,), license="apache-2.0"), NOW).texts != one.texts
    assert weighed(release(files=(card,), tags=("license:mit", "moe")), NOW).texts != one.texts
    template = RepoFile(path="chat_template.jinja", size=9, blob_id="3")
    assert weighed(release(files=(card, template)), NOW).texts.keys() - one.texts.keys() == {
        "chat_template.jinja"
    }


def test_weights_are_told_apart_by_content_not_by_name() -> None:
    def of(*files: RepoFile) -> Weighed:
        return weighed(release(files=files), NOW)

    a, b = "a" * 64, "b" * 64
    one = of(RepoFile(path="model.safetensors", size=5, sha256=a))
    assert of(RepoFile(path="model-again.safetensors", size=5, sha256=a)) == one
    card = RepoFile(path="README.md", size=9)
    assert of(card, RepoFile(path="model.safetensors", size=5, sha256=a)) == one
    assert of(RepoFile(path="model.safetensors", size=5, sha256=b)).digest != one.digest
    assert one.bytes == 5


def test_a_memory_survives_being_kept() -> None:
    memory = Memory(ignored="x", same=task(repo="a/B"), same_created=MADE, own=None)
    assert memory_of(recalled(memory)) == memory
