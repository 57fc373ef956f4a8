"""What to do with a release: build it, skip it, or wait for what is missing. Pure.

This version builds from a 16-bit GGUF in the repository. The rules are asked in the order of
their cost: those of `glance` need a row of a listing only, those of `decide` the files and
config.json at a pinned commit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from bot.records import Build, Decision, Release, RepoFile, Skip, Wait
from bot.watch.moe import MoeFacts, NotMoe, clearly_dense, experts

_SIXTEEN_BIT = re.compile(r"(?<![a-z0-9])(bf16|fp?16)(?![a-z0-9])", re.IGNORECASE)
_QUANTIZED = re.compile(r"(?<![a-z0-9])(i?q[1-8]_|q[2-8](?![a-z0-9])|tq[12]_|mxfp4)", re.IGNORECASE)
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_BESIDE_THE_MODEL = re.compile(r"mmproj|imatrix|^mtp-|draft", re.IGNORECASE)
_QUANTIZED_NAME = re.compile(
    r"[-_.](nvfp4|mxfp4|mxfp8|fp8|fp4|int4|int8|w4a16|w8a8|w8a16|w4a8|awq|gptq|exl2|exl3|bnb"
    r"|[2-8]bit|mlx|hqq|eetq|aqlm|autoround)(?=$|[-_.])",
    re.IGNORECASE,
)
QUANTIZED_TAGS = frozenset(
    {"gptq", "awq", "exl2", "exl3", "mlx", "bitsandbytes", "hqq", "eetq", "aqlm"}
)
QUANTIZER_FILES = frozenset({"hf_quant_config.json", "quantize_config.json", "quant_config.json"})
REQUANTIZED_METHODS = frozenset(
    {"gptq", "awq", "bitsandbytes", "modelopt", "hqq", "eetq", "aqlm", "auto-round", "exl2", "exl3"}
)
OTHER_TASKS = frozenset(
    {
        *(
            "audio-classification",
            "audio-to-audio",
            "automatic-speech-recognition",
            "text-to-audio",
        ),
        *("text-to-speech", "voice-activity-detection", "depth-estimation", "image-classification"),
        *("image-feature-extraction", "image-segmentation", "image-to-3d", "image-to-image"),
        *("image-to-video", "keypoint-detection", "mask-generation", "object-detection"),
        *("text-to-3d", "text-to-image", "text-to-video", "unconditional-image-generation"),
        *("video-classification", "video-to-video", "zero-shot-image-classification"),
        *("zero-shot-object-detection", "fill-mask", "sentence-similarity", "text-classification"),
        *(
            "text-ranking",
            "token-classification",
            "zero-shot-classification",
            "graph-ml",
            "robotics",
        ),
        *("reinforcement-learning", "tabular-classification", "tabular-regression"),
        *("time-series-forecasting", "visual-document-retrieval"),
    }
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def glance(
    release: Release,
    *,
    owners: Sequence[str] = (),
    disabled: bool = False,
    model_type: str | None = None,
    architectures: Sequence[str] = (),
    quant_method: str | None = None,
) -> Skip | Wait | None:
    """Decide from a row of a listing, or None when the files and config.json are needed.

    `release` has no files yet. What a listing does not tell is never held against a model.
    """
    if disabled:
        return Skip(release=release, reason="disabled by the Hub")
    closed = _closed(release, owners) or _derived(release)
    if closed:
        return closed
    task = release.pipeline_tag
    if task in OTHER_TASKS:
        return Skip(release=release, reason=f"not a text generator: its task is {task}")
    if quant_method in REQUANTIZED_METHODS:
        return Skip(release=release, reason=f"itself a quantization: {quant_method}")
    dense = clearly_dense(model_type, architectures)
    return Skip(release=release, reason=dense) if dense else None


def decide(
    release: Release, config: Mapping[str, Any] | None, *, owners: Sequence[str] = ()
) -> Decision:
    """Decide about a release from its files and its config.json, None when it has none.

    A 16-bit GGUF without config.json waits: only the header of the GGUF itself tells whether it
    has experts, and a watcher must not fetch every dense model to find out.
    """
    closed = _closed(release, owners) or _derived(release) or _only_quantized(release)
    if closed:
        return closed
    if config is None:
        return _without_config(release)
    facts = experts(config)
    if isinstance(facts, NotMoe):
        return Skip(release=release, reason=facts.reason)
    if facts.quant_method and not facts.native_precision:
        return Skip(release=release, reason=f"itself a quantization: {facts.quant_method}")
    return _from_weights(release, facts)


def source_file(release: Release) -> RepoFile | None:
    """The 16-bit GGUF that a build starts from: one file, BF16 before F16, then the largest."""
    whole = [file for file in _sixteen_bit(release) if not _is_shard(file)]
    return min(whole, key=_preference, default=None)


# ── rules ───────────────────────────────────────────────────────────────────────────────────


def _closed(release: Release, owners: Sequence[str]) -> Skip | Wait | None:
    owner, _, _ = release.repo_id.rpartition("/")
    if owners and owner.casefold() not in {name.casefold() for name in owners}:
        return Skip(release=release, reason=f"{owner or release.repo_id} is not in watch.owners")
    if release.private:
        return Skip(release=release, reason="private")
    if release.gated:
        return Wait(release=release, reason="gated: its maker has to grant access first")
    return None


def _derived(release: Release) -> Skip | None:
    """A repository that says of itself that it is a quantization or an adapter."""
    for tag in release.tags:
        if tag.startswith("base_model:quantized:"):
            base = tag.removeprefix("base_model:quantized:")
            return Skip(release=release, reason=f"itself a quantization of {base}")
        if tag.startswith("base_model:adapter:") or tag in ("peft", "lora"):
            return Skip(release=release, reason="an adapter, not a model")
        if tag in QUANTIZED_TAGS:
            return Skip(release=release, reason=f"itself a quantization: tagged {tag}")
    named = _QUANTIZED_NAME.search(release.repo_id.rpartition("/")[2])
    if named:
        return Skip(release=release, reason=f"itself a quantization: named {named[1]}")
    return None


def _only_quantized(release: Release) -> Skip | None:
    """A repository whose files show that it is a quantization or an adapter."""
    names = {PurePosixPath(file.path).name for file in release.files}
    made_by = sorted(names & QUANTIZER_FILES)
    if made_by:
        return Skip(release=release, reason=f"itself a quantization: has {made_by[0]}")
    if "adapter_config.json" in names and "config.json" not in names:
        return Skip(release=release, reason="an adapter, not a model")
    if _ggufs(release) and not _sixteen_bit(release) and not _has(release, ".safetensors"):
        return Skip(release=release, reason="only quantized GGUF files")
    return None


def _without_config(release: Release) -> Decision:
    if _sixteen_bit(release):
        reason = "no config.json: whether its GGUF has experts shows when it is built by name"
    elif _has(release, ".safetensors"):
        reason = "no config.json yet"
    else:
        reason = "no weights yet"
    return Wait(release=release, reason=reason)


def _from_weights(release: Release, facts: MoeFacts) -> Decision:
    source = source_file(release)
    found = f"{facts.experts} experts, {facts.experts_active} active"
    if source:
        return Build(release=release, reason=f"{found}; from {source.path}")
    if _sixteen_bit(release):
        reason = f"{found}; its 16-bit GGUF is in shards, which this version does not join"
    elif _has(release, ".safetensors"):
        reason = (
            f"{found}; has no 16-bit GGUF; converting from safetensors is not part of this version"
        )
    elif _has(release, *PICKLES):
        return Skip(release=release, reason=f"{found}; its weights are pickles, never loaded")
    else:
        reason = "no weights yet"
    return Wait(release=release, reason=reason)


# ── files ───────────────────────────────────────────────────────────────────────────────────


def _has(release: Release, *endings: str) -> bool:
    return any(file.size and file.path.lower().endswith(endings) for file in release.files)


def _ggufs(release: Release) -> list[RepoFile]:
    """GGUF files that hold a model: no projector, imatrix or draft."""
    return [
        file
        for file in release.files
        if file.size
        and file.path.lower().endswith(".gguf")
        and not _BESIDE_THE_MODEL.search(PurePosixPath(file.path).name)
    ]


def _sixteen_bit(release: Release) -> list[RepoFile]:
    return [
        file
        for file in _ggufs(release)
        if _SIXTEEN_BIT.search(file.path) and not _QUANTIZED.search(PurePosixPath(file.path).name)
    ]


def _is_shard(file: RepoFile) -> bool:
    shard = _SHARD.search(file.path)
    return shard is not None and int(shard[2]) != 1


def _preference(file: RepoFile) -> tuple[bool, int, str]:
    return ("bf16" not in file.path.lower(), -file.size, file.path)
