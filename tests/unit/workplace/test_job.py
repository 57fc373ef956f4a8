"""A job: its key, where its files lie, and what its numbers depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.apart.memory import free_memory
from bot.clients.llama.library import Device
from bot.errors import SettingsError
from bot.progress import Report
from bot.settings.settings import load
from bot.store.paces import host_of, machine_of
from bot.workplace.job import Job, free_memory_of, tools_of
from bot.workplace.planning import make_plan
from tests.models import model_of, workplace_in

CPU = {"threads": 2, "gpu_layers": 0}


def job_of(folder: Path, model: Path, *tiers: str, **given: Any) -> Job:
    workplace = workplace_in(folder, **{"llama": CPU, "demo_texts": True, **given})
    return Job(workplace, make_plan(workplace, model_of(workplace, str(model)), tiers))


def test_a_key_is_told_by_all_inputs_and_no_machine(tmp_path: Path, demo_model: Path) -> None:
    job = job_of(tmp_path, demo_model, "Compact")
    assert job.key == job.order.key
    assert job.paths.folder.name == f"{job.plan.model.name}-{job.key[:12]}"
    elsewhere = tmp_path / "elsewhere"
    same = job_of(elsewhere, demo_model, "Compact", llama={"threads": 1, "gpu_layers": 0})
    assert same.key == job.key
    assert job_of(tmp_path, demo_model, "Balanced").key != job.key
    assert job_of(tmp_path, demo_model, "Compact", evaluation={"chunks": 3}).key != job.key


def test_a_part_has_the_key_and_the_tools_of_the_whole(tmp_path: Path, demo_model: Path) -> None:
    job = job_of(tmp_path, demo_model, "Compact")
    tools = replace(job.tools, device="another machine's")
    part = Job(job.workplace, job.plan, key="f" * 64, tools=tools)
    assert (part.key, part.tools) == ("f" * 64, tools)
    assert part.paths.folder.name.endswith("f" * 12)


def test_a_step_is_this_jobs(tmp_path: Path, demo_model: Path) -> None:
    job = job_of(tmp_path, demo_model, "Compact")

    def work(_report: Report) -> str:
        return "made"

    job.step("make", {"a": 1}, [], "making", work)
    assert job.workplace.ledger.finished(job.key, "make", {"a": 1}) is not None
    assert job.workplace.ledger.finished("another", "make", {"a": 1}) is None


def test_tiers_lie_in_the_release_and_baselines_apart(tmp_path: Path, demo_model: Path) -> None:
    job = job_of(tmp_path, demo_model, "Compact", quantize={"baselines": ["Q8_0"]})
    tier, baseline = job.plan.recipes
    assert job.file_of(tier).parent == job.paths.release
    assert "Compact" in job.file_of(tier).name
    assert job.file_of(baseline) == job.paths.baselines / f"{job.plan.model.name}-Q8_0.gguf"
    twin = replace(tier, tier="Twin", same_as="Compact")
    assert job.file_of(twin) == job.file_of(tier)


def test_calibration_counts_where_a_tier_needs_it(tmp_path: Path, demo_model: Path) -> None:
    assert job_of(tmp_path, demo_model, "Compact").calibration is None
    calibration = job_of(tmp_path, demo_model, "I-Compact").calibration
    assert calibration is not None
    assert [text["name"] for text in calibration["texts"]] == ["calibration.txt"]
    matrix = tmp_path / "given.gguf"
    named = {"calibration": {"file": str(matrix)}}
    matrix.write_bytes(b"a matrix")
    job = job_of(tmp_path, demo_model, "I-Compact", **named)
    assert set(job.calibration or {}) == {"file"}
    matrix.unlink()
    job = Job(job.workplace, job.plan, key=job.key)
    with pytest.raises(SettingsError, match=r"given\.gguf does not exist"):
        _ = job.calibration


def test_tools_name_what_numbers_depend_on(tmp_path: Path) -> None:
    tools = tools_of(load(workdir=tmp_path, llama=CPU))
    assert tools.threads == 2
    assert all((tools.bot, tools.llama_cpp_python, tools.llama_cpp, tools.device, tools.build))


def test_a_servers_address_is_in_keys_and_not_in_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = "10.0.0.7:50052"
    memory = {"memory_free": 1, "memory_total": 1}
    devices = (
        Device(name="CUDA0", description="a card", kind="gpu", **memory),
        Device(name="RPC0", description=server, kind="gpu", **memory),
    )
    monkeypatch.setattr("bot.workplace.job.used_devices_of", lambda _settings: devices)
    settings = load(workdir=tmp_path, llama=CPU)
    tools = tools_of(settings)
    assert tools.device == "CUDA0 (a card), RPC0"
    afar = settings.llama.model_copy(update={"rpc": (server,)})
    assert server in machine_of(tools.device, afar)
    assert host_of(tools, afar) != host_of(tools, settings.llama)


def test_memory_is_what_is_free_or_what_settings_allow(tmp_path: Path) -> None:
    allowed = load(workdir=tmp_path, llama=CPU, evaluation={"memory_gb": 0.5})
    assert free_memory_of(allowed).host == 500_000_000
    more = load(workdir=tmp_path, llama=CPU, evaluation={"memory_gb": 1e6})
    assert 0 < free_memory_of(more).host < 2 * free_memory()
    assert free_memory_of(more).device is None
