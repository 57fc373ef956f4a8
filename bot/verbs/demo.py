"""The whole road on this machine: a local Hub, a release on it, and what the bot makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from bot import rights
from bot.apart.worker import away
from bot.clients.hub.hub import Hub
from bot.clients.llama.quantization import to_bf16
from bot.clients.llama.session import Loading
from bot.detect.listed import look_at_listing
from bot.disk.hashes import sha256
from bot.disk.writing import writing
from bot.errors import BuildError, PublishError
from bot.localhub.server import RunningHub
from bot.progress import Narrator
from bot.publish.publication import Published
from bot.publish.upload import publish_commit
from bot.records.built import Built
from bot.records.coding import from_json
from bot.records.measured import Row
from bot.records.releases import Build, Decision
from bot.records.results import Results
from bot.release.road import Request, Road
from bot.settings.making import LlamaSettings
from bot.settings.sections import DEMO
from bot.settings.settings import Settings, load
from bot.workplace.children import room_for
from bot.workplace.loaded import continuation
from bot.workplace.workplace import Workplace

MAKER, PUBLISHER = "tiny-lab", "demo"
SOURCE = f"{MAKER}/Tiny-MoE-14M"
PROMPT = "The little girl looked at the"


@dataclass(frozen=True, kw_only=True)
class Demonstrated:
    """What the demo made."""

    hub: str  # folder of the local Hub
    decisions: tuple[Decision, ...]
    published: Published
    results: Results
    sample: str  # text that a file made after it was downloaded again
    sample_file: str


def demonstrate(
    folder: Path, narrator: Narrator, llama: LlamaSettings, announce: Callable[[Decision], None]
) -> Demonstrated:
    """Run the whole road in `folder`; a second run finds everything done.

    `announce` is called with each decision of the watcher as it falls. Raises what the stages
    raise, and PublishError when a file downloaded again is not the one that was measured.
    """
    source = _expanded(folder / "source", narrator, llama.threads)
    with RunningHub(folder / "hub") as server:
        maker_hub = Hub(server.url, _token(server, folder, MAKER))
        _release(maker_hub, source, narrator)
        settings = demo_settings(folder / "work", server.url, llama)
        workplace = Workplace(settings, narrator, _token(server, folder, PUBLISHER))
        decisions = []
        for decision in look_at_listing(workplace.hub, settings):
            announce(decision)
            decisions.append(decision)
        chosen = _chosen(decisions)
        request = Request(
            workplace=workplace,
            model=chosen.release.repo_id,
            revision=chosen.release.commit,
            publishing=True,
        )
        with Road(request) as road:
            published = road.value("followed")
            order = road.value("order")
        paths = order.paths(workplace.folders)
        results = from_json(Results, paths.results.read_bytes())
        smallest = min(results.tiers, key=lambda row: row.bytes)
        sample = _sample(workplace, published, smallest, folder / "check")
    return Demonstrated(
        hub=str(folder / "hub"),
        decisions=tuple(decisions),
        published=published,
        results=results,
        sample=sample,
        sample_file=smallest.file,
    )


def demo_settings(workdir: Path, endpoint: str, llama: LlamaSettings) -> Settings:
    """Settings under which the whole road takes minutes; the texts are the demo's own."""
    return load(
        workdir=workdir,
        hub={"endpoint": endpoint, "namespace": PUBLISHER},
        llama=llama.model_dump(),
        evaluation={"chunks": 24, "task_count": 100},
        calibration={"chunks": 40},
        demo_texts=True,
    )


def _expanded(folder: Path, narrator: Narrator, threads: int) -> Path:
    """The demo model as its makers would publish it, in BF16; it comes with the bot in Q8_0."""
    source = folder / "Tiny-MoE-14M-BF16.gguf"
    if not source.is_file():
        with narrator.work("expanding the demo model to BF16"), writing(source) as partial:
            to_bf16(DEMO / "tiny-moe-Q8_0.gguf", partial, threads)
    return source


def _token(server: RunningHub, folder: Path, user: str) -> SecretStr:
    """The user's token, made once and kept readable for its owner only."""
    path = folder / "tokens" / user
    if not path.is_file():
        with writing(path) as partial:
            rights.private(partial)
            partial.write_text(server.store.add_user(user), encoding="utf-8")
    return SecretStr(path.read_text(encoding="utf-8"))


def _release(hub: Hub, source: Path, narrator: Narrator) -> None:
    """Put the demo model on the Hub as its makers would, unless it is there."""
    files = {
        path.name: Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))
        for path in (source, DEMO / "config.json", DEMO / "README.md")
    }
    with narrator.work(f"releasing {SOURCE} on {hub.endpoint}"):
        publish_commit(hub, SOURCE, files, "Release", private=False)


def _chosen(decisions: list[Decision]) -> Build:
    for decision in decisions:
        if isinstance(decision, Build) and decision.release.repo_id == SOURCE:
            return decision
    raise BuildError(f"the watcher did not choose {SOURCE}; run `bot watch --once` to see why")


def _sample(workplace: Workplace, published: Published, row: Row, folder: Path) -> str:
    """Text from a file fetched back from the Hub, after its hash was compared."""
    path = workplace.hub.download(published.repo_id, published.commit, row.file, folder)
    if sha256(path) != row.sha256:
        raise PublishError(
            f"{row.file} came back from the Hub changed; look at the local Hub's folder"
        )
    model = Loading(path=path, threads=workplace.settings.llama.threads)
    continue_text = away(continuation, room_for(workplace.settings, path))
    return PROMPT + continue_text(model, PROMPT, limit=40, n_ctx=256)
