"""The feed against a local Hub over real HTTP: one decision a model, requests counted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub
from bot.detect.listed import (
    ANY_MACHINE,
    Machine,
    conclude,
    learn,
    look_at_listing,
    packed,
    unpacked,
)
from bot.errors import UnreachableError
from bot.plan.profiles import load_profiles
from bot.records.releases import Build, Decision, Skip, Wait
from bot.settings.settings import Settings, load
from bot.tensors import weights
from tests import checkpoints
from tests.local_hub.server import Hub as LocalHub
from tests.local_hub.server import running_hub
from tests.unit.clients.hub.between import Between, Fault, between

MOE = json.dumps(
    {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "num_hidden_layers": 4,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }
).encode()
NO_EXPERTS = MOE.replace(b'"num_local_experts": 8', b'"num_local_experts": 1')
DENSE = b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}'
GGUF = b"GGUF" + bytes(1000)

LLADA = MOE.replace(b"MixtralForCausalLM", b"LLaDAMoEModelLM")

# repository → its files and the decision it must get, oldest first
MODELS: dict[str, tuple[dict[str, bytes], type, str]] = {
    "maker/Built": ({"config.json": MOE, "Built-BF16.gguf": GGUF}, Build, "8 experts, 2 active"),
    "maker/Safetensors": (
        {"config.json": MOE, "model.safetensors": bytes(64)},
        Build,
        "from 1 safetensors file",
    ),
    "maker/Diffusion": (
        {"config.json": LLADA, "model.safetensors": bytes(64)},
        Skip,
        "a diffusion language model",
    ),
    "maker/Gated": (
        {"config.json": MOE, "model.safetensors": bytes(64)},
        Wait,
        "gated: its maker has to grant access",
    ),
    "maker/GatedAdapter": (
        {"adapter_config.json": b"{}", "adapter_model.safetensors": bytes(64)},
        Skip,
        "an adapter",
    ),
    "maker/Broken": ({"config.json": b"{", "m-BF16.gguf": GGUF}, Skip, "is not JSON"),
    "maker/Sibling": ({"config.json": NO_EXPERTS, "m-BF16.gguf": GGUF}, Skip, "dense: num_local"),
    "maker/Dense": ({"config.json": DENSE, "m-BF16.gguf": GGUF}, Skip, "model_type llama has no"),
    "other/Late": ({"config.json": MOE}, Wait, "no weights yet"),
    "other/Empty": ({}, Wait, "no weights yet"),
}
RULED_OUT_BY_LISTING = {"maker/Dense", "maker/Diffusion"}
WITHOUT_CONFIG = {"other/Empty", "maker/GatedAdapter"}
GATED = {"maker/Gated", "maker/GatedAdapter"}
OUTCOMES = {
    "maker/Built": "eligible",
    "maker/Safetensors": "eligible",
    "maker/Diffusion": "not_a_text_decoder",
    "maker/Gated": "gated_no_access",
    "maker/GatedAdapter": "adapter",
    "maker/Broken": "unreadable",
    "maker/Sibling": "dense_sibling",
    "maker/Dense": "not_moe",
    "other/Late": "no_weights_yet",
    "other/Empty": "no_weights_yet",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    folder = tmp_path_factory.mktemp("feed")
    with running_hub(folder / "hub") as running:
        owners = {name: running.store.add_user(name) for name in ("maker", "other")}
        for repo_id, (contents, _, _) in MODELS.items():
            hub = Hub(running.url, SecretStr(owners[repo_id.split("/")[0]]))
            _publish(hub, repo_id, contents, folder)
            if repo_id in GATED:
                owner = owners[repo_id.split("/")[0]]
                target = f"/api/models/{repo_id}/settings"
                reply = running.ask("PUT", target, {"gated": "manual"}, token=owner)
                assert reply.status == 200, reply.body
        yield running


def _publish(hub: Hub, repo_id: str, contents: dict[str, bytes], folder: Path) -> None:
    hub.create_private(repo_id)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    if contents:
        hub.commit(repo_id, {name: folder / name for name in contents}, "x", hub.head(repo_id))
    hub.make_public(repo_id)


@pytest.fixture
def proxy(server: LocalHub) -> Iterator[Between]:
    with between(server.url) as running:
        yield running


@pytest.fixture
def seen(proxy: Between) -> Callable[..., dict[str, Decision]]:
    """Look through the proxy, with settings of the watch section; decisions by repository."""

    def look_once(
        token: str | None = None, machine: Machine = ANY_MACHINE, **watch: Any
    ) -> dict[str, Decision]:
        hub = Hub(proxy.url, SecretStr(token) if token else None, pause=0.001)
        decisions = list(look_at_listing(hub, _settings(**watch), machine))
        by_name = {decision.release.repo_id: decision for decision in decisions}
        assert len(by_name) == len(decisions)
        return by_name

    return look_once


def _settings(**watch: Any) -> Settings:
    return load(None, watch=watch)


def test_every_listed_model_gets_one_decision_with_its_reason(
    seen: Callable[..., dict[str, Decision]],
) -> None:
    decisions = seen()
    assert list(decisions) == list(reversed(MODELS))  # newest first
    for repo_id, (_, kind, reason) in MODELS.items():
        assert type(decisions[repo_id]) is kind, repo_id
        assert reason in decisions[repo_id].reason
    assert {repo_id: decision.outcome for repo_id, decision in decisions.items()} == OUTCOMES


def test_a_gate_that_the_token_has_passed_is_none(
    seen: Callable[..., dict[str, Decision]], proxy: Between, server: LocalHub
) -> None:
    decision = seen(token=server.store.add_user("maker"))["maker/Gated"]
    assert isinstance(decision, Build)
    assert proxy.count("HEAD", "maker/Gated/") == 1


def test_the_machine_decides_what_can_be_built(seen: Callable[..., dict[str, Decision]]) -> None:
    decisions = seen(machine=Machine(supported=frozenset(), free_disk=1000))
    assert decisions["maker/Safetensors"].outcome == "unsupported_converter"
    assert isinstance(decisions["maker/Safetensors"], Wait)
    assert decisions["maker/Built"].outcome == "too_large"


def test_requests_are_one_a_page_and_at_most_two_a_candidate(
    seen: Callable[..., dict[str, Decision]], proxy: Between
) -> None:
    decisions = seen(page=3)
    pages, candidates = 4, len(MODELS) - len(RULED_OUT_BY_LISTING)
    gates = GATED - WITHOUT_CONFIG  # asked only where the files leave a candidate
    configs = candidates - len(WITHOUT_CONFIG) - len(gates)
    assert proxy.count("GET", "/api/models?") == pages
    assert proxy.count("GET", "/revision/") == candidates
    assert proxy.count("GET", "/config.json") == configs
    assert proxy.count("HEAD", "/config.json") == len(gates)
    assert len(proxy.requests) == pages + candidates + configs + len(gates)
    built = decisions["maker/Built"].release
    assert f"GET /maker/Built/resolve/{built.commit}/config.json" in proxy.requests
    assert proxy.count("GET", f"/maker/Built/revision/{built.commit}") == 1  # as listed, not main


def test_a_model_ruled_out_by_the_listing_costs_nothing(
    seen: Callable[..., dict[str, Decision]], proxy: Between
) -> None:
    assert "maker/Dense" in seen()
    assert not any("maker/Dense" in line for line in proxy.requests)


def test_the_limit_ends_the_listing(
    seen: Callable[..., dict[str, Decision]], proxy: Between
) -> None:
    assert list(seen(limit=3, page=2)) == ["other/Empty", "other/Late", "maker/Dense"]
    assert proxy.count("GET", "/api/models?") == 2


def test_owners_are_listed_by_name(
    seen: Callable[..., dict[str, Decision]], proxy: Between
) -> None:
    assert list(seen(owners=["other"])) == ["other/Empty", "other/Late"]
    assert proxy.count("GET", "/api/models?") == 1


@pytest.mark.parametrize(
    ("status", "headers", "outcome", "reason"),
    [
        (503, {}, "unreadable", "run the same command again later"),
        (None, {}, "unreadable", "did not answer"),
        (403, {"X-Error-Code": "GatedRepo"}, "gated_no_access", "is gated"),
        (404, {"X-Error-Code": "RepoNotFound"}, "gone", "does not exist"),
    ],
)
def test_one_repository_in_trouble_never_stops_the_others(
    seen: Callable[..., dict[str, Decision]],
    proxy: Between,
    status: int | None,
    headers: dict[str, str],
    outcome: str,
    reason: str,
) -> None:
    trouble = Fault(
        method="GET",
        part="maker/Safetensors/revision/",
        status=status,
        headers=headers,
        arrives=False,
        times=99,
    )
    proxy.faults = [trouble]
    decisions = seen()
    assert set(decisions) == set(MODELS)
    assert decisions["maker/Safetensors"].outcome == outcome
    assert isinstance(decisions["maker/Safetensors"], Wait)
    assert reason in decisions["maker/Safetensors"].reason
    assert isinstance(decisions["maker/Built"], Build)


def test_a_listing_that_cannot_be_read_is_an_error(
    seen: Callable[..., dict[str, Decision]], proxy: Between
) -> None:
    proxy.faults = [Fault(method="GET", part="/api/models?", status=503, arrives=False, times=99)]
    with pytest.raises(UnreachableError):
        seen()


# ── an index ────────────────────────────────────────────────────────────────────────────────

PAIR = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.mark.parametrize(
    ("files", "named", "dropped", "kind", "reason"),
    [
        ((*PAIR, "model-00003-of-00003.safetensors"), PAIR, (), Build, "from 2 safetensors files"),
        ((*PAIR, "extra.safetensors"), PAIR, (), Build, "from 2 safetensors files"),
        (PAIR[:1], PAIR, (), Wait, f"1 of its safetensors files .* the first is {PAIR[1]}"),
        (PAIR, (*PAIR, "mtp.safetensors"), ("mtp",), Build, "from 2 safetensors files"),
        (PAIR, (*PAIR, "mtp.safetensors"), (), Wait, "the first is mtp.safetensors"),
        (("model.safetensors",), (), (), Skip, "has no weight_map"),
    ],
)
def test_an_index_says_whether_a_release_is_whole(
    files: tuple[str, ...],
    named: tuple[str, ...],
    dropped: tuple[str, ...],
    kind: type,
    reason: str,
    tmp_path: Path,
) -> None:
    own = {f"model.layers.{i}.w": file for i, file in enumerate(named)}
    own |= {f"mtp.layers.0.{f}": f for f in named if f.startswith("mtp")}
    own = {name: file for name, file in own.items() if "mtp" not in file or "mtp" in name}
    index = json.dumps({"weight_map": own}).encode()
    contents = {"config.json": MOE, weights.INDEX: index, **dict.fromkeys(files, bytes(64))}
    with running_hub(tmp_path / "hub") as running:
        hub = Hub(running.url, SecretStr(running.store.add_user("maker")))
        _publish(hub, "maker/Indexed", contents, tmp_path)
        (listed,) = hub.newest(1, 1)
        facts = learn(hub, listed)
        machine = Machine(dropped=frozenset(dropped))
        decision = conclude(facts, machine=machine)
        assert conclude(unpacked(packed(facts)), machine=machine) == decision
    assert type(decision) is kind
    assert re.search(reason, decision.reason)


def test_what_no_tier_makes_much_smaller_is_seen_in_headers(tmp_path: Path) -> None:
    """Headers of an original in four bits are asked for; what they tell is kept with the facts."""
    family = checkpoints.gptoss(vocabulary=64)
    checkpoints.weights(family, tmp_path, shards=2)
    contents = {path.name: path.read_bytes() for path in tmp_path.glob("model*")}
    contents["config.json"] = json.dumps(family.config).encode()
    with running_hub(tmp_path / "hub") as running:
        owner = Hub(running.url, SecretStr(running.store.add_user("maker")))
        _publish(owner, "maker/Four", contents, tmp_path)
        settings = _settings()

        def decided(share: float) -> Decision:
            hub = Hub(running.url, None, pause=0.001)
            machine = Machine(least_saving=share)
            (decision,) = look_at_listing(hub, settings, machine)
            return decision

        assert isinstance(decided(0.1), Build)
        skip = decided(0.9)
        assert isinstance(skip, Skip)
        assert skip.outcome == "no_gain"
        assert "4 experts, 2 active; its weights have few bits already" in skip.reason
        hub = Hub(running.url, None, pause=0.001)
        (row,) = hub.newest(1, 1)
        profiles = partial(load_profiles, settings.profiles)
        facts = learn(hub, row, profiles=profiles)
        assert facts.foreseen is not None
        assert unpacked(packed(facts)) == facts
