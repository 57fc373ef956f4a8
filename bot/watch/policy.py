"""What to do with a release: build it, skip it, or wait for what is missing. Pure.

The rules are asked in the order of their cost: those of `glance` need a row of a listing only,
those of `decide` the files and config.json at a pinned commit. Each names its outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from bot import weights
from bot.records import Build, Decision, Release, RepoFile, Skip, Wait
from bot.watch.moe import MoeFacts, NotMoe, clearly_dense, experts
from bot.watch.quantized import HINTING_TAGS, hinted, method_refused

CONFIG = "config.json"
QUANTIZER_FILES = frozenset({"hf_quant_config.json", "quantize_config.json", "quant_config.json"})
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
# 16-bit bytes for one byte of an original at this precision
EXPANSION = {"fp8": 2.0, "mxfp4": 4.0, "compressed-tensors": 4.0}
# all nine tiers together, as a share of the 16-bit file: 2.3 for a 35B model, and some room
TIERS = 2.5


def glance(
    release: Release,
    *,
    owners: Sequence[str] = (),
    disabled: bool = False,
    model_type: str | None = None,
    architectures: Sequence[str] = (),
    quant_method: str | None = None,
) -> Skip | None:
    """Decide from a row of a listing, or None when the files and config.json are needed.

    `release` has no files yet. What a listing does not tell is never held against a model.
    """
    if disabled:
        return Skip(release=release, reason="disabled by the Hub", outcome="not_watched")
    closed = _closed(release, owners) or _derived(release)
    if closed:
        return closed
    task = release.pipeline_tag
    if task in OTHER_TASKS:
        reason = f"not a text generator: its task is {task}"
        return Skip(release=release, reason=reason, outcome="not_a_text_decoder")
    if method_refused(quant_method, architectures):
        return _quantization(release, quant_method)
    dense = clearly_dense(model_type, architectures)
    return Skip(release=release, reason=dense.reason, outcome=dense.outcome) if dense else None


def from_files(release: Release, *, owners: Sequence[str] = ()) -> Skip | None:
    """Decide from the files of a release, or None when config.json is needed too."""
    return _closed(release, owners) or _derived(release) or _only_quantized(release)


def decide(
    release: Release,
    config: Mapping[str, Any] | None,
    *,
    owners: Sequence[str] = (),
    supported: frozenset[str] | None = None,
    free_disk: int | None = None,
) -> Decision:
    """Decide about a release from its files and its config.json, None when there is none to read.

    `supported` are the text architectures of llama.cpp's converter and `free_disk` the bytes that
    the runner may fill; None where unknown, and then not held against the release. A config.json
    that is listed but was not given means a gate that our token has not passed.
    """
    settled = from_files(release, owners=owners)
    if settled:
        return settled
    if config is None:
        return _without_config(release)
    facts = from_config(release, config)
    if isinstance(facts, Skip):
        return facts
    if source := weights.gguf(release):
        return _from_gguf(release, facts, source, free_disk)
    return _from_safetensors(release, facts, supported, free_disk)


def from_config(release: Release, config: Mapping[str, Any]) -> Skip | MoeFacts:
    """What config.json alone tells: why not, or the experts that there are."""
    facts = experts(config)
    if isinstance(facts, NotMoe):
        return Skip(release=release, reason=facts.reason, outcome=facts.outcome)
    if facts.quant_method and not facts.native_precision:
        return _quantization(release, facts.quant_method)
    return facts


# ── rules ───────────────────────────────────────────────────────────────────────────────────


def _closed(release: Release, owners: Sequence[str]) -> Skip | None:
    owner, _, _ = release.repo_id.rpartition("/")
    if owners and owner.casefold() not in {name.casefold() for name in owners}:
        reason = f"{owner or release.repo_id} is not in watch.owners"
        return Skip(release=release, reason=reason, outcome="not_watched")
    if release.private:
        return Skip(release=release, reason="private", outcome="not_watched")
    return None


def _quantization(release: Release, method: str | None) -> Skip:
    reason = f"itself a quantization: {method}"
    return Skip(release=release, reason=reason, outcome="already_quantized")


def _adapter(release: Release) -> Skip:
    return Skip(release=release, reason="an adapter, not a model", outcome="adapter")


def _derived(release: Release) -> Skip | None:
    """A repository that says of itself that it is a quantization or an adapter."""
    for tag in release.tags:
        if tag.startswith("base_model:quantized:"):
            base = tag.removeprefix("base_model:quantized:")
            reason = f"itself a quantization of {base}"
            return Skip(release=release, reason=reason, outcome="already_quantized")
        if tag.startswith("base_model:adapter:") or tag in ("peft", "lora"):
            return _adapter(release)
        if tag in HINTING_TAGS:
            return _quantization(release, f"tagged {tag}")
    named = hinted(release.repo_id.rpartition("/")[2])
    return _quantization(release, f"named {named}") if named else None


def _only_quantized(release: Release) -> Skip | None:
    """A repository whose files show that it is a quantization or an adapter."""
    names = {PurePosixPath(file.path).name for file in release.files}
    made_by = sorted(names & QUANTIZER_FILES)
    if made_by:
        return _quantization(release, f"has {made_by[0]}")
    sixteen = weights.sixteen_bit(release) or weights.safetensors(release)
    if "adapter_config.json" in names and not (sixteen and CONFIG in names):
        return _adapter(release)
    if weights.ggufs(release) and not sixteen:
        reason = "only quantized GGUF files"
        return Skip(release=release, reason=reason, outcome="already_quantized")
    return None


def _without_config(release: Release) -> Wait:
    """Why there is no config.json. A watcher must not fetch every dense GGUF to find out."""
    if release.gated and any(file.path == CONFIG for file in release.files):
        reason = "gated: its maker has to grant access to the token's user first"
        return Wait(release=release, reason=reason, outcome="gated_no_access")
    if weights.sixteen_bit(release):
        reason = "no config.json: whether its GGUF has experts shows when it is built by name"
    elif weights.safetensors(release):
        reason = "no config.json yet"
    else:
        reason = "no weights yet"
    return Wait(release=release, reason=reason, outcome="no_weights_yet")


def _from_gguf(
    release: Release, facts: MoeFacts, source: Sequence[RepoFile], free_disk: int | None
) -> Decision:
    more = f" and {len(source) - 1} more" if len(source) > 1 else ""
    reason = f"{_found(facts)}; from {source[0].path}{more}"
    size = weights.total(source)
    small = _too_large(release, facts, size + TIERS * size, free_disk)
    return small or Build(release=release, reason=reason, outcome="eligible")


def _from_safetensors(
    release: Release, facts: MoeFacts, supported: frozenset[str] | None, free_disk: int | None
) -> Decision:
    source = weights.safetensors(release)
    missing = _missing(release, source)
    if missing:
        return Wait(release=release, reason=f"{_found(facts)}; {missing}", outcome="no_weights_yet")
    if supported is not None and facts.converter_name not in supported:
        named = facts.converter_name or "a model without architectures in config.json"
        reason = f"{_found(facts)}; llama.cpp cannot convert {named} yet, asked again when it can"
        return Wait(release=release, reason=reason, outcome="unsupported_converter")
    size = weights.total(source)
    sixteen = size * EXPANSION.get(facts.quant_method or "", 1.0)
    small = _too_large(release, facts, size + sixteen + TIERS * sixteen, free_disk)
    if small:
        return small
    plural = "files" if len(source) > 1 else "file"
    reason = f"{_found(facts)}; from {len(source)} safetensors {plural}"
    if supported is None:
        reason += "; whether llama.cpp can convert it was not checked"
    return Build(release=release, reason=reason, outcome="eligible")


def _missing(release: Release, source: Sequence[RepoFile]) -> str | None:
    """What a checkpoint lacks yet, or None when it is whole as far as names tell."""
    if source:
        missing = weights.missing_shards(source)
        return f"{missing} of its safetensors files are not there yet" if missing else None
    if weights.sixteen_bit(release):
        return "its 16-bit GGUF lacks shards yet"
    if weights.has_pickles(release):
        return "no safetensors yet; its weights are pickles, which are never loaded"
    return "no weights yet"


def _too_large(
    release: Release, facts: MoeFacts, need: float, free_disk: int | None
) -> Skip | None:
    if free_disk is None or need <= free_disk:
        return None
    reason = (
        f"{_found(facts)}; source, 16-bit file and tiers need about {need / 1e9:,.0f} GB of disk, "
        f"{free_disk / 1e9:,.0f} GB are free"
    )
    return Skip(release=release, reason=reason, outcome="too_large")


def _found(facts: MoeFacts) -> str:
    return f"{facts.experts} experts, {facts.experts_active} active"
