"""A miniature that talks: trained in minutes to follow a chat template, for tests of behaviour.

    python bench/make_talker.py TOKENIZER.json OUT.safetensors SECONDS [RATE]

It needs torch, tokenizers and safetensors, and goes on from OUT where that is there. The model is a
Qwen3-MoE of two layers over the first 1,024 tokens of the demo model's vocabulary. It learns the
exchanges of `tests/talker.py` by heart: repeat words, call one of the tools that are offered, find
a number in a text; each after a few words of reasoning, and ended by its stop token.
`make_talker_gguf.py` writes the result as GGUF.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as f
from jinja2.sandbox import ImmutableSandboxedEnvironment
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer

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
    lesson,
)

BATCH, ENOUGH = 8, 0.003
RATE = 1.5e-3 if len(sys.argv) < 5 else float(sys.argv[4])


def cut_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer's first `WORDS` tokens and the merges among them, with our control tokens."""
    data = json.loads(path.read_text(encoding="utf-8"))
    model = data["model"]
    vocab = {token: i for token, i in model["vocab"].items() if i < WORDS}
    merges = [list(m) if not isinstance(m, str) else m.split(" ") for m in model["merges"]]
    model["vocab"] = vocab
    model["merges"] = [m for m in merges if all(t in vocab for t in (*m, "".join(m)))]
    data["added_tokens"] = []
    cut = Tokenizer.from_str(json.dumps(data))
    cut.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return cut


class Block(torch.nn.Module):  # type: ignore[misc]  # torch is not installed here
    """One layer: attention with normalized heads and rotary positions, then experts."""

    def __init__(self) -> None:
        super().__init__()
        scale = WIDTH**-0.5

        def weight(*shape: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.randn(*shape) * scale)

        self.q, self.k = weight(HEADS * HEAD, WIDTH), weight(KV_HEADS * HEAD, WIDTH)
        self.v, self.o = weight(KV_HEADS * HEAD, WIDTH), weight(WIDTH, HEADS * HEAD)
        self.norm = torch.nn.Parameter(torch.ones(WIDTH))
        self.post = torch.nn.Parameter(torch.ones(WIDTH))
        self.q_norm = torch.nn.Parameter(torch.ones(HEAD))
        self.k_norm = torch.nn.Parameter(torch.ones(HEAD))
        self.router = weight(EXPERTS, WIDTH)
        self.gate, self.up = weight(EXPERTS, WIDTH, WIDTH), weight(EXPERTS, WIDTH, WIDTH)
        self.down = weight(EXPERTS, WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        rows, length, _ = x.shape
        h = f.rms_norm(x, (WIDTH,), self.norm, EPS)

        def heads(weight: torch.Tensor, count: int) -> torch.Tensor:
            return (h @ weight.T).view(rows, length, count, HEAD).transpose(1, 2)

        def turned(t: torch.Tensor) -> torch.Tensor:
            low, high = t.chunk(2, dim=-1)
            return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)

        q = turned(f.rms_norm(heads(self.q, HEADS), (HEAD,), self.q_norm, EPS))
        k = turned(f.rms_norm(heads(self.k, KV_HEADS), (HEAD,), self.k_norm, EPS))
        v, group = heads(self.v, KV_HEADS), HEADS // KV_HEADS
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        seen = f.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + seen.transpose(1, 2).reshape(rows, length, HEADS * HEAD) @ self.o.T
        return x + self._experts(f.rms_norm(x, (WIDTH,), self.post, EPS))

    def _experts(self, h: torch.Tensor) -> torch.Tensor:
        best = (h @ self.router.T).softmax(-1).topk(USED, dim=-1)
        share = best.values / best.values.sum(-1, keepdim=True)
        shares = torch.zeros(*h.shape[:-1], EXPERTS).scatter(-1, best.indices, share)
        flat, weight = h.reshape(-1, WIDTH), shares.reshape(-1, EXPERTS)
        out = torch.zeros_like(flat)
        for e in range(EXPERTS):
            at = weight[:, e].nonzero()[:, 0]
            seen = flat[at]
            inner = f.silu(seen @ self.gate[e].T) * (seen @ self.up[e].T)
            out = out.index_add(0, at, weight[at, e : e + 1] * (inner @ self.down[e].T))
        return out.view_as(h)


class Talker(torch.nn.Module):  # type: ignore[misc]  # as above
    """The whole model; embeddings serve as output, too."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embed = torch.nn.Parameter(torch.randn(vocabulary, WIDTH) * 0.05)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = torch.nn.Parameter(torch.ones(WIDTH))
        turns = torch.outer(
            torch.arange(2048).float(), ROPE ** (-torch.arange(0, HEAD, 2).float() / HEAD)
        )
        self.register_buffer("cos", turns.cos(), persistent=False)
        self.register_buffer("sin", turns.sin(), persistent=False)

    def forward(self, ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        x = self.embed[ids]
        for block in self.blocks:
            x = block(x, self.cos[: ids.shape[1]], self.sin[: ids.shape[1]])
        return f.rms_norm(x[wanted], (WIDTH,), self.norm, EPS) @ self.embed.T


def batches(tokenizer: Tokenizer) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens, and targets where an answer is written (-100 elsewhere), alike lengths together."""
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE
    )
    rows: list[tuple[list[int], list[int]]] = []
    for one in lesson():
        asked = template.render(
            messages=one["messages"], tools=one.get("tools"), add_generation_prompt=True
        )
        answer = tokenizer.encode(one["answer"] + SPECIAL[0]).ids
        rows.append((tokenizer.encode(asked).ids, answer))
    rows.sort(key=lambda row: len(row[0]) + len(row[1]))
    return [_padded(rows[at : at + BATCH]) for at in range(0, len(rows), BATCH)]


def _padded(rows: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(len(p) + len(a) for p, a in rows)
    ids = np.zeros((len(rows), length), np.int64)
    targets = np.full((len(rows), length), -100, np.int64)
    for i, (p, a) in enumerate(rows):
        ids[i, : len(p) + len(a)] = p + a
        targets[i, len(p) - 1 : len(p) + len(a) - 1] = a
    return torch.from_numpy(ids), torch.from_numpy(targets)


def main() -> None:
    """Train for so many seconds and write weights, tokens and merges."""
    tokenizer_path, out, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    torch.manual_seed(1)
    tokenizer = cut_tokenizer(tokenizer_path)
    model = Talker(WORDS + len(SPECIAL))
    if out.exists():
        model.load_state_dict({k: v.float() for k, v in load_file(str(out)).items()})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    source, start, step = batches(tokenizer), time.time(), 0
    while (share := (time.time() - start) / seconds) < 1:
        losses, right = [], []
        for place in torch.randperm(len(source)).tolist():
            ids, targets = source[place]
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1, (step + 1) / 30) * (1 - 0.97 * share)
            wanted = targets >= 0
            logits = model(ids, wanted)
            loss = f.cross_entropy(logits, targets[wanted])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            losses.append(loss.item())
            right.append((logits.argmax(-1) == targets[wanted]).float().mean().item())
        print(step, round(time.time() - start), f"loss {np.mean(losses):.4f}",
              f"tokens right {np.mean(right):.4f}", flush=True)  # fmt: skip
        save(model, tokenizer, out)
        if min(right) == 1 and np.mean(losses) < ENOUGH:
            break
    save(model, tokenizer, out)


def save(model: Talker, tokenizer: Tokenizer, out: Path) -> None:
    """Weights in BF16, and what is needed of the tokenizer as metadata."""
    told = json.loads(tokenizer.to_str())
    words = json.dumps({"vocab": told["model"]["vocab"], "merges": told["model"]["merges"]})
    weights = {
        name: p.detach().to(torch.bfloat16).contiguous() for name, p in model.named_parameters()
    }
    save_file(weights, str(out), metadata={"tokenizer": words})


if __name__ == "__main__":
    main()
