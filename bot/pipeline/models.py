"""From a name to a plan: the pinned source, what it is, and what shall be made of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import SecretStr

from bot.clients import gguf
from bot.clients.hub import Hub
from bot.clients.hub_connection import Gate
from bot.clients.hub_trusted import TrustedPublisher, require_offered
from bot.clock import Clock
from bot.errors import SettingsError, SourceError
from bot.ledger import Finished, Ledger
from bot.pipeline.sources import Local, Sketch, bring
from bot.plan.architecture import describe
from bot.plan.plain import Baseline, baselines, plain_recipe
from bot.plan.profiles import Profile, load_profiles
from bot.plan.recipe import file_type, make_recipes
from bot.plan.sizes import file_bytes
from bot.progress import Narrator, Report
from bot.records import Architecture, Built, Recipe, Source, digest, together
from bot.settings import Settings
from bot.workspace import Workspace, inside

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
# what a 16-bit file's name says beside the model's: its type, its place among shards
BESIDE = re.compile(r"([-_.](bf16|f16|fp16|f32))?(-\d{5}-of-\d{5})?$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Model(Sketch):
    """A model whose 16-bit file is here."""

    source: Source
    extras: Mapping[str, Path]  # projector and MTP files, by the name they are published under


M = TypeVar("M", bound=Sketch, covariant=True)
S = TypeVar("S", bound=Sketch)


@dataclass(frozen=True, kw_only=True)
class Plan(Generic[M]):
    """What shall be built of a model."""

    model: M
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
        return file_bytes(sizes, self.model.header_bytes)


class Pipeline:
    """Settings, a ledger, a Hub and somebody who narrates: what every stage is given."""

    def __init__(
        self,
        settings: Settings,
        narrator: Narrator,
        token: SecretStr | None,
        *,
        ledger: Ledger | None = None,
    ) -> None:
        self.settings = settings
        self._ledger = ledger
        self.narrator = narrator
        self.workspace = Workspace(settings.workdir)
        self._token = token
        self._publishers: dict[str, Hub] = {}

    def beside(self, settings: Settings, ledger: Ledger) -> Pipeline:
        """The same Hub and narrator, with other settings and a ledger of its own."""
        return Pipeline(settings, self.narrator, self._token, ledger=ledger)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger given, or the working folder's, made when first needed."""
        return self._ledger or Ledger(self.workspace.ledger)

    @cached_property
    def hub(self) -> Hub:
        """The Hub of the settings, seen with the token."""
        return Hub(self.settings.hub.endpoint, self._token)

    def publisher(self, repo_id: str) -> Hub:
        """The Hub as it is written to: with the token, or with those lent for one repository.

        The same object for the same repository: it knows what was sent. Raises AccessError where
        settings want lent tokens and nobody lends any.
        """
        if not self.settings.publish.trusted_publisher:
            return self.hub
        if repo_id not in self._publishers:
            endpoint = self.settings.hub.endpoint
            self._publishers[repo_id] = Hub(endpoint, TrustedPublisher(endpoint, repo_id))
        return self._publishers[repo_id]

    def require_publisher(self) -> None:
        """Raise AccessError, before hours of work, where nothing could be published after them."""
        if self.settings.publish.trusted_publisher:
            require_offered()
        else:
            self.hub.whoami()

    def gated_hub(self, gate: Gate, clock: Clock) -> Hub:
        """The same Hub with somebody who lets its requests through one by one."""
        return Hub(self.settings.hub.endpoint, self._token, gate=gate, clock=clock)

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
        path = as_file(name)
        return self.described(Local(path=path) if path else bring(self, as_repo(name), revision))

    def described(self, local: Local, whole: Built | None = None) -> Model:
        """A 16-bit GGUF of this machine, hashed and described.

        Where its content is known as `whole`, its header alone may be here. Raises SourceError when
        it is none, or no mixture of experts.
        """
        path, release = local.path.resolve(), local.release
        header = gguf.read_split(path)
        architecture = describe(header.metadata, header.tensors)
        content = whole or together(self.hashed(local))
        source = Source(
            repo_id=release.repo_id if release else None,
            commit=release.commit if release else content.sha256,
            path=str(path),
            bytes=content.bytes,
            sha256=content.sha256,
        )
        return Model(
            source=source,
            release=release,
            name=release.repo_id.split("/")[1] if release else BESIDE.sub("", path.stem),
            tensors=header.tensors,
            header_bytes=header.data_offset,
            architecture=told_too(architecture, local.told),
            extras=local.extras or {},
        )

    def hashed(self, local: Local) -> tuple[Built, ...]:
        """The file of a 16-bit GGUF of this machine, or its shards in their order."""
        path = local.path.resolve()
        paths = gguf.shards(path, gguf.read(path))
        inputs = {"path": inside(self.workspace.root, path)}
        title = f"hashing {path.name}"
        done = self.step(digest(inputs), "hash", inputs, paths, title, lambda _report: None)
        return done.files

    def plan(self, model: S, tiers: Sequence[str] = ()) -> Plan[S]:
        """Recipes of the wanted tiers (all when none is named) and of the settings' baselines.

        llama.cpp itself is asked what a baseline holds: there is none while the model is not here.
        """
        profiles = load_profiles(self.settings.profiles, tiers or None)
        recipes = make_recipes(profiles, model.architecture, model.tensors)
        plain = self._baselines(model) if isinstance(model, Model) else ()
        return Plan(model=model, profiles=profiles, recipes=(*recipes, *plain))

    def _baselines(self, model: Model) -> tuple[Recipe, ...]:
        wanted = baselines(self.settings.quantize.baselines)
        return tuple(self._plain(model, baseline) for baseline in wanted)

    def _plain(self, model: Model, baseline: Baseline) -> Recipe:
        from bot.clients.llama.quantize import chosen_types

        types = chosen_types(
            Path(model.source.path), file_type(baseline.base), imatrix=baseline.imatrix
        )
        return plain_recipe(baseline, types, model.architecture, model.tensors)

    def target(self, model: Sketch, to: str | None) -> str:
        """The repository to publish to: as given, or by the naming template."""
        if to and not REPO_ID.fullmatch(to):
            raise SourceError(f"{to!r} is not an OWNER/NAME of a Hub; check --to")
        if to:
            return to
        owner = self.settings.hub.namespace
        if owner is None and self.settings.publish.trusted_publisher:
            raise SettingsError("hub.namespace is not set; a trusted publisher is no user: name it")
        owner = owner or self.hub.whoami()
        return f"{owner}/{self.settings.publish.repository.format(name=model.name, tier='')}"


def as_file(name: str) -> Path | None:
    """The path that a model's name is, where it is one."""
    path = Path(name).expanduser()
    return path if path.is_file() or name.endswith(".gguf") else None


def as_repo(name: str) -> str:
    """The id of a repository. Raises SourceError for what is none."""
    if not REPO_ID.fullmatch(name):
        raise SourceError(f"{name!r} is neither a file nor an ORG/MODEL of a Hub; check it")
    return name


def told_too(counted: Architecture, told: Architecture | None) -> Architecture:
    """What a GGUF file counts, and what only the checkpoint it was made of tells."""
    if told is None:
        return counted
    same = len(told.attention) == counted.layers
    return replace(
        counted,
        attention=told.attention if same else counted.attention,
        shared_experts=told.shared_experts,
        dense_leading_layers=told.dense_leading_layers,
        vision=told.vision,
        audio=told.audio,
        parameters_other=told.parameters_other,
        source_precision=told.source_precision,
        base_model=told.base_model,
        base_relation=told.base_relation,
        lacks=told.lacks,
    )
