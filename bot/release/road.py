"""A release's stages, in order: what each needs and makes, when it is done already, on which lane.

`bot publish`, the verbs of its parts, the jobs of a workflow and the demo run this list. A stage is
a function: the names of its parameters are what it needs, made by stages before it. What is added
here once is a part of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

from bot.card import describe
from bot.detect import inspection
from bot.errors import GateError, SourceError
from bot.evaluate import measure
from bot.evaluate.costing import budgeting
from bot.evaluate.costing.measure_costs import UnknownPaceError
from bot.gate import gating
from bot.gate.verdicts import Verdict, with_card, without_tiers
from bot.plan.models import Local, Model
from bot.publish.afterwards import follow
from bot.publish.publication import Published, held_already, send_release, waits
from bot.quantize import calibrating, fitted_tiers, prediction, tier_files, verify
from bot.records.built import Built
from bot.records.results import Budget, CalibrationFacts, Results, TierFiles
from bot.records.sensitivity import Fitted
from bot.release import ahead, lanes, needs
from bot.release.forecast.foreseeing import forecast_here
from bot.release.graph import Resource
from bot.release.room import freed_passes, require_room
from bot.release.timeline import Timeline
from bot.source import obtain
from bot.store.paces import COMMIT, DESCRIBE, PastWork, keep_pace
from bot.workplace import asked
from bot.workplace.asked import Order, Pinned
from bot.workplace.demo_texts import EVERY_USE, MATRIX
from bot.workplace.job import Job
from bot.workplace.names import target_of
from bot.workplace.pinning import as_file, pin
from bot.workplace.planning import make_plan
from bot.workplace.texts import pin_data
from bot.workplace.workplace import Workplace

Looks = Mapping[str, tuple[str, str | None]]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for: a model by its name, some of its tiers, and where they shall go."""

    workplace: Workplace
    model: str
    revision: str = "main"
    tiers: tuple[str, ...] = ()  # all where none is named
    to: str | None = None
    matrix: Path | None = None  # a ready importance matrix, for this time
    publishing: bool = False  # it shall end on a Hub
    built_only: bool = False  # and nothing is to be made for it
    superset: bool = False  # a build with more tiers, or another card, is as good
    timeline: Timeline = field(default_factory=Timeline)
    locks: ExitStack = field(default_factory=ExitStack)  # held as long as the work takes


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of a release; `work` makes its value of those that its parameters name."""

    makes: str
    lane: Resource
    work: Callable[..., Any]
    known: Callable[..., Any] | None = None  # its value where it was made before, else None
    after: tuple[str, ...] = ()  # stages that come first, though they hand nothing on
    reads: frozenset[str] = frozenset()  # texts and tasks of the settings
    long: bool = False  # hours: what is known already is asked again afterwards

    @property
    def needs(self) -> tuple[str, ...]:
        """Stages before this one."""
        handed = (name for name in signature(self.work).parameters if name != "request")
        return (*handed, *self.after)


# ── the stages ──────────────────────────────────────────────────────────────────────────────


def pinned(request: Request) -> Pinned:
    """The model at one commit, or its file by its hash."""
    return pin(request.workplace, request.model, request.revision)


def order(request: Request, pinned: Pinned) -> Order:
    """All inputs but the weights: from it follow the job's key and folder."""
    return asked.order_of(request.workplace.settings, pinned, request.tiers)


def repo_id(request: Request, pinned: Pinned) -> str:
    """The repository to publish to."""
    return target_of(request.workplace, pinned, request.to)


def allowed(request: Request, pinned: Pinned) -> None:
    """Whether settings and its licence let the model be handed on."""
    if request.publishing:
        gating.require_allowed(request.workplace, request.model, request.revision, pinned.release)


def ready(request: Request, order: Order) -> None:
    """Whether a build that is wanted is there, and a Hub has what settings name."""
    workplace = request.workplace
    if not request.publishing:
        return
    if request.built_only and not order.paths(workplace.folders).card.is_file():
        raise SourceError(f"{request.model} is not built with these settings; run `bot publish`")
    needs.require_all(workplace, request.tiers)


def converted(request: Request, pinned: Pinned) -> Local | None:
    """The 16-bit file that was converted before."""
    return obtain.known_local(request.workplace, pinned.release) if pinned.release else None


def local(request: Request, pinned: Pinned) -> Local:
    """The 16-bit GGUF on this machine: looked into, fetched, converted."""
    if pinned.release is None:
        path = as_file(request.model)
        if path is None:
            raise SourceError(f"{request.model} is gone; check the path")
        return Local(path=path)
    candidate = inspection.candidate(request.workplace, pinned.release)
    return obtain.bring(request.workplace, candidate)


def model(request: Request, local: Local) -> Model:
    """What the file's header tells, and its hash."""
    return obtain.described(request.workplace, local)


def job(request: Request, model: Model) -> Job:
    """The recipes of all tiers, in a folder that this process holds."""
    new_job = Job(request.workplace, make_plan(request.workplace, model, request.tiers))
    request.locks.enter_context(new_job.paths.locked())
    return new_job


def begun(request: Request, job: Job) -> None:
    """What is said and noted before the work, and room for all of it."""
    if not request.publishing:
        require_room(job)
        return
    target = target_of(request.workplace, job.plan.model, request.to)
    for line in (
        *ahead.renamed(request.model),
        *ahead.outlook(request.workplace, job.plan, target),
    ):
        request.workplace.narrator.say(line)
    gating.note_before(job, target)
    lanes.remake_lost(job, target)
    require_room(job, freed_passes(job.settings, job.plan) if _overlaps(request) else ())
    request.timeline.keep_in(job.paths.timeline)
    if request.timeline.is_first:  # else a part of it is done
        _foresee(request, job)


def _foresee(request: Request, job: Job) -> None:
    """Note what all of it will take, where that is known by earlier work and without a trial."""
    try:
        forecast = forecast_here(request.workplace, job.plan, tries=False)
    except UnknownPaceError:
        return
    known = {task.name: task.seconds for task in forecast.tasks if task.pace is not None}
    request.timeline.foresee(known, forecast.seconds)


def budget(job: Job) -> Budget | None:
    """How much is measured, where settings name minutes for it; settled once for a job."""
    return budgeting.settle(job)


def _overlaps(request: Request) -> bool:
    """Whether tiers are made, measured and sent side by side."""
    publish = request.workplace.settings.publish
    return request.publishing and publish.overlap and not request.built_only


def side_by_side(request: Request, job: Job, repo_id: str) -> None:
    """The stages that follow, as far as they can be done tier by tier on lanes of their own."""
    if _overlaps(request):
        lanes.run_lanes(job, repo_id, request.timeline)


def matrix(request: Request, job: Job) -> Built | None:
    """The importance matrix, where a tier wants one."""
    return None if request.matrix else calibrating.job_matrix(job)


def fitted(request: Request, job: Job) -> tuple[Fitted, ...]:
    """The types of each tier that names a size, by how much each tensor matters."""
    matrix = tier_files.matrix_for(job, request.matrix)
    return fitted_tiers.fitted_of(job, matrix) if matrix else ()


def tiers(request: Request, job: Job) -> TierFiles:
    """A file for each tier and baseline."""
    return tier_files.tier_files_of(job, request.matrix)


def reference(job: Job) -> None:
    """What every tier is compared with, measured ahead: the reference, and files of others."""
    measure.measure_reference(job)


def calibration(job: Job) -> CalibrationFacts | None:
    """What is known about the importance matrix."""
    return calibrating.facts(job)


def drafter(job: Job) -> Built | None:
    """The model's layers that predict tokens ahead, where they are in a file of their own."""
    return prediction.prediction_file(job)


def results(
    job: Job, tiers: TierFiles, calibration: CalibrationFacts | None, drafter: Built | None
) -> Results:
    """Every tier measured against the reference."""
    return measure.evaluate_job(job, tiers, calibration, drafter)


def looks(job: Job, results: Results) -> Looks:
    """Each file looked at: whether it is whole, what its recipe says, and writes text."""
    return verify.look_at_files(job, results)


def good(job: Job, results: Results, looks: Looks, repo_id: str) -> Results:
    """The tiers that pass the gate. Raises GateError where the release may not go."""
    return gating.passed(job, results, looks, repo_id)


def files(
    job: Job, tiers: TierFiles, good: Results, drafter: Built | None, repo_id: str
) -> dict[str, Built]:
    """Everything that is published, by its path; the card is made last."""
    began, is_new = monotonic(), not job.paths.card.is_file()
    release_files = describe.written(job, good, tiers.recipes, repo_id, drafter)
    if is_new:
        _note(job, DESCRIBE, began)
    wrong = describe.wrong(job, good, release_files, repo_id)
    if wrong is not None:
        raise GateError(f"{repo_id} is not published: {wrong}")
    return release_files


def verdict(
    job: Job,
    tiers: TierFiles,
    results: Results,
    looks: Looks,
    drafter: Built | None,
    repo_id: str,
) -> Verdict:
    """Every rule held against tiers and release, and against the card where it gets that far."""
    by_numbers = gating.gate(job, results, looks, repo_id)
    if by_numbers.stops is not None:
        return by_numbers
    passing = without_tiers(results, by_numbers.left_out)
    release_files = describe.written(job, passing, tiers.recipes, repo_id, drafter)
    return with_card(by_numbers, describe.wrong(job, passing, release_files, repo_id))


def held(request: Request, order: Order, repo_id: str, allowed: None) -> Published | None:
    """What the Hub holds of this order already, or shows to a person who has to agree.

    Only what is `allowed` today counts: who must not hand it on is told so, not that it is there.
    """
    del allowed
    workplace, private = request.workplace, request.workplace.settings.publish.private
    on_hub = held_already(workplace, repo_id, order, private=private, superset=request.superset)
    return on_hub or waits(workplace, repo_id, order)


def published(request: Request, job: Job, files: dict[str, Built], repo_id: str) -> Published:
    """One commit, verified, then shown. Raises as `publication.send_release`."""
    source, private = job.plan.model.source, request.workplace.settings.publish.private
    message = f"APEX quants of {source.repo_id or job.plan.model.name} at {source.commit[:12]}"
    began = monotonic()
    on_hub = send_release(job.workplace, repo_id, files, message, job.key, private=private)
    if _overlaps(request):  # else all files were sent just now, too
        _note(job, COMMIT, began)
    if on_hub.waiting is None:
        gating.forget_before(job, repo_id)
    measure.drop_logits(job)
    return replace(on_hub, lacks=(*job.plan.model.architecture.lacks, *job.lacks))


def _note(job: Job, kind: str, began: float) -> None:
    """Keep how long a stage took that began then."""
    work = PastWork(kind=kind, units=1, seconds=monotonic() - began)
    keep_pace(job.workplace.ledger, job.key[:12], work)


def followed(request: Request, published: Published) -> Published:
    """What the settings ask for after a publication: a collection, storage given back."""
    return follow(request.workplace, published)


WEIGHED = frozenset({MATRIX})
STAGES = (
    Stage(makes="pinned", lane="network", work=pinned),
    Stage(makes="allowed", lane="network", work=allowed),
    Stage(makes="order", lane="cpu", work=order),
    Stage(makes="repo_id", lane="network", work=repo_id),
    Stage(makes="ready", lane="network", work=ready, after=("allowed",)),
    Stage(makes="local", lane="network", work=local, known=converted, after=("ready",), long=True),
    Stage(makes="model", lane="cpu", work=model),
    Stage(makes="job", lane="cpu", work=job),
    Stage(makes="begun", lane="network", work=begun),
    Stage(makes="budget", lane="gpu", work=budget, after=("begun",), reads=EVERY_USE),
    Stage(
        makes="side_by_side",
        lane="gpu",
        work=side_by_side,
        after=("begun", "budget"),
        reads=EVERY_USE,
        long=True,
    ),
    Stage(makes="matrix", lane="gpu", work=matrix, after=("begun",), reads=WEIGHED, long=True),
    Stage(
        makes="reference",
        lane="gpu",
        work=reference,
        after=("begun", "budget"),
        reads=EVERY_USE,
        long=True,
    ),
    Stage(makes="calibration", lane="cpu", work=calibration, after=("matrix",), reads=WEIGHED),
    Stage(makes="fitted", lane="gpu", work=fitted, after=("matrix",), reads=WEIGHED, long=True),
    Stage(makes="tiers", lane="cpu", work=tiers, after=("fitted",), reads=WEIGHED, long=True),
    Stage(makes="drafter", lane="cpu", work=drafter, after=("begun",)),
    Stage(makes="results", lane="gpu", work=results, after=("budget",), reads=EVERY_USE, long=True),
    Stage(makes="looks", lane="gpu", work=looks),
    Stage(makes="good", lane="cpu", work=good),
    Stage(makes="files", lane="cpu", work=files),
    Stage(makes="verdict", lane="cpu", work=verdict),
    Stage(makes="published", lane="network", work=published, known=held, after=("side_by_side",)),
    Stage(makes="followed", lane="network", work=followed),
)
BY_NAME = {stage.makes: stage for stage in STAGES}


# ── running them ────────────────────────────────────────────────────────────────────────────


class Road:
    """One release on its way. What a stage made is kept; locks are held until the block ends.

    `values` are those that lie here already, such as the job of a workflow's group.
    """

    def __init__(self, request: Request, values: Mapping[str, Any] | None = None) -> None:
        self._request, self._values = request, dict(values or {})

    def __enter__(self) -> Road:
        request = self._request
        request.workplace.narrator.listener = request.timeline.heard
        request.locks.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._request.locks.__exit__(kind, error, trace)

    def value(self, name: str) -> Any:
        """What a stage makes, and before it those that it needs; raises what they raise."""
        if "job" not in self._values:
            self._check(name)
        return self._value(BY_NAME[name])

    def _check(self, name: str) -> None:
        """Settings, names and tokens, before hours of work and not after them."""
        request, workplace = self._request, self._request.workplace
        if request.publishing:
            workplace.require_publisher()
            ahead.require_names(workplace, request.model, request.tiers, request.to)
        reads = frozenset[str]().union(*(stage.reads for stage in needed(name)))
        if request.matrix is not None:
            reads -= WEIGHED
        if reads or request.publishing:
            needs.require_here(workplace, request.tiers, reads)
            pin_data(workplace, EVERY_USE)

    def _value(self, stage: Stage) -> Any:
        if stage.makes not in self._values:
            self._recall(stage)
        while stage.makes not in self._values:
            first = next(
                s for s in needed(stage.makes, self._values) if s.makes not in self._values
            )
            with self._on(first):
                self._values[first.makes] = first.work(**self._arguments(first.work))
            if first.long:
                self._recall(stage)
        return self._values[stage.makes]

    def _recall(self, stage: Stage) -> None:
        """Take what is known already, the last first: what led to it is not needed then."""
        for before in reversed(STAGES):
            if before.known is None or before.makes in self._values:
                continue
            if before not in needed(stage.makes, self._values):
                continue
            value = before.known(**self._arguments(before.known))
            if value is not None:
                self._values[before.makes] = value

    def _arguments(self, work: Callable[..., Any]) -> dict[str, Any]:
        names = signature(work).parameters
        return {
            name: self._request if name == "request" else self._value(BY_NAME[name])
            for name in names
        }

    def _on(self, stage: Stage) -> AbstractContextManager[object]:
        return self._request.timeline.on(stage.makes, stage.lane)


def needed(name: str, values: Collection[str] = ()) -> tuple[Stage, ...]:
    """The stages that a value takes, in their order; its own comes last.

    `values` are there already: what leads to them alone is left out.
    """
    names = {*_needed(name, values)}
    return tuple(stage for stage in STAGES if stage.makes in names)


def _needed(name: str, values: Collection[str]) -> Iterator[str]:
    yield name
    for need in BY_NAME[name].needs:
        if need not in values:
            yield from _needed(need, values)
