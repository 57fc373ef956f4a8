"""A release as a graph: made, measured and sent side by side, as far as its parts allow.

Every task does steps of the job that the ledger then knows as done; what is left for afterwards
(results, card, commit) finds them there. So the order in which tasks ran changes no result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

from bot.errors import PublishError, UnreachableError
from bot.evaluate.bench import Bench
from bot.evaluate.data import find_tasks
from bot.evaluate.measure import reference_of
from bot.evaluate.subject import Subject
from bot.gate.verdicts import broken
from bot.publish.send import send_files
from bot.quantize import calibrating, fitted_tiers, tier_files
from bot.quantize.verify import sound
from bot.records.built import Built
from bot.records.coding import load_record
from bot.records.measured import Divergence
from bot.release.forecast.planned import PlannedTask, lanes_of, planned_tasks
from bot.release.graph import LaneTask, Resource, run_tasks
from bot.release.outlook import Outlook
from bot.release.room import is_tight
from bot.release.timeline import Timeline
from bot.store.paces import SEND, PastWork, keep_pace
from bot.workplace.children import used_devices_of
from bot.workplace.job import Job


def run_lanes(
    job: Job,
    repo_id: str | None,
    timeline: Timeline,
    on: Mapping[Resource, str] | None = None,
) -> None:
    """Everything of a job that takes long; with `repo_id`, measured tiers are sent there too.

    `on` are the lanes of the resources, this machine's unless given. Raises what the stages raise.
    Nothing becomes visible on the Hub.
    """
    lane_names = on or lanes_of(used_devices_of(job.settings))
    tasks = _Tasks(job, repo_id).all(one_lane=lane_names["gpu"] == "cpu")
    outlook = Outlook(tasks, lane_names, job.workplace.narrator.say)

    @contextmanager
    def around(task: LaneTask) -> Iterator[None]:
        with timeline.on(task.name, lane_names[task.resource]), outlook.watching(task):
            yield

    def waiting(error: BaseException, name: str) -> None:
        job.workplace.narrator.say(f"{error}; {name} goes on to its end (Ctrl-C stops it)")

    tier_files.load_kernels(job)
    run_tasks(tasks, lane_names, around=around, waiting=waiting)


def remake_lost(job: Job, repo_id: str) -> None:
    """Have tiers made again whose files were freed after they were sent, and that a Hub lost.

    A request or two for each that was freed; nothing becomes visible. Raises what sending raises.
    """
    hub = job.workplace.publisher(repo_id)
    for recipe in job.plan.distinct:
        built = tier_files.known_tier(job, recipe.tier)
        if built is None or recipe.plain or not tier_files.is_free(job, recipe.tier):
            continue
        files = {Path(file.path).name: file for file in built.files}
        try:
            send_files(hub, repo_id, files, private=job.settings.publish.made_private)
        except PublishError:
            job.workplace.narrator.say(f"{recipe.tier} is made again: {repo_id} lost its file")
            tier_files.lose(job, recipe.tier)


class _Tasks:
    """The tasks of a job with the work of each, in the order in which a lane prefers them."""

    def __init__(self, job: Job, repo_id: str | None) -> None:
        self._job, self._repo_id = job, repo_id
        self._bench = Bench(job.workplace, job.tools, reference_of(job))
        self._built: dict[str, Built] = {}  # by tier, as passes end
        self._recipes = {recipe.tier: recipe for recipe in job.plan.distinct}

    def all(self, *, one_lane: bool) -> list[LaneTask]:
        """As they are planned, in `forecast/planned.py`."""
        plan, together = self._job.plan, self._job.settings.quantize.together
        planned = planned_tasks(
            plan,
            tier_files.passes(plan, together),
            one_lane=one_lane,
            one_by_one=self._is_tight(),
            sends=self._repo_id is not None,
        )
        return [
            LaneTask(
                name=task.name,
                resource=task.resource,
                work=partial(self._do, task),
                needs=task.needs,
            )
            for task in planned
        ]

    def _is_tight(self) -> bool:
        """Whether sent files are freed: settings say so, and the disk does not hold all tiers."""
        if self._repo_id is None:
            return False
        missing = [tier for tier in self._recipes if tier_files.known_tier(self._job, tier) is None]
        bytes_left = sum(self._job.plan.predicted(self._recipes[tier]) for tier in missing)
        return is_tight(self._job.settings, bytes_left, self._job.paths.folder)

    # ── what tasks do ───────────────────────────────────────────────────────────────────────

    def _do(self, task: PlannedTask) -> None:
        match task.kind:
            case "matrix":
                self._weigh()
            case "reference":
                self._reference()
            case "rest":
                self._measure_reference()
            case "make":
                self._built.update(tier_files.quantize_some(self._job, task.tiers))
            case "measure":
                self._measure(*task.tiers)
            case "send":
                self._send(*task.tiers)

    def _weigh(self) -> None:
        """The matrix, and what fitted tiers are chosen by: both load the 16-bit model.

        Then whether it has data for all tiers: not after hours of making and sending some.
        """
        built = calibrating.job_matrix(self._job)
        if built is not None:
            fitted_tiers.fitted_of(self._job, built)
            tier_files.require_data(self._job, built)

    def _reference(self) -> None:
        """The reference's log-probabilities, unless every tier was measured with them before."""
        missing = [tier for tier in self._recipes if not self._is_measured(tier)]
        if missing:
            largest = max(self._job.plan.predicted(self._recipes[tier]) for tier in missing)
            other_files = len(self._job.settings.evaluation.others)
            for bench in (self._bench, *self._bench.domains.values()):
                bench.logits.prepare(largest, len(missing) + other_files)

    def _is_measured(self, tier: str) -> bool:
        built = tier_files.known_tier(self._job, tier)
        benches = (self._bench, *self._bench.domains.values())
        return built is not None and all(
            bench.known_divergence(_subject(tier, built)) is not None for bench in benches
        )

    def _measure(self, tier: str) -> None:
        """All of a tier but its speed, which is measured when nothing runs beside.

        The gate's own looks at the file come first: it may be gone when all tiers are judged.
        """
        built = self._built[tier]
        sound(self._job, tier, Path(built.path), built.sha256)
        subject = _subject(tier, built)
        tiers_left = sum(not self._is_measured(tier) for tier in self._recipes)
        other_files = len(self._job.settings.evaluation.others)
        self._bench.divergence(subject, tiers_left + other_files)
        for on_domain in self._bench.domains.values():
            on_domain.divergence(subject, tiers_left + other_files)
        for data in find_tasks(self._job.workplace):
            self._bench.tasks(subject, data)
        self._bench.behaviour(subject)
        if self._job.settings.publish.free != "never" and self._job.settings.evaluation.speed:
            self._bench.speed(subject)  # the file may be gone when nothing runs beside

    def _measure_reference(self) -> None:
        reference = reference_of(self._job)
        for data in find_tasks(self._job.workplace):
            self._bench.tasks(reference, data)
        self._bench.behaviour(reference)
        self._bench.noise()

    def _send(self, tier: str) -> None:
        """A tier that the gate will refuse stays; what the Hub does not answer for goes later."""
        if self._repo_id is None:
            raise TypeError("nothing is sent without a repository")
        job, built = self._job, self._built[tier]
        _, wrong = sound(job, tier, Path(built.path), built.sha256)
        measured = self._bench.known_divergence(_subject(tier, built))
        if measured and not wrong:
            divergence = load_record(Divergence, measured.value["divergence"])
            wrong = broken(tier, divergence, job.settings.gate, chats=self._bench.against.chats)
        if wrong:
            job.workplace.narrator.say(f"{tier} is not sent: {wrong}")
            return
        files = {Path(file.path).name: file for file in built.files}
        hub = job.workplace.publisher(self._repo_id)
        freed = tier_files.is_free(job, tier)
        began = monotonic()
        with job.workplace.narrator.work(f"sending {tier}"):
            try:
                sent = send_files(
                    hub, self._repo_id, files, private=job.settings.publish.made_private
                )
            except UnreachableError as error:
                if freed:
                    raise
                job.workplace.narrator.say(f"{tier} will be sent with the commit: {error}")
                return
            except PublishError:
                if freed:  # lost since `remake_lost` looked
                    tier_files.lose(job, tier)
                raise
        if sent:
            size = sum(files[path].bytes for path in sent)
            work = PastWork(kind=SEND, units=size, seconds=monotonic() - began)
            keep_pace(job.workplace.ledger, f"{job.key[:12]} {tier}", work)
        if all(hub.is_sent(self._repo_id, path) for path in sent) and self._is_tight():
            tier_files.free_tier(job, tier, built)


def _subject(tier: str, built: Built) -> Subject:
    return Subject(name=tier, path=Path(built.path), bytes=built.bytes, sha256=built.sha256)
