"""Weights of `make_talker.py` as a GGUF file in Q8_0, from which tests make 16-bit and tiers.

python bench/make_talker_gguf.py WEIGHTS.safetensors OUT.gguf
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf  # noqa: TID251 - its own writer makes the files that ours must read
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.talker import (
    EPS,
    EXPERTS,
    HEAD,
    HEADS,
    KV_HEADS,
    LAYERS,
    ROPE,
    SPECIAL,
    TEMPLATE,
    USED,
    WIDTH,
    WORDS,
)

FAMILY = "qwen3moe"
NAMES = {
    "norm": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output",
    "q_norm": "attn_q_norm", "k_norm": "attn_k_norm", "post": "ffn_norm", "router": "ffn_gate_inp",
    "gate": "ffn_gate_exps", "up": "ffn_up_exps", "down": "ffn_down_exps",
}  # fmt: skip


def read_weights(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays in f32 by their names in torch, and the tokenizer's words and merges."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    words = json.loads(header.pop("__metadata__")["tokenizer"])
    arrays = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        halves = np.frombuffer(data[begin:end], np.uint16).astype(np.uint32) << 16
        arrays[name] = halves.view(np.float32).reshape(entry["shape"])
    return arrays, words


def add_metadata(writer: gguf.GGUFWriter, words: dict[str, Any]) -> None:
    """What llama.cpp asks of a Qwen3-MoE, and of its vocabulary."""
    writer.add_name("Talker 2M")
    writer.add_license("apache-2.0")
    writer.add_context_length(2048)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_expert_feed_forward_length(WIDTH)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(USED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_freq_base(ROPE)
    writer.add_layer_norm_rms_eps(EPS)
    tokens = [word for word, _ in sorted(words["vocab"].items(), key=lambda pair: pair[1])]
    control = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.USER_DEFINED] * (len(SPECIAL) - 3)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen35")
    writer.add_token_list([*tokens, *SPECIAL])
    writer.add_token_types([gguf.TokenType.NORMAL] * WORDS + control)
    writer.add_token_merges([" ".join(merge) for merge in words["merges"]])
    writer.add_eos_token_id(WORDS)
    writer.add_pad_token_id(WORDS + 1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def main() -> None:
    """Write the file."""
    arrays, words = read_weights(Path(sys.argv[1]))
    writer = gguf.GGUFWriter(sys.argv[2], FAMILY)
    add_metadata(writer, words)
    small = gguf.GGMLQuantizationType.Q8_0

    def add(name: str, array: np.ndarray, *, whole: bool = False) -> None:
        if array.ndim == 1 or whole:
            writer.add_tensor(f"{name}.weight", array)
        else:
            writer.add_tensor(f"{name}.weight", gguf.quantize(array, small), raw_dtype=small)

    add("token_embd", arrays["embed"])
    add("output_norm", arrays["norm"])
    for layer in range(LAYERS):
        for ours, theirs in NAMES.items():
            add(f"blk.{layer}.{theirs}", arrays[f"blocks.{layer}.{ours}"], whole=ours == "router")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
