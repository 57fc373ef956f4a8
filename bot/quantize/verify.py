"""Checks of a finished GGUF file: header, rows, recipe and speech, a finding each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bot.apart.chat_template import template_facts
from bot.apart.worker import away
from bot.clients.files import gguf
from bot.clients.llama.check import CheckedModel, check_headers, check_rows
from bot.errors import BotError, BuildError, SourceError, UnsoundError
from bot.plan.profiles import TIER_NAME
from bot.plan.recipe import stored_hash
from bot.progress import Narrator
from bot.records.findings import Finding
from bot.records.results import Results
from bot.records.steps import TierStep
from bot.settings.settings import Settings
from bot.workplace.children import loading, room_for, tell_isolation
from bot.workplace.job import Job
from bot.workplace.loaded import speech

CONTEXT = 256
LOOKS = 2  # raised when a look changes: verdicts of earlier versions are asked again
TIER, HASH = re.compile(TIER_NAME), re.compile(r"[0-9a-f]{64}")


def verify_file(
    path: Path, settings: Settings, narrator: Narrator, *, run: bool
) -> Iterator[Finding]:
    """Look at header, rows, recipe, chat template and, with `run`, at what the model writes.

    The first thing that is wrong is yielded as a finding and then raised, a BotError.
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

    def spoken() -> Finding:
        tell_isolation(narrator, settings)
        text = " ".join(_speech(path, settings).split())
        return Finding(name="speech", good=True, text=f"loads and writes {text[:60]!r}")

    yield from _step("header", header)
    yield from _step("rows", rows)
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
    inputs = {"file": sha256, "version": LOOKS}
    done = ledger.finished(job.key, step, inputs, shape=tuple[str, str | None])
    if done is not None:
        return done.value[0], done.value[1]
    if not file.is_file():
        raise BuildError(f"{file} is gone before it was looked at; run the same command again")
    at, wrong = "", None
    findings = verify_file(file, job.settings, job.workplace.narrator, run=True)
    try:
        for finding in findings:
            at = finding.name
    except (SourceError, UnsoundError) as error:
        wrong = _named_it(str(error), file)
    ledger.record(job.key, step, inputs, [], (at if wrong else "", wrong))
    return (at, wrong) if wrong else ("", None)


def _named_it(error_text: str, file: Path) -> str:
    """A reason as a card may quote it: it names no folder of ours, no file that is not there."""
    names = rf"{re.escape(file.stem)}(-\d{{5}}-of-\d{{5}})?{re.escape(file.suffix)}"
    return re.sub(rf"({re.escape(str(file.parent))}/)?{names}", "the file", error_text)
