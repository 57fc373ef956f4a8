"""The models of a simulated Hub, and what happens to them in thirty days."""

from __future__ import annotations

import hashlib
import heapq
import random
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

DAY, HOUR = 86_400.0, 3_600.0
SKEW = 120.0  # seconds by which the Hub's own clocks differ
START = 1_790_000_000.0


@dataclass(slots=True, eq=False)
class Model:
    """One repository. `versions` are its weights: when each came."""

    row: int
    name: str
    moe: bool
    created: float  # as the Hub says
    public: float  # when everybody may see it
    modified: float
    commit: str
    weights: int = 0  # version of its weights; 0 while there are none
    templates: int = 0  # that it had before its chat template
    deleted: float | None = None
    versions: list[float] = field(default_factory=list)

    def visible(self, now: float) -> bool:
        """Whether the Hub shows it."""
        return self.public <= now and (self.deleted is None or now < self.deleted)


class Population:
    """All models; `advance` lets happen what is planned until a time."""

    def __init__(self, *, known: int, daily: int, days: float, moe: float, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a simulation
        self.now = START
        self.models: list[Model] = []
        self.names: dict[str, Model] = {}
        self.commits: dict[str, tuple[Model, int]] = {}
        self.by_created: list[tuple[float, int]] = []
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._moe = moe
        for number in range(known):
            at = START - (known - number) * 60.0
            self._add(at, at, moe=self.random.random() < moe, weights=True)
        self.by_created.sort()
        for _ in range(int(daily * days)):
            self._plan_new(START + self.random.random() * days * DAY)

    def advance(self, now: float) -> None:
        """Let everything happen that is planned until `now`."""
        self.now = now
        while self._planned and self._planned[0][0] <= now:
            heapq.heappop(self._planned)[2]()

    def eligible(self, until: float, grace: float) -> set[tuple[int, int]]:
        """(row, version) of all weights that were to be seen for at least `grace` seconds."""
        found = set()
        for model in self.models:
            ends = [*model.versions, float("inf")][1:]
            for number, (start, end) in enumerate(zip(model.versions, ends, strict=True), 1):
                over = min(end, until, model.deleted or until)
                new = model.public > START
                if model.moe and new and over - max(start, model.public) >= grace:
                    found.add((model.row, number))
        return found

    # ── what the Hub says ───────────────────────────────────────────────────────────────────

    def listing_row(self, model: Model) -> dict[str, Any]:
        """A row of a listing."""
        config = {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}
        if not model.moe:
            config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
        return {
            "id": model.name,
            "sha": model.commit,
            "createdAt": stamp(model.created),
            "lastModified": stamp(model.modified),
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": ["safetensors", "license:apache-2.0", "region:us"],
            "pipeline_tag": "text-generation",
            "library_name": "transformers",
            "likes": model.row % 50,
            "downloads": model.row % 1000,
            "config": config if model.weights else None,
        }

    def files(self, model: Model) -> list[dict[str, Any]]:
        """The files of a repository."""
        files: list[dict[str, Any]] = [{"rfilename": "README.md", "size": 100, "blobId": "0" * 40}]
        if model.weights:
            sha256 = hashlib.sha256(f"{model.row}/{model.weights}".encode()).hexdigest()
            large = {"size": 4_000_000_000, "sha256": sha256, "pointerSize": 135}
            files.append({"rfilename": "config.json", "size": 300, "blobId": "1" * 40})
            template = f"{model.templates:040x}"
            files.append({"rfilename": "chat_template.jinja", "size": 300, "blobId": template})
            files.append(
                {"rfilename": "model.safetensors", "size": 135, "blobId": "2" * 40, "lfs": large}
            )
        return files

    # ── what happens ────────────────────────────────────────────────────────────────────────

    def _plan(self, at: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._planned, (at, len(self._planned), what))

    def _plan_new(self, at: float) -> None:
        chance = self.random.random
        moe = chance() < self._moe
        public = at + (chance() * 20 * DAY + HOUR if chance() < 0.02 else 0.0)
        late = chance() < (0.3 if moe else 0.1)

        def create() -> None:
            model = self._add(at, public, moe=moe, weights=not late)
            if late:
                self._plan(at + chance() * 3 * DAY, lambda: self._push(model, weights=True))
            if moe and chance() < 0.5:  # a card mended on the next days
                self._plan(at + chance() * 5 * DAY, lambda: self._push(model, weights=False))
            if moe and chance() < 0.05:
                self._plan(at + (4 + chance() * 10) * DAY, lambda: self._push(model, weights=True))
            if chance() < 0.02:
                self._plan(at + chance() * 10 * DAY, lambda: self._rename(model))
            if chance() < 0.02:
                self._plan(at + chance() * 10 * DAY, lambda: self._delete(model))

        self._plan(at, create)

    def _add(self, at: float, public: float, *, moe: bool, weights: bool) -> Model:
        row = len(self.models)
        skewed = at + self.random.uniform(-SKEW, SKEW)
        model = Model(
            row=row, name=f"org{row % 997}/Model-{row}", moe=moe, created=skewed, public=public,
            modified=skewed, commit="",
        )  # fmt: skip
        self.models.append(model)
        self.names[model.name] = model
        if at < START:
            self.by_created.append((skewed, row))
        else:
            insort(self.by_created, (skewed, row))
        self._push(model, weights=weights, at=at)
        return model

    def _push(self, model: Model, *, weights: bool, at: float | None = None) -> None:
        if model.deleted is not None:
            return
        if weights:
            model.weights += 1
            model.versions.append(self.now if at is None else at)
        model.modified = self.now if at is None else at
        text = f"{model.row} {model.modified!r} {model.weights}".encode()
        model.commit = hashlib.sha256(text).hexdigest()[:40]
        if model.moe and model.weights:
            self.commits[model.commit] = (model, model.weights)

    def _rename(self, model: Model) -> None:
        model.name = f"{model.name}-renamed"
        self.names[model.name] = model  # the old name leads there too

    def _delete(self, model: Model) -> None:
        model.deleted = self.now


def stamp(time: float) -> str:
    """The Hub's way to write a time."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
