"""Headers of safetensors files: of this machine, of a Hub, and of liars."""

from __future__ import annotations

import json
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.files.safetensors import (
    FIRST,
    LONGEST,
    MOST_TENSORS,
    parse_header,
    read_safetensors,
)
from bot.clients.hub.hub import Hub
from bot.errors import BotError, SourceError, UnreachableError
from bot.records.model import HeaderTensor
from bot.records.releases import Release
from bot.tensors import weights
from bot.tensors.stored import parts_by_file
from tests import headers
from tests.local_hub.server import Hub as LocalHub
from tests.local_hub.server import running_hub
from tests.unit.clients.hub.between import Between, Fault, between

REPO = "maker/Model"
PLAIN = {"a.weight": ("BF16", (4, 8)), "b.weight": ("F8_E4M3", (16,)), "c": ("F4", (2, 8))}


def reader(content: bytes, ranges: list[tuple[int, int]]) -> Callable[[str, int, int], bytes]:
    def fetch(_path: str, start: int, stop: int) -> bytes:
        ranges.append((start, stop))
        return content[start:stop]

    return fetch


def read(content: bytes) -> tuple[HeaderTensor, ...]:
    return read_safetensors(reader(content, []), "model.safetensors", len(content))


def refused(content: bytes) -> str | None:
    """Why a file is refused, None when it is read."""
    try:
        read(content)
    except SourceError as error:
        return str(error)
    return None


def long_header(count: int, *, experts: str = "") -> bytes:
    """More than is asked for at first."""
    name = f"model.layers.0.{experts}mlp.experts.{{}}.a_name_that_takes_room.up_proj.weight"
    return headers.file({name.format(i): ("BF16", (2, 4)) for i in range(count)})


# ── one file ────────────────────────────────────────────────────────────────────────────────


def test_a_header_tells_names_types_and_shapes() -> None:
    ranges: list[tuple[int, int]] = []
    content = headers.file(PLAIN)
    tensors = read_safetensors(reader(content, ranges), "x.safetensors", len(content))
    assert [(t.name, t.dtype, t.shape, t.bytes) for t in tensors] == [
        ("a.weight", "BF16", (4, 8), 64),
        ("b.weight", "F8_E4M3", (16,), 16),
        ("c", "F4", (2, 8), 8),
    ]
    assert {t.file for t in tensors} == {"x.safetensors"}
    assert ranges == [(0, len(content))]


def test_a_long_header_takes_one_more_request_for_the_rest() -> None:
    ranges: list[tuple[int, int]] = []
    content = long_header(2000)
    length = 8 + int.from_bytes(content[:8], "little")
    assert len(read_safetensors(reader(content, ranges), "x", len(content))) == 2000
    assert ranges == [(0, FIRST), (FIRST, length)]


def test_an_empty_checkpoint_and_padding_are_of_the_format() -> None:
    text = b'{"__metadata__":{"format":"pt"}}    '
    assert read(len(text).to_bytes(8, "little") + text) == ()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"dtype": "BF17", "shape": [2], "data_offsets": [0, 4]}, "apex-bot does not read"),
        ({"dtype": "BF16", "shape": [2], "data_offsets": [0, 5]}, "makes no sense"),
        ({"dtype": "BF16", "shape": [-2, -1], "data_offsets": [0, 4]}, "makes no sense"),
        ({"dtype": "BF16", "shape": [2.0], "data_offsets": [0, 4]}, "makes no sense"),
        ({"dtype": "BF16", "shape": [True], "data_offsets": [0, 2]}, "makes no sense"),
        ({"dtype": "BF16", "shape": [1], "data_offsets": [False, 2]}, "makes no sense"),
        ({"dtype": "BF16", "shape": [1] * 9, "data_offsets": [0, 2]}, "makes no sense"),
        ({"dtype": "BF16", "shape": [1 << 40] * 8, "data_offsets": [0, 2]}, "makes no sense"),
        ({"dtype": "BF16", "shape": "2", "data_offsets": [0, 4]}, "makes no sense"),
        ({"dtype": "BF16", "shape": [2], "data_offsets": [4, 0]}, "makes no sense"),
        ({"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}, "makes no sense"),
        ({"dtype": ["BF16"], "shape": [2], "data_offsets": [0, 4]}, "makes no sense"),
        ({"shape": [2], "data_offsets": [0, 4]}, "makes no sense"),
        ([], "makes no sense"),
        (None, "makes no sense"),
        ({"dtype": "BF16", "shape": [64], "data_offsets": [0, 128]}, "outside of it"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(entry: Any, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        parse_header(json.dumps({"x": entry}).encode(), "x", 100)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "longer than the file"),
        (b"\x00" * 7, "longer than the file"),
        ((1 << 63).to_bytes(8, "little") + b"{}", "longer than the file"),
        ((4).to_bytes(8, "little") + b"{} [", "not JSON"),
        ((4).to_bytes(8, "little") + b"null", "not a JSON object"),
        ((2).to_bytes(8, "little") + b"\xff\xff", "not JSON"),
        ((14).to_bytes(8, "little") + b'{"a":1,"a":2} ', "makes no sense"),
    ],
)
def test_a_file_that_is_none_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        read(content)


def test_tensors_may_not_overlap_nor_bear_hostile_names() -> None:
    entry = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
    two = {"dtype": "U8", "shape": [4], "data_offsets": [3, 7]}
    with pytest.raises(SourceError, match="overlap"):
        parse_header(json.dumps({"a": entry, "b": two}).encode(), "x", 100)
    for name in ("\x1b[2J", "a\nb", ""):
        with pytest.raises(SourceError, match="makes no sense") as refusal:
            parse_header(json.dumps({name: entry}).encode(), "x", 100)
        assert str(refusal.value).isprintable()


@pytest.mark.road
def test_a_bound_of_ours_is_called_ours() -> None:
    usual = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
    with pytest.raises(SourceError, match="501 characters, which this apex-bot does not read"):
        parse_header(json.dumps({"n" * 501: usual}).encode(), "x", 100)
    entry = '"{:06x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    many = ",".join(entry.format(i) for i in range(MOST_TENSORS))
    assert len(parse_header(f"{{{many}}}".encode(), "x", 0)) == MOST_TENSORS
    with pytest.raises(SourceError, match=f"more than {MOST_TENSORS:,} tensors, which this apex"):
        parse_header(f"{{{many},{entry.format(MOST_TENSORS)}}}".encode(), "x", 0)


def test_metadata_of_a_header_is_stepped_over() -> None:
    """It is text by the format, which may hold anything, and be as long as the index."""
    entry = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
    text = json.dumps(
        {"config": json.dumps({"a": [{"b": {}}] * 5000}), "emoji": "🙂" * 9}, indent=1
    )
    for header in (
        f'{{"__metadata__": {text}, "a": {json.dumps(entry)}}}',
        f'{{"a": {json.dumps(entry)}, "__metadata__": {text}}}  ',
        f'{{"__metadata__":{{}},"\\u0061":{json.dumps(entry)}}}',
    ):
        assert [t.name for t in parse_header(header.encode(), "x", 4)] == ["a"]


def test_a_header_beyond_the_bound_is_never_fetched() -> None:
    ranges: list[tuple[int, int]] = []
    start = (LONGEST + 1).to_bytes(8, "little") + b"{" * FIRST
    with pytest.raises(SourceError, match=f"{LONGEST + 1:,} bytes, which this apex-bot does not"):
        read_safetensors(reader(start, ranges), "x", 1 << 40)
    assert ranges == [(0, FIRST)]


@pytest.mark.parametrize("unit", [b"{},", b"[],", b"0,", b"[", b'{"a":', b"9" * 5000 + b","])
def test_json_of_another_kind_is_refused_at_once_and_in_little_memory(unit: bytes) -> None:
    content = b'{"a":[' + unit * (3_000_000 // len(unit))
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(SourceError, match="x is not a safetensors file"):
        parse_header(content, "x", 0)
    assert time.process_time() - started < 2
    assert tracemalloc.get_traced_memory()[1] < 10 * len(content)
    tracemalloc.stop()


def test_two_thousand_damaged_headers_are_read_or_refused_quickly() -> None:
    dice = random.Random(20261123)  # noqa: S311 - a seed, so that a failure repeats
    good = headers.file({**PLAIN, **{f"l.{i}.w": ("BF16", (2, i)) for i in range(1, 9)}})
    scraps = (b"{", b"}", b"[", b"]", b'"', b",", b"-", b"9" * 40, b"1e9", b"null", b"\xff", b"0")
    outcomes = set[type]()
    started = time.process_time()
    for _ in range(2000):
        content = bytearray(good[: dice.randint(0, len(good))] if dice.random() < 0.1 else good)
        for _ in range(dice.randint(1, 3)):
            place = dice.randint(0, len(content))
            content[place : place + dice.randint(0, 3)] = dice.choice(scraps)
        refusal = refused(bytes(content))
        outcomes.add(type(refusal))
        assert refusal is None or (refusal.isprintable() and len(refusal) < 400)
    assert outcomes == {type(None), str}
    assert time.process_time() - started < 20


# ── a Hub ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def token(server: LocalHub) -> str:
    return server.store.add_user("maker")


@pytest.fixture
def proxy(server: LocalHub) -> Iterator[Between]:
    with between(server.url) as running:
        yield running


@pytest.fixture
def hub(proxy: Between, token: str) -> Hub:
    return Hub(proxy.url, SecretStr(token), pause=0.01)


def committed(hub: Hub, folder: Path, repo_id: str, files: dict[str, bytes]) -> Release:
    hub.create_private(repo_id)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    commit = hub.commit(repo_id, {n: folder / n for n in files}, "first", hub.head(repo_id))
    release = hub.release(repo_id)
    assert release.commit == commit
    return release


def shards(count: int, long: int = 0) -> dict[str, bytes]:
    """Shards, the first `long` of them with headers that take two requests."""
    return {
        f"model-{i:05d}-of-{count:05d}.safetensors": long_header(900, experts=f"{i}.")
        if i <= long
        else headers.file({f"model.layers.{i}.mlp.up_proj.weight": ("BF16", (2, 4))})
        for i in range(1, count + 1)
    }


@pytest.mark.road
def test_two_hundred_shards_cost_no_more_than_two_requests_each(
    hub: Hub, proxy: Between, tmp_path: Path
) -> None:
    config = {"config.json": b'{"model_type": "mixtral"}'}
    before = committed(hub, tmp_path, "maker/Large", config | shards(200, long=20))
    proxy.requests.clear()
    release = hub.release("maker/Large")
    assert release == before
    assert hub.read_json("maker/Large", release.commit, "config.json")
    reports: list[tuple[int, int]] = []
    tensors = hub.safetensors(release, report=lambda done, total: reports.append((done, total)))
    assert len(tensors) == 20 * 900 + 180
    assert len(proxy.requests) == 1 + 1 + 200 + 20
    assert all(f"/resolve/{release.commit}/" in line for line in proxy.requests[1:])
    assert reports == [(i, 200) for i in range(1, 201)]


def test_the_first_trouble_ends_the_reading(hub: Hub, proxy: Between, tmp_path: Path) -> None:
    files = shards(40) | {"model-00003-of-00040.safetensors": b"no header at all"}
    release = committed(hub, tmp_path, "maker/Damaged", files)
    proxy.requests.clear()
    with pytest.raises(SourceError, match=r"model-00003-of-00040[.]safetensors is not"):
        hub.safetensors(release)
    assert len(proxy.requests) <= 40


def test_trouble_of_the_network_is_repeated_and_has_an_end(
    hub: Hub, proxy: Between, tmp_path: Path
) -> None:
    release = committed(hub, tmp_path, "maker/Shaky", {"model.safetensors": long_header(900)})
    part = "/resolve/"
    proxy.faults.append(Fault(method="GET", part=part, status=None, arrives=False, times=1))
    proxy.faults.append(Fault(method="GET", part=part, status=503, arrives=False, times=1))
    assert len(hub.safetensors(release)) == 900
    proxy.faults.append(Fault(method="GET", part=part, status=503, arrives=False, times=99))
    with pytest.raises(UnreachableError):
        hub.safetensors(release)


def test_a_server_without_ranges_is_read_no_further_than_needed(
    hub: Hub, proxy: Between, tmp_path: Path
) -> None:
    content = long_header(900) + bytes(1 << 20)
    release = committed(hub, tmp_path, "maker/Whole", {"model.safetensors": content})
    proxy.faults.append(
        Fault(method="GET", part="/resolve/", status=200, arrives=False, times=2, body=content)
    )
    assert len(hub.safetensors(release)) == 900
    cut = Fault(method="GET", part="/resolve/", status=206, arrives=False, times=99, body=b"short")
    proxy.faults.append(cut)
    with pytest.raises(UnreachableError):
        hub.safetensors(release)


def test_an_index_tells_the_files(hub: Hub, proxy: Between, tmp_path: Path) -> None:
    named = {f"model.layers.{i}.mlp.up_proj.weight": name for i, name in enumerate(shards(2), 1)}
    files = shards(2) | {"extra.safetensors": headers.file({"x": ("BF16", (2,))})}
    files[weights.INDEX] = json.dumps({"weight_map": named}).encode()
    release = committed(hub, tmp_path, "maker/Indexed", files)
    proxy.requests.clear()
    index = hub.index(release)
    assert index == named
    chosen = weights.checkpoint(release, parts_by_file({}, index))
    tensors = hub.safetensors(release, chosen, index)
    assert [tensor.name for tensor in tensors] == list(named)
    assert len(proxy.requests) == 3


def test_a_stranger_sees_no_header(hub: Hub, proxy: Between, tmp_path: Path) -> None:
    release = committed(hub, tmp_path, "maker/Closed", shards(1))
    with pytest.raises(BotError, match="does not exist"):
        Hub(proxy.url, None, pause=0.01).safetensors(release)
