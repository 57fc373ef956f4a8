"""The last stretch: a finished job → a repository that holds just what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bot.clock import SystemClock, iso
from bot.errors import BotError, SourceError
from bot.pipeline import gating
from bot.pipeline.job import Job
from bot.pipeline.measure import drop_logits
from bot.pipeline.models import Pipeline
from bot.publish.update import prepare, rollback
from bot.publish.upload import CARD, open_private, publish
from bot.records import Built, Results, load
from bot.workspace import slug

RESULTS_LIMIT = 4_000_000  # bytes of a results.json


@dataclass(frozen=True, kw_only=True)
class Published:
    """How a publication ended. `changed` is empty when the Hub held everything already.

    `waiting` is the pull request that a person has to merge first, `reclaimed` the bytes of the
    Hub's storage that were given back.
    """

    repo_id: str
    url: str
    commit: str
    public: bool
    changed: tuple[str, ...]
    files: tuple[str, ...]
    folder: str
    waiting: str | None = None
    reclaimed: int = 0


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """How a rollback ended. `changed` is empty when the files were as they should be."""

    repo_id: str
    url: str
    commit: str
    revision: str
    changed: tuple[str, ...]


def held_already(job: Job, repo_id: str) -> Published | None:
    """What a repository holds when all tiers of this plan are published there; else None.

    The same source commit, the same recipes and the same llama.cpp make the same files, whoever
    made them.
    """
    hub, source = job.pipeline.hub, job.plan.model.source
    try:
        release = hub.release(repo_id)
    except SourceError:
        return None
    found = hub.read_json(repo_id, release.commit, "results.json", RESULTS_LIMIT)
    if found is None:
        return None
    try:
        results = load(Results, found)
    except ValidationError:
        return None
    there = {row.recipe for row in results.tiers} | {one.recipe for one in results.left_out}
    made = (results.source_sha256, results.tools.llama_cpp_python)
    if made != (source.sha256, job.tools.llama_cpp_python):
        return None
    if release.private or not {recipe.hash for recipe in job.plan.recipes} <= there:
        return None
    return Published(
        repo_id=repo_id,
        url=f"{hub.endpoint}/{repo_id}",
        commit=release.commit,
        public=True,
        changed=(),
        files=tuple(file.path for file in release.files),
        folder=str(job.paths.release),
    )


def push(job: Job, repo_id: str, files: Mapping[str, Built], *, private: bool) -> Published:
    """One commit, checked against the Hub's own hashes, and only then made public.

    Raises PublishError when the Hub holds something else than was sent; the repository then
    stays as private as it was.
    """
    source = job.plan.model.source
    message = f"APEX quants of {source.repo_id or job.plan.model.name} at {source.commit[:12]}"
    done = send(job.pipeline, repo_id, files, message, job.key, private=private)
    gating.end(job, repo_id)
    drop_logits(job)
    return done


def send(
    pipeline: Pipeline,
    repo_id: str,
    files: Mapping[str, Built],
    message: str,
    key: str,
    *,
    private: bool,
) -> Published:
    """As `push`, of files that lie in one folder; `key` is of the job that made them."""
    release = Path(files[CARD].path).parent
    with pipeline.narrator.work(f"publishing {repo_id}") as report:
        report(0, 3)
        before = open_private(pipeline.hub, repo_id)
        update = prepare(
            pipeline.hub, before, files, message, release.with_name("merged"), _today()
        )
        pushed, held = publish(
            pipeline.hub,
            repo_id,
            update.files,
            update.message,
            private=private,
            deletions=update.deletions,
            before=before,
            told=lambda step: report(step, 3),
        )
    _tag(pipeline, repo_id, key, pushed.commit)
    for left in update.left:
        pipeline.narrator.say(f"{repo_id}: {left}")
    return Published(
        repo_id=repo_id,
        url=f"{pipeline.hub.endpoint}/{repo_id}",
        commit=pushed.commit,
        public=not (private and held.private),
        changed=pushed.changed,
        files=tuple(update.files),
        folder=str(release),
    )


def _tag(pipeline: Pipeline, repo_id: str, key: str, commit: str) -> None:
    """Name the commit after the job, for `bot rollback`; without a tag the release is as good."""
    try:
        pipeline.hub.tag(repo_id, f"build-{key[:12]}", commit)
    except BotError as error:
        pipeline.narrator.say(f"{repo_id} got no tag: {error}")


def back(pipeline: Pipeline, repo_id: str, revision: str) -> RolledBack:
    """Return the bot's files of a repository to what they were at an earlier revision.

    Raises SourceError for a revision that is none, PublishError when it cannot be done.
    """
    with pipeline.narrator.work(f"returning {repo_id} to {revision}"):
        folder = pipeline.workspace.root / "rollbacks" / slug(repo_id)
        commit, changed = rollback(pipeline.hub, repo_id, revision, folder, _today())
    return RolledBack(
        repo_id=repo_id,
        url=f"{pipeline.hub.endpoint}/{repo_id}",
        commit=commit,
        revision=revision,
        changed=changed,
    )


def _today() -> str:
    return (iso(SystemClock().now()) or "")[:10]
