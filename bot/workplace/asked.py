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
from typing import TYPE_CHECKING, Any

from bot.disk.folders import Folders
from bot.disk.hashes import sha256
from bot.disk.paths import inside
from bot.errors import SettingsError
from bot.plan.plain import baselines
from bot.plan.profiles import Profile, load_profiles
from bot.records.coding import digest, dump
from bot.records.measured import Text
from bot.records.releases import Release
from bot.settings.making import CalibrationSource
from bot.settings.settings import Settings
from bot.store.ledger import Ledger
from bot.toolchain import toolchain
from bot.workplace.provenance import AskedFor
from bot.workplace.texts import text_of, text_origin

if TYPE_CHECKING:
    from bot.disk.folders import JobFolder

METRICS_VERSION = 2  # raised when a change of ours changes a number
SHOWN = ("order", "about")  # of a profile: decides no byte of a file
# settings of a measure that decide how it is done on this machine, not its numbers
MACHINE = frozenset({"text", "tasks", "imported", "parallel", "memory_gb", "overlap", "reference"})


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
    """The same of profiles that are read already."""
    plain = baselines(settings.quantize.baselines)
    weighed = any([one.imatrix for one in profiles] + [one.imatrix for one in plain])
    matrix, measured = (
        calibration_inputs(settings) if weighed else None,
        evaluation_inputs(settings),
    )
    llama = version("llama-cpp-python")
    stored = {one.tier: _stored(one) for one in profiles}
    named = [one.name for one in plain]
    key = digest([repo_id or name, commit, stored, named, llama, matrix, measured])
    common = [repo_id or name, commit, llama, _made(settings)]
    asked = AskedFor(
        tiers={
            one.tier: digest(
                [*common, stored[one.tier], [matrix, _rounded(settings)] if one.imatrix else None]
            )
            for one in profiles
        },
        rest=digest([named, measured, [dump(one) for one in profiles], _shown(settings)]),
    )
    return Order(pinned=pinned or Pinned(name=name, commit=commit), key=key, asked=asked)


def _stored(profile: Profile) -> dict[str, Any]:
    """All of a profile that decides its file."""
    return profile.model_dump(mode="json", exclude=set(SHOWN))


def _made(settings: Settings) -> list[Any]:
    """How files are made, whatever their tier."""
    wanted, convert = settings.quantize, settings.convert
    other = toolchain.commit_of(convert.llama_cpp) if convert.llama_cpp else None
    return [wanted.stamp, wanted.shard, settings.publish.file, convert.mtp, other]


def _rounded(settings: Settings) -> str:
    """What becomes of tensors that an importance matrix says nothing of."""
    return settings.quantize.missing_data


def _shown(settings: Settings) -> list[Any]:
    """What decides the card and all that lies beside the tiers."""
    measures = settings.evaluation.model_dump(mode="json", exclude=set(MACHINE))
    return [
        version("apex-bot"),
        measures,
        {
            name: one.model_dump(mode="json", exclude={"path"})
            for name, one in settings.data.items()
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
    wanted = settings.calibration
    if wanted.file is not None:
        if not wanted.file.is_file():
            raise SettingsError(f"{wanted.file} does not exist; mend calibration.file")
        return {"file": hash_of_file(settings, wanted.file)}
    texts = [_portion(one) for one in wanted.texts]
    sizes = {"context": wanted.context, "chunks": wanted.chunks, "batch": wanted.batch}
    return {"texts": texts, **sizes}


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


def _portion(one: CalibrationSource) -> dict[str, Any]:
    """A text of the mix: by its hash, or by the commit that it is pinned at."""
    if one.path is None:
        content = one.sha256 or text_origin(one)
    else:
        path = one.path.expanduser()
        if not path.is_file():
            raise SettingsError(f"calibration text {path} does not exist; mend calibration.texts")
        content = one.sha256 or sha256(path)
    return {"name": one.label, "content": content, "weight": one.weight, "licence": one.licence}


def evaluation_inputs(settings: Settings) -> dict[str, Any]:
    """All that decides the numbers but the files and the machine."""
    wanted = settings.evaluation
    return {
        "version": METRICS_VERSION,
        "text": dump(_named(settings, wanted.text)),
        "context": wanted.context,
        "chunks": wanted.chunks,
        "stride": wanted.stride,
        "tasks": [dump(_named(settings, path)) for path in wanted.tasks],
        "task_count": wanted.task_count,
    }


def _named(settings: Settings, wanted: Path) -> Text:
    """A text by its name in `data`, where the hash stands already, or by its path."""
    entry = settings.data.get(str(wanted))
    if entry is None:
        return text_of(wanted)
    return Text(name=str(wanted), sha256=entry.sha256, origin=entry.licence)
