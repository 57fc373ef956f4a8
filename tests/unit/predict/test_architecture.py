from pathlib import Path

import pytest

from bot.clients.files import gguf
from bot.errors import SourceError
from bot.predict.architecture import architecture_of
from bot.records.model import Architecture, Tensor


def tensor(name: str, *shape: int, kind: str = "BF16") -> Tensor:
    return Tensor(name=name, shape=shape, type=kind, bytes=2)


def metadata(**more: object) -> dict[str, object]:
    counts: dict[str, object] = {"block_count": 3, "expert_count": 8, "expert_used_count": 2}
    counts |= {"context_length": 4096, "embedding_length": 64} | more
    own = {f"testmoe.{key}": value for key, value in counts.items()}
    return {"general.architecture": "testmoe", "general.name": "Test", **own}


# a dense leading layer, a full and a linear layer with experts, an MTP layer
TENSORS = (
    tensor("token_embd.weight", 64, 100),
    tensor("output.weight", 64, 100),
    tensor("blk.0.attn_q.weight", 64, 64),
    tensor("blk.0.ffn_up.weight", 64, 32),
    tensor("blk.1.attn_q.weight", 64, 64),
    tensor("blk.1.ffn_gate_inp.weight", 64, 8, kind="F32"),
    tensor("blk.1.ffn_up_exps.weight", 64, 32, 8),
    tensor("blk.1.ffn_up_shexp.weight", 64, 32),
    tensor("blk.2.ssm_out.weight", 64, 64),
    tensor("blk.2.attn_norm.weight", 64, kind="F32"),
    tensor("blk.2.ffn_up_exps.weight", 64, 32, 8),
)


def test_counted_from_tensors() -> None:
    architecture = architecture_of(metadata(), TENSORS)
    assert (architecture.layers, architecture.mtp_layers, architecture.dense_layers) == (3, 0, 1)
    assert (architecture.experts, architecture.experts_active, architecture.shared_expert) == (
        8,
        2,
        True,
    )
    assert architecture.attention == ("full", "full", "linear")
    routed = 2 * 64 * 32 * 8
    unnumbered = 2 * 6400 + 3 * 4096 + 2 * 2048 + 512 + 64
    assert architecture.parameters == routed + unnumbered
    assert architecture.parameters_active == unnumbered + routed // 4
    assert (architecture.vocabulary, architecture.tied_embeddings) == (100, False)


def test_all_experts_may_be_active() -> None:
    architecture = architecture_of(metadata(expert_used_count=8), TENSORS)
    assert (architecture.experts, architecture.experts_active) == (8, 8)
    assert architecture.parameters_active == architecture.parameters


def test_a_routing_table_is_not_a_lossy_type() -> None:
    table = tensor("blk.1.ffn_gate_tid2eid.weight", 8, 100, kind="I32")
    architecture = architecture_of(metadata(), (*TENSORS, table))
    assert architecture.source_type == "BF16"
    assert architecture.parameters == architecture_of(metadata(), TENSORS).parameters


def test_mtp_layers_are_not_main_layers() -> None:
    architecture = architecture_of(metadata(nextn_predict_layers=1), TENSORS)
    assert (architecture.layers, architecture.mtp_layers) == (2, 1)
    assert architecture.attention == ("full", "full")
    assert architecture.parameters == architecture_of(metadata(), TENSORS[:-3]).parameters


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ([True, False, True], ("sliding", "full", "linear")),
        (2, ("sliding", "full", "linear")),
        (None, ("sliding", "sliding", "linear")),
    ],
)
def test_sliding_windows(pattern: object, words: tuple[str, ...]) -> None:
    more = {"attention.sliding_window": 128, "attention.sliding_window_pattern": pattern}
    assert architecture_of(metadata(**more), TENSORS).attention == words


INDEXED = (
    *TENSORS[:8],
    tensor("blk.1.indexer.attn_k.weight", 64, 16),
    tensor("blk.2.attn_q.weight", 64, 64),
    tensor("blk.2.ffn_up_exps.weight", 64, 32, 8),
)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, ("full", "sparse", "full")),  # MiniMax-M3: the first layers have no indexer
        # GLM-5, HY 4: layers between attend to what the one before them chose
        ({"attention.indexer.types": [False, True, False]}, ("sparse", "sparse", "sparse")),
        (
            {
                "attention.indexer.types": [False, True, False],
                "attention.sliding_window": 128,
                "attention.sliding_window_pattern": [True, False, True],
            },
            ("sliding", "sparse", "sliding"),
        ),
    ],
)
def test_an_indexer_makes_attention_sparse(more: dict[str, object], words: tuple[str, ...]) -> None:
    heads = {"attention.head_count": 4, "attention.key_length": 16, "attention.value_length": 16}
    architecture = architecture_of(metadata(**heads, **more), INDEXED)
    assert architecture.attention == words
    unindexed = sum(word != "sliding" for word in words)
    assert (
        architecture.cache_values == unindexed * 4 * 32
    )  # an indexer chooses among all that is kept


def test_compressors_make_attention_sparse() -> None:
    tensors = (*INDEXED, tensor("blk.2.attn_compressor_kv.weight", 64, 16))
    more = {"attention.sliding_window": 128, "attention.compress_ratios": [0, 4, 128]}
    architecture = architecture_of(metadata(**{"attention.head_count": 4}, **more), tensors)
    assert architecture.attention == ("sliding", "sparse", "sparse")
    assert architecture.cache_values == 4 * 32 // 4 + 4 * 32 // 128


@pytest.mark.parametrize(
    ("more", "attention", "window"),
    [
        ({}, "cccf", 8192),
        ({"attention.sliding_window_pattern": 2}, "cfcf", 8192),
        ({"attention.sliding_window": 0}, "ffff", 0),
    ],
)
def test_llama_4_attends_in_chunks(more: dict[str, object], attention: str, window: int) -> None:
    counts = {"block_count": 4, "expert_count": 2, "expert_used_count": 1, **more}
    data = {"general.architecture": "llama4"} | {f"llama4.{k}": v for k, v in counts.items()}
    tensors = [tensor("blk.0.ffn_up_exps.weight", 64, 32, 2)]
    tensors += [tensor(f"blk.{i}.attn_q.weight", 64, 64) for i in range(4)]
    architecture = architecture_of(data, tensors)
    letters = "".join(word[0] for word in architecture.attention)
    assert (letters, architecture.cache_window) == (attention, window)


@pytest.mark.parametrize(
    ("data", "tensors", "reason"),
    [
        ({}, TENSORS, "not a language model"),
        (metadata(), (), "not a language model"),
        (metadata(expert_count=0), TENSORS, "not a mixture of experts"),
        (
            metadata(),
            (*TENSORS, tensor("blk.0.ffn_gate.7.weight", 64, 32)),
            r"keeps each expert in a tensor of its own \(blk.0.ffn_gate.7.weight\)",
        ),
        (metadata(), TENSORS[:4], "not a mixture of experts"),
        (metadata(expert_used_count=0), TENSORS, "says that 0 of 8 experts are active"),
        (metadata(expert_used_count=9), TENSORS, "says that 9 of 8 experts are active"),
        (metadata(block_count=-1), TENSORS, "not a count"),
        (metadata(block_count="many"), TENSORS, "not a count"),
        (metadata(block_count=1 << 60), TENSORS, "layers"),
        (metadata(nextn_predict_layers=3), TENSORS, "MTP"),
        (metadata(), (*TENSORS, tensor("x.weight", 4, 4, kind="Q4_K")), "quantized already"),
    ],
)
def test_refused(data: dict[str, object], tensors: tuple[Tensor, ...], reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        architecture_of(data, tensors)


def test_the_demo_model(demo_model: Path) -> None:
    header = gguf.read_gguf(demo_model)
    architecture: Architecture = architecture_of(header.metadata, header.tensors)
    assert architecture.family == "qwen35moe"
    assert (architecture.layers, architecture.experts, architecture.experts_active) == (8, 6, 2)
    assert architecture.attention == ("linear", "linear", "linear", "full") * 2
    assert architecture.shared_expert
    assert architecture.tied_embeddings
    assert architecture.source_type == "BF16"
    assert architecture.parameters == sum(t.parameters for t in header.tensors)
    assert 0.4 < architecture.parameters_active / architecture.parameters < 0.6
