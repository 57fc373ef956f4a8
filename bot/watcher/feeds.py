"""Listings of the Hub, read as far as they are new: one reader at a time, to a mark.

How far a listing was read is kept only at its end; a look that was killed is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bot.clients.hub.hub import Hub
from bot.clients.hub.reading import Sort
from bot.clients.hub.replies import Listed, ReplyPage
from bot.clock import Clock, instant, moment, span
from bot.errors import UnreachableError
from bot.settings.running import WatchSettings
from bot.store.queue import Queue
from bot.store.sightings import Feed, Sightings

DAY = 86_400.0
MOST_PAGES = 2_000  # of a listing at one look
GAP = 3.0  # looks missed before the watcher says that it catches up

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


class Feeds:
    """The listings that one watcher reads; `take` decides about a page's rows and counts them.

    A listing that was read to its end within `rested` times its interval, by whomever, is not
    read again. One that another holder reads is left to it unless that `is_dead`.
    """

    def __init__(
        self,
        hub: Hub,
        sightings: Sightings,
        queue: Queue,
        settings: WatchSettings,
        clock: Clock,
        take: Callable[[Sequence[Listed]], int],
        *,
        holder: str,
        rested: float,
        is_dead: Callable[[str], bool],
        say: Callable[[str], None],
    ) -> None:
        self._hub, self._sightings, self._queue, self._watch = hub, sightings, queue, settings
        self._clock, self._take, self._say = clock, take, say
        self._holder, self._is_dead = holder, is_dead
        self.busy: list[str] = []  # listings that another watcher reads, since the last look
        often, hourly = settings.every_minutes * 60, settings.trending_minutes * 60
        every: dict[Name, float] = {"created": often, "modified": often, "trending": hourly}
        self._rest = {name: rested * seconds for name, seconds in every.items()}
        self._rest["sweep"] = rested * DAY

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
        feed = self._sightings.take(full, self._holder, self._clock.now(), is_dead=self._is_dead)
        if feed is None:
            self.busy.append(full)
            return None
        if feed.looked is not None and self._clock.now() - feed.looked < self._rest[name]:
            self._sightings.leave(full, self._holder)
            return None
        try:
            done, looked = self._read(feed, sort, owner, overlap)
        except _TakenOver:
            self.busy.append(full)
            return None
        except BaseException:
            self._sightings.leave(full, self._holder)
            raise
        self._tell_gap(feed, looked)
        self._sightings.read(done, self._holder)
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
            if not self._sightings.hold(feed.name, self._holder, self._clock.now()):
                raise _TakenOver
        if feed.mark is None and sort == "created_at" and oldest is not None:
            self._sightings.ledger.remember(_beginning(owner), repr(oldest), now)
        done = replace(feed, mark=newest, etag=first.etag, looked=self._clock.now())
        return done, Looked(feed=feed.name, pages=pages, rows=rows, decided=decided, since=oldest)

    def _began(self, owner: str | None) -> float:
        """The creation time that the very first look went back to."""
        began = self._sightings.ledger.remembered(_beginning(owner))
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
        self._queue.say(self._clock.now(), "caught_up", text)


class _TakenOver(Exception):
    """Another watcher reads this listing now: ours was thought dead."""


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
