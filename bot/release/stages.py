"""What follows when a job's files are to be made: measured, judged, described, sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bot.card import describe
from bot.errors import GateError
from bot.evaluate import measure
from bot.gate import gating
from bot.gate.verdicts import Verdict, kept, with_card
from bot.publish.publication import Published, send
from bot.quantize import tier_files, verify
from bot.records.built import Built
from bot.records.results import Results
from bot.workplace.job import Job


def results(job: Job) -> Results:
    """Every tier made, and measured against the reference; the outcome is results.json."""
    return measure.evaluate(job, tier_files.tiers(job))


def judge(job: Job, repo_id: str) -> Verdict:
    """Every rule held against tiers and release, and against the card where it gets that far."""
    tiers = tier_files.tiers(job)
    found = measure.evaluate(job, tiers)
    verdict = gating.gate(job, found, verify.looks(job, found), repo_id)
    if verdict.stops is not None:
        return verdict
    good = kept(found, verdict.left_out)
    files = describe.written(job, good, tiers.recipes, repo_id)
    return with_card(verdict, describe.wrong(job, good, files, repo_id))


def card(job: Job, repo_id: str) -> dict[str, Built]:
    """Everything that is published, by its path in the repository; the card is made last.

    Tiers that the gate leaves out are not among it. Raises GateError when nothing may be published.
    """
    tiers = tier_files.tiers(job)
    found = measure.evaluate(job, tiers)
    good = gating.passed(job, found, verify.looks(job, found), repo_id)
    files = describe.written(job, good, tiers.recipes, repo_id)
    wrong = describe.wrong(job, good, files, repo_id)
    if wrong is not None:
        raise GateError(f"{repo_id} is not published: {wrong}")
    return files


def push(job: Job, repo_id: str, files: Mapping[str, Built], *, private: bool) -> Published:
    """Send what was described: one commit, verified, then public. Raises as `publication.send`."""
    source = job.plan.model.source
    message = f"APEX quants of {source.repo_id or job.plan.model.name} at {source.commit[:12]}"
    done = send(job.workplace, repo_id, files, message, job.key, private=private)
    if done.waiting is None:
        gating.end(job, repo_id)
    measure.drop_logits(job)
    return replace(done, lacks=(*job.plan.model.architecture.lacks, *job.lacks))
