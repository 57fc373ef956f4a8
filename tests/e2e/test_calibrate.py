"""Calibrating through the real command: mixes, ready files, a killed run, experts without data."""

from __future__ import annotations

import json
import struct
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bot.clients.files import gguf
from bot.clients.llama.observer import Stats
from bot.disk.hashes import sha256
from bot.quantize import imatrix
from bot.settings.sections import DEMO
from tests.e2e.road import Road
from tests.local_hub.server import Hub

LAYERS = 8
LACKING = "blk.3.ffn_up_exps.weight"
TEXTS = (DEMO / "calibration.txt", DEMO / "evaluation.txt")


@pytest.fixture
def road(tmp_path: Path, hub: Hub) -> Road:
    made = Road(folder=tmp_path, url=hub.url, token=hub.token)
    made.settings()
    return made


def matrix_of(road: Road) -> Path:
    (path,) = road.folder.glob("work/jobs/*/release/imatrix.gguf_file")
    return path


@pytest.mark.road
def test_a_mix_and_what_is_said_of_it(road: Road, demo_model: Path) -> None:
    one, two = (str(path) for path in TEXTS)
    mix = [
        {"name": "chat", "path": one, "weight": 3, "licence": "CC0-1.0"},
        {"name": "code", "path": two, "weight": 1, "sha256": sha256(TEXTS[1])},
    ]
    road.settings(calibration={"texts": mix, "context": 128, "chunks": 8})
    done = road.bot("calibrate", str(demo_model), "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert [(t["name"], t["licence"]) for t in facts["texts"]] == [
        ("chat", "CC0-1.0"),
        ("code", None),
    ]
    assert (facts["taken"], facts["chunks"], facts["context"]) == ([6, 2], 8, 128)
    assert [layer["layer"] for layer in facts["coverage"]] == list(range(LAYERS))
    path = matrix_of(road)
    assert facts["sha256"] == sha256(path)
    names = [
        f"{name} sha256:{sha256(text)}" for name, text in zip(("chat", "code"), TEXTS, strict=True)
    ]
    assert imatrix.read_matrix(path).datasets == tuple(names)
    again = road.bot("calibrate", str(demo_model))
    assert again.stdout.splitlines()[:2] == [
        str(path),
        "8 chunks of 128 tokens: chat 6, code 2",
    ]
    assert "calibrating" not in again.stderr
    made = road.bot("quantize", str(demo_model), "--profiles", "I-Compact", "--json")
    assert made.returncode == 0, made.stderr
    tier = gguf.read_gguf(Path(json.loads(made.stdout)["I-Compact"]["path"]))
    assert tier.get("quantize.imatrix.dataset") == names[0]


@pytest.mark.road
def test_killed_on_the_way_and_run_again(road: Road, demo_model: Path) -> None:
    """The notes are a child's: the command is killed once there is one, long before the end."""
    many = {"context": 128, "chunks": 160, "batch": 512, "checkpoint": 8}
    road.settings(calibration=many)
    calm = road.settings("calm.yaml", workdir=str(road.folder / "calm"), calibration=many)
    whole = road.bot("calibrate", str(demo_model), config=calm, BOT_LLAMA__THREADS="1")
    assert whole.returncode == 0, whole.stderr

    def noted() -> bool:
        return any(road.folder.glob("work/jobs/*/handed/imatrix.checkpoint"))

    with road.held_at("", "calibrate", str(demo_model), at=1) as held:
        assert held.step() is not None
        held.go_on()
        while not noted():
            assert held.process.poll() is None
            time.sleep(0.01)
        held.kill()
    assert noted()
    assert not list(road.folder.glob("work/jobs/*/release/imatrix.gguf_file"))
    done = road.bot("calibrate", str(demo_model))
    assert done.returncode == 0, done.stderr
    (calm_matrix,) = road.folder.glob("calm/jobs/*/release/imatrix.gguf_file")
    assert matrix_of(road).read_bytes() == calm_matrix.read_bytes()
    assert not noted()


@pytest.fixture
def ready(road: Road, demo_model: Path) -> imatrix.Matrix:
    """A matrix of the demo model in which no token reached an expert of one tensor."""
    done = road.bot("calibrate", str(demo_model))
    assert done.returncode == 0, done.stderr
    found = imatrix.read_matrix(matrix_of(road))
    counts = dict(found.counts) | {LACKING: np.array([9, 9, 0, 9, 9, 9], np.float32)}
    return replace(found, counts=counts)


@pytest.mark.long
def test_a_tier_is_refused_or_gets_another_type_where_data_is_lacking(
    road: Road, demo_model: Path, ready: imatrix.Matrix
) -> None:
    path = road.folder / "ready.gguf"
    seen = {n: Stats(s, ready.counts[n].astype(np.int64)) for n, s in ready.sums.items()}
    imatrix.write_matrix(path, seen, ("/home/me/chat.txt",), ready.chunks, 128)
    given = {"file": str(path)}
    road.settings(calibration=given)
    arguments = (str(demo_model), "--profiles", "I-Mini")
    refused = road.bot("quantize", *arguments)
    assert refused.returncode == 4  # the same data would lack again
    assert f"{LACKING} expert 2 has no data" in refused.stderr
    assert not list(road.folder.glob("work/jobs/*/release/*I-Mini*"))

    short = {"context": 128, "chunks": 2, "task_count": 2}
    road.settings(calibration=given, quantize={"missing_data": "next"}, evaluation=short)
    planned = json.loads(road.bot("plan", *arguments, "--json").stdout)[0]["assignments"]
    wanted = {a["tensor"]: a["type"] for a in planned} | {LACKING: "Q2_K"}
    done = road.bot("card", *arguments, "--to", "alice/x", "--json")
    assert done.returncode == 0, done.stderr
    files = {name: Path(file["path"]) for name, file in json.loads(done.stdout).items()}
    tier = next(file for name, file in files.items() if "I-Mini" in name)
    assert {t.name: t.type for t in gguf.read_gguf(tier).tensors} == wanted
    facts = json.loads(files["results.json"].read_text())["calibration"]
    assert facts["raised"] == [f"I-Mini {LACKING} IQ2_S Q2_K"]
    assert (facts["given"], facts["texts"]) == (["chat.txt"], [])
    assert facts["coverage"][3]["unreached"] == [2]
    card = files["README.md"].read_text()
    assert "Experts that no calibration token reached**: layer 3: 2" in card
    assert "Q2_K for IQ2_S" in card
    assert "/home/me" not in card


@pytest.mark.road
def test_an_older_file_makes_the_same_tier(
    road: Road, demo_model: Path, ready: imatrix.Matrix
) -> None:
    """A `.dat` file whose values are this matrix's weights, taken by option and by setting."""
    path = road.folder / "imatrix.dat"
    with path.open("wb") as file:
        file.write(struct.pack("<i", len(ready.sums)))
        for name, weights in ready.weights().items():
            head = struct.pack("<i", len(name)) + name.encode()
            file.write(head + struct.pack("<ii", 1, weights.size) + weights.tobytes())
        file.write(struct.pack("<ii", 4, 8) + b"chat.txt")
    arguments = ("quantize", str(demo_model), "--profiles", "I-Compact", "--no-stamp", "--json")
    option = road.bot(*arguments, "--imatrix", str(path))
    assert option.returncode == 0, option.stderr
    road.settings(calibration={"file": str(path)})
    setting = road.bot(*arguments)
    assert setting.returncode == 0, setting.stderr
    one, two = (json.loads(done.stdout)["I-Compact"]["sha256"] for done in (option, setting))
    assert one == two


@pytest.mark.road
def test_a_matrix_of_another_model_is_refused(road: Road, demo_model: Path) -> None:
    path = road.folder / "other.gguf"
    seen = {"blk.0.attn_qkv.weight": Stats(np.ones((1, 64), np.float32), np.array([9]))}
    imatrix.write_matrix(path, seen, (), 1, 128)
    arguments = ("quantize", str(demo_model), "--profiles", "I-Mini")
    setting = road.settings("ready.yaml", calibration={"file": str(path)})
    for done in (
        road.bot(*arguments, "--imatrix", str(path)),
        road.bot(*arguments, config=setting),
    ):
        assert done.returncode == 4
        assert "64 values for blk.0.attn_qkv.weight, not 256" in done.stderr
