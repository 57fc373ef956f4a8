"""A tensor's role by its name, and what llama.cpp does with it by its shape.

The one table of roles: planning, prediction and importance matrices ask here. Names are those of
LLM_TENSOR_NAMES in llama.cpp's src/llama-arch.cpp.
"""

from __future__ import annotations

import re

from bot.errors import SourceError
from bot.records.model import Tensor
from bot.tensors.sizes import BLOCKS, bits_per_weight

ROUTED, SHARED = "routed expert", "shared expert"

# One row a role; a name must match exactly one. Biases, scales and other small things are kept.
TABLE: tuple[tuple[str, tuple[str, ...]], ...] = (
    (ROUTED, (r"ffn_(gate|up|down|gate_up)_(exps|chexps)\.weight",)),
    (SHARED, (r"ffn_(gate|up|down|gate_up)_shexp\.weight",)),
    (
        "router",
        (
            r"(ffn_gate_inp(_shexp)?|ffn_gate_tid2eid|exp_probs_b(_vl)?)(\.weight|\.bias)?",
            r"ffn_gate_inp\.scale",  # Gemma 4
        ),
    ),
    (
        "attention",
        (
            r"attn_(q|k|v|qkv|output|gate|kv|output_a|output_b)\.weight",
            r"attn_(q_a|q_b|kv_a_mqa|kv_b|k_b|v_b)\.weight",  # multi-head latent attention
            r"indexer\.(proj|attn_k|attn_q_b|q_proj|k_proj)\.weight",
            r"(attn|indexer)_compressor_(kv|gate)\.weight",
        ),
    ),
    (
        "linear attention",
        (
            r"ssm_(ba|alpha|beta|in|x|out|dt|f_a|f_b|g|g_a|g_b)\.weight",
            r"shortconv\.(in_proj|out_proj)\.weight",
        ),
    ),
    ("dense", (r"ffn_(gate|up|down|latent_down|latent_up|routed_down|routed_up)\.weight",)),
    ("embedding", (r"(token_embd|per_layer_token_embd)\.weight",)),
    ("output", (r"output\.weight",)),
    ("norm", (r"[a-z0-9_.]*norm(_\d|_exps|_key|_query|_conv)?\.(weight|bias)",)),
    (
        "MTP",
        (r"nextn\.(eh_proj|embed_tokens|shared_head_head|(pre|post)_projection)\.weight",),
    ),
    (
        "kept",
        (
            r"(?!.*(norm|exp_probs_b|ffn_gate_inp))[a-z0-9_.]+\.(bias|scale|input_scale)",
            r"ssm_(a|d)",
            r"(ssm_conv1d(_[qkv])?|shortconv\.conv|ple_(key|value|conv1d))\.weight",
            r"(attn_sinks|attn_rot_embd|layer_output_scale)\.weight",
            r"(rope_freqs|rope_factors_(long|short)|token_types|position_embd)\.weight",
            r"(attn|indexer)_compressor_ape(\.weight)?",
            r"(?!.*norm)(output_)?hc_[a-z_]+(\.weight)?",
            r"(attn_|ffn_|output_)res_score\.weight",
            r"(?!.*norm)(altup|laurel)_[a-z_]+\.weight",
            r"(inp_gate|proj|per_layer_model_proj)\.weight",
        ),
    ),
)

# norms, MTP and what is kept stand in layers and outside of them; these do not
_OUTSIDE_LAYERS = frozenset({"embedding", "output"})
_IN_LAYERS = frozenset({ROUTED, SHARED, "router", "attention", "linear attention", "dense"})

_ROLES = tuple((role, re.compile("|".join(parts))) for role, parts in TABLE)
_BLOCK = re.compile(r"blk\.(\d{1,5})\.(.+)")

# substrings of names that llama.cpp never quantizes: tensor_allows_quantization, llama-quant.cpp
_NEVER = (
    *("_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel"),
    *("per_layer_model_proj", "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight"),
    *("indexer.q_proj.weight", "time_mix_first.weight", "time_mix_w0.weight"),
    *("time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight"),
    *("time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight"),
    *("time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight"),
    *("time_mix_decay_w2.weight", "time_mix_lerp_fused.weight", "attn_rel_b.weight"),
    *(".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd"),
    *(".patch_merger", "a.rvq.codebook", "mm.a.code_embd"),
)
_NEVER_NAMES = ("position_embd.weight", "token_types.weight")
_NEVER_GLM5 = (
    *("hc_", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj", "indexer_compressor_gate"),
    *("indexer_compressor_ape", "ssm_f_a.weight", "ssm_f_b.weight", "ssm_g_a.weight"),
    *("ssm_g_b.weight", "ssm_beta.weight", "attn_kv_a_mqa.weight", "attn_k_b.weight"),
    "attn_v_b.weight",
)

# what rows may take that a block of 256 does not divide, the smallest error first: of normally
# distributed weights 0.5, 3.4, 4.0, 7.0, 7.5, 8.2 and 11.4 % (root mean square, every weight as
# important). llama.cpp's own fallback (tensor_type_fallback, llama-quant.cpp) is mostly larger than
# what was asked for. Not here: Q2_0 and Q1_0, whose 72 and 60 % are more than IQ1_M's 45.
SHORT_BLOCKS = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "IQ4_NL", "Q4_0", "MXFP4")
_SLACK = 0.25  # bits a weight that less error may cost where nothing is as small as was asked for


def layer_of(name: str) -> int | None:
    """The layer a tensor belongs to; None outside the layers."""
    match = _BLOCK.fullmatch(name)
    return int(match[1]) if match else None


def role_of(name: str) -> str:
    """A tensor's role. Raises SourceError naming a tensor without exactly one."""
    roles = _roles_of(name)
    if len(roles) != 1:
        what = f"has the roles {', '.join(roles)}" if roles else "has no role"
        raise SourceError(
            f"tensor {name[:120]!r} {what}; this model needs a rule of its own in "
            "bot/tensors/roles.py"
        )
    return roles[0]


def has_role(name: str, role: str | None = None) -> bool:
    """Whether a tensor has exactly one role, and where `role` is given, this one."""
    roles = _roles_of(name)
    return len(roles) == 1 and role in (None, roles[0])


def _roles_of(name: str) -> list[str]:
    match = _BLOCK.fullmatch(name)
    inner_name = match[2] if match else name
    misplaced = _OUTSIDE_LAYERS if match else _IN_LAYERS
    return [r for r, pattern in _ROLES if r not in misplaced and pattern.fullmatch(inner_name)]


def allows_quantization(tensor: Tensor, family: str) -> bool:
    """Whether llama.cpp would quantize the tensor at all (tensor_allows_quantization)."""
    name = tensor.name
    trimmed = list(tensor.shape)
    while len(trimmed) > 1 and trimmed[-1] == 1:
        trimmed.pop()  # ggml_n_dims does not count trailing ones
    if len(trimmed) < 2 or not name.endswith("weight") or name in _NEVER_NAMES:
        return False
    if family == "glm5-next" and any(part in name for part in _NEVER_GLM5):
        return False
    return not any(part in name for part in _NEVER)


def stored_type(kind: str, tensor: Tensor) -> str:
    """The type a tensor is stored in when `kind` is asked for.

    Where its rows are no whole blocks of it: of types that fit the one with the least error among
    those that are no larger; where none is as small, among those within `_SLACK` of the smallest.
    F16 where no block fits at all.
    """
    row = tensor.shape[0]
    if row % BLOCKS[kind][0] == 0:
        return kind
    fitting = [short for short in SHORT_BLOCKS if row % BLOCKS[short][0] == 0]
    smallest = min(map(bits_per_weight, fitting), default=0.0)
    most = max(bits_per_weight(kind), smallest + _SLACK if smallest > bits_per_weight(kind) else 0)
    return next((short for short in fitting if bits_per_weight(short) <= most), "F16")
