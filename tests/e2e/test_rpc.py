"""llama.cpp's RPC servers as devices: the processor's numbers, whatever becomes of a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.road import FEW, Road
from tests.llama_tools import tool
from tests.unit.placement.test_machines_of_bounded_memory import (
    MIB,
    bounded,
    free_port,
    wait_for,
)

pytestmark = pytest.mark.long
FIT = {"chunks": 2, "context": 32, "probes": 6, "rounds": 1}
MakeRoad = Callable[..., Road]


@pytest.fixture
def make_road(tmp_path: Path) -> MakeRoad:
    """Working folders whose llama.cpp has an RPC backend."""

    def make(name: str, servers: Sequence[str] = (), **more: Any) -> Road:
        road = Road(folder=tmp_path / name, url="http://127.0.0.1:9", token="none")
        road.folder.mkdir()
        llama = {"threads": 1, "library": str(tool("ggml-rpc-server").parent)}
        where = {"rpc": [*servers]} if servers else {"gpu_layers": 0}
        road.settings(llama={**llama, **where}, fit=FIT, **more)
        return road

    return make


@contextmanager
def serving(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server on a port."""
    command = [str(tool("ggml-rpc-server")), "-H", "127.0.0.1", "-p", str(port), "-t", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port)
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def done(road: Road, *words: str) -> str:
    """What a verb says; it must end well."""
    ended = road.bot(*words)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def seconds_of(pid: int) -> float:
    """Seconds of processor that a process had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def scores(road: Road, reference: Path, *files: Path) -> list[Any]:
    """Perplexity, divergence and tasks of files."""
    out = road.folder / "results.json"
    names = [*map(str, files), "--against", str(reference), "--measures", "ppl,kld,tasks"]
    done(road, "evaluate", *names, "--out", str(out))
    told = json.loads(out.read_text())
    return [
        [row["scores"][key] for key in ("perplexity", "divergence", "choices")]
        for row in told["files"]
    ]


def test_all_numbers_are_the_processors(
    make_road: MakeRoad, demo_model: Path, demo_candidate: Path
) -> None:
    port = free_port()
    found = []
    with serving(port):
        for road in (make_road("here"), make_road("afar", [f"127.0.0.1:{port}"])):
            done(road, "fit", str(demo_model), "--like", "I-Mini")
            (sensitivity,) = (road.folder / "work").rglob("sensitivity.json")
            (matrix,) = (road.folder / "work").rglob("imatrix.gguf_file")
            probes = json.loads(sensitivity.read_text())["probes"]
            numbers = scores(road, demo_model, demo_model, demo_candidate)
            found.append((matrix.read_bytes(), probes, numbers))
    assert found[0] == found[1]


def test_a_server_that_dies_is_told_and_the_run_goes_on(
    make_road: MakeRoad, demo_model: Path, demo_candidate: Path
) -> None:
    port = free_port()
    few = {**FEW, "chunks": 24, "overlap": False}
    there = {"evaluation": few}
    expected = scores(make_road("here", **there), demo_model, demo_candidate)
    road = make_road("afar", [f"127.0.0.1:{port}"], **there)
    words = ["evaluate", str(demo_candidate), "--against", str(demo_model), "--measures", "kld"]
    missing = road.bot(*words)
    assert missing.returncode == 7
    assert "a server of llama.rpc went away" in missing.stderr
    with serving(port) as server, road.held_at(r"write \S+\.tokens", *words, at=2) as held:
        assert held.step() is not None
        server.send_signal(signal.SIGKILL)
        server.wait()
        held.go_on()
        held.process.wait(120)
        assert held.process.returncode == 7
    with serving(port):
        assert scores(road, demo_model, demo_candidate) == expected


def test_speed_is_measured_where_the_model_lies(make_road: MakeRoad, demo_model: Path) -> None:
    port = free_port()
    road = make_road("afar", [f"127.0.0.1:{port}"], evaluation={"repetitions": 2})
    out = road.folder / "results.json"
    words = ["evaluate", str(demo_model), "--measures", "speed", "--out", str(out)]
    with serving(port) as server:
        before = seconds_of(server.pid)
        done(road, *words)
        worked = seconds_of(server.pid) - before
    told = json.loads(out.read_text())
    ((row, run),) = [(one["scores"]["speed"], *one["scores"]["runs"]) for one in told["files"]]
    assert [one["name"] for one in row] == ["pp512", "tg128"]
    assert {one["repetitions"] for one in row} == {2}
    assert run["tools"]["device"] == "RPC0", "which is published; where the server is, is not"
    assert all(one["mean"] > 0 for one in row)
    assert worked > 0, "the server computed; how fast is no matter of a test"
    assert f":{port}" not in out.read_text()


def test_two_machines_hold_what_neither_can(
    make_road: MakeRoad, demo_model: Path, demo_candidate: Path
) -> None:
    ports = [free_port(), free_port()]
    apart = {"evaluation": {**FEW, "reference": "file"}}  # one model at a time
    expected = scores(make_road("here", **apart), demo_model, demo_candidate)
    room = demo_model.stat().st_size * 3 // 4 + 24 * MIB
    with ExitStack() as stack:
        for port in ports:
            bounded(stack.enter_context(serving(port)).pid, room)
        addresses = [f"127.0.0.1:{port}" for port in ports]
        assert scores(make_road("both", addresses, **apart), demo_model, demo_candidate) == expected
        one = make_road("one", addresses[:1], **apart)
        words = [str(demo_candidate), "--against", str(demo_model), "--measures", "kld"]
        refused = one.bot("evaluate", *words)
        assert refused.returncode == 5, refused.stderr
