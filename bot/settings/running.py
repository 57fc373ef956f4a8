"""Sections on the watcher, jobs and GitHub."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from bot.settings.sections import NAME, Part, Place


class Budget(Part):
    """Requests in any five minutes, of all watchers on one ledger together.

    The Hub allows 500 and 3,000 without a token, 1,000 and 5,000 with a free one.
    """

    api: Annotated[int, Field(ge=10)] = 400  # listings and repositories
    resolvers: Annotated[int, Field(ge=10)] = 2000  # files


Told = Literal[
    "asked", "queued", "started", "stalled", "goes_on", "published", "stale", "failed", "gave_up",
    "caught_up",
]  # fmt: skip


class WatchSettings(Part):
    """Where the watcher looks, how often, and whom it tells."""

    limit: Annotated[int, Field(ge=1, le=10_000)] = 500  # models of the very first look
    page: Annotated[int, Field(ge=1, le=500)] = 100
    owners: tuple[str, ...] = ()  # only these are listed; empty: everybody
    follow: tuple[str, ...] = ()  # owners whose changes are followed too, not only new models
    every_minutes: Annotated[float, Field(ge=0.1)] = 10.0
    trending_minutes: Annotated[float, Field(ge=1)] = 60.0
    overlap_minutes: Annotated[float, Field(ge=0)] = 60.0  # read again at every look
    sweep_days: Annotated[float, Field(ge=0)] = 30.0  # read again once a day: private → public
    budget: Budget = Budget()
    build: bool = False  # build here what is queued; otherwise the queue only grows
    tell: tuple[Told, ...] = ("asked", "stalled", "published", "gave_up", "caught_up")
    link: str | None = None  # address of the status page, for notifications
    # older decisions, events, steps whose files are gone and folders of runs go; null: none ever
    keep_days: Annotated[float, Field(ge=2)] | None = 180.0
    advisories: tuple[Place, ...] = ()  # files on what is wrong with releases, beside the bot's own


class JobsSettings(Part):
    """A release spread over several jobs of a workflow: see workflows/."""

    tiers: Annotated[int, Field(ge=1, le=64)] = 3  # of one job
    policy: Annotated[str, Field(pattern=r"^(all|any|min:[1-9]\d?)$")] = "all"  # complete tiers
    require_gpu: bool = False  # end at once on a machine where llama.cpp finds none
    keep: bool = False  # leave the files in workdir once all of a release is published
    # how files get from job to job: in a workdir that all share, or through a Hub
    travel: Literal["folder", "hub"] = "folder"
    # owner of the private repositories that they travel through, one for each order
    staging: Annotated[str, Field(pattern=rf"^[A-Za-z0-9]{NAME}{{0,95}}$")] | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.travel == "hub" and self.staging is None:
            raise ValueError("travel: hub needs staging, the owner of the repositories between")
        return self


class RunnerSettings(Part):
    """A machine that `bot plan --time --runner NAME` reckons for: what it is said to do."""

    down_mbit: Annotated[float, Field(gt=0)] = 1000.0  # line from the Hub
    up_mbit: Annotated[float, Field(gt=0)] = 1000.0  # and to it
    disk_gb: Annotated[float, Field(gt=0)] = 2000.0  # of the working folder's disk
    disk_gb_s: Annotated[float, Field(gt=0)] = 1.5  # read and hashed
    memory_gb: Annotated[float, Field(gt=0)] = 128.0  # main memory for models
    memory_gb_s: Annotated[float, Field(gt=0)] = 60.0
    cores: Annotated[int, Field(ge=1, le=4096)] = 16
    core_speed: Annotated[float, Field(gt=0)] = 1.0  # at rounding, beside docs/speed.md's machine
    device_gb: Annotated[float, Field(ge=0)] = 24.0  # memory of all its GPUs for models; 0: none
    device_gb_s: Annotated[float, Field(gt=0)] = 900.0
    tflops: Annotated[float, Field(gt=0)] = 50.0  # reached at reading texts
    bus_gb_s: Annotated[float, Field(gt=0)] = 20.0  # from main memory to the GPUs
    price_hour: Annotated[float, Field(ge=0)] | None = None  # in whatever currency


class GitHubSettings(Part):
    """The repository whose workflows build releases, and how its runs are followed."""

    repo: Annotated[str, Field(pattern=rf"^[A-Za-z0-9]{NAME}{{0,38}}/{NAME}{{1,100}}$")] | None = (
        None
    )
    api_url: str | None = None  # default: GITHUB_API_URL, else github.com's
    workflow: Annotated[str, Field(pattern=rf"^{NAME}{{1,100}}\.ya?ml$")] = "release.yml"
    ref: Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]{1,200}$")] = "main"  # branch
    event: Literal["workflow_dispatch", "repository_dispatch"] = "workflow_dispatch"
    labels: tuple[str, ...] = ("self-hosted", "gpu")  # of the runners that open models
    publish_labels: tuple[str, ...] = ("self-hosted", "publish")  # of the one that publishes
    queued_minutes: Annotated[float, Field(gt=0)] = 30.0  # then a waiting job is explained
    poll_seconds: Annotated[float, Field(ge=0.01)] = 30.0  # between looks at a run
    timeout_seconds: Annotated[float, Field(gt=0)] = 30.0  # for an answer
    dashboard: bool = True  # keep an issue that shows the queue and takes commands

    @field_validator("api_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("an API address starts with http:// or https://")
        return value.rstrip("/") if value else None
