"""The gate in front of publication: facts are gathered, rules held, tiers left out."""

from __future__ import annotations

import time
from collections.abc import Mapping

from bot import licences
from bot.clients.files import gguf
from bot.disk.hashes import blob_id
from bot.disk.writing import keep_text
from bot.errors import AbsentError, GateError
from bot.gate.verdicts import GateFacts, Verdict, judge, verdict_text, without_tiers
from bot.records.coding import to_json
from bot.records.releases import Release
from bot.records.results import Results
from bot.settings.settings import Settings
from bot.settings.showing import GateSettings
from bot.workplace.job import Job
from bot.workplace.pinning import as_file, as_repo, origin_of
from bot.workplace.provenance import provenance_of
from bot.workplace.workplace import Workplace

RESULTS = "results.json"
Looks = Mapping[str, tuple[str, str | None]]  # by tier: ("", None) for a sound file


def passed(job: Job, results: Results, looks: Looks, repo_id: str) -> Results:
    """The results without the tiers that are left out; results.json holds the same.

    Raises GateError when the release may not go.
    """
    verdict = gate(job, results, looks, repo_id)
    keep_text(job.paths.gate, verdict_text(verdict) + "\n")
    for left_out in verdict.left_out:
        job.workplace.narrator.say(f"{left_out.tier} is left out: {left_out.reason}")
    if verdict.stops is not None:
        if any(check.rule == "alone" and not check.good for check in verdict.checks):
            job.workplace.ledger.forget(_before_key(job, repo_id))  # the next run knows of it
        raise GateError(f"{repo_id} is not published: {verdict.stops}; `bot gate` shows every rule")
    good = without_tiers(results, verdict.left_out)
    if verdict.left_out:
        keep_text(job.paths.results, to_json(good))
    return good


def gate(job: Job, results: Results, looks: Looks, repo_id: str) -> Verdict:
    """Every rule held against the built tiers and the release.

    `looks` says of each file at which look it failed, and why.
    """
    files = {tier: wrong if at != "speech" else None for tier, (at, wrong) in looks.items()}
    speech = {tier: wrong if at == "speech" else None for tier, (at, wrong) in looks.items()}
    facts = GateFacts(files=files, speech=speech, newest=_newest(job), alone=None)
    verdict = judge(results, facts, _rules(job.settings, results.release))
    ours = to_json(without_tiers(results, verdict.left_out))
    alone = GateFacts(
        files=files, speech=speech, newest=facts.newest, alone=_alone(job, repo_id, ours)
    )
    return judge(results, alone, _rules(job.settings, results.release))


def require_allowed(
    workplace: Workplace, model: str, revision: str, release: Release | None = None
) -> None:
    """As `require_licence`, of a model by its name; `release` is what a Hub said of it before.

    A file of this machine says its licence itself, or settings do; kept private it needs none.
    """
    path = as_file(model)
    if path is None:
        source_release = release or workplace.hub.release(as_repo(model), revision)
        require_licence(source_release, workplace.settings.gate)
        return
    origin = origin_of(gguf.read_gguf(path).metadata, workplace.settings.source)
    good, text = licences.permitted(origin, _rules(workplace.settings, None))
    if not good:
        advice = "name it with --license (and --base-model), or keep it --private"
        raise GateError(f"nothing made of {path.name} may be published: {text}; {advice}")


def _rules(settings: Settings, release: Release | None) -> GateSettings:
    """The rules of the settings; what is shown to nobody needs no licence."""
    if release is None and settings.publish.private:
        return settings.gate.model_copy(update={"unlicensed": "publish"})
    return settings.gate


def require_licence(release: Release, rules: GateSettings) -> None:
    """Raise GateError, before anything is fetched, for a release that could not be published."""
    good, text = licences.permitted(release, rules)
    if not good:
        raise GateError(
            f"nothing made of {release.repo_id} may be published: {text}; see gate in bot.yaml"
        )


def note_before(job: Job, repo_id: str) -> None:
    """Note what the repository holds before the work begins, unless a stopped run did."""
    if job.workplace.ledger.remembered(_before_key(job, repo_id)) is None:
        held_blob = _held_blob(job, repo_id)
        job.workplace.ledger.remember(_before_key(job, repo_id), held_blob, time.time())


def forget_before(job: Job, repo_id: str) -> None:
    """The publication is done: what the repository held before is of no interest any more."""
    job.workplace.ledger.forget(_before_key(job, repo_id))


def _before_key(job: Job, repo_id: str) -> str:
    return f"before {job.key[:16]} {repo_id}"


def _held_blob(job: Job, repo_id: str) -> str:
    """git's hash of the results.json that a repository holds; empty without one."""
    try:
        release = job.workplace.hub.release(repo_id)
    except AbsentError:
        return ""
    results_file = {file.path: file for file in release.files}.get(RESULTS)
    return (results_file.blob_id or results_file.sha256 or "") if results_file else ""


def _alone(job: Job, repo_id: str, ours: str) -> str | None:
    """Results that neither were there before nor are ours come from another bot of ours."""
    before = job.workplace.ledger.remembered(_before_key(job, repo_id))
    if before is None:
        return None
    held_blob = _held_blob(job, repo_id)
    if held_blob in (before[0], blob_id(ours.encode())) or _is_same(job, repo_id):
        return None
    return f"{repo_id} got other results from another bot meanwhile; run it again to replace them"


def _is_same(job: Job, repo_id: str) -> bool:
    """Whether the other bot made what was asked for here."""
    statement = provenance_of(job.workplace.hub, job.workplace.hub.release(repo_id))
    return statement is not None and statement.is_of(job.order.asked)


def _newest(job: Job) -> str | None:
    """Whether main of the source still has the weights that were quantized."""
    release = job.plan.model.release
    if release is None or not job.settings.gate.newest:
        return None
    try:
        now = job.workplace.hub.release(release.repo_id)
    except AbsentError as error:
        raise AbsentError(
            f"{release.repo_id} is gone or hidden by now; run it again when it is back, or set "
            "gate.newest to false"
        ) from error
    if now.commit == release.commit or _weights(now) == _weights(release):
        return None
    return (
        f"{release.repo_id} has other weights at {now.commit[:12]} by now; build these, "
        "or set gate.newest to false"
    )


def _weights(release: Release) -> set[tuple[str, int, str | None]]:
    """Of all large files but pictures: content decides, wherever a README moved on."""
    return {
        (file.path, file.size, file.sha256)
        for file in release.files
        if file.path.endswith((".safetensors", ".gguf"))
    }
