"""From a name to a plan: the pinned source, what it is, and what shall be made of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bot.build.fetch import fetch, plan_fetch
from bot.clients import gguf
from bot.clients.hub import Hub
from bot.errors import SourceError
from bot.ledger import Finished, Ledger
from bot.plan.architecture import describe
from bot.plan.plain import Baseline, baselines, plain_recipe
from bot.plan.profiles import Profile, load_profiles
from bot.plan.recipe import file_type, make_recipes
from bot.plan.sizes import file_bytes
from bot.progress import Narrator, Report
from bot.records import Architecture, Recipe, Release, Source, digest, together
from bot.settings import Settings
from bot.watch.policy import source_file
from bot.workspace import Workspace

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
FETCHERS = 8  # downloads side by side
PRECISION = re.compile(r"[-_.](bf16|f16|fp16|f32)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A pinned 16-bit source and what it is."""

    source: Source
    release: Release | None
    name: str  # as in file names: Qwen3.6-35B-A3B
    header: gguf.Model
    architecture: Architecture

    @property
    def parameters(self) -> int:
        """All weights of the file, MTP layers too."""
        return sum(tensor.parameters for tensor in self.header.tensors)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What shall be built of a model."""

    model: Model
    profiles: tuple[Profile, ...]
    recipes: tuple[Recipe, ...]

    @property
    def distinct(self) -> tuple[Recipe, ...]:
        """Recipes that are built: one that coincides with an earlier one is not."""
        return tuple(recipe for recipe in self.recipes if recipe.same_as is None)

    @property
    def needs_imatrix(self) -> bool:
        """Whether any tier wants an importance matrix."""
        return any(recipe.imatrix for recipe in self.distinct)

    def predicted(self, recipe: Recipe) -> int:
        """Size of a recipe's file: exact for tensors, metadata taken from the source's."""
        sizes = (assignment.bytes for assignment in recipe.assignments)
        return file_bytes(sizes, self.model.header.data_offset)


class Pipeline:
    """Settings, a ledger, a Hub and somebody who narrates: what every stage is given."""

    def __init__(self, settings: Settings, narrator: Narrator, token: SecretStr | None) -> None:
        self.settings = settings
        self.narrator = narrator
        self.workspace = Workspace(settings.workdir)
        self._token = token

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of the working folder, made when first needed."""
        return Ledger(self.workspace.ledger)

    @cached_property
    def hub(self) -> Hub:
        """The Hub of the settings, seen with the token."""
        return Hub(self.settings.hub.endpoint, self._token)

    def step(
        self,
        job: str,
        step: str,
        inputs: Mapping[str, Any],
        paths: Sequence[Path],
        title: str,
        work: Callable[[Report], Any],
    ) -> Finished:
        """Do a step unless the ledger knows it as done; record its JSON value and its files."""
        done = self.ledger.finished(job, step, inputs)
        if done is not None:
            return done
        with self.narrator.work(title) as report:
            value = work(report)
            return self.ledger.record(job, step, inputs, paths, value)

    def model(self, name: str, revision: str = "main") -> Model:
        """A model by its path or by its id on the Hub, fetched and described.

        Raises SourceError when there is no such thing, or it is not a 16-bit mixture of experts.
        """
        path = Path(name).expanduser()
        if path.is_file() or name.endswith(".gguf"):
            return self._describe(path, None)
        if not REPO_ID.fullmatch(name):
            raise SourceError(f"{name!r} is neither a file nor an ORG/MODEL of a Hub; check it")
        release = self.hub.release(name, revision)
        return self._describe(self._fetch(release), release)

    def _fetch(self, release: Release) -> Path:
        wanted = source_file(release)
        if wanted is None:
            raise SourceError(
                f"{release.repo_id} has no 16-bit GGUF; convert it with llama.cpp and name the file"
            )
        folder = self.workspace.sources(release.repo_id, release.commit)
        with self.narrator.work(f"fetching {release.repo_id}", unit="B") as report:
            fetch(
                self.hub,
                release,
                plan_fetch(release, gguf=True),
                folder,
                workers=FETCHERS,
                report=report,
                reserve=self.settings.reserve,
            )
        return folder / wanted.path

    def _describe(self, path: Path, release: Release | None) -> Model:
        path = path.resolve()
        header = gguf.read_split(path)
        architecture = describe(header.metadata, header.tensors)
        paths = gguf.shards(path, header)
        inputs = {"path": str(path)}
        files = self.step(
            digest(inputs), "hash", inputs, paths, f"hashing {path.name}", lambda _report: None
        ).files
        whole = together(files)
        source = Source(
            repo_id=release.repo_id if release else None,
            commit=release.commit if release else whole.sha256,
            path=str(path),
            bytes=whole.bytes,
            sha256=whole.sha256,
        )
        return Model(
            source=source,
            release=release,
            name=release.repo_id.split("/")[1] if release else PRECISION.sub("", path.stem),
            header=header,
            architecture=architecture,
        )

    def plan(self, model: Model, tiers: Sequence[str] = ()) -> Plan:
        """Recipes of the wanted tiers (all when none is named) and of the settings' baselines."""
        profiles = load_profiles(self.settings.profiles, tiers or None)
        recipes = make_recipes(profiles, model.architecture, model.header.tensors)
        plain = tuple(
            self._plain(model, baseline) for baseline in baselines(self.settings.quantize.baselines)
        )
        return Plan(model=model, profiles=profiles, recipes=(*recipes, *plain))

    def _plain(self, model: Model, baseline: Baseline) -> Recipe:
        from bot.clients.llama.quantize import chosen_types

        types = chosen_types(
            Path(model.source.path), file_type(baseline.base), imatrix=baseline.imatrix
        )
        return plain_recipe(baseline, types, model.architecture, model.header.tensors)

    def target(self, model: Model, to: str | None) -> str:
        """The repository to publish to: as given, or by the naming template."""
        if to and not REPO_ID.fullmatch(to):
            raise SourceError(f"{to!r} is not an OWNER/NAME of a Hub; check --to")
        if to:
            return to
        owner = self.settings.hub.namespace or self.hub.whoami()
        return f"{owner}/{self.settings.publish.repository.format(name=model.name, tier='')}"
