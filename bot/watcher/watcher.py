"""The watcher: reads the Hub's listings as far as they are new, decides, and remembers.

A look can be killed at any instant. What was decided is kept release by release, how far a
listing was read only at its end; so the next look reads the rest again and asks nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from bot.clients.hub.hub import Hub
from bot.clients.hub.reading import Sort
from bot.clients.hub.replies import Listed, ReplyPage
from bot.clock import Clock, instant, moment, span
from bot.detect.listed import (
    ListedFacts,
    Machine,
    Trouble,
    as_listed,
    conclude,
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
from bot.records.coding import digest
from bot.records.releases import Ask, Build, Decision, Outcome, Release, Skip, Wait
from bot.settings.settings import Settings
from bot.store.ledger import Ledger
from bot.store.queue import Memory, Queue
from bot.store.sightings import Decided, Feed, Sighting, Sightings
from bot.watcher import rules

DAY = 86_400.0
SOONEST, LATEST = 600.0, DAY  # seconds between two looks at a release that waits
AGING = 4.0  # a release that waits is looked at again after this part of its age
MOST_PAGES = 2_000  # of a listing at one look
DUE_AT_ONCE = 200  # releases looked at again in one turn
GAP = 3.0  # looks missed before the watcher says that it catches up
CONVERTER, POLICY, BUILDS = "converter", "policy", "way of building"
POLITIC = ("not_wanted", "unpopular", "settling", "awaiting_approval", "not_watched")

Name = Literal["created", "modified", "trending", "sweep"]
TIMES: Mapping[Sort, str] = {"created_at": "created_at", "last_modified": "last_modified"}


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What one look at a listing came to."""

    feed: str
    pages: int
    rows: int
    decided: int
    since: float | None  # the oldest time that was read, by the Hub's clock


class Watcher:
    """One watcher; any number may share a ledger. `on_decision` is told of every decision.

    A listing that was read to its end within `rested` times its interval, by whomever, is not
    read again. One that another holder reads is left to it unless that `is_dead`.
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
        on_decision: Callable[[Decision], None] = lambda _decision: None,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._hub, self._clock, self._holder, self._is_dead = hub, clock, holder, is_dead
        self.busy: list[str] = []  # listings that another watcher reads, since the last look
        self._watch, self._policy, self._gate = settings.watch, settings.policy, settings.gate
        self._builds = [part.model_dump(mode="json") for part in (settings.convert, settings.gate)]
        self._machine, self._on_decision, self._say = machine, on_decision, say
        often, hourly = self._watch.every_minutes * 60, self._watch.trending_minutes * 60
        every: dict[Name, float] = {"created": often, "modified": often, "trending": hourly}
        self._rest = {name: rested * seconds for name, seconds in every.items()}
        self._rest["sweep"] = rested * DAY
        self.sightings, self.queue = Sightings(ledger), Queue(ledger)

    # ── listings ────────────────────────────────────────────────────────────────────────────

    def created(self) -> list[Looked]:
        """Read the newest models, of everybody or of watch.owners."""
        overlap = self._watch.overlap_minutes * 60
        owners = self._watch.owners or (None,)
        return self._each("created", "created_at", owners, overlap)

    def sweep(self) -> list[Looked]:
        """Read as `created`, but far back: what was private then may be public now."""
        overlap = self._watch.sweep_days * DAY
        return self._each("sweep", "created_at", self._watch.owners or (None,), overlap)

    def modified(self) -> list[Looked]:
        """Read the latest changes of each owner in watch.follow."""
        overlap = self._watch.overlap_minutes * 60
        return self._each("modified", "last_modified", self._watch.follow, overlap)

    def trending(self) -> list[Looked]:
        """Read the first page of what is much looked at, whatever its age."""
        return self._each("trending", "trending_score", (None,), 0.0)

    def _each(
        self, name: Name, sort: Sort, owners: Sequence[str | None], overlap: float
    ) -> list[Looked]:
        """Read the listing of each owner; trouble with one is raised after all others."""
        looks, trouble = [], []
        for owner in owners:
            try:
                looks.append(self._listing(name, sort, owner, overlap))
            except UnreachableError as error:
                trouble.append(error)
        if trouble:
            raise trouble[0]
        return [look for look in looks if look is not None]

    def _listing(self, name: Name, sort: Sort, owner: str | None, overlap: float) -> Looked | None:
        """Read one listing to its mark; None while another watcher does, or just did."""
        full = f"{name}:{owner}" if owner else name
        feed = self.sightings.take(full, self._holder, self._clock.now(), is_dead=self._is_dead)
        if feed is None:
            self.busy.append(full)
            return None
        if feed.looked is not None and self._clock.now() - feed.looked < self._rest[name]:
            self.sightings.leave(full, self._holder)
            return None
        try:
            done, looked = self._read(feed, sort, owner, overlap)
        except _TakenOver:
            self.busy.append(full)
            return None
        except BaseException:
            self.sightings.leave(full, self._holder)
            raise
        self._tell_gap(feed, looked)
        self.sightings.read(done, self._holder)
        return looked

    def _read(
        self, feed: Feed, sort: Sort, owner: str | None, overlap: float
    ) -> tuple[Feed, Looked]:
        now = self._clock.now()
        stop = feed.mark - overlap if feed.mark is not None else None
        sweeping = feed.name.startswith("sweep")
        if sweeping:
            stop = max(now - overlap, self._began(owner))
        pages = rows = decided = 0
        newest, oldest, first = feed.mark, None, None
        following = None
        while True:
            page = self._hub.page(
                self._watch.page, sort, owner, following=following,
                etag=feed.etag if following is None and not sweeping else None,
            )  # fmt: skip
            pages, rows, first = pages + 1, rows + len(page.rows), first or page
            decided += self._take(page.rows)
            times = _times(page, sort)
            if times:
                newest = max(newest or 0.0, *_believable(times, page.now or now))
                oldest = min(times)
            following = page.following
            limit = stop is None and rows >= self._watch.limit
            met = stop is not None and times and times[-1] < stop
            if following is None or limit or met or sort == "trending_score":
                break
            if pages == MOST_PAGES:
                raise UnreachableError(
                    f"the listing {feed.name} has more than the {MOST_PAGES:,} pages that apex-bot "
                    "reads at once; make watch.page larger, or look at hub.endpoint"
                )
            if not self.sightings.hold(feed.name, self._holder, self._clock.now()):
                raise _TakenOver
        if feed.mark is None and sort == "created_at" and oldest is not None:
            self.sightings.ledger.remember(_beginning(owner), repr(oldest), now)
        done = replace(feed, mark=newest, etag=first.etag, looked=self._clock.now())
        return done, Looked(feed=feed.name, pages=pages, rows=rows, decided=decided, since=oldest)

    def _began(self, owner: str | None) -> float:
        """The creation time that the very first look went back to."""
        began = self.sightings.ledger.remembered(_beginning(owner))
        return float(began[0]) if began else self._clock.now()

    def _tell_gap(self, feed: Feed, looked: Looked) -> None:
        """Say what was read again after this watcher, and every other, was away."""
        away = self._clock.now() - feed.looked if feed.looked is not None else 0.0
        if away < GAP * self._watch.every_minutes * 60 or not feed.name.startswith("created"):
            return
        since = f" since {moment(looked.since)}" if looked.since is not None else ""
        text = (
            f"away for {span(away)}: read {feed.name} again{since}, {looked.rows} models in "
            f"{looked.pages} pages, {looked.decided} new"
        )
        self._say(text)
        self.queue.say(self._clock.now(), "caught_up", text)

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
        return again + self._built_otherwise(now)

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
        return digest([self._policy.model_dump(mode="json"), self._watch.owners, gate])

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
            ListedFacts(listed=row) if early else learn(self._hub, row, owners=self._watch.owners)
        )
        weight_files = None
        if facts.release is not None:
            weight_files = rules.weighed(facts.release, _pushed(facts.release, now))
            if before is not None and before.weights == weight_files.digest and before.weights_at:
                weight_files = replace(weight_files, since=before.weights_at)
            memory = self.queue.memory(row.repo_id, facts.release.commit, weight_files.digest)
        decision = self.judge(facts, memory, weight_files, now)
        decision = self._patient(_doubted(decision, before), before, row, now)
        return decision, self._decided(decision, facts, memory, before, weight_files)

    def judge(
        self, facts: ListedFacts, memory: Memory, weight_files: rules.Weighed | None, now: float
    ) -> Decision:
        """The decision that facts, memory and policy lead to; asks nobody."""
        settled = ruled_out(facts, self._watch.owners)
        early = settled or rules.refused_by_rules(
            facts.known_release, facts.listed, self._policy, memory.ignored
        )
        if early:
            return early
        decision = conclude(facts, self._watch.owners, self._machine())
        if isinstance(decision, Build) and weight_files is not None:
            return rules.wanted_by_policy(
                decision, self._policy, memory, weight_files, now, self._gate
            )
        return decision

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


class _TakenOver(Exception):
    """Another watcher reads this listing now: ours was thought dead."""


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


def _beginning(owner: str | None) -> str:
    return f"began:{owner or ''}"


def _times(page: ReplyPage, sort: Sort) -> list[float]:
    """Times of a page's rows, in its order; those that have none are left out."""
    name = TIMES.get(sort)
    instants: Iterable[float | None] = (
        instant(getattr(row, name)) if name else None for row in page.rows
    )
    return [time for time in instants if time is not None]


def _believable(times: Sequence[float], now: float) -> Iterator[float]:
    """Times that have come: one from the future would hide all that is listed until then."""
    yield 0.0
    for time in times:
        yield min(time, now)
