"""A published build as its machines see it: tiny files, times of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.disk.hashes import sha256
from bot.progress import Narrator
from bot.publish.publication import Published, held_already, send_release
from bot.publish.replacing import replaced_by_update
from bot.records.built import Built
from bot.records.releases import Release
from bot.settings.settings import Settings, load
from bot.wording.blocks import marked
from bot.workplace import provenance
from bot.workplace.asked import Pinned, order_of
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace
from tests.local_hub.server import Hub
from tests.models import model_of
from tests.unit.card.samples import nine_tiers

COMMIT = "0123456789abcdef0123456789abcdef01234567"


PINNED = Pinned(
    name="Sample-30B-A3B",
    commit=COMMIT,
    release=Release(repo_id="sample-lab/Sample-30B-A3B", commit=COMMIT),
)


REPO = "alice/Sample-30B-A3B-APEX-GGUF"


TIERS = ("Balanced", "I-Mini")


def settings(folder: Path, **given: Any) -> Settings:
    return load(workdir=folder / "work", **given)


class Machine:
    """One of several with the same settings; its files are tiny, its times are its own."""

    def __init__(
        self,
        folder: Path,
        url: str,
        token: str,
        time: str,
        tiers: tuple[str, ...] = TIERS,
        **given: Any,
    ) -> None:
        self.folder = folder / "release"
        self.folder.mkdir(parents=True)
        made = settings(folder, hub={"endpoint": url, "namespace": "alice"}, **given)
        self.workplace = Workplace(made, Narrator(quiet=True), SecretStr(token))
        self.workplace.hub._pause = 0.01
        self.order = order_of(made, PINNED, tiers)
        self.bot = version("apex-bot")
        self.changed: tuple[str, ...] = ()  # tiers whose bytes are others
        self._time = time

    def files(self, tiers: tuple[str, ...] = TIERS) -> dict[str, Built]:
        """A release as describing makes it."""
        found = {f"{tier}.gguf": self._file(f"{tier}.gguf", self._content(tier)) for tier in tiers}
        for tier in tiers:
            found[f"recipes/{tier}.txt"] = self._file(f"recipes/{tier}.txt", tier.encode())
        times = f'{{"seconds": {self._time}}}\n'.encode()
        found["results.json"] = self._file("results.json", times)
        results = nine_tiers()
        results = replace(results, tools=replace(results.tools, bot=self.bot))
        kept = tuple(row for row in results.tiers if row.name in tiers)
        said = provenance.statement(
            replace(results, tiers=kept), found, self.order.key, self.order.asked
        )
        found[provenance.NAME] = self._file(
            provenance.NAME, provenance.statement_text(said).encode()
        )
        found["SHA256SUMS"] = self._file("SHA256SUMS", self._time.encode())
        card = f"---\nlicense: mit\n---\n\n# Model\n\n## Files\n\n{self._time} s\n"
        found["README.md"] = self._file("README.md", marked(card).encode())
        return found

    def _content(self, tier: str) -> bytes:
        return tier.encode() * (901 if tier in self.changed else 900)

    def _file(self, name: str, content: bytes) -> Built:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return Built(path=str(path), bytes=len(content), sha256=sha256(path))

    def publish(self, tiers: tuple[str, ...] = TIERS) -> Published:
        return send_release(
            self.workplace, REPO, self.files(tiers), "Release", self.order.key, private=False
        )

    def would_prune(self, source: Path) -> list[str]:
        made = make_plan(
            self.workplace, model_of(self.workplace, str(source)), tuple(self.order.asked.tiers)
        )
        return [one.path for one in replaced_by_update(self.workplace, made, self.order, REPO)]

    def finds(self, **how: Any) -> Published | None:
        return held_already(self.workplace, REPO, self.order, private=False, **how)


Maker = Callable[..., Machine]


@pytest.fixture
def machine(tmp_path: Path, hub: Hub) -> Maker:
    def made(time: str, url: str = hub.url, **given: Any) -> Machine:
        return Machine(tmp_path / f"machine-{time}", url, hub.token, time, **given)

    return made
