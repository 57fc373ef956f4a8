"""What the policy and the past say of a release: pure, facts in, a decision out.

Asked in the order of their cost: `refused_by_rules` needs a row of a listing only,
`wanted_by_policy` everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bot import licences
from bot.clients.hub.replies import Listed
from bot.clock import moment
from bot.detect.listed import ListedFacts, Machine, conclude, ruled_out
from bot.records.coding import digest
from bot.records.releases import Ask, Build, Decision, Outcome, Release, RepoFile, Skip, Wait
from bot.refresh.sources import differing_texts, texts_of
from bot.settings.policies import Policy, PolicyTerms, matches
from bot.settings.settings import Settings
from bot.settings.showing import GateSettings
from bot.store.queue_tables import OPEN, Memory, QueuedRelease, is_original
from bot.tensors import weights

LICENSE = "license:"
HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """The weight files of a release: what they are, how large, since when; and what is beside."""

    digest: str
    bytes: int
    since: float
    texts: Mapping[str, str] = field(default_factory=dict)  # hashes of metadata, by path
    hours: float | None = None  # that a build is thought to take, where the policy asks for it


def weighed(release: Release, since: float) -> Weighed:
    """The files that a build would start from."""
    files = weights.gguf(release) or weights.checkpoint(release).files
    return Weighed(
        digest=digest(sorted(_content(file) for file in files)),
        bytes=weights.total(files),
        since=since,
        texts=texts_of(release),
    )


def _content(file: RepoFile) -> str:
    return f"{file.sha256 or file.blob_id or file.path}:{file.size}"


def judged(
    facts: ListedFacts,
    memory: Memory,
    weight_files: Weighed | None,
    settings: Settings,
    machine: Callable[[], Machine],
    now: float,
) -> Decision:
    """The decision that facts, memory and settings lead to; asks no Hub."""
    owners, policy = settings.watch.owners, settings.policy
    early = ruled_out(facts, owners) or refused_by_rules(
        facts.known_release, facts.listed, policy, memory.ignored
    )
    if early:
        return early
    decision = conclude(facts, owners, machine())
    if isinstance(decision, Build) and weight_files is not None:
        return wanted_by_policy(decision, policy, memory, weight_files, now, settings.gate)
    return decision


def refused_by_rules(
    release: Release, listed: Listed, policy: Policy, ignored: str | None
) -> Skip | Wait | None:
    """What is settled before the release is looked at; None where nothing is."""
    if ignored is not None:
        return Skip(release=release, reason=f"ignored: {ignored}", outcome="ignored")
    terms = policy.terms(release.repo_id)
    unwanted = _unwanted(release, policy, terms)
    if unwanted:
        return Skip(release=release, reason=unwanted, outcome="not_wanted")
    missing = [
        f"{getattr(listed, name)} of {minimum} {name}"
        for name in ("likes", "downloads", "trending")
        if getattr(listed, name) < (minimum := getattr(terms, name))
    ]
    if missing:
        reason = f"has {', '.join(missing)} yet"
        return Wait(release=release, reason=reason, outcome="unpopular")
    return None


def _unwanted(release: Release, policy: Policy, terms: PolicyTerms) -> str | None:
    if matches(policy.deny, release.repo_id):
        return "policy.deny names it"
    if policy.allow and not matches(policy.allow, release.repo_id):
        return "policy.allow does not name it"
    if not terms.build:
        return "a rule of the policy says build: false"
    relations = {tag.split(":")[1] for tag in release.tags if tag.startswith("base_model:")}
    for relation, allowed in (("finetune", terms.finetunes), ("merge", terms.merges)):
        if relation in relations and not allowed:
            return f"a {relation}, and policy.{relation}s is false"
    named = {tag.removeprefix(LICENSE) for tag in release.tags if tag.startswith(LICENSE)}
    named.update(licences.licences_of(release))
    if terms.licenses and not (named and named <= {*terms.licenses}):
        licence_names = " and ".join(sorted(named)) or "no licence"
        return f"policy.licenses does not hold {licence_names}"
    return None


def wanted_by_policy(
    build: Build,
    policy: Policy,
    memory: Memory,
    weight_files: Weighed,
    now: float,
    gate: GateSettings = GateSettings(),  # noqa: B008 - frozen
) -> Decision:
    """What becomes of a release that could be built; what `gate` always refuses is none."""
    terms = policy.terms(build.release.repo_id)

    def skip(reason: str, outcome: Outcome) -> Skip:
        return Skip(release=build.release, reason=reason, outcome=outcome)

    good, text = licences.permitted(build.release, gate)
    if not good:
        reason = f"nothing made of it may be published: {text}"
        if licences.licences_of(build.release):
            return skip(reason, "not_wanted")
        return Wait(release=build.release, reason=reason, outcome="not_wanted")  # a card may come
    past = _past(build.release, memory, terms, weight_files)
    if past:
        return skip(past, "done_before")
    refreshed = _with_texts(build, memory, weight_files, now)
    if isinstance(refreshed, Wait):
        return refreshed
    build = refreshed
    size = weight_files.bytes / 1e9
    if size < terms.min_gb:
        return skip(f"{size:.3g} GB, policy.min_gb is {terms.min_gb:g}", "not_wanted")
    if terms.max_gb is not None and size > terms.max_gb:
        return skip(f"{size:.3g} GB, policy.max_gb is {terms.max_gb:g}", "not_wanted")
    hours = weight_files.hours
    if terms.max_hours is not None and hours is not None and hours > terms.max_hours:
        reason = f"would take {hours:.3g} hours, policy.max_hours is {terms.max_hours:g}"
        return skip(reason, "not_wanted")
    until = weight_files.since + terms.settle_hours * 3600
    approved = memory.own is not None and memory.own.commit == build.release.commit
    if until > now and not approved:
        reason = f"{build.reason}; its weights shall rest until {moment(until)}"
        return Wait(release=build.release, reason=reason, outcome="settling", until=until)
    if terms.approval and not (approved and memory.own and memory.own.state != "asked"):
        return Ask(release=build.release, reason=f"{build.reason}; `bot approve` builds it")
    return build


def _past(
    release: Release, memory: Memory, terms: PolicyTerms, weight_files: Weighed
) -> str | None:
    """Why the past makes a build needless, or None."""
    same, own = memory.same, memory.own
    if same is not None and not is_original(release.created_at, same, memory.same_created):
        what = "commit" if same.commit == release.commit else "weights"
        return f"the same {what} as {same.repo}, which is {same.state}"
    if own is None or own.commit == release.commit:
        return None
    rebuild, done = frozenset(terms.rebuild), own.state == "published"
    if own.weights == weight_files.digest and (own.state in OPEN or done):
        refreshed = "metadata" in rebuild and _new_texts(memory, weight_files, release)
        if not refreshed and not (done and "any" in rebuild):
            return f"its weights are those of {own.commit[:8]}, which is {own.state}"
    elif done and not rebuild & {"weights", "any"}:
        words = " and ".join(terms.rebuild)
        return f"published at {own.commit[:8]}, and policy.rebuild is {words}"
    return None


def _with_texts(build: Build, memory: Memory, weight_files: Weighed, now: float) -> Build | Wait:
    """The build with what changed beside the weights as its reason; later, where they are built."""
    own, texts = memory.own, _new_texts(memory, weight_files, build.release)
    if own is None or not texts:
        return build
    reason = f"{texts} changed, its weights are those of {own.commit[:8]}"
    if own.state in OPEN:
        reason = f"{reason}, which is {own.state}"
        return Wait(release=build.release, reason=reason, outcome="settling", until=now + HOUR)
    return replace(build, reason=f"{build.reason}; {reason}")


def _new_texts(memory: Memory, weight_files: Weighed, release: Release) -> str:
    """What changed beside the weights since the latest task; empty where that is not known."""
    own = memory.own
    known = own is not None and own.texts is not None and weight_files.texts
    if own is None or not known or own.commit == release.commit:
        return ""
    same = own.weights == weight_files.digest and (own.state in OPEN or own.state == "published")
    return ", ".join(differing_texts(own.texts or {}, weight_files.texts)) if same else ""


def recalled(memory: Memory) -> dict[str, Any]:
    """A memory as JSON values."""
    tasks = {"same": memory.same, "own": memory.own}
    plain = {"ignored": memory.ignored, "same_created": memory.same_created}
    return plain | {
        name: {**vars(task), "tiers": list(task.tiers)} if task else None
        for name, task in tasks.items()
    }


def memory_of(data: Mapping[str, Any]) -> Memory:
    """The memory that `recalled` took apart."""

    def task(name: str) -> QueuedRelease | None:
        fields = data[name]
        return QueuedRelease(**{**fields, "tiers": tuple(fields["tiers"])}) if fields else None

    return Memory(
        ignored=data["ignored"],
        same=task("same"),
        same_created=data.get("same_created"),
        own=task("own"),
    )
