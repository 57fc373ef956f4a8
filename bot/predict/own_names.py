"""Names of families that the gguf package has no table of: what llama.cpp's converter calls them.

As _map_dsv4_tensor_name of conversion/deepseek.py: DeepSeek-V4's files have names of their own.
Of Kimi-K3 (_RES_FUSIONS of conversion/kimi_k3.py) only those that no words of a decoder are in.
"""

from __future__ import annotations

_PARTS = {
    **{"attn_norm.weight": "attn_norm", "ffn_norm.weight": "ffn_norm"},
    **{"attn.attn_sink": "attn_sinks", "attn.wkv.weight": "attn_kv"},
    **{"attn.wq_a.weight": "attn_q_a", "attn.wq_b.weight": "attn_q_b"},
    **{"attn.q_norm.weight": "attn_q_a_norm", "attn.kv_norm.weight": "attn_kv_a_norm"},
    **{"attn.wo_a.weight": "attn_output_a", "attn.wo_b.weight": "attn_output_b"},
    **{"attn.indexer.wq_b.weight": "indexer.attn_q_b"},
    **{"attn.indexer.weights_proj.weight": "indexer.proj"},
    **{f"hc_{part}_{own}": f"hc_{part}_{own}" for part in ("attn", "ffn") for own in
       ("fn", "base", "scale")},
    **{
        f"attn.{maker}.{own}": f"{ours}_compressor_{end}"
        for maker, ours in (("compressor", "attn"), ("indexer.compressor", "indexer"))
        for own, end in (
            *(("ape", "ape"), ("norm.weight", "norm")),
            *(("wkv.weight", "kv"), ("wgate.weight", "gate")),
        )
    },
}  # fmt: skip
_ROOT = {
    **{"embed.weight": "token_embd", "head.weight": "output", "norm.weight": "output_norm"},
    **{f"hc_head_{own}": f"output_hc_{own}" for own in ("fn", "base", "scale")},
}
_SCORES = {
    "self_attention_res_proj": "attn_res_score",
    "mlp_res_proj": "ffn_res_score",
    "output_attn_res_proj": "output_res_score",
}
_BIASES = {"ffn.gate.bias": "exp_probs_b.bias", "ffn.gate.bias_vl": "exp_probs_b_vl.bias"}


def own_name(family: str, name: str, layer: int | None) -> str | None:
    """The GGUF name of a checkpoint's tensor; None where no table of ours has it."""
    if family == "kimi-k3":
        inner_name = name.rpartition(".weight")[0].rpartition(".")[2]
        score = _SCORES.get(inner_name)
        place = "" if layer is None else f"blk.{layer}."
        return f"{place}{score}.weight" if score else None
    if family != "deepseek4":
        return None
    if layer is None:
        return f"{_ROOT[name]}.weight" if name in _ROOT else None
    inner_name = name.removeprefix(f"layers.{layer}.")
    if inner_name in _BIASES:
        return f"blk.{layer}.{_BIASES[inner_name]}"
    return f"blk.{layer}.{_PARTS[inner_name]}.weight" if inner_name in _PARTS else None
