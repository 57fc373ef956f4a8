"""What llama.cpp places on paper, beside what it holds when it really loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.clients.files.gguf import read_gguf
from bot.clients.llama.library import start
from bot.clients.llama.placing import Asked, place
from bot.clients.llama.session import Session
from bot.placement.onpaper import put_on_paper
from bot.tensors.sizes import tensor_bytes

SIZES = re.compile(r"(model|KV|RS|compute) buffer size = +(\d+\.\d+) MiB")
MIB = 1 << 20


def really(path: Path, n_ctx: int) -> dict[str, float]:
    """Bytes of each kind that llama.cpp reports when it loads a file into main memory."""
    with start().captured() as pieces, Session(path, n_ctx=n_ctx, threads=2, gpu_layers=0):
        pass
    sizes: dict[str, float] = {}
    for kind, size in SIZES.findall("".join(pieces)):
        sizes[kind] = sizes.get(kind, 0.0) + float(size) * MIB
    return sizes


def test_weights_cache_and_buffers_are_those_of_a_real_load(
    demo_candidate: Path, tmp_path: Path
) -> None:
    paper = put_on_paper(demo_candidate, tmp_path / "paper.gguf")
    assert paper.path.stat().st_blocks * 512 < 1 << 17  # it takes nothing
    real = really(demo_candidate, 1024)
    held = place(paper.path, Asked(cards=1, n_ctx=1024, everything=True, outputs=0)).devices[0]
    on_cpu = place(paper.path, Asked(cards=0, n_ctx=1024, outputs=0))
    cache = sum(held.cache.values())
    assert cache == pytest.approx(real["KV"] + real["RS"], rel=0.01)
    assert sum(held.weights.values()) == pytest.approx(real["model"], rel=0.01)
    assert on_cpu.host_compute == pytest.approx(real["compute"], rel=0.01)


def test_layers_and_cache_lie_where_the_options_say(demo_candidate: Path, tmp_path: Path) -> None:
    paper = put_on_paper(demo_candidate, tmp_path / "paper.gguf")
    two = place(paper.path, Asked(cards=2, n_ctx=512, parts=(3, 6), in_memory=(4,)))
    first, second = two.devices
    assert {name.split(".")[1] for name in first.weights if name.startswith("blk.")} == {*"012"}
    assert not any(name.startswith("blk.4.ffn_down_exps") for name in second.weights)
    assert any(name.startswith("blk.4.attn") or "blk.4.ssm" in name for name in second.weights)
    assert {"cache_k_l7", "cache_v_l7", "cache_k_l3", "cache_v_l3"} <= set(second.cache)
    assert "output_norm.weight" in second.weights
    few = place(paper.path, Asked(cards=1, n_ctx=512, layers=3))
    assert {n.split(".")[1] for n in few.devices[0].weights if n.startswith("blk.")} == {"6", "7"}


def test_a_recipe_is_placed_before_it_is_made(demo_model: Path, tmp_path: Path) -> None:
    name = "blk.2.ffn_down_exps.weight"
    shape = next(t.shape for t in read_gguf(demo_model).tensors if t.name == name)
    before = put_on_paper(demo_model, tmp_path / "before.gguf")
    after = put_on_paper(demo_model, tmp_path / "after.gguf", {name: "Q8_0"})
    assert before.bytes - after.bytes == tensor_bytes("BF16", shape) - tensor_bytes("Q8_0", shape)
    held = place(after.path, Asked(cards=1, n_ctx=512)).devices[0]
    assert held.weights[name] < tensor_bytes("BF16", shape)


def test_a_cache_of_eight_bits_is_smaller(demo_candidate: Path, tmp_path: Path) -> None:
    paper = put_on_paper(demo_candidate, tmp_path / "paper.gguf")

    def keys(cache_type: str) -> int:
        asked = Asked(cards=1, kind="rpc", n_ctx=2048, cache_type=cache_type)
        return place(paper.path, asked).devices[0].cache["cache_k_l3"]

    assert keys("Q8_0") * 32 == keys("F16") * 17
