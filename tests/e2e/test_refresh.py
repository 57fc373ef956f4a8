"""New metadata without new weights: what the converter would write, in files and releases."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf  # noqa: TID251 - the other opinion of what files hold
import pytest
from pydantic import SecretStr

from bot.clients.files.gguf import read_gguf
from bot.clients.files.ggufheader import read_header
from bot.clients.hub.hub import Hub as Client
from bot.detect.inspection import candidate
from bot.progress import Narrator
from bot.refresh.metadata import between
from bot.settings.settings import load
from bot.source.obtain import bring
from bot.source.without_weights import keys_of_release
from bot.toolchain.toolchain import Toolchain
from bot.workplace.workplace import Workplace
from tests import checkpoints
from tests.checkpoints import FAMILIES
from tests.e2e.road import Road
from tests.e2e.test_source import ORIGINALS, released, told, with_converter
from tests.local_hub.server import Hub, running_hub

QUICK = ("granite",)
OLD = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
NEW = OLD.replace("<", "[").replace(">", "]") + "{% if enable_thinking %}<think>{% endif %}"
# what a client of others sends the model: llama-cpp-python's own chat, in a process of its own
CHAT = """
import json, sys
from llama_cpp import Llama
model = Llama(sys.argv[1], n_ctx=128, n_threads=2, verbose=False)
answer = model.create_chat_completion([{"role": "user", "content": "Hi"}], max_tokens=2)
told = model.tokenize(sys.argv[2].encode(), add_bos=False, special=True)
print(json.dumps([answer["usage"]["prompt_tokens"], len(told), answer["choices"][0]["message"]]))
"""


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    return Road(folder=tmp_path, url=hub.url, token=hub.token)


@pytest.mark.road
@pytest.mark.parametrize(
    "family", [pytest.param(n, marks=() if n in QUICK else pytest.mark.long) for n in ORIGINALS]
)
def test_the_converter_writes_the_same_metadata_with_and_without_weights(
    family: str, road: Road, hub: Hub, toolchain: Toolchain
) -> None:
    """All keys of a conversion, byte for byte, but for what is of each file itself."""
    source = checkpoints.write(FAMILIES[family](), road.folder / "source", toolchain)
    (source / "chat_template.jinja").write_text(OLD)
    (source / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "top_k": 20}))
    repo_id = released(hub, source, "Tiny-4x1M")
    with_converter(road, toolchain)
    settings = load(road.folder / "bot.yaml", hub={"endpoint": hub.url})
    workplace = Workplace(settings, Narrator(quiet=True), SecretStr(hub.token))
    release = Client(hub.url, None).release(repo_id)
    keys = keys_of_release(workplace, release)
    written = dict(read_header(bring(workplace, candidate(workplace, release)).path).keys)
    assert len(keys) > 20
    assert between(keys, written) == {}


@pytest.mark.road
def test_a_file_takes_the_metadata_that_its_makers_have_by_now(
    road: Road, hub: Hub, toolchain: Toolchain
) -> None:
    source = checkpoints.write(FAMILIES["granite"](), road.folder / "source", toolchain)
    (source / "chat_template.jinja").write_text(OLD)
    repo_id = released(hub, source, "Tiny-4x1M")
    with_converter(road, toolchain)
    mine = road.folder / "mine.gguf"
    assert road.bot("convert", str(source), str(mine), "--name", "Mine").returncode == 0
    assert told(road, "refresh", str(mine), "--from", repo_id, "--dry-run")["changes"] != []

    (source / "chat_template.jinja").write_text(NEW)
    (source / "generation_config.json").write_text(json.dumps({"temperature": 0.6}))
    released(hub, source, "Tiny-4x1M")
    before = read_gguf(mine)
    done = told(road, "refresh", str(mine), "--from", repo_id)
    after = read_gguf(mine)
    assert {change["key"] for change in done["changes"]} == {
        "tokenizer.chat_template",
        "general.sampling.temp",
        "general.license",  # which the folder did not tell
    }
    assert after.metadata["tokenizer.chat_template"] == NEW
    assert after.metadata["general.name"] == "Mine"
    assert after.tensors == before.tensors
    assert told(road, "refresh", str(mine), "--from", repo_id)["changes"] == []
    assert not [*(road.folder / "work").glob("sources/*")]


# ── published releases ──────────────────────────────────────────────────────────────────────

REPO = "alice/Tiny-4x1M-APEX-GGUF"
TIERS = ("Balanced", "I-Compact")
LOOKS = 20  # of a watcher; each builds what it finds before it ends


@pytest.fixture
def chunky(tmp_path: Path) -> Iterator[Hub]:
    """A Hub to which Xet sends what it does not hold."""
    with running_hub(tmp_path / "chunky", deduplicates=True) as running:
        yield running


def watched(road: Road, published: int) -> None:
    """Look and build until as many builds are published."""
    for _ in range(LOOKS):
        done = road.bot("watch", "--once", "--build")
        assert done.returncode == 0, done.stderr
        (board,) = (json.loads(x) for x in road.bot("status", "--json").stdout.splitlines())
        assert not board["counts"].get("failed"), board["tasks"]
        if board["counts"].get("published") == published:
            return
    raise AssertionError(board)


def tensors(path: Path) -> dict[str, str]:
    """Each tensor's sha256, by gguf's own reader."""
    reader = gguf.GGUFReader(path)
    return {t.name: hashlib.sha256(t.data.tobytes()).hexdigest() for t in reader.tensors}


def fetched(hub: Hub, folder: Path) -> dict[str, Path]:
    """The published files of models, by path."""
    client = Client(hub.url, None)
    release = client.release(REPO)
    paths = [file.path for file in release.files if file.path.endswith(".gguf")]
    return {path: client.download(REPO, release.commit, path, folder) for path in paths}


def log_of(road: Road) -> str:
    """What the latest build said."""
    logs = sorted((road.folder / "work").glob("runs/*/log"), key=lambda path: path.stat().st_mtime)
    return logs[-1].read_text()


def answers(file: Path, prompt: str) -> None:
    """A conversation with a file is the one that `prompt` begins, and gets an answer."""
    done = subprocess.run(
        [sys.executable, "-c", CHAT, str(file), prompt], capture_output=True, text=True, check=True
    )
    sent, expected, message = json.loads(done.stdout.splitlines()[-1])
    assert sent - expected in (0, 1)  # a token that begins every text
    assert message["role"] == "assistant"


def text(hub: Hub, path: str) -> str:
    """A small file of the published repository."""
    client = Client(hub.url, None)
    return client.read_text(REPO, client.head(REPO), path, 1 << 20) or ""


def read(hub: Hub, path: str) -> Any:
    return json.loads(text(hub, path))


def reweighed(file: Path, number: int) -> None:
    """Other weights of the same shapes: the last ones in another order."""
    data = file.read_bytes()
    end = data[-1024:]
    file.write_bytes(data[:-1024] + end[2 * number :] + end[: 2 * number])


def begun(
    hub: Hub, folder: Path, toolchain: Toolchain, tiers: Sequence[str], family: str = "granite"
) -> tuple[Road, Path, str]:
    """A checkpoint on the Hub, seen by a watcher and published: the road, its folder, its name."""
    road = Road(folder=folder, url=hub.url, token=hub.token)
    source = checkpoints.write(FAMILIES[family](), folder / "source", toolchain)
    (source / "chat_template.jinja").write_text(OLD)
    repo_id = released(hub, source, "Tiny-4x1M")
    converter = {"llama_cpp": str(toolchain.tree), "python": str(toolchain.python)}
    road.settings(convert=converter, policy={"tiers": list(tiers)}, watch={"follow": ["lab"]})
    watched(road, 1)
    return road, source, repo_id


def sent(hub: Hub, kind: str, work: Callable[[], object]) -> int:
    """Bytes by which a folder of the Hub grows meanwhile: what Xet sent, or whole contents."""

    def size() -> int:
        folder = hub.store.folder / kind
        paths = folder.rglob("xorbs/xorbs/*" if kind == "chunks" else "*")
        return sum(path.stat().st_size for path in paths if path.is_file())

    before = size()
    work()
    return size() - before


@pytest.mark.road
def test_a_new_template_is_seen_and_published_in_one_commit(
    chunky: Hub, tmp_path: Path, toolchain: Toolchain
) -> None:
    hub = chunky
    road, source, repo_id = begun(hub, tmp_path, toolchain, TIERS)
    before, results = fetched(hub, tmp_path / "before"), read(hub, "results.json")
    assert hub.commits(REPO) == 1
    for path in before.values():
        answers(path, "<user>Hi<assistant>")

    (source / "chat_template.jinja").write_text(NEW)
    (source / "generation_config.json").write_text(json.dumps({"temperature": 0.6}))
    released(hub, source, "Tiny-4x1M")
    by_xet = sent(hub, "chunks", lambda: watched(road, 2))
    assert hub.commits(REPO) == 2
    assert "quantizing" not in log_of(road)
    after = fetched(hub, tmp_path / "after")
    assert [tensors(path) for path in before.values()] == [tensors(p) for p in after.values()]
    for path in after.values():
        said = read_gguf(path)
        assert said.metadata["tokenizer.chat_template"] == NEW
        assert said.get("general.sampling.temp") == pytest.approx(0.6)
        assert said.get("general.source.url").endswith(Client(hub.url, None).head(repo_id))
        answers(path, "[user]Hi[assistant]")
    new = read(hub, "results.json")
    assert [row["scores"] for row in new["tiers"]] == [row["scores"] for row in results["tiers"]]
    assert new["refreshed"]["measured_at"] == results["release"]["commit"]
    assert new["refreshed"]["changed"] == ["chat_template.jinja", "generation_config.json"]
    card = text(hub, "README.md")
    assert "Measured with the metadata of commit" in card
    assert "enable_thinking" in card
    assert "temperature 0.6" in card
    assert "metadata alone: chat_template.jinja, generation_config.json" in text(
        hub, "CHANGELOG.md"
    )
    lint = road.bot("lint", REPO, "--json")
    assert lint.returncode == 0, lint.stdout
    assert told(road, "refresh", repo_id)["texts"] == []
    publish = told(road, "publish", repo_id, "--tiers", ",".join(TIERS))
    assert publish["changed"] == []  # it is what would be published

    (source / "chat_template.jinja").write_text(OLD)
    released(hub, source, "Tiny-4x1M")
    off = {"HF_HUB_DISABLE_XET": "1"}
    before_off = fetched(hub, tmp_path / "before-off")
    whole = sent(hub, "objects", lambda: told(road, "refresh", repo_id, **off))
    assert [*map(tensors, fetched(hub, tmp_path / "off").values())] == [
        *map(tensors, before_off.values())
    ]
    size = sum(path.stat().st_size for path in after.values())
    (tmp_path / "sent").write_text(f"{by_xet:,} bytes with Xet, {whole:,} without, of {size:,}")
    assert by_xet < whole / 8, f"{by_xet:,} bytes with Xet, {whole:,} without, of {size:,}"
    assert whole >= size


@pytest.mark.long
@pytest.mark.parametrize("template", [NEW, OLD])
def test_new_weights_are_built_with_a_new_template_and_without(
    template: str, chunky: Hub, tmp_path: Path, toolchain: Toolchain
) -> None:
    hub = chunky
    road, source, _repo_id = begun(hub, tmp_path, toolchain, TIERS[:1])
    before = fetched(hub, tmp_path / "before")
    reweighed(source / "model.safetensors", 1)
    (source / "chat_template.jinja").write_text(template)
    released(hub, source, "Tiny-4x1M")
    watched(road, 2)
    assert hub.commits(REPO) == 2
    assert "its weights changed" in log_of(road)
    after = fetched(hub, tmp_path / "after")
    assert [*map(tensors, after.values())] != [*map(tensors, before.values())]
    assert [read_gguf(path).metadata["tokenizer.chat_template"] for path in after.values()] == [
        template
    ]
    assert read(hub, "results.json")["refreshed"] is None


@pytest.mark.long
def test_killed_anywhere_the_same_command_goes_on(
    chunky: Hub, tmp_path: Path, toolchain: Toolchain
) -> None:
    hub = chunky
    road, source, repo_id = begun(hub, tmp_path, toolchain, TIERS[:1])
    before = fetched(hub, tmp_path / "before")
    (source / "chat_template.jinja").write_text(NEW)
    released(hub, source, "Tiny-4x1M")
    for at in (
        r"rename \S+metadata.gguf",
        r"write \S+Balanced.gguf.partial",
        r"write \S+SHA256SUMS",
    ):
        road.killed_at(at, "refresh", repo_id)
        assert hub.commits(REPO) == 1
    done = told(road, "refresh", repo_id)
    assert hub.commits(REPO) == 2
    after = fetched(hub, tmp_path / "after")
    assert [*map(tensors, after.values())] == [*map(tensors, before.values())]
    assert set(done["tensors"]) == set(after)
    assert told(road, "refresh", repo_id)["changed"] == []
    assert hub.commits(REPO) == 2


@pytest.mark.long
def test_prediction_layers_follow_and_a_projector_stays(
    chunky: Hub, tmp_path: Path, toolchain: Toolchain
) -> None:
    hub = chunky
    road, source, repo_id = begun(hub, tmp_path, toolchain, TIERS[1:], "qwen35moe")
    before = fetched(hub, tmp_path / "before")
    assert {path.partition("-")[0] for path in before} == {"Tiny", "mtp", "mmproj.gguf"}
    (source / "chat_template.jinja").write_text(NEW)
    released(hub, source, "Tiny-4x1M")
    done = told(road, "refresh", repo_id)
    after = fetched(hub, tmp_path / "after")
    assert set(done["tensors"]) == set(after) - {"mmproj.gguf"}
    for path, file in after.items():
        assert tensors(file) == tensors(before[path])
        same = file.read_bytes() == before[path].read_bytes()
        assert same == (path == "mmproj.gguf")
        if not same:
            assert read_gguf(file).metadata["tokenizer.chat_template"] == NEW
    lint = road.bot("lint", REPO, "--json")
    assert lint.returncode == 0, lint.stdout
