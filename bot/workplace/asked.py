"""What a build is asked for, known before anything of its model is here.

All inputs but the weights themselves: which model at which commit, which tiers by their profiles,
texts by their hashes, settings. From it follow the job's key and folder, and whether a repository
holds just this already: nothing is fetched, converted or built to find that out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bot.clients.llama.library import known_build
from bot.disk.folders import Folders, JobFolder
from bot.disk.hashes import sha256
from bot.disk.paths import inside
from bot.errors import SettingsError
from bot.plan.plain import baselines
from bot.plan.profiles import FittedProfile, Profile, load_profiles
from bot.records.coding import digest, dump
from bot.records.measured import Text
from bot.records.releases import Release
from bot.settings.making import CalibrationSource
from bot.settings.settings import Settings
from bot.store.ledger import Ledger
from bot.store.paces import MICRO_BATCH
from bot.toolchain import toolchain
from bot.workplace.provenance import AskedFor
from bot.workplace.texts import (
    content_of,
    entry_of,
    licence_of,
    prompts_text,
    text_of,
    text_origin,
)

METRICS_VERSION = 2  # raised when a change of ours changes a number
SHOWN = ("order", "about")  # of a profile: decides no byte of a file
# settings of a measure that decide how it is done on this machine, not its numbers
MACHINE = frozenset(
    ("text", "tasks", "imported", "parallel", "memory_gb", "overlap", "reference", "behaviour")
)


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """The model that a name means, at one state; `commit` is the file's sha256 without a Hub."""

    name: str  # as in file names: Qwen3.6-35B-A3B
    commit: str
    release: Release | None = None

    @property
    def repo_id(self) -> str | None:
        """Its repository; None for a file of this machine."""
        return self.release.repo_id if self.release else None


@dataclass(frozen=True, kw_only=True)
class Order:
    """Some tiers of a pinned model, made and measured as settings say."""

    pinned: Pinned
    key: str  # of the job
    asked: AskedFor

    def paths(self, folders: Folders) -> JobFolder:
        """The job's folder."""
        return folders.job(self.pinned.name, self.key)


def order_of(settings: Settings, pinned: Pinned, tiers: Sequence[str] = ()) -> Order:
    """What the settings ask of a model; all tiers where none is named.

    Raises SettingsError for an unknown tier, a profile, text or matrix that is not there.
    """
    profiles = load_profiles(settings.profiles, tiers or None)
    return ordered(settings, profiles, pinned.name, pinned.repo_id, pinned.commit, pinned=pinned)


def ordered(
    settings: Settings,
    profiles: Sequence[Profile],
    name: str,
    repo_id: str | None,
    commit: str,
    *,
    pinned: Pinned | None = None,
) -> Order:
    """As `order_of`, with profiles that are read; `repo_id` is None for a file of this machine."""
    plain = baselines(settings.quantize.baselines)
    weighed = any(profile.imatrix for profile in profiles) or any(b.imatrix for b in plain)
    matrix = calibration_inputs(settings) if weighed else None
    measured = evaluation_inputs(settings)
    llama = known_build()
    stored = {profile.tier: _profile_inputs(settings, profile) for profile in profiles}
    named = [baseline.name for baseline in plain]
    key = digest([repo_id or name, commit, stored, named, llama, matrix, measured])
    common = [repo_id or name, commit, llama, _file_inputs(settings)]
    weighing = [matrix, settings.quantize.missing_data]  # tensors without data of a matrix, too
    asked = AskedFor(
        tiers={
            profile.tier: digest(
                [*common, stored[profile.tier], weighing if profile.imatrix else None]
            )
            for profile in profiles
        },
        rest=digest([named, measured, [dump(p) for p in profiles], _card_inputs(settings)]),
    )
    return Order(pinned=pinned or Pinned(name=name, commit=commit), key=key, asked=asked)


def _profile_inputs(settings: Settings, profile: Profile) -> dict[str, Any]:
    """All of a profile that decides its file; of one that is fitted, how it is."""
    inputs = profile.model_dump(mode="json", exclude=set(SHOWN))
    if not isinstance(profile, FittedProfile):
        return inputs
    return {**inputs, "how": settings.fit.model_dump(mode="json"), **calibration_mix(settings)}


def _file_inputs(settings: Settings) -> list[Any]:
    """How files are made, whatever their tier."""
    quantize, convert = settings.quantize, settings.convert
    other = toolchain.commit_of(convert.llama_cpp) if convert.llama_cpp else None
    return [quantize.stamp, quantize.shard, settings.publish.file, convert.mtp, other]


def _card_inputs(settings: Settings) -> list[Any]:
    """What decides the card and all that lies beside the tiers."""
    measures = settings.evaluation.model_dump(mode="json", exclude=set(MACHINE))
    return [
        version("apex-bot"),
        measures,
        {
            name: source.model_dump(mode="json", exclude={"path"})
            for name, source in settings.data.items()
        },
        [sha256(path) for path in settings.evaluation.imported if path.is_file()],
        settings.calibration.name,
        settings.source.model_dump(mode="json"),
        settings.convert.projector,
        settings.gate.model_dump(mode="json"),
        settings.card.model_dump(mode="json"),
        settings.publish.quantized_by,
        settings.source.model_dump(mode="json"),
        list(_templates(settings.templates)),
    ]


def _templates(folder: Path | None) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")) if folder and folder.is_dir() else ():
        if path.is_file():
            yield path.relative_to(folder).as_posix() if folder else "", sha256(path)


# ── texts ───────────────────────────────────────────────────────────────────────────────────


def calibration_inputs(settings: Settings) -> dict[str, Any]:
    """All that decides an importance matrix but the model. A text of a Hub is not fetched for it.

    Raises SettingsError for a file that is not there.
    """
    calibration = settings.calibration
    if calibration.file is not None:
        if not calibration.file.is_file():
            raise SettingsError(f"{calibration.file} does not exist; mend calibration.file")
        return {"file": hash_of_file(settings, calibration.file)}
    sizes = {
        "context": calibration.context,
        "chunks": calibration.chunks,
        "batch": calibration.batch,
    }
    return {**calibration_mix(settings), **sizes, **micro_batch_of(settings)}


def micro_batch_of(settings: Settings) -> dict[str, int]:
    """Tokens that go through a model at once, where it is not as ever: sums depend on it."""
    micro_batch = settings.llama.micro_batch
    return {} if micro_batch == MICRO_BATCH else {"micro_batch": micro_batch}


def calibration_mix(settings: Settings) -> dict[str, Any]:
    """The calibration texts and their proportions."""
    return {"texts": [_portion(settings, source) for source in settings.calibration.texts]}


def hash_of_file(settings: Settings, path: Path) -> str:
    """sha256 of a large file of the user's: read again only where its size or time changed."""
    space = Folders(settings.workdir)
    if not space.ledger.is_file():  # a look leaves no ledger behind
        return sha256(path)
    ledger, inputs = Ledger(space.ledger), {"path": inside(space.root, path)}
    done = ledger.finished(digest(inputs), "hash", inputs)
    if done is None or len(done.files) != 1:
        done = ledger.record(digest(inputs), "hash", inputs, [path], None)
    return done.files[0].sha256


def _portion(settings: Settings, source: CalibrationSource) -> dict[str, Any]:
    """A text of the mix: by its hash, or by the commit that it is pinned at."""
    if source.data is not None:
        content = content_of(source.data, entry_of(settings, source.data))
    elif source.path is None:
        content = source.sha256 or text_origin(source, settings)
    else:
        path = source.path.expanduser()
        if not path.is_file():
            raise SettingsError(f"calibration text {path} does not exist; mend calibration.texts")
        content = source.sha256 or sha256(path)
    return {
        "name": source.label,
        "content": content,
        "weight": source.weight,
        "licence": licence_of(source, settings),
    }


def evaluation_inputs(settings: Settings) -> dict[str, Any]:
    """All that decides the numbers but the files and the machine."""
    evaluation = settings.evaluation
    domains = {
        name: [dump(_named(settings, domain.data)), domain.context, domain.chunks]
        for name, domain in evaluation.domains.items()
    }
    return {
        **({"domains": domains} if domains else {}),
        **({"minutes": evaluation.budget_minutes} if evaluation.budget_minutes else {}),
        "version": METRICS_VERSION,
        "text": dump(_named(settings, evaluation.text)),
        "context": evaluation.context,
        "chunks": evaluation.chunks,
        "stride": evaluation.stride,
        "tasks": [dump(_named(settings, path)) for path in evaluation.tasks],
        "task_count": evaluation.task_count,
        "behaviour": behaviour_inputs(settings),
    }


def behaviour_inputs(settings: Settings) -> dict[str, Any] | None:
    """All that decides what files are asked to see how they behave; None where nothing is."""
    behaviour = settings.evaluation.behaviour
    if not behaviour.measure:
        return None
    sizes = {"tokens": behaviour.tokens, "context": behaviour.context}
    return {"prompts": dump(prompts_text(behaviour.prompts)), **sizes}


def _named(settings: Settings, path: Path) -> Text:
    """A text by its name in `data`, where the hash stands already, or by its path."""
    entry = settings.data.get(str(path))
    if entry is None:
        return text_of(path)
    return Text(name=str(path), sha256=content_of(str(path), entry), origin=entry.licence)
