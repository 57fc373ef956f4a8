"""The watcher: reads the Hub's listings as far as they are new, decides, and remembers.

A look can be killed at any instant. What was decided is kept release by release, how far a
listing was read only at its end; so the next look reads the rest again and asks nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from bot.clients.hub.hub import Hub
from bot.clients.hub.replies import Listed
from bot.clock import Clock, instant
from bot.detect.listed import (
    ListedFacts,
    Machine,
    Trouble,
    as_listed,
    learn,
    packed,
    ruled_out,
)
from bot.errors import (
    AbsentError,
    AccessError,
    BotError,
    CapacityError,
    SourceError,
    UnreachableError,
)
from bot.foreign import read_of
from bot.plan.profiles import load_profiles
from bot.records.coding import digest
from bot.records.releases import Ask, Build, Decision, Outcome, Release, Skip, Wait
from bot.settings.advisories import load_advisories
from bot.settings.settings import Settings
from bot.store.ledger import Ledger
from bot.store.queue import Queue
from bot.store.queue_tables import Memory
from bot.store.sightings import Decided, Sighting, Sightings
from bot.watcher import rules
from bot.watcher.advised import mark_stale
from bot.watcher.feeds import Feeds, Looked

DAY = 86_400.0
SOONEST, LATEST = 600.0, DAY  # seconds between two looks at a release that waits
AGING = 4.0  # a release that waits is looked at again after this part of its age
DUE_AT_ONCE = 200  # releases looked at again in one turn
CONVERTER, POLICY, BUILDS = "converter", "policy", "way of building"
POLITIC = (*("not_wanted", "unpopular", "settling", "awaiting_approval", "not_watched", "no_gain"),)


class Watcher:
    """One watcher; any number may share a ledger. `on_decision` is told of every decision.

    `holder`, `rested` and `is_dead` are those of `Feeds`.
    """

    def __init__(
        self,
        hub: Hub,
        ledger: Ledger,
        settings: Settings,
        clock: Clock,
        *,
        holder: str,
        rested: float = 0.5,
        is_dead: Callable[[str], bool] = lambda _holder: False,
        machine: Callable[[], Machine] = Machine,
        hours: Callable[[Release, tuple[str, ...]], float | None] = lambda _release, _tiers: None,
        on_decision: Callable[[Decision], None] = lambda _decision: None,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._hub, self._clock, self._settings = hub, clock, settings
        self._watch, self._policy, self._gate = settings.watch, settings.policy, settings.gate
        self._refreshes = settings.github.repo is None  # the jobs of a workflow build anew
        self._builds = [part.model_dump(mode="json") for part in (settings.convert, settings.gate)]
        self._profiles = cache(partial(load_profiles, settings.profiles))
        self._least_saving = settings.quantize.least_saving
        self._machine, self._on_decision, self._say = machine, on_decision, say
        self._hours = hours  # that a build of some tiers takes; it reads headers of the weights
        self.sightings, self.queue = Sightings(ledger), Queue(ledger)
        self._feeds = Feeds(
            hub, self.sightings, self.queue, self._watch, clock, self._take,
            holder=holder, rested=rested, is_dead=is_dead, say=say,
        )  # fmt: skip

    # ── listings ────────────────────────────────────────────────────────────────────────────

    @property
    def busy(self) -> list[str]:
        """Listings that another watcher reads, since the last look."""
        return self._feeds.busy

    def created(self) -> list[Looked]:
        """Read the newest models, of everybody or of watch.owners."""
        return self._feeds.created()

    def sweep(self) -> list[Looked]:
        """Read as `created`, but far back: what was private then may be public now."""
        return self._feeds.sweep()

    def modified(self) -> list[Looked]:
        """Read the latest changes of each owner in watch.follow."""
        return self._feeds.modified()

    def trending(self) -> list[Looked]:
        """Read the first page of what is much looked at, whatever its age."""
        return self._feeds.trending()

    # ── releases ────────────────────────────────────────────────────────────────────────────

    def again(self) -> int:
        """Look again at the releases whose time has come; how many there were."""
        due = self.sightings.due(self._clock.now(), DUE_AT_ONCE)
        before: UnreachableError | None = None
        for sighting in due:
            try:
                self._again(sighting)
            except UnreachableError as error:
                if before is not None:  # two in turn: it is the Hub, and not what a release does
                    raise
                before = error
                self._say(str(error))
            else:
                before = None
        return len(due)

    def changed(self) -> int:
        """Have releases looked at again that a new policy or converter may decide otherwise."""
        supported = self._machine().supported
        now, ledger, again = self._clock.now(), self.sightings.ledger, 0
        for name, value, outcomes in (
            (CONVERTER, digest(sorted(supported or ())), ("unsupported_converter",)),
            (POLICY, self._wishes(), POLITIC),
        ):
            before = ledger.remembered(name)
            if before is not None and before[0] != value:
                count = self.sightings.reconsider(outcomes, now)
                self._say(f"another {name}: {count} releases are looked at again")
                again += count
            if before is None or before[0] != value:
                ledger.remember(name, value, now)
        self._advised(now)
        return again + self._built_otherwise(now)

    def _advised(self, now: float) -> None:
        """Mark published releases of which something is known to be wrong."""
        advisories = load_advisories(self._watch.advisories)
        mark_stale(self._hub, self.sightings.ledger, self._policy, advisories, now, self._say)

    def _built_otherwise(self, now: float) -> int:
        """Have what failed looked at again where builds are made or judged otherwise by now."""
        ledger, before = self.sightings.ledger, self.sightings.ledger.remembered(BUILDS)
        value = digest([self._machine().tools, self._builds])
        if before is not None and before[0] == value:
            return 0
        ledger.remember(BUILDS, value, now)
        count = self.sightings.reconsider_failed(now) if before is not None else 0
        if count:
            self._say(f"builds are made in another way: {count} that failed are looked at again")
        return count

    def _wishes(self) -> str:
        """All that people say of what shall be built."""
        gate = (self._gate.licences, self._gate.unlicensed)
        policy = self._policy.model_dump(mode="json")
        return digest([policy, self._watch.owners, gate, self._least_saving])

    def _again(self, sighting: Sighting) -> None:
        try:
            listed = self._hub.listed(sighting.repo)
        except SourceError as error:
            is_absent = isinstance(error, AbsentError)
            self._hidden(sighting, "gone" if is_absent else "unreadable", str(error))
            return
        except AccessError as error:
            self._hidden(sighting, "gated_no_access", str(error))
            return
        except UnreachableError:  # the next turn begins with another
            self.sightings.look_again(sighting.repo, self._clock.now() + SOONEST)
            raise
        if listed.repo_id != sighting.repo:
            self.sightings.renamed(sighting.repo, listed.repo_id)
            sighting = replace(sighting, repo=listed.repo_id)
        if listed.commit != sighting.commit:
            self._take((listed,), again=True)
        elif sighting.outcome == "no_weights_yet":
            self._still(sighting, listed)
        elif sighting.kind in ("build", "ask") or sighting.outcome == "done_before":
            self.sightings.look_again(sighting.repo, self._clock.now() + DAY)
        else:
            self._take((listed,), again=True)

    def _take(self, rows: Sequence[Listed], *, again: bool = False) -> int:
        """Decide about what is new in a page: what its rows settle at once, the rest one by one."""
        by_repo = self.sightings.known([row.repo_id for row in rows])
        settled: list[Decided] = []
        open_: list[Listed] = []
        for row in rows:
            before = by_repo.get(row.repo_id)
            if not again and before is not None and not _news(before, row):
                continue
            facts = ListedFacts(listed=row)
            decision = self._ruled_out(facts)
            if decision is None:
                open_.append(row)
            else:
                self._on_decision(decision)
                settled.append(self._decided(decision, facts, Memory(), before, None))
        if settled:
            self.sightings.record(settled, self._clock.now())
        for row in sorted(open_, key=_age):  # originals come before copies of them
            self._examine(row, by_repo.get(row.repo_id))
        return len(settled) + len(open_)

    def _ruled_out(self, facts: ListedFacts) -> Skip | None:
        """What the row settles; None, too, where it cannot be read: that is found out again."""
        try:
            with read_of(facts.listed.repo_id):
                return ruled_out(facts, self._watch.owners)
        except SourceError:
            return None

    def _examine(self, row: Listed, before: Sighting | None) -> None:
        """Decide about one release and keep that, whatever the release does."""
        now = self._clock.now()
        try:
            with read_of(row.repo_id):
                decision, decided = self._looked_into(row, before, now)
        except (SourceError, CapacityError) as error:
            decision, decided = self._unreadable(row, before, error, now)
        self._on_decision(decision)
        if isinstance(decision, Build | Ask):
            tiers = self._policy.terms(row.repo_id).tiers
            needs_approval, news = isinstance(decision, Ask), self._news_of(row.repo_id)
            self.queue.propose(decided, tiers, now, needs_approval=needs_approval, news=news)
        else:
            self.sightings.record([decided], now)

    def _unreadable(
        self, row: Listed, before: Sighting | None, error: BotError, now: float
    ) -> tuple[Decision, Decided]:
        """A release that no look comes to an end with; short memory is of the day."""
        kind: type[Skip | Wait] = Skip if isinstance(error, SourceError) else Wait
        unread: Decision = kind(release=as_listed(row), reason=str(error), outcome="unreadable")
        decision = self._patient(_doubted(unread, before), before, row, now)
        trouble = Trouble(
            kind="skip" if kind is Skip else "wait", outcome="unreadable", reason=str(error)
        )
        facts = ListedFacts(listed=row, trouble=trouble)
        return decision, self._decided(decision, facts, Memory(), before, None)

    def _looked_into(
        self, row: Listed, before: Sighting | None, now: float
    ) -> tuple[Decision, Decided]:
        memory = self.queue.memory(row.repo_id, row.commit or "", None)
        early = rules.refused_by_rules(as_listed(row), row, self._policy, memory.ignored)
        facts = (
            ListedFacts(listed=row)
            if early
            else learn(self._hub, row, owners=self._watch.owners, profiles=self._profiles)
        )
        weight_files = None
        if facts.release is not None:
            weight_files = rules.weighed(facts.release, _pushed(facts.release, now))
            if not self._refreshes:
                weight_files = replace(weight_files, texts={})
            if before is not None and before.weights == weight_files.digest and before.weights_at:
                weight_files = replace(weight_files, since=before.weights_at)
            memory = self.queue.memory(row.repo_id, facts.release.commit, weight_files.digest)
        decision = self.judge(facts, memory, weight_files, now)
        terms = self._policy.terms(row.repo_id)
        if terms.max_hours is not None and weight_files and isinstance(decision, Build | Ask):
            hours = self._hours(decision.release, terms.tiers)
            weight_files = replace(weight_files, hours=hours)
            decision = self.judge(facts, memory, weight_files, now)
        decision = self._patient(_doubted(decision, before), before, row, now)
        return decision, self._decided(decision, facts, memory, before, weight_files)

    def judge(
        self, facts: ListedFacts, memory: Memory, weight_files: rules.Weighed | None, now: float
    ) -> Decision:
        """The decision that facts, memory and settings lead to; asks nobody."""
        return rules.judged(facts, memory, weight_files, self._settings, self._machine, now)

    def _patient(
        self, decision: Decision, before: Sighting | None, row: Listed, now: float
    ) -> Decision:
        """An end to waiting for what never comes."""
        if not isinstance(decision, Wait) or decision.outcome in ("unsupported_converter",):
            return decision
        since = before.first_seen if before else now
        newest = max(since, instant(row.last_modified) or 0.0)
        if now - newest < self._policy.wait_days * DAY:
            return decision
        reason = f"gave up after {self._policy.wait_days:g} days: {decision.reason}"
        return Skip(release=decision.release, reason=reason, outcome=decision.outcome)

    # ── remembering ─────────────────────────────────────────────────────────────────────────

    def _decided(
        self,
        decision: Decision,
        facts: ListedFacts,
        memory: Memory,
        before: Sighting | None,
        weight_files: rules.Weighed | None,
    ) -> Decided:
        release = decision.release
        kind = type(decision).__name__.lower()
        past: dict[str, Any] = {}
        if memory != Memory():
            past = {"memory": rules.recalled(memory)}
        if weight_files is not None:
            past["weights"] = dict(vars(weight_files))
        return Decided(
            repo=release.repo_id,
            commit=release.commit,
            kind=kind,
            outcome=decision.outcome,
            reason=decision.reason,
            until=decision.until if isinstance(decision, Wait) else None,
            look_at=self._look_at(decision, before),
            weights=weight_files.digest if weight_files else None,
            weights_at=weight_files.since if weight_files else None,
            texts=weight_files.texts if weight_files else {},
            bytes=weight_files.bytes if weight_files else None,
            facts=packed(facts) | past,
        )

    def _look_at(self, decision: Decision, before: Sighting | None) -> float | None:
        """When to look again without a new commit in a listing; None: not before that."""
        now = self._clock.now()
        match decision:
            case Wait(outcome="unsupported_converter"):
                return None  # until the converter is another
            case Wait(until=until) if until is not None:
                return until
            case Wait():
                created = instant(decision.release.created_at) or now
                age = now - (before.first_seen if before else max(created, now - DAY))
                return now + min(max(age / AGING, SOONEST), LATEST)
            case Skip(outcome="too_large"):
                return now + DAY  # the disk may be emptier then
            case Skip(outcome="done_before") | Build() | Ask():
                return now + DAY  # it may have a new commit, and its owner may not be followed
            case _:
                return None

    def _still(self, sighting: Sighting, listed: Listed) -> None:
        """Nothing came meanwhile: wait longer, or no more."""
        past = self.sightings.history(sighting.repo)
        reason = past[-1].reason if past else "no weights yet"
        wait = Wait(release=as_listed(listed), reason=reason, outcome="no_weights_yet")
        decision = self._patient(wait, sighting, listed, self._clock.now())
        facts = ListedFacts(listed=listed)
        if isinstance(decision, Skip):
            gave_up = Trouble(kind="skip", outcome=decision.outcome, reason=decision.reason)
            facts = replace(facts, trouble=gave_up)
            self._on_decision(decision)
            decided = self._decided(decision, facts, Memory(), sighting, None)
            self.sightings.record([decided], self._clock.now())
        else:
            at = self._look_at(wait, sighting)
            self.sightings.look_again(sighting.repo, at or self._clock.now() + DAY)

    def _news_of(self, repo: str) -> float | None:
        """Since when something is otherwise than it was: what failed before may be tried again."""
        remembered = map(self.sightings.ledger.remembered, (BUILDS, CONVERTER, POLICY))
        changed = [entry[1] for entry in remembered if entry is not None]
        past = self.sightings.history(repo)
        decided_at = [decision.at for decision in past if decision.kind in ("wait", "skip")]
        return max((*changed, *decided_at), default=None)

    def _hidden(self, sighting: Sighting, outcome: Outcome, why: str) -> None:
        """A release that is not to be seen today: said, and looked for as long as others wait."""
        now, past = self._clock.now(), self.sightings.history(sighting.repo)
        before = past[-1] if past else None
        since = before.at if before and (before.outcome, before.kind) == (outcome, "wait") else now
        never = sighting.outcome == "hinted"  # somebody's word, and no listing's
        over = never or now - since >= self._policy.wait_days * DAY
        patience = f"gave up after {self._policy.wait_days:g} days: "
        reason = f"{patience}{why}" if over and not never else why
        kind: type[Skip | Wait] = Skip if over else Wait
        release = Release(repo_id=sighting.repo, commit=sighting.commit)
        listed = Listed(
            repo_id=sighting.repo, commit=sighting.commit or None, created_at=None,
            last_modified=None, private=False, gated=False, disabled=False, tags=(),
            pipeline_tag=None, library=None, model_type=None, architectures=(), quant_method=None,
        )  # fmt: skip
        trouble = Trouble(kind="skip" if over else "wait", outcome=outcome, reason=reason)
        decision = kind(release=release, reason=reason, outcome=outcome)
        facts = ListedFacts(listed=listed, trouble=trouble)
        self._on_decision(decision)
        decided = self._decided(decision, facts, Memory(), sighting, None)
        self.sightings.record([decided], now)


def _age(row: Listed) -> float:
    """When a listed repository was made; what does not tell comes last."""
    created = instant(row.created_at)
    return created if created is not None else float("inf")


def _doubted(decision: Decision, before: Sighting | None) -> Decision:
    """What cannot be read is looked at once more before that is believed."""
    if not isinstance(decision, Skip) or decision.outcome != "unreadable":
        return decision
    again = before is not None and before.outcome == "unreadable"
    if again and before is not None and before.commit in ("", decision.release.commit):
        return decision
    return Wait(release=decision.release, reason=decision.reason, outcome="unreadable")


def _news(before: Sighting, row: Listed) -> bool:
    """Whether a listed release may be decided otherwise than before."""
    if before.commit != (row.commit or ""):
        return True
    return before.outcome in ("unpopular", "hinted", "gone") and before.kind != "build"


def _pushed(release: Release, now: float) -> float:
    """When the weights were pushed, at the latest."""
    modified = instant(release.last_modified)
    return min(modified, now) if modified is not None else now
