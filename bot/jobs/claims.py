"""What a group of tiers may claim, and the seal that says which job claims it.

Whoever holds the token that files travel with can write every record. A group's record counts only
under the seal that `prepare` gave to that job through the run itself, and only as far as it speaks
of its own tiers: their files, the look at each, and measures of these very files.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from bot.behaviour.habits import is_whole
from bot.errors import SettingsError, SourceError
from bot.evaluate.kept import JOB as MEASURES
from bot.foreign import has_few_values
from bot.jobs.orders import Folder, Group, Prepared
from bot.jobs.recordpath import RecordPath
from bot.records.built import Built, together
from bot.records.coding import digest, dump, load_record
from bot.records.measured import (
    BENCHMARK,
    Behaviour,
    Benchmark,
    Choices,
    Divergence,
    Drafts,
    Perplexity,
    Run,
    Speed,
    Text,
)
from bot.records.steps import Kind, MeasureStep, TierStep
from bot.store.ledger import RecordedFile, Work

SECRET = "secret of the groups' seals"  # noqa: S105 - a name in the ledger
HASH = re.compile(r"[0-9a-f]{64}")
LONGEST = 2_000  # letters of why a file is not sound
Seals = Mapping[int, str]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True)
class _Diverged:
    perplexity: Perplexity
    divergence: Divergence
    chunks: list[float]
    nll: list[float]
    beside: bool
    means: dict[Literal["ppl_ratio", "delta_p_mean", "delta_p_rms", "same_top"], list[float]] = (
        field(default_factory=dict)
    )

    def __post_init__(self) -> None:
        if {len(self.chunks)} != {len(each) for each in (self.nll, *self.means.values())}:
            raise ValueError("chunks of two lengths")


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True)
class _Perplexed:
    perplexity: Perplexity


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True)
class _Value:
    value: Any
    run: Run


# ── seals ───────────────────────────────────────────────────────────────────────────────────


def seals_of(folder: Folder, prepared: Prepared) -> Seals:
    """Each group's seal, the same again for the same job; this machine must be the preparing one.

    The secret behind them lies in the ledger of `prepare` and never travels.
    """
    ledger = folder.open_ledger("prepare")
    secret = ledger.remembered(SECRET)
    if secret is None:
        ledger.remember(SECRET, secrets.token_hex(32), time.time())
        secret = ledger.remembered(SECRET)
    if secret is None:
        raise TypeError("what was kept is there")
    numbers = range(1, len(prepared.groups) + 1)
    return {number: _mac(secret[0], f"{prepared.key} {number}")[:32] for number in numbers}


def known_seals(folder: Folder, prepared: Prepared, seals_text: str) -> Seals:
    """The seals that the run handed on, or those of this machine where it prepared the release.

    Raises SettingsError where neither is there.
    """
    if seals_text:
        return read_seals(seals_text)
    if not folder.ledger("prepare").is_file():
        raise SettingsError("this machine did not prepare the release: give --seals, of `prepare`")
    return seals_of(folder, prepared)


def show_seals(seals: Seals) -> str:
    """As `read_seals` takes them."""
    return ",".join(f"{number}:{seal}" for number, seal in seals.items())


def read_seals(text: str) -> Seals:
    """Seals by their group, from `1:HEX,2:HEX`. Raises SettingsError for anything else."""
    seals = {}
    for part in text.split(",")[:64]:
        match = re.fullmatch(r"([1-9][0-9]?):([0-9a-f]{32})", part.strip())
        if match is None:
            raise SettingsError("--seals is not what `prepare` printed; take it from its outputs")
        seals[int(match[1])] = match[2]
    return seals


def sealed(group: Group, number: int, seal: str) -> Group:
    """The record with the proof that this group's job wrote it."""
    return replace(group, seal=_seal(group, number, seal))


def _seal(group: Group, number: int, seal: str) -> str:
    return _mac(seal, digest([number, dump(replace(group, seal=""))]))


def _mac(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), "sha256").hexdigest()


# ── claims ──────────────────────────────────────────────────────────────────────────────────


def own(works: Sequence[Work], prepared: Prepared, tiers: Collection[str]) -> tuple[Work, ...]:
    """Of finished work, what a group with these tiers may speak of."""
    hashes = {built.sha256[:12] for built in tier_files(works, prepared, tiers).values()}

    def mine(work: Work) -> bool:
        if work.job == prepared.key:
            step = TierStep.read(work.step)
            return step is not None and step.tier in tiers
        measured = MeasureStep.read(work.step)
        return work.job == MEASURES and measured is not None and measured.file in hashes

    return tuple(work for work in works if mine(work))


def is_of(work: Work, kind: Kind) -> bool:
    """Whether a finished step is of this kind, and of a tier."""
    step = TierStep.read(work.step)
    return step is not None and step.kind == kind


def tier_files(
    works: Sequence[Work], prepared: Prepared, tiers: Collection[str]
) -> dict[str, Built]:
    """What each of these tiers was made into, by tier; paths from the working folder."""
    return {
        tier: together([Built(path=f.path, bytes=f.bytes, sha256=f.sha256) for f in work.files])
        for work in works
        for tier in tiers
        if (work.job, work.step) == (prepared.key, TierStep("quantize", tier).name) and work.files
    }


def claimed_group(
    folder: Folder, prepared: Prepared, number: int, seals: Seals, texts: Collection[Text] | None
) -> Group | str | None:
    """A group's record as far as it is believed: the record, why it is not, or None without one.

    `texts` are those that measures may rest on; None where nobody reads them yet.
    """
    if not folder.file(Group, number).is_file():
        return None
    group = folder.read(Group, number)
    if group is None:
        return f"the record of group {number} is none of this version"
    if group.key != prepared.key:
        return f"the record of group {number} is of another plan"
    if number not in seals or not hmac.compare_digest(
        _seal(group, number, seals[number]), group.seal
    ):
        return f"the record of group {number} was not written by its job"
    try:
        _require_own(group, prepared, number, folder.root)
        for work in group.work:
            if work.job == MEASURES:
                _require_measure(work, prepared, texts)
    except (SourceError, ValueError) as error:
        return f"the record of group {number} claims what it may not: {_line(error)}"
    return group


def complete_groups(
    folder: Folder, prepared: Prepared, seals: Seals, texts: Collection[Text] | None
) -> tuple[dict[int, Group], dict[int, str]]:
    """The groups' records that are believed, and why others are not, by group.

    Two that claim one file, or a file that was there before, are both not believed.
    """
    believed: dict[int, Group] = {}
    refusals: dict[int, str] = {}
    for number in range(1, len(prepared.groups) + 1):
        record = claimed_group(folder, prepared, number, seals, texts)
        if isinstance(record, Group):
            believed[number] = record
        elif record is not None:
            refusals[number] = record
    claims = Counter(_taken(prepared))
    claims.update(hashed for group in believed.values() for hashed in _hashes(group, prepared))
    for number, group in believed.items():
        if any(claims[hashed] > 1 for hashed in _hashes(group, prepared)):
            refusals[number] = f"the record of group {number} claims a file that is another's"
    return {number: group for number, group in believed.items() if number not in refusals}, refusals


def _hashes(group: Group, prepared: Prepared) -> set[str]:
    return {file.sha256 for file in tier_files(group.work, prepared, group.tiers).values()}


def _taken(prepared: Prepared) -> set[str]:
    """Hashes of what was made before any group: the source, what it needs, baselines."""
    works = (file.sha256 for work in prepared.work for file in work.files)
    return {*works, *(file.sha256 for file in prepared.needs.all)}


def _require_own(group: Group, prepared: Prepared, number: int, root: Path) -> None:
    tiers = prepared.groups[number - 1]
    if not set(group.tiers) <= set(tiers):
        raise ValueError("tiers of another group")
    if own(group.work, prepared, tiers) != group.work:
        raise ValueError("work that is not its own")
    if len({(work.job, work.step) for work in group.work}) != len(group.work):
        raise ValueError("one step twice")
    for work in group.work:
        _require_files(work, prepared, root)
        if work.job == prepared.key:
            _require_made(work)


def _require_files(work: Work, prepared: Prepared, root: Path) -> None:
    files = work.files
    if not HASH.fullmatch(work.inputs):
        raise ValueError("inputs without a hash")
    if bool(files) != (work.job == prepared.key and is_of(work, "quantize")):
        raise ValueError("files where there are none, or none where there are")
    for file in files:
        if not HASH.fullmatch(file.sha256) or not 0 < file.bytes < 1 << 50:
            raise ValueError("a file without a hash or a size")
        RecordPath(file.path).below(root, f"{prepared.job}/release")


def _require_made(work: Work) -> None:
    """Raise unless the value of a step of making is one that such a step returns."""
    value = _json(work.value)
    if not is_of(work, "check"):
        if value is not None:
            raise ValueError("a value where there is none")
        return
    at, error_text = value if isinstance(value, list) and len(value) == 2 else (None, None)
    if not (isinstance(at, str) and (error_text is None or isinstance(error_text, str))):
        raise ValueError("a look at a file that is none")
    if len(at) > 100 or len(error_text or "") > LONGEST:
        raise ValueError("a look at a file that says too much")


def _require_measure(work: Work, prepared: Prepared, texts: Collection[Text] | None) -> None:
    """Raise unless it is the value that such a measure has, of these tools and texts."""
    step = MeasureStep.read(work.step)
    if step is None:
        raise ValueError("a measure without a name")
    measure = step.measure
    measured = load_record(_Value, _json(work.value))
    run = measured.run
    if run.measure != measure or not run.model.startswith(step.file):
        raise ValueError("a measure of another name, or of another file")
    if run.tools != prepared.tools:
        raise ValueError("a measure by another machine")
    of_harness = measure.startswith(BENCHMARK)  # whose data is none of the settings' texts
    if texts is not None and run.data is not None and run.data not in texts and not of_harness:
        raise ValueError("a measure on another text")
    kinds: dict[str, Any] = {
        "divergence": _Diverged, "perplexity": _Perplexed, "speed": tuple[Speed, ...],
        "drafts": tuple[Drafts, ...], "behaviour": Behaviour,
    }  # fmt: skip
    kind = Benchmark if of_harness else kinds.get(measure, Choices)
    measure_value = TypeAdapter(kind).validate_python(measured.value)
    if isinstance(measure_value, Behaviour) and not is_whole(measure_value):
        raise ValueError("answers that are none")
    if of_harness and f"{BENCHMARK}{measure_value.name}" != measure:
        raise ValueError("a benchmark of another name")
    if isinstance(measure_value, Choices) and (
        measure_value.name != measure
        or not 0 < measure_value.tasks == len(measure_value.answers)
        or measure_value.correct != measure_value.answers.count("1")
        or not set(measure_value.answers) <= {"0", "1"}
    ):
        raise ValueError("tasks of another name, or answers that do not add up")


def _json(text: str) -> Any:
    """A value; Infinity and NaN are none. Raises ValueError."""
    if not has_few_values(text.encode("utf-8", "replace")):
        raise ValueError("a value of too many parts")
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("a value that is nested too deep") from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} as a number")


def _line(error: Exception) -> str:
    """Why, in one line of ours: nothing of the record itself is repeated."""
    if isinstance(error, ValidationError):
        return f"a value that is no {error.title.strip('_')}"
    return str(error)


def of_release(works: Sequence[Work], prepared: Prepared, root: Path) -> tuple[Work, ...]:
    """Another machine's finished work; each file proven to be of this release, none trusted by
    its time.

    Raises SourceError for work on files that lie elsewhere.
    """
    places = (*prepared.sources, prepared.job, "measures", "texts")

    def looked_at(file: RecordedFile) -> RecordedFile:
        try:
            RecordPath(file.path).below(root, *places)
        except ValueError as error:
            raise SourceError(f"{error}; rerun all jobs") from error
        return replace(file, changed=-1)

    return tuple(replace(work, files=tuple(map(looked_at, work.files))) for work in works)


def ours(works: Sequence[Work], prepared: Prepared) -> Iterator[Work]:
    """Of what `prepare` finished, the part that other machines can take: see `of_release`."""
    places = (*prepared.sources, prepared.job, "measures", "texts")
    for work in works:
        if all(file.path.startswith(tuple(f"{place}/" for place in places)) for file in work.files):
            yield work
