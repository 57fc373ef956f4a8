"""The files of a refreshed release: each tier behind its new header, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bot.apart.chat_template import template_facts
from bot.card import describe
from bot.card.rendering import CardOrder, render
from bot.clients.files import gguf
from bot.clients.files.ggufheader import read_header
from bot.disk.folders import JobFolder
from bot.disk.hashes import sha256
from bot.disk.writing import copy, keep_text
from bot.errors import GateError, SourceError
from bot.plan.profiles import load_profiles
from bot.plots.pictures import pictures
from bot.predict.architecture import sampling_of
from bot.progress import Report
from bot.quantize.verify import LOOKS, verify_file
from bot.records.built import Built, together
from bot.records.coding import digest, from_json, to_json
from bot.records.measured import Row
from bot.records.placements import Fits
from bot.records.releases import Release, RepoFile
from bot.records.results import Refreshing, Results
from bot.refresh import metadata, rewriting
from bot.wording.blocks import marked
from bot.workplace import provenance
from bot.workplace.asked import Order
from bot.workplace.fetch import FETCHERS, fetch
from bot.workplace.provenance import Provenance
from bot.workplace.workplace import Workplace

RESULTS = "results.json"
PROJECTOR = "mmproj"  # of pictures and sound: it has neither template nor tokenizer


@dataclass(frozen=True, kw_only=True)
class NewHeaders:
    """What headers shall change, of which published release, and why."""

    published: Release
    statement: Provenance
    release: Release  # the source as it is now
    edits: metadata.Edits
    texts: tuple[str, ...]  # its files that changed
    order: Order

    @property
    def files(self) -> dict[str, RepoFile]:
        """The published files that the bot made, by path, but what every build makes anew."""
        held = {file.path: file for file in self.published.files}
        return {path: held[path] for path in self.statement.files if path in held}


@dataclass(frozen=True, kw_only=True)
class RewrittenTiers:
    """Every model file after the rewriting, by path; for each rewritten one its tensors' digest."""

    files: Mapping[str, Built]
    tensors: Mapping[str, str]


def rewritten_tiers(workplace: Workplace, headers: NewHeaders, paths: JobFolder) -> RewrittenTiers:
    """Rewrite the header of each model file, one after the other; what was done stays done.

    A file is taken from this machine where it still lies here, else fetched, and given back. Raises
    SourceError where the edits would change how a file is computed with.
    """
    files, tensors = dict[str, Built](), dict[str, str]()
    for path, file in headers.files.items():
        if not path.endswith(".gguf"):
            continue
        if path.startswith(PROJECTOR) or _is_later_shard(path):
            files[path] = _kept(paths, file)
            continue
        inputs = {"file": file.sha256, "edits": _digest(headers.edits)}
        target = paths.release / path

        def work(report: Report, file: RepoFile = file, target: Path = target) -> dict[str, Any]:
            return _rewrite(workplace, headers, file, target, report)

        done = workplace.step(
            headers.order.key, f"refresh {path}", inputs, [target], f"rewriting {path}", work
        )
        files[path] = done.files[0]
        tensors[path] = str(done.value["tensors"])
    return RewrittenTiers(files=files, tensors=tensors)


def _is_later_shard(path: str) -> bool:
    number, _, count = path.removesuffix(".gguf").rpartition("-of-")
    return bool(number) and count.isdecimal() and not number.endswith("-00001")


def _digest(edits: metadata.Edits) -> str:
    return digest({key: raw.hex() if raw is not None else None for key, raw in edits.items()})


def _kept(paths: JobFolder, file: RepoFile) -> Built:
    """A large file that stays as it is on the Hub, and is not needed here."""
    return Built(path=str(paths.release / file.path), bytes=file.size, sha256=file.sha256 or "")


def _rewrite(
    workplace: Workplace, headers: NewHeaders, file: RepoFile, target: Path, report: Report
) -> dict[str, Any]:
    source, is_fetched = _here(workplace, headers, file)
    keys = read_header(source).keys
    edits = metadata.changing(keys, headers.edits)
    metadata.require_harmless(keys, edits, file.path)
    plan = rewriting.planned(source, metadata.edited(keys, edits))
    reserve = workplace.settings.reserve
    done = rewriting.rewrite(plan, target, reserve=reserve, report=report)
    if is_fetched:
        source.unlink()
    return {"tensors": digest(sorted(done.tensors.items())), "moved": plan.moved}


def _here(workplace: Workplace, headers: NewHeaders, file: RepoFile) -> tuple[Path, bool]:
    """A published file on this machine, and whether it was fetched for this."""
    name, key = headers.order.pinned.name, headers.statement.job
    own = workplace.folders.job(name, key).release / file.path
    if own.is_file() and own.stat().st_size == file.size and sha256(own) == file.sha256:
        return own, False
    folder = workplace.folders.sources(headers.published.repo_id, headers.published.commit)
    _fetch(workplace, headers.published, [file], folder)
    return folder / file.path, True


def _fetch(workplace: Workplace, release: Release, files: list[RepoFile], folder: Path) -> None:
    with workplace.narrator.work(f"fetching from {release.repo_id}", unit="B") as report:
        reserve = workplace.settings.reserve + max(file.size for file in files)
        fetch(
            workplace.hub, release, files, folder, workers=FETCHERS, report=report, reserve=reserve
        )


# ── what is said of them ────────────────────────────────────────────────────────────────────


def described(
    workplace: Workplace, headers: NewHeaders, tiers: RewrittenTiers, paths: JobFolder
) -> dict[str, Built]:
    """Everything that is published, by its path; results, card, sums and provenance are new.

    Raises GateError for a file that does not hold, or a card that lint finds wrong.
    """
    files = {**_beside(workplace, headers, paths), **tiers.files}
    results = _results(headers, files, paths)
    _look(workplace, headers, results, paths)
    keep_text(paths.results, to_json(results))
    repo_id, name = headers.published.repo_id, headers.order.pinned.name
    files[RESULTS] = describe.hashed(paths.results)
    files |= describe.told(paths.release, results, files, repo_id, name)
    statement = provenance.statement(results, files, headers.order.key, headers.order.asked)
    keep_text(paths.release / provenance.NAME, provenance.statement_text(statement))
    files[provenance.NAME] = describe.hashed(paths.release / provenance.NAME)
    keep_text(paths.sums, describe.sums(files))
    files[paths.sums.name] = describe.hashed(paths.sums)
    _write_card(workplace, results, files, repo_id, paths)
    files[paths.card.name] = describe.hashed(paths.card)
    wrong = describe.first_error(results, files, repo_id)
    if workplace.settings.gate.card and wrong is not None:
        raise GateError(f"{repo_id} is not refreshed: {wrong}")
    return files


def _beside(workplace: Workplace, headers: NewHeaders, paths: JobFolder) -> dict[str, Built]:
    """What lies beside the models and stays as it is, here."""
    release = headers.published
    small = [file for path, file in headers.files.items() if not path.endswith(".gguf")]
    folder = workplace.folders.sources(release.repo_id, release.commit)
    _fetch(workplace, release, small, folder)
    files = {}
    for file in small:
        target = paths.release / file.path
        if not target.is_file() or sha256(target) != sha256(folder / file.path):
            copy(folder / file.path, target, workplace.settings.reserve)
        files[file.path] = describe.hashed(target)
    return files


def _results(headers: NewHeaders, files: Mapping[str, Built], paths: JobFolder) -> Results:
    """The numbers as they were, of files as they are."""
    try:
        old = from_json(Results, Path(files[RESULTS].path).read_bytes())
    except (KeyError, ValidationError) as error:
        raise SourceError(
            f"{headers.published.repo_id} has no results.json of this version; publish it anew"
        ) from error
    rows = tuple(_row(row, files) for row in old.tiers)
    sampling = sampling_of(gguf.read_gguf(paths.release / rows[0].file).metadata)
    measured_at = old.release.commit if old.release else ""
    before = old.refreshed or Refreshing(measured_at=measured_at, changed=(), latest=())
    changed = tuple(sorted({*before.changed, *headers.texts}))
    return replace(
        old,
        release=headers.release,
        architecture=replace(old.architecture, sampling=sampling),
        tiers=rows,
        refreshed=replace(before, changed=changed, latest=headers.texts),
    )


def _row(row: Row, files: Mapping[str, Built]) -> Row:
    """A tier's row with the hashes of its files by now."""
    now = together([files[file.file] for file in row.files])
    return replace(row, bytes=now.bytes, sha256=now.sha256, shards=now.shards)


def _look(workplace: Workplace, headers: NewHeaders, results: Results, paths: JobFolder) -> None:
    """Each tier's file is whole, its recipe's, and writes text. Raises what verifying raises."""
    for row in results.tiers:
        if row.same_as is not None:
            continue
        later = [f.file for f in row.files[1:] if not (paths.release / f.file).is_file()]
        if later:
            shards = [headers.files[path] for path in later]
            _fetch(workplace, headers.published, shards, paths.release)

        def work(_report: Report, file: Path = paths.release / row.file) -> None:
            for _ in verify_file(file, workplace.settings, workplace.narrator, run=True):
                pass

        inputs = {"file": row.sha256, "version": LOOKS}
        title = f"looking at {row.file}"
        workplace.step(headers.order.key, f"look {row.name}", inputs, [], title, work)


def _write_card(
    workplace: Workplace,
    results: Results,
    files: Mapping[str, Built],
    repo_id: str,
    paths: JobFolder,
) -> None:
    settings = workplace.settings
    tiers = {row.name for row in results.tiers}
    profiles = [p for p in load_profiles(settings.profiles, None) if p.tier in tiers]
    drawn = [
        picture for picture in pictures(results, paths.plots.name)[0] if picture.light in files
    ]
    fits = files.get(describe.FITS)
    order = CardOrder(
        results=results,
        repo_id=repo_id,
        files=describe.listed(results, files),
        about={profile.tier: profile.about for profile in profiles},
        plots=tuple(drawn),
        fits=from_json(Fits, Path(fits.path).read_bytes()) if fits else None,
        thinking=_thinks(workplace, paths.release / results.tiers[0].file),
        look=settings.card,
        templates=settings.templates,
        quantized_by=settings.publish.quantized_by or repo_id.split("/")[0],
    )
    keep_text(paths.card, marked(render(order, settings.kept_apart)))


def _thinks(workplace: Workplace, file: Path) -> bool:
    facts = template_facts(gguf.read_gguf(file).metadata, workplace.settings.kept_apart)
    if facts is not None and facts.fault is not None:
        workplace.narrator.say(f"the release is without a chat template that works: {facts.words}")
    return facts is not None and facts.thinking
