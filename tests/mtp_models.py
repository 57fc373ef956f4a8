"""Small models with a multi-token prediction layer whose guesses are sometimes right.

The demo model, trained, and one of DeepSeek's kind with random weights are given one layer more,
whose attention and experts add nothing; its projection is fitted by least squares to the model's
own hidden rows of some texts, so that of these it guesses much, of others little.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf  # noqa: TID251 - its own writer makes the files that ours must read
import numpy as np
from llama_cpp import llama_cpp_ext as ext  # noqa: TID251 - hidden rows, to fit a layer to
from numpy.typing import NDArray

from bot.clients.llama.drafting import Drafting
from bot.settings.sections import DEMO

Arrays = dict[str, NDArray[Any]]
EPSILON = 1e-6
PROMPT, WRITTEN, LEARNT, RIDGE = 48, 80, 2, 1e-2
WIDTH, HEADS, Q_RANK, KV_RANK, ROPE, NOPE, VALUE, FFN, EXPERTS, EXPERT_FFN = (
    *(128, 4, 64, 32, 16, 32, 32, 256, 4, 64),
)


def demo_with_mtp(folder: Path, text: str) -> tuple[Path, Path]:
    """The demo model with a prediction layer, as one file and apart: the model, the layer."""
    reader = gguf.GGUFReader(DEMO / "tiny-moe-Q8_0.gguf")
    arrays = {
        t.name: gguf.dequantize(t.data, t.tensor_type).reshape(t.shape[::-1].tolist())
        for t in reader.tensors
    }
    layer = {name.removeprefix("blk.7."): a for name, a in arrays.items() if name[:6] == "blk.7."}
    return _fitted(folder, "qwen35moe", reader, arrays, layer, 8, text)


def deepseek_with_mtp(folder: Path, text: str) -> tuple[Path, Path]:
    """A model of DeepSeek's kind with latent attention, with the demo's vocabulary."""
    rng = np.random.default_rng(7)

    def block(*, dense: bool) -> Arrays:
        def matrix(*shape: int) -> NDArray[np.float32]:
            made = rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))
            return np.asarray(made, np.float32)

        made: Arrays = {
            "attn_norm.weight": np.ones(WIDTH, np.float32),
            "attn_q_a_norm.weight": np.ones(Q_RANK, np.float32),
            "attn_kv_a_norm.weight": np.ones(KV_RANK, np.float32),
            "ffn_norm.weight": np.ones(WIDTH, np.float32),
            "attn_q_a.weight": matrix(Q_RANK, WIDTH),
            "attn_q_b.weight": matrix(HEADS * (NOPE + ROPE), Q_RANK),
            "attn_kv_a_mqa.weight": matrix(KV_RANK + ROPE, WIDTH),
            "attn_k_b.weight": matrix(HEADS, KV_RANK, NOPE),
            "attn_v_b.weight": matrix(HEADS, VALUE, KV_RANK),
            "attn_output.weight": matrix(WIDTH, HEADS * VALUE),
        }
        if dense:
            made |= {f"ffn_{part}.weight": matrix(FFN, WIDTH) for part in ("gate", "up")}
            return made | {"ffn_down.weight": matrix(WIDTH, FFN)}
        made |= {"ffn_gate_inp.weight": matrix(EXPERTS, WIDTH)}
        for part in ("gate", "up"):
            made[f"ffn_{part}_exps.weight"] = matrix(EXPERTS, EXPERT_FFN, WIDTH)
            made[f"ffn_{part}_shexp.weight"] = matrix(EXPERT_FFN, WIDTH)
        made["ffn_down_exps.weight"] = matrix(EXPERTS, WIDTH, EXPERT_FFN)
        return made | {"ffn_down_shexp.weight": matrix(WIDTH, EXPERT_FFN)}

    reader = gguf.GGUFReader(DEMO / "tiny-moe-Q8_0.gguf")
    vocabulary = len(reader.fields["tokenizer.ggml.tokens"].data)
    arrays: Arrays = {
        "token_embd.weight": rng.standard_normal((vocabulary, WIDTH)).astype(np.float32),
        "output_norm.weight": np.ones(WIDTH, np.float32),
        "output.weight": rng.standard_normal((vocabulary, WIDTH)).astype(np.float32) / 8,
    }
    for number in range(3):
        layer = block(dense=number == 0)
        arrays |= {f"blk.{number}.{name}": array for name, array in layer.items()}
    return _fitted(folder, "deepseek2", reader, arrays, layer, 3, text)


_DEEPSEEK = {
    "context_length": 4096,
    "embedding_length": WIDTH,
    "feed_forward_length": FFN,
    "attention.head_count": HEADS,
    "attention.head_count_kv": 1,
    "leading_dense_block_count": 1,
    "attention.q_lora_rank": Q_RANK,
    "attention.kv_lora_rank": KV_RANK,
    "attention.key_length": KV_RANK + ROPE,
    "attention.value_length": KV_RANK,
    "attention.key_length_mla": NOPE + ROPE,
    "attention.value_length_mla": VALUE,
    "rope.dimension_count": ROPE,
    "expert_count": EXPERTS,
    "expert_used_count": 2,
    "expert_feed_forward_length": EXPERT_FFN,
    "expert_shared_count": 1,
    "expert_gating_func": 2,
}


def _fitted(
    folder: Path,
    family: str,
    reader: gguf.GGUFReader,
    arrays: Arrays,
    layer: Mapping[str, NDArray[Any]],
    blocks: int,
    text: str,
) -> tuple[Path, Path]:
    """Write the model with a layer that is fitted to its own rows on a text."""
    width = arrays["output_norm.weight"].size
    nothing = ("attn_output.weight", "ffn_down_exps.weight", "ffn_down_shexp.weight")
    extra = {n: a * 1e-3 if n in nothing else a for n, a in layer.items()}
    extra |= {f"nextn.{n}.weight": np.ones(width, np.float32) for n in ("enorm", "hnorm")}
    extra["nextn.eh_proj.weight"] = np.zeros((width, 2 * width), np.float32)

    def written(path: Path, names: Arrays) -> Path:
        writer = gguf.GGUFWriter(path, family)
        for name, field in reader.fields.items():
            own = name.startswith("tokenizer.") or family == "qwen35moe"
            if name.startswith("GGUF.") or name == "general.architecture" or not own:
                continue
            value: Any = field.contents()
            if name.endswith(".block_count"):
                value = blocks + 1
            if name.endswith(".recurrent_layers"):
                value = [*value, False]
            kind = field.types[0]
            inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, value, kind, sub_type=inner)
        if family == "deepseek2":
            for name, count in {**_DEEPSEEK, "block_count": blocks + 1}.items():
                writer.add_uint32(f"{family}.{name}", count)
            writer.add_float32(f"{family}.attention.layer_norm_rms_epsilon", EPSILON)
            writer.add_float32(f"{family}.rope.freq_base", 10000.0)
        writer.add_uint32(f"{family}.nextn_predict_layers", 1)
        for name, array in names.items():
            writer.add_tensor(name, np.ascontiguousarray(array, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def named() -> Arrays:
        return {f"blk.{blocks}.{name}": array for name, array in extra.items()}

    blank = written(folder / "blank.gguf", {**arrays, **named()})
    embeddings, norm = arrays["token_embd.weight"], arrays["output_norm.weight"]
    extra["nextn.eh_proj.weight"] = _projection(blank, embeddings, norm, text)
    blank.unlink()
    outside = {name: a for name, a in arrays.items() if not name.startswith("blk.")}
    return (
        written(folder / "Whole-F32.gguf", {**arrays, **named()}),
        written(folder / "mtp-Whole.gguf", {**outside, **named()}),
    )


def _projection(
    blank: Path, embeddings: NDArray[Any], norm: NDArray[Any], text: str
) -> NDArray[Any]:
    """What maps a token and the row before it to the row after it, by least squares.

    Rows come with the last norm's weights, which are multiplied on once more.
    """
    width = norm.size
    known, wanted = [], []
    with Drafting(blank, None, n_ctx=512, drafts=1, threads=2) as drafting:
        for prompt in prompts(drafting, text)[:LEARNT]:
            tokens = [*prompt, *drafting.write(prompt, WRITTEN, 0).tokens]
            drafting.write(tokens, 1, 0)
            pointer = ext.llama_get_embeddings_nextn(drafting._target)
            rows = np.ctypeslib.as_array(pointer, shape=(len(tokens), width)).copy()
            known.append(np.hstack([_normed(embeddings[tokens[1:]]), _normed(rows[:-1])]))
            wanted.append(rows[1:] / norm)
    inputs, outputs = np.vstack(known), np.vstack(wanted)
    ridge = np.eye(2 * width) * RIDGE
    solved = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ outputs)
    return solved.T.astype(np.float32)


def prompts(drafting: Drafting, text: str) -> list[list[int]]:
    """Beginnings of places in a text, of which the layer learnt the first."""
    tokens = drafting.tokenize(text)
    return [tokens[start : start + PROMPT] for start in range(500, 500 + 4 * 700, 700)]


def _normed(rows: NDArray[Any]) -> NDArray[Any]:
    scaled: NDArray[Any] = rows / np.sqrt((rows.astype(np.float64) ** 2).mean(1, keepdims=True))
    return scaled
