"""Fetching against a local Hub: what is asked for, what is verified, and what survives a kill."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.files import gguf
from bot.clients.hub.hub import Hub
from bot.clients.llama.session import Session, Token
from bot.disk.hashes import sha256
from bot.errors import CapacityError, SourceError
from bot.records.releases import Release, RepoFile
from bot.tensors import weights
from bot.workplace.fetch import fetch, plan_fetch
from tests.local_hub.server import Hub as LocalHub
from tests.split_gguf import split
from tests.unit.clients.hub.between import Between, Fault, between

ROOT = Path(__file__).resolve().parents[3]
MODEL = "alice/Model"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
WEIGHTS = {ONE: os.urandom(3_000_000), TWO: os.urandom(500_000)}
SMALL = {
    "config.json": b"{}",
    "tokenizer.json": b'{"model": {}}',
    "LICENSE": b"as you like",
    "model.safetensors.index.json": b'{"weight_map": {}}',
}
NEVER = {
    "modeling.py": b"import os",
    "pytorch_model.bin": b"\x80\x04N.",
    "original/consolidated.safetensors": os.urandom(1000),
    "README.md": b"# Model",
}


@pytest.fixture
def proxy(hub: LocalHub) -> Iterator[Between]:
    with between(hub.url) as running:
        yield running


def publish(server: LocalHub, contents: Mapping[str, bytes], folder: Path) -> None:
    """A public repository with these files."""
    hub = Hub(server.url, SecretStr(server.token))
    hub.create_private(MODEL)
    sources = {name: folder / "sent" / name for name in contents}
    for name, path in sources.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[name])
    hub.commit(MODEL, sources, "x", hub.head(MODEL))
    hub.make_public(MODEL)


def fetched(proxy: Between, folder: Path, *, reserve: int = 0) -> list[tuple[int, int]]:
    """Fetch the checkpoint of MODEL through the proxy; the bytes that were reported."""
    hub = Hub(proxy.url, None, pause=0.001)
    release = hub.release(MODEL)
    reports: list[tuple[int, int]] = []
    fetch(
        hub,
        release,
        plan_fetch(release, weights.checkpoint(release)),
        folder,
        workers=3,
        report=lambda done, total: reports.append((done, total)),
        reserve=reserve,
    )
    return reports


# ── what to fetch ───────────────────────────────────────────────────────────────────────────


def a_release(*paths: str, size: int = 10) -> Release:
    files = tuple(RepoFile(path=path, size=size, sha256="0" * 64) for path in paths)
    return Release(repo_id=MODEL, commit="c" * 40, files=files)


def test_a_checkpoint_is_weights_config_tokenizer_template_and_licence() -> None:
    needed = [
        *(ONE, TWO, "config.json", "generation_config.json", "merges.txt", "vocab.json"),
        *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "added_tokens.json"),
        *("special_tokens_map.json", "tekken.json", "qwen.tiktoken", "chat_template.jinja"),
        *("additional_chat_templates/tool_use.jinja", "preprocessor_config.json", "LICENSE.md"),
        *("video_preprocessor_config.json", "processor_config.json", "chat_template.json"),
        *("model.safetensors.index.json", "LICENCE", "NOTICE.txt", "USE_POLICY.md"),
    ]
    left_out = [
        *("README.md", "modeling_x.py", "tokenization_x.py", "pytorch_model.bin", "a.pkl"),
        *("original/model.safetensors", "fp32/model.safetensors", "model.fp32.safetensors"),
        *("consolidated.safetensors", "training_args.bin", "optimizer.pt", "LICENSE.py"),
        *("figures/a.png", "evil/config.json", "onnx/model.onnx", "m-BF16.gguf", "LICENSE.bin"),
        *("model.ckpt", "tf_model.h5", "tokenizer.json.partial", "LICENSE.partial"),
    ]
    release = a_release(*needed, *left_out)
    chosen = plan_fetch(release, weights.checkpoint(release))
    assert sorted(file.path for file in chosen) == sorted(needed)
    assert [file.path for file in chosen[:2]] == [ONE, TWO]


def test_a_gguf_is_its_shards_and_its_projector() -> None:
    shards = [f"BF16/m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    release = a_release(*shards, "m-Q4_K_M.gguf", "mmproj-F16.gguf", "LICENSE", ONE, TWO, "a.py")
    chosen = [file.path for file in plan_fetch(release)]
    assert chosen == [*shards, "mmproj-F16.gguf", "LICENSE"]


@pytest.mark.parametrize(
    ("paths", "gguf_wanted", "message"),
    [
        (("config.json",), False, "no safetensors"),
        ((ONE,), False, "lacks 1 of its safetensors"),
        (("pytorch_model.bin",), False, "no safetensors"),
        (("m-BF16-00001-of-00002.gguf",), True, "no whole 16-bit GGUF"),
        (("model.safetensors", "model.safetensors", "config.json", "config.json"), False, "twice"),
        (("LICENSE/m-BF16.gguf", "LICENSE"), True, "twice"),
        (("model.safetensors", *(f"LICENSE{n}" for n in range(3001))), False, "files to fetch"),
    ],
)
def test_what_cannot_be_built_from_is_refused(
    paths: tuple[str, ...], gguf_wanted: bool, message: str
) -> None:
    release = a_release(*paths)
    with pytest.raises(SourceError, match=message):
        plan_fetch(release, None if gguf_wanted else weights.checkpoint(release))


HOSTILE = [
    *("/etc/LICENSE-BF16.gguf", "../m-BF16.gguf", "a/../../m-BF16.gguf", "a//m-BF16.gguf"),
    *(
        "./m-BF16.gguf",
        "a/./m-BF16.gguf",
        "a\\..\\m-BF16.gguf",
        "C:m-BF16.gguf",
        ".git/m-BF16.gguf",
    ),
    *("a\nb-BF16.gguf", "a\x00-BF16.gguf", "a\x1b[31m-BF16.gguf", "a\u202eb-BF16.gguf"),
    *("x" * 300 + "-BF16.gguf", "é" * 150 + "-BF16.gguf", "/".join("abcdefghi") + "/m-BF16.gguf"),
    *(" /m-BF16.gguf", "con?-BF16.gguf", "a|b-BF16.gguf", "~/../m-BF16.gguf"),
]


@pytest.mark.parametrize("path", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_refused_before_any_request(path: str, tmp_path: Path) -> None:
    release = a_release(path)
    with pytest.raises(SourceError, match="do not use this model"):
        plan_fetch(release)
    nobody = Hub("http://127.0.0.1:9", None)
    with pytest.raises(SourceError, match="do not use this model"):
        fetch(
            nobody,
            release,
            release.files,
            tmp_path / "x",
            workers=1,
            report=lambda _done, _total: None,
            reserve=0,
        )
    assert not (tmp_path / "x").exists()


# ── fetching ────────────────────────────────────────────────────────────────────────────────


def test_only_what_is_needed_is_asked_for_and_nothing_twice(
    hub: LocalHub, proxy: Between, tmp_path: Path
) -> None:
    publish(hub, {**WEIGHTS, **SMALL, **NEVER}, tmp_path)
    needed, total = {**WEIGHTS, **SMALL}, sum(map(len, {**WEIGHTS, **SMALL}.values()))
    reports = fetched(proxy, tmp_path / "here")
    for name, content in needed.items():
        assert (tmp_path / "here" / name).read_bytes() == content
        assert proxy.count("GET", f"/{name}") == 1
    assert proxy.count("GET", "/resolve/") == len(needed)
    assert not any(name in line for name in NEVER for line in proxy.requests)
    assert reports[0] == (0, total)
    assert reports[-1] == (total, total)
    assert sorted(reports) == reports
    paths = {str(p.relative_to(tmp_path / "here")) for p in (tmp_path / "here").rglob("*")}
    assert paths == {*needed, ".verified.json", ".lock", ".use"}

    proxy.requests.clear()
    assert fetched(proxy, tmp_path / "here") == [(total, total)]
    assert len(proxy.requests) == 1  # the release


def test_what_changed_here_is_fetched_again(hub: LocalHub, proxy: Between, tmp_path: Path) -> None:
    publish(hub, {**WEIGHTS, **SMALL}, tmp_path)
    fetched(proxy, tmp_path / "here")
    (tmp_path / "here" / ONE).write_bytes(bytes(len(WEIGHTS[ONE])))  # same size
    (tmp_path / "here" / "config.json").write_bytes(b"[]")  # a small file, same size
    (tmp_path / "here" / "LICENSE").unlink()
    os.utime(tmp_path / "here" / TWO)  # only touched: hashed, not fetched
    proxy.requests.clear()
    fetched(proxy, tmp_path / "here")
    for name, content in {**WEIGHTS, **SMALL}.items():
        assert (tmp_path / "here" / name).read_bytes() == content
    assert proxy.count("GET", "/resolve/") == 3
    assert proxy.count("GET", TWO) == 0


def damaged(name: str, times: int) -> Fault:
    content = bytearray(WEIGHTS.get(name) or SMALL[name])
    content[-1] ^= 1
    return Fault(
        method="GET", part=f"/{name}", status=200, body=bytes(content), arrives=False, times=times
    )


@pytest.mark.parametrize("name", [ONE, "tokenizer.json"])
def test_a_damaged_download_is_fetched_once_more(
    hub: LocalHub, proxy: Between, tmp_path: Path, name: str
) -> None:
    publish(hub, {**WEIGHTS, **SMALL}, tmp_path)
    proxy.faults = [damaged(name, times=1)]
    reports = fetched(proxy, tmp_path / "here")
    assert reports[-1][0] == reports[-1][1]
    assert (tmp_path / "here" / name).read_bytes() == {**WEIGHTS, **SMALL}[name]
    assert proxy.count("GET", f"/{name}") == 2


@pytest.mark.parametrize("name", [ONE, "tokenizer.json"])
def test_what_comes_damaged_twice_is_an_error_and_not_kept(
    hub: LocalHub, proxy: Between, tmp_path: Path, name: str
) -> None:
    publish(hub, {**WEIGHTS, **SMALL}, tmp_path)
    proxy.faults = [damaged(name, times=2)]
    with pytest.raises(SourceError, match="came damaged twice"):
        fetched(proxy, tmp_path / "here")
    assert not (tmp_path / "here" / name).exists()
    fetched(proxy, tmp_path / "here")  # trouble over
    assert (tmp_path / "here" / name).read_bytes() == {**WEIGHTS, **SMALL}[name]


def test_a_full_disk_is_refused_before_anything_is_fetched(
    hub: LocalHub, proxy: Between, tmp_path: Path
) -> None:
    publish(hub, {**WEIGHTS, **SMALL}, tmp_path)
    with pytest.raises(CapacityError, match=r"needs 0\.00 GB and 1000000\.00 GB in reserve"):
        fetched(proxy, tmp_path / "here", reserve=10**15)
    assert proxy.count("GET", "/resolve/") == proxy.count("HEAD", "/resolve/") == 0


def test_a_listing_without_hashes_is_refused(hub: LocalHub, proxy: Between, tmp_path: Path) -> None:
    publish(hub, {**WEIGHTS, **SMALL}, tmp_path)
    client = Hub(proxy.url, None)
    release = client.release(MODEL)
    (config,) = (file for file in release.files if file.path == "config.json")
    files = [replace(config, sha256=None, blob_id=None)]
    with pytest.raises(SourceError, match="lists no hash"):
        fetch(
            client,
            release,
            files,
            tmp_path / "here",
            workers=1,
            report=lambda _done, _total: None,
            reserve=0,
        )


def test_a_cut_connection_is_gone_on_from(hub: LocalHub, proxy: Between, tmp_path: Path) -> None:
    publish(hub, {**WEIGHTS, **SMALL}, tmp_path)
    proxy.faults = [
        Fault(method="GET", part=ONE, status=503, arrives=False, times=2),
        Fault(method="HEAD", part=TWO, status=None, arrives=False),
        Fault(
            method="GET", part="/LICENSE", status=429, headers={"Retry-After": "0"}, arrives=False
        ),
    ]
    reports = fetched(proxy, tmp_path / "here")
    assert reports[-1][0] == reports[-1][1]
    for name, content in {**WEIGHTS, **SMALL}.items():
        assert (tmp_path / "here" / name).read_bytes() == content


def test_one_error_ends_the_other_downloads(hub: LocalHub, proxy: Between, tmp_path: Path) -> None:
    publish(hub, {**WEIGHTS, **SMALL}, tmp_path)
    proxy.faults = [Fault(method="HEAD", part=ONE, status=404, arrives=False, times=99)]
    with pytest.raises(SourceError):
        fetched(proxy, tmp_path / "here")
    proxy.faults.clear()
    fetched(proxy, tmp_path / "here")


# ── processes ───────────────────────────────────────────────────────────────────────────────

FETCH = f"""
import sys
from pathlib import Path
from bot.tensors import weights
from bot.workplace.fetch import fetch, plan_fetch
from bot.clients.hub.hub import Hub
hub = Hub(sys.argv[1], None)
release = hub.release("{MODEL}")
files = plan_fetch(release, weights.checkpoint(release))
fetch(hub, release, files, Path(sys.argv[2]), workers=1, report=lambda a, b: None, reserve=0)
"""


def started(proxy: Between, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", FETCH, proxy.url, str(folder)], cwd=ROOT)


@pytest.mark.road
def test_a_killed_download_goes_on_where_it_stopped(
    hub: LocalHub, proxy: Between, tmp_path: Path
) -> None:
    publish(hub, {**WEIGHTS, **SMALL}, tmp_path)
    half = len(WEIGHTS[ONE]) // 2
    reached, over = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        over.wait(30)

    proxy.faults = [
        Fault(method="GET", part=ONE, status=200, body=WEIGHTS[ONE][:half], arrives=False),
        Fault(method="GET", part=ONE, status=None, arrives=False, meanwhile=hold),
    ]
    process = started(proxy, tmp_path / "here")
    assert reached.wait(30)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    over.set()
    assert (tmp_path / "here" / f"{ONE}.partial").stat().st_size == half
    assert not (tmp_path / "here" / ONE).exists()

    reports = fetched(proxy, tmp_path / "here")
    assert reports[0][0] == half  # no other file was begun, and these bytes do not come again
    assert reports[-1][0] == reports[-1][1] == sum(map(len, {**WEIGHTS, **SMALL}.values()))
    assert (tmp_path / "here" / ONE).read_bytes() == WEIGHTS[ONE]


@pytest.mark.road
def test_two_processes_fetch_once(hub: LocalHub, proxy: Between, tmp_path: Path) -> None:
    publish(hub, {**WEIGHTS, **SMALL}, tmp_path)
    both = threading.Barrier(2)

    def meet() -> None:
        both.wait(30)

    # each has the release before either begins to fetch
    proxy.faults = [
        Fault(method="GET", part="/revision/", status=307, arrives=False, times=2, meanwhile=meet)
    ]
    release = hub.ask("GET", f"/api/models/{MODEL}/revision/main?blobs=true")
    proxy.faults[0].status, proxy.faults[0].body = 200, release.body
    proxy.faults[0].headers = {"Content-Type": "application/json"}
    processes = [started(proxy, tmp_path / "here") for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    for name, content in {**WEIGHTS, **SMALL}.items():
        assert (tmp_path / "here" / name).read_bytes() == content
        assert proxy.count("GET", f"/{name}") == 1


# ── a GGUF in shards, from the Hub to logits ────────────────────────────────────────────────


@pytest.mark.road
def test_a_sharded_gguf_is_fetched_and_gives_logits(
    hub: LocalHub, proxy: Between, demo_model: Path, demo_text: str, tmp_path: Path
) -> None:
    (tmp_path / "made").mkdir()
    shards = split(demo_model, tmp_path / "made" / "Tiny-BF16.gguf", 60)
    publish(hub, {f"BF16/{path.name}": path.read_bytes() for path in shards}, tmp_path)
    client = Hub(proxy.url, None)
    release = client.release(MODEL)
    files = plan_fetch(release)
    assert [file.path for file in files] == [f"BF16/{path.name}" for path in shards]
    folder = fetch(
        client,
        release,
        files,
        tmp_path / "here",
        workers=2,
        report=lambda _done, _total: None,
        reserve=0,
    )
    first = folder / files[0].path
    assert [sha256(folder / file.path) for file in files] == [file.sha256 for file in files]
    assert gguf.read_split(first).tensors == gguf.read_gguf(demo_model).tensors
    outputs = []
    for path in (first, demo_model):
        with Session(path, n_ctx=64, threads=1) as session:
            ids = session.tokenize(demo_text)[:64]
            rows = session.decode([Token(id=t, position=i, logits=True) for i, t in enumerate(ids)])
            outputs.append(hashlib.sha256(rows.tobytes()).hexdigest())
    assert outputs[0] == outputs[1]
