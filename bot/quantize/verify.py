"""Checks of a finished GGUF file: header, rows, weights, recipe, speech, a finding each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bot.apart.chat_template import template_facts
from bot.apart.worker import away
from bot.clients.files import gguf
from bot.clients.llama.check import CheckedModel, check_headers, check_rows
from bot.errors import BotError, BuildError, SourceError, UnsoundError
from bot.fitting.rounded import compare_rows
from bot.plan.profiles import TIER_NAME
from bot.plan.recipe import stored_hash
from bot.progress import Narrator
from bot.records.findings import Finding
from bot.records.results import Results
from bot.records.steps import TierStep
from bot.settings.settings import Settings
from bot.store.paces import LOOK, PastWork, paced
from bot.workplace.children import loading, room_for, tell_isolation
from bot.workplace.job import Job
from bot.workplace.loaded import speech

CONTEXT = 256
LOOKS = 3  # raised when a look changes: verdicts of earlier versions are asked again
TIER, HASH = re.compile(TIER_NAME), re.compile(r"[0-9a-f]{64}")


def verify_file(
    path: Path, settings: Settings, narrator: Narrator, *, run: bool, source: Path | None = None
) -> Iterator[Finding]:
    """Look at header, rows, recipe, chat template and, with `run`, at what the model writes.

    With `source`, the 16-bit model, rows of every expert are held against its. The first thing that
    is wrong is yielded as a finding and then raised, a BotError.
    """
    headers: list[CheckedModel] = []

    def header() -> Finding:
        headers.append(check_headers(path))
        size = sum(shard.stat().st_size for shard in headers[0].paths)
        files = f"{len(headers[0].paths)} shards, " if len(headers[0].paths) > 1 else ""
        text = f"{files}{len(headers[0].tensors)} tensors, {size:,} bytes"
        return Finding(name="header", good=True, text=text)

    def rows() -> Finding:
        with narrator.work(f"reading {path.name}", unit="B") as report:
            size = check_rows(headers[0], threads=settings.llama.threads, progress=report)
        return Finding(name="rows", good=True, text=f"{size:,} bytes of valid numbers")

    def weights() -> Finding:
        return _weights(path, source or path, settings, narrator)

    def spoken() -> Finding:
        tell_isolation(narrator, settings)
        text = " ".join(_speech(path, settings).split())
        return Finding(name="speech", good=True, text=f"loads and writes {text[:60]!r}")

    yield from _step("header", header)
    yield from _step("rows", rows)
    if source is not None:
        yield from _step("weights", weights)
    yield from _step("recipe", lambda: _recipe(path, headers[0]))
    yield from _step("template", lambda: _template(headers[0], settings))
    if run:
        yield from _step("speech", spoken)


def _step(name: str, work: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield work()
    except BotError as error:
        yield Finding(name=name, good=False, text=str(error))
        raise


def _weights(path: Path, source: Path, settings: Settings, narrator: Narrator) -> Finding:
    """Rows of every expert against the 16-bit model's: no further away than rounding takes them."""
    with narrator.work(f"comparing {path.name} with {source.name}") as report:
        found = compare_rows(
            path,
            source,
            rows=settings.gate.expert_rows,
            threads=settings.llama.threads,
            progress=report,
        )
    furthest = found.furthest
    text = (
        f"{found.rows:,} rows of {found.matrices:,} experts and other matrices are the 16-bit "
        f"model's, rounded; {furthest.place} is furthest, at {furthest.share:.0%} of what "
        f"{furthest.kind} may do"
    )
    return Finding(name="weights", good=True, text=text)


def _recipe(path: Path, headers: CheckedModel) -> Finding:
    """The types of all tensors against the recipe that the metadata names."""
    get = headers.metadata.get
    tier, stored = get("apex.tier"), get("apex.recipe")
    if tier is None and stored is None:
        text = "none named: another's file, a baseline, or made without the stamp"
        return Finding(name="recipe", good=None, text=text)
    if not (isinstance(tier, str) and TIER.fullmatch(tier) and HASH.fullmatch(str(stored))):
        raise SourceError(f"{path} names no proper recipe; build it again")
    types = {tensor.name: tensor.type for tensor in headers.tensors}
    weighed = get("quantize.imatrix.file") is not None
    if stored_hash(get("general.file_type"), types, imatrix=weighed) != stored:
        raise SourceError(f"{path} holds other types than {tier}'s recipe; build it again")
    return Finding(name="recipe", good=True, text=f"{tier}, {str(stored)[:12]}, in every tensor")


def _template(headers: CheckedModel, settings: Settings) -> Finding:
    """Whether the chat template can be rendered; a file that has none, or a bad one, is sound."""
    facts = template_facts(headers.metadata, settings.kept_apart)
    if facts is None:
        return Finding(name="template", good=None, text="none: a program brings its own, or none")
    return Finding(name="template", good=None if facts.fault else True, text=facts.words)


def _speech(path: Path, settings: Settings) -> str:
    return away(speech, room_for(settings, path))(loading(path, settings.llama), n_ctx=CONTEXT)


# ── files of a job ──────────────────────────────────────────────────────────────────────────


def look_at_files(job: Job, results: Results) -> dict[str, tuple[str, str | None]]:
    """The result of `sound` for each measured tier's file; a bad chat template is told."""
    rows = [row for row in results.tiers if row.same_as is None]
    _look_at_template(job, [job.paths.release / row.file for row in rows])
    return {
        row.name: sound(job, row.name, job.paths.release / row.file, row.sha256) for row in rows
    }


def _look_at_template(job: Job, files: Sequence[Path]) -> None:
    """All tiers have the source's: the first that is here is asked, once."""
    candidates = (Path(job.plan.model.source.path), *files)
    here = next((path for path in candidates if path.is_file()), None)
    if here is None:
        return
    facts = template_facts(gguf.read_gguf(here).metadata, job.settings.kept_apart)
    if facts is not None and facts.fault is not None:
        lack = f"a chat template that works: it {facts.words}"
        job.lacks = (*job.lacks, lack)
        job.workplace.narrator.say(f"the release is without {lack}")


def sound(job: Job, tier: str, file: Path, sha256: str) -> tuple[str, str | None]:
    """The check that a tier's file failed and why; ("", None) for a sound one.

    Looked at once: afterwards the file may be freed. Only what the file itself holds is kept: what
    this machine lacks to look at it is raised, and of no file's making.
    """
    ledger, step = job.workplace.ledger, TierStep("check", tier).name
    source = _source_of(job)
    # what was found beside the 16-bit model still holds where it is gone
    for against in (True,) if source else (True, False):
        inputs = _look_inputs(job, sha256, against=against)
        done = ledger.finished(job.key, step, inputs, shape=tuple[str, str | None])
        if done is not None:
            return done.value[0], done.value[1]
    if not file.is_file():
        raise BuildError(f"{file} is gone before it was looked at; run the same command again")
    at, wrong = "", None
    findings = verify_file(file, job.settings, job.workplace.narrator, run=True, source=source)
    work = PastWork(kind=LOOK, units=file.stat().st_size, seconds=0)
    try:
        with paced(ledger, sha256[:12], work, lambda *_: None):
            for finding in findings:
                at = finding.name
    except (SourceError, UnsoundError) as error:
        wrong = _named_it(str(error), file)
    inputs = _look_inputs(job, sha256, against=source is not None)
    ledger.record(job.key, step, inputs, [], (at if wrong else "", wrong))
    return (at, wrong) if wrong else ("", None)


def _source_of(job: Job) -> Path | None:
    """The 16-bit file that a tier's rows are held against; None where it is not here, or not to."""
    path = Path(job.plan.model.source.path)
    if not job.settings.gate.expert_rows:
        return None
    if not path.is_file():
        job.workplace.narrator.say("weights are not compared: the 16-bit file is not here")
        return None
    return path


def _look_inputs(job: Job, sha256: str, *, against: bool) -> dict[str, str | int | None]:
    """What a verdict rests on."""
    rows = job.settings.gate.expert_rows if against else 0
    return {
        "file": sha256,
        "version": LOOKS,
        "source": job.plan.model.source.sha256 if rows else None,
        "rows": rows,
    }


def _named_it(error_text: str, file: Path) -> str:
    """A reason as a card may quote it: it names no folder of ours, no file that is not there."""
    names = rf"{re.escape(file.stem)}(-\d{{5}}-of-\d{{5}})?{re.escape(file.suffix)}"
    return re.sub(rf"({re.escape(str(file.parent))}/)?{names}", "the file", error_text)
