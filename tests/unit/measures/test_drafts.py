"""Multi-token prediction: the same text with guesses, and as many kept as llama.cpp's own keeps."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.clients.llama.drafting import Drafting
from bot.errors import BuildError
from bot.measures.choices import wilson
from bot.measures.speed import GUESSES, measure_drafts
from tests.llama_tools import tool
from tests.mtp_models import deepseek_with_mtp, demo_with_mtp, prompts

Make = Callable[[Path, str], tuple[Path, Path]]
Models = dict[str, tuple[Path, Path]]
MAKERS: dict[str, Make] = {"qwen35moe": demo_with_mtp, "deepseek2": deepseek_with_mtp}
WRITTEN = 80
READY = 60.0  # seconds


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, demo_text: str) -> Models:
    """By family: the whole model, and its prediction layer apart."""
    return {name: make(tmp_path_factory.mktemp(name), demo_text) for name, make in MAKERS.items()}


def opened(model: Path, drafter: Path | None) -> Drafting:
    return Drafting(model, drafter, n_ctx=512, drafts=max(GUESSES), threads=1)


@pytest.mark.road
@pytest.mark.parametrize(
    ("family", "apart"),
    [
        ("qwen35moe", False),
        ("deepseek2", True),
        pytest.param("qwen35moe", True, marks=pytest.mark.long),
        pytest.param("deepseek2", False, marks=pytest.mark.long),
    ],
)
def test_text_with_guesses_is_the_text_without(
    family: str, apart: bool, models: Models, demo_text: str
) -> None:
    whole, layer = models[family]
    with opened(whole, layer if apart else None) as drafting:
        starts = prompts(drafting, demo_text)[::2]  # one that it learnt, one that it did not
        measured = measure_drafts(drafting, starts, lambda _done, _all: None)
        for number, drafts in enumerate(measured, 1):
            assert (drafts.guesses, drafts.texts, drafts.same_texts) == (number, 2, 2)
            assert len(drafts.places) == number
            assert drafts.kept == sum(place.kept for place in drafts.places)
            assert drafts.offered == sum(place.offered for place in drafts.places)
            first = drafts.places[0]
            assert (first.low, first.high) == wilson(first.kept, first.offered)
            assert first.offered == drafts.drafts
        kept = [drafts.kept / drafts.offered for drafts in measured]
        assert 1 > kept[0] > kept[2] > 0
        assert drafting.write(starts[0], WRITTEN, 3).rounds[0] == (3, 3)


@pytest.mark.road
def test_a_layer_of_another_model_is_refused(models: Models) -> None:
    with pytest.raises(BuildError, match="rows differ"):
        opened(models["qwen35moe"][0], models["deepseek2"][1])


# ── llama-server ────────────────────────────────────────────────────────────────────────────


@contextmanager
def server(model: Path, drafter: Path | None, guesses: int) -> Iterator[str]:
    """The address of llama-server, drafting with a model's prediction layers."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    command = [
        *(str(tool("llama-server")), "-m", str(model), "--port", str(port), "-c", "512", "-t", "1"),
        *("--parallel", "1", "--spec-type", "draft-mtp", "--spec-draft-n-max", str(guesses)),
        *(("-md", str(drafter)) if drafter else ()),
        *("-fit", "off", "--no-warmup"),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    patience = threading.Timer(READY, process.kill)
    patience.start()
    lines: list[str] = []
    reading: threading.Thread | None = None
    try:
        for line in process.stdout:
            lines.append(line)
            if re.search(r"listening on http", line):
                break
        else:
            raise AssertionError("".join(lines[-30:]))
        patience.cancel()
        reading = threading.Thread(target=process.stdout.read)
        reading.start()
        yield f"http://127.0.0.1:{port}"
    finally:
        patience.cancel()
        process.send_signal(signal.SIGKILL)
        process.wait()
        if reading is not None:
            reading.join()
        process.stdout.close()


def completed(address: str, prompt: list[int]) -> dict[str, Any]:
    order = {
        "prompt": prompt, "n_predict": WRITTEN, "temperature": 0, "samplers": ["temperature"],
        "return_tokens": True, "cache_prompt": False,
    }  # fmt: skip
    request = urllib.request.Request(
        f"{address}/completion", json.dumps(order).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=READY) as reply:
        answer: dict[str, Any] = json.load(reply)
    return answer


@pytest.mark.long
@pytest.mark.parametrize("family", MAKERS)
@pytest.mark.parametrize("apart", [False, True], ids=["inside", "apart"])
@pytest.mark.parametrize("guesses", GUESSES)
def test_as_many_are_kept_as_llama_server_keeps(
    family: str, apart: bool, guesses: int, models: Models, demo_text: str
) -> None:
    whole, layer = models[family]
    drafter = layer if apart else None
    with opened(whole, drafter) as drafting:
        starts = prompts(drafting, demo_text)
        ours = [drafting.write(start, WRITTEN, guesses) for start in starts]
    with server(whole, drafter, guesses) as address:
        for start, drafted in zip(starts, ours, strict=True):
            theirs = completed(address, start)
            assert theirs["tokens"] == list(drafted.tokens)
            counts = (theirs["timings"]["draft_n"], theirs["timings"]["draft_n_accepted"])
            assert counts == (sum(n for n, _ in drafted.rounds), sum(n for _, n in drafted.rounds))
