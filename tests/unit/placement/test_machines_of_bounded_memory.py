"""What is predicted, beside what llama.cpp reports of devices whose memory is bounded.

They are ggml-rpc-server's, of the very build, whose memory the system bounds (the server of this
version has no option for it); the bytes of every device are compared, and the arguments that
`bot fits` prints are read by llama-server itself.
"""

from __future__ import annotations

import re
import resource
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bot.clients.llama.placing import Asked, place
from bot.placement.fitting import arguments
from bot.placement.machines import Machine
from bot.placement.onpaper import OnPaper, put_on_paper
from bot.placement.splitting import Places, Split
from tests.llama_tools import tool

pytestmark = pytest.mark.long
MIB = 1 << 20
COPIES, WIDTH = 4, 256  # GGML_SCHED_MAX_COPIES; of the demo model's hidden rows
SIZES = re.compile(r"(\S+) +(model|KV|RS|compute) buffer size = +(\d+\.\d+) MiB")
LISTENING, LOADED = 20.0, 60.0  # seconds
PASSING = 12 * MIB  # what a server needs to receive a tensor and a graph in


@contextmanager
def servers(memory: Sequence[int]) -> Iterator[list[str]]:
    """RPC servers that may hold so many bytes each; their addresses."""
    with ExitStack() as stack:
        addresses = []
        for size in memory:
            port = free_port()
            command = [str(tool("ggml-rpc-server")), "-H", "127.0.0.1", "-p", str(port), "-t", "1"]
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            stack.callback(process.send_signal, signal.SIGKILL)
            wait_for(port)
            bounded(process.pid, size)
            addresses.append(f"127.0.0.1:{port}")
        yield addresses


def bounded(pid: int, size: int) -> None:
    """Let a server take so many bytes for models, beside what it has."""
    bound = _data_of(pid) + size + PASSING
    resource.prlimit(pid, resource.RLIMIT_DATA, (bound, bound))


def _data_of(pid: int) -> int:
    """Bytes of memory of its own that a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^VmData:\s+(\d+) kB", status, re.MULTILINE)[0]) << 10


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    until = time.monotonic() + LISTENING
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nobody listens on {port}")


def reported(model: Path, addresses: Sequence[str], words: Sequence[str]) -> dict[str, float]:
    """Bytes that llama-server says it holds on each device, loaded with these arguments."""
    command = [
        *(str(tool("llama-server")), "-m", str(model), "--port", str(free_port())),
        *("--rpc", ",".join(addresses), "--load-mode", "none", "--no-warmup", "-v", "-fit", "off"),
        *("--no-repack", "-t", "1", *words),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    held: dict[str, float] = {}
    lines: list[str] = []
    patience = threading.Timer(LOADED, process.kill)
    patience.start()
    try:
        for line in process.stdout:
            lines.append(line)
            for name, _kind, size in SIZES.findall(line):
                held[name] = held.get(name, 0.0) + float(size) * MIB
            if "listening on http" in line:
                break
        else:
            raise AssertionError("".join(lines[-30:]))
    finally:
        patience.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
    return held


COMBINATIONS = [
    (cards, n_ctx, cache_type, layers, moved)
    for cards in (1, 2)
    for n_ctx, cache_type in ((1024, "F16"), (4096, "F16"), (4096, "Q8_0"))
    for layers, moved in ((-1, ()), (-1, (0, 1, 2)), (-1, (1, 4, 6)), (5, (6,)))
]


@pytest.mark.parametrize(("cards", "n_ctx", "cache_type", "layers", "moved"), COMBINATIONS)
def test_each_device_holds_what_was_predicted(
    demo_candidate: Path,
    tmp_path: Path,
    cards: int,
    n_ctx: int,
    cache_type: str,
    layers: int,
    moved: tuple[int, ...],
) -> None:
    paper = put_on_paper(demo_candidate, tmp_path / "paper.gguf")
    parts = () if cards == 1 else (3, 2) if layers > 0 else (4, 5)
    asked = Asked(
        cards=cards,
        kind="rpc",
        n_ctx=n_ctx,
        cache_type=cache_type,
        layers=layers,
        parts=parts,
        in_memory=moved,
    )
    split = _split(paper, asked)
    with servers([1 << 32] * cards) as addresses:
        held = reported(demo_candidate, addresses, arguments(asked, paper.layers))
    on_cards = [held[f"RPC0[{address}]"] for address in addresses]
    piped = cards == 2 and layers == -1 and not moved
    for predicted, real in zip(split.cards, on_cards, strict=True):
        if piped and predicted > real:  # of cards that work in turns llama.cpp counts one row more
            real += COPIES * asked.micro_batch * WIDTH * 4
        assert predicted == pytest.approx(real, rel=0.02)
    in_memory = sum(size for name, size in held.items() if not name.startswith("RPC"))
    assert split.memory == pytest.approx(in_memory, rel=0.02)


def _split(paper: OnPaper, asked: Asked) -> Split:
    places = Places(lambda one: place(paper.path, one), paper.layers, replace(asked, cards=0))
    machine = Machine(cards=(1 << 40,) * asked.cards, memory=1 << 40)
    return places.split(machine, layers=asked.layers, parts=asked.parts, in_memory=asked.in_memory)


def test_the_best_placement_loads_where_it_just_fits(demo_candidate: Path, tmp_path: Path) -> None:
    """On devices that have no more than was predicted."""
    paper = put_on_paper(demo_candidate, tmp_path / "paper.gguf")
    setup = Asked(cards=0, kind="rpc", n_ctx=2048)
    places = Places(lambda one: place(paper.path, one), paper.layers, setup)
    for cards in ((20 * MIB,), (14 * MIB, 14 * MIB)):
        machine = Machine(cards=cards, memory=1 << 40, spare=0, spare_memory=0)
        split = places.best(machine)
        assert split is not None
        assert split.asked.in_memory
        words = arguments(split.asked, paper.layers)
        assert shlex.join(words)
        with servers(cards) as addresses:
            held = reported(demo_candidate, addresses, words)
        real = [held[f"RPC0[{address}]"] for address in addresses]
        assert all(size <= card for size, card in zip(real, cards, strict=True))
        with (
            servers([-PASSING // 2 for _ in cards]) as addresses,
            pytest.raises(AssertionError, match="alloc"),
        ):
            reported(demo_candidate, addresses, words)
