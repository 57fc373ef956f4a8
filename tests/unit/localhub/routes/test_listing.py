"""Listings: order, filters, pages that join without gaps, and the Hub's names of things."""

from __future__ import annotations

import json
import re

from huggingface_hub import HfApi  # noqa: TID251 - the client that reads these pages

from tests.local_hub.server import Hub, large, regular

CARD = b"---\nlicense: apache-2.0\nlibrary_name: gguf\nbase_model: [org/Base]\nlanguage: en\n---\n"
CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_experts": 128,
    "quantization_config": {"quant_method": "fp8", "secret": 1},
}


def test_pages_join_to_the_whole_list_newest_first(hub: Hub) -> None:
    repo_ids = [hub.create(f"model-{number}") for number in range(7)]
    api = HfApi(endpoint=hub.url, token=False)
    models = list(api.list_models(sort="created_at", limit=100, expand=["createdAt"]))
    assert [model.id for model in models] == repo_ids[::-1]
    listed, target = [], "/api/models?sort=createdAt&limit=3&filter=&expand[]=createdAt"
    sizes = []
    while target:
        reply = hub.ask("GET", target)
        sizes.append(len(reply.json))
        listed += [row["id"] for row in reply.json]
        link = re.fullmatch(r'<(.+)>; rel="next"', reply.headers["Link"] or "")
        target = link[1] if link else ""
        if len(sizes) == 1:
            hub.create("made-in-between")
    assert sizes == [3, 3, 1]
    assert listed == repo_ids[::-1]


def test_a_change_moves_a_repository_to_the_front(hub: Hub) -> None:
    first, second = hub.create("first"), hub.create("second")
    assert hub.commit(first, regular("a.txt", b"a")).status == 200
    api = HfApi(endpoint=hub.url, token=False)
    assert [m.id for m in api.list_models(sort="last_modified")] == [first, second]
    assert [m.id for m in api.list_models(sort="created_at", limit=1)] == [second]


def test_filters_and_expansion(hub: Hub) -> None:
    repo, other = hub.create("Tiny-GGUF"), hub.create("other")
    oid = hub.send(repo, b"GGUF")
    config = regular("config.json", json.dumps(CONFIG).encode())
    hub.commit(repo, regular("README.md", CARD), config, large("tiny.gguf", oid, 4))
    api = HfApi(endpoint=hub.url, token=False)
    tags = ["gguf", "base_model:quantized:org/Base"]
    assert [m.id for m in api.list_models(filter=tags)] == [repo]
    assert [m.id for m in api.list_models(filter="moe")] == []
    assert len(list(api.list_models(author="alice"))) == 2
    assert len(list(api.list_models(author="lab"))) == 0
    assert [m.id for m in api.list_models(search="OTHER")] == [other]
    names = ["config", "createdAt", "lastModified", "sha", "gated", "private", "disabled", "author",
             "safetensors", "tags", "baseModels", "pipeline_tag", "library_name", "downloads",
             "likes", "trendingScore"]  # fmt: skip
    (model,) = api.list_models(filter="gguf", expand=names)  # type: ignore[arg-type] # plain list
    assert model.config == {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "quantization_config": {"quant_method": "fp8"},
    }
    assert {"license:apache-2.0", "qwen3_moe", "en", "base_model:org/Base"} <= set(model.tags or [])
    assert model.library_name == "gguf"
    assert model.safetensors is None
    assert model.created_at is not None
    (full,) = api.list_models(filter="gguf", full=True, cardData=True)
    assert full.card_data is not None
    assert full.card_data["license"] == "apache-2.0"
    assert [file.rfilename for file in full.siblings or []] == [
        ".gitattributes", "README.md", "config.json", "tiny.gguf"]  # fmt: skip


def test_times_are_the_hubs(hub: Hub) -> None:
    repo = hub.create("tiny")
    info = hub.ask("GET", f"/api/models/{repo}").json
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(pattern, info["createdAt"])
    assert re.fullmatch(pattern, info["lastModified"])


def test_long_trees_come_in_pages(hub: Hub) -> None:
    repo = hub.create("many")
    files = [regular(f"d/{number:03}.txt", b"x") for number in range(120)]
    assert hub.commit(repo, *files).status == 200
    api = HfApi(endpoint=hub.url, token=False)
    rows = list(api.list_repo_tree(repo, path_in_repo="d", expand=True))
    assert [row.path for row in rows] == [f"d/{number:03}.txt" for number in range(120)]
    assert [row.path for row in api.list_repo_tree(repo)] == [".gitattributes", "d"]
