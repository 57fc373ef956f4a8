"""Decisions about a release: build it, skip it, or wait for missing files. Pure.

The rules are asked in the order of their cost: those of `glance` need a row of a listing only,
those of `decide` the files and config.json at a pinned commit. Each names its outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from bot.detect.foreseen import TIERS, Foreseen, guessed_room
from bot.detect.moe import MoeFacts, NotMoe, clearly_dense, moe_facts
from bot.detect.quantized import HINTING_TAGS, hinted, is_native, method_refused
from bot.foreign import printable
from bot.records.releases import Build, Decision, Release, RepoFile, Skip, Wait
from bot.tensors import weights
from bot.tensors.configs import config_names, quant_method

CONFIG = "config.json"
QUANTIZED_FROM = "base_model:quantized:"
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
    # a row with a model's config may be of a model whose files speak against name and tags
    hint = None if model_type or architectures else _hint(release)
    closed = _closed(release, owners) or hint
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


def from_files(release: Release, *, owners: Sequence[str] = (), named: bool = False) -> Skip | None:
    """Decide from the files of a release, or None when config.json is needed too.

    Name and tags are hints: nothing to a checkpoint that is there, nor to who named the model.
    """
    skip = _closed(release, owners) or _by_files(release)
    hint = None if named or _has_checkpoint(release) else _hint(release)
    return skip or hint


def decide(
    release: Release,
    config: Mapping[str, Any] | None,
    *,
    owners: Sequence[str] = (),
    chosen: weights.CheckpointFiles | None = None,
    supported: frozenset[str] | None = None,
    free_disk: int | None = None,
    named: bool = False,
    foreseen: Foreseen | None = None,
    least_saving: float = 0.0,
) -> Decision:
    """Decide about a release from its files and its config.json, None when there is none to read.

    `named` says that a person named it: it is built unless its files forbid it. `chosen` are its
    safetensors files where its index was read; else their names decide. `supported` are the text
    architectures of llama.cpp's converter and `free_disk` the bytes that the runner may fill; None
    where unknown, and then not held against the release. `foreseen` is what its headers tell of
    its tiers, of which one must save `least_saving` of the model's bytes. A config.json that is
    listed but was not given means a gate that our token has not passed.
    """
    settled = from_files(release, owners=owners, named=named)
    if settled:
        return settled
    if config is None:
        return _without_config(release)
    facts = from_config(release, config)
    if isinstance(facts, Skip):
        return facts
    doubt = _doubt(release, facts, named=named)
    if doubt:
        return doubt
    if source := weights.gguf(release):
        counts = _experts(facts.experts, facts.experts_active)
        return _from_gguf(release, counts, source, free_disk)
    chosen = chosen or weights.checkpoint(release)
    counts = _experts(facts.experts, facts.experts_active)
    unready = _not_yet(facts, chosen, release, supported) or _no_gain(
        release, counts, foreseen, least_saving
    )
    if unready:
        return unready
    size = weights.total(chosen.files)
    need = foreseen.room(size) if foreseen else guessed_room(config, size)
    small = _too_large(release, counts, need, free_disk)
    return small or _from_safetensors(counts, chosen, release, supported)


def from_header(
    release: Release, experts: int, active: int, *, free_disk: int | None = None
) -> Decision:
    """Decide about a GGUF without a config.json, of which the header was read."""
    return _from_gguf(release, _experts(experts, active), weights.gguf(release), free_disk)


def from_config(release: Release, config: Mapping[str, Any]) -> Skip | MoeFacts:
    """A config.json alone: a skip with its reason, or the counts of experts."""
    facts = moe_facts(config)
    method = quant_method(config)
    quantized = method and not is_native(config, config_names(config.get("architectures")))
    if quantized and (isinstance(facts, MoeFacts) or facts.outcome in ("not_moe", "dense_sibling")):
        return _quantization(release, method)
    if isinstance(facts, NotMoe):
        return Skip(release=release, reason=facts.reason, outcome=facts.outcome)
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


def _hint(release: Release) -> Skip | None:
    """A skip where tags or name say that a repository is a quantization or an adapter."""
    for tag in release.tags:
        if tag.startswith(QUANTIZED_FROM):
            reason = f"itself a quantization of {tag.removeprefix(QUANTIZED_FROM)}"
            return Skip(release=release, reason=reason, outcome="already_quantized")
        if tag.startswith("base_model:adapter:") or tag in ("peft", "lora"):
            return _adapter(release)
        if tag in HINTING_TAGS:
            return _quantization(release, f"tagged {tag}")
    return _called(release)


def _called(release: Release) -> Skip | None:
    word = hinted(release.repo_id.rpartition("/")[2])
    return _quantization(release, f"named {word}") if word else None


def _has_checkpoint(release: Release) -> bool:
    """Whether there are a model's own weights. A GGUF was made of something else by somebody."""
    has_config = any(file.path == CONFIG for file in release.files)
    return has_config and bool(weights.safetensors(release))


def _by_files(release: Release) -> Skip | None:
    """A repository whose files show that it is a quantization or an adapter."""
    names = {PurePosixPath(file.path).name for file in release.files}
    quantizer_files = sorted(names & QUANTIZER_FILES)
    if quantizer_files:
        return _quantization(release, f"has {quantizer_files[0]}")
    sixteen = weights.sixteen_bit(release) or weights.safetensors(release)
    if "adapter_config.json" in names and not (sixteen and CONFIG in names):
        return _adapter(release)
    if weights.ggufs(release) and not sixteen:
        types = (
            f": {file.path} is {file.stored}" for file in weights.ggufs(release) if file.stored
        )
        reason = f"only quantized GGUF files{next(types, '')}"
        return Skip(release=release, reason=reason, outcome="already_quantized")
    return None


def looked_into(
    release: Release, config: Mapping[str, Any] | None, *, owners: Sequence[str] = ()
) -> RepoFile | None:
    """The file whose header settles a type that names leave in doubt; None without such."""
    if config is None or from_files(release, owners=owners):
        return None
    facts = from_config(release, config)
    if isinstance(facts, Skip):
        return None
    source = weights.gguf(release)
    if source:
        return weights.in_doubt(release)
    checkpoint = weights.checkpoint(release)
    unsure = checkpoint.whole and facts.quant_method is None and _hint(release) is not None
    return max(checkpoint.files, key=lambda file: file.size) if unsure else None


def _doubt(release: Release, facts: MoeFacts, *, named: bool) -> Skip | None:
    """Whether headers, or hints that no header refutes, say that weights were quantized.

    A name is believed where no header was read; a tag where the config declares a quantization,
    be it one that originals of the family have too.
    """
    if weights.gguf(release):
        return None
    stored = next((f.stored for f in weights.safetensors(release) if f.stored), None)
    if stored is not None and facts.quant_method is None:
        return (
            None
            if stored in weights.SIXTEEN_BIT
            else _quantization(release, f"its weights are {stored}")
        )
    if named:
        return None
    derived = any(tag.startswith(QUANTIZED_FROM) for tag in release.tags)
    return _hint(release) if facts.quant_method and derived else _called(release)


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
    release: Release, counts: str, source: Sequence[RepoFile], free_disk: int | None
) -> Decision:
    more = f" and {len(source) - 1} more" if len(source) > 1 else ""
    reason = f"{counts}; from {source[0].path}{more}"
    size = weights.total(source)
    small = _too_large(release, counts, size + TIERS * size, free_disk)
    return small or Build(release=release, reason=reason, outcome="eligible")


def _not_yet(
    facts: MoeFacts,
    chosen: weights.CheckpointFiles,
    release: Release,
    supported: frozenset[str] | None,
) -> Wait | None:
    counts = _experts(facts.experts, facts.experts_active)
    missing = _missing(release, chosen)
    if missing:
        return Wait(release=release, reason=f"{counts}; {missing}", outcome="no_weights_yet")
    if supported is not None and facts.converter_name not in supported:
        named = facts.converter_name or "a model without architectures in config.json"
        reason = f"{counts}; llama.cpp cannot convert {named} yet, asked again when it can"
        return Wait(release=release, reason=reason, outcome="unsupported_converter")
    return None


def _no_gain(release: Release, counts: str, foreseen: Foreseen | None, least: float) -> Skip | None:
    """A skip where the original is stored in so few bits that tiers save next to nothing."""
    if foreseen is None or foreseen.saves(least):
        return None
    reason = (
        f"{counts}; its weights have few bits already: of {foreseen.converted / 1e9:,.1f} GB the "
        f"smallest tier would take {foreseen.smallest / 1e9:,.1f}, which saves less than the "
        f"{least:.0%} of quantize.least_saving"
    )
    return Skip(release=release, reason=reason, outcome="no_gain")


def _from_safetensors(
    counts: str,
    chosen: weights.CheckpointFiles,
    release: Release,
    supported: frozenset[str] | None,
) -> Build:
    count = len(chosen.files)
    plural = "files" if count > 1 else "file"
    reason = f"{counts}; from {count} safetensors {plural}"
    if supported is None:
        reason += "; whether llama.cpp can convert it was not checked"
    return Build(release=release, reason=reason, outcome="eligible")


def _missing(release: Release, chosen: weights.CheckpointFiles) -> str | None:
    """The sentence about files that a checkpoint lacks yet; None when it is whole by names."""
    if chosen.whole:
        return None
    if chosen.missing:
        count, first = len(chosen.missing), printable(chosen.missing[0])
        return f"{count} of its safetensors files are not there yet, the first is {first}"
    if chosen.misnamed:
        return "no safetensors files called model*, which are what llama.cpp reads"
    if weights.sixteen_bit(release):
        return "its 16-bit GGUF lacks shards yet"
    if weights.has_pickles(release):
        return "no safetensors yet; its weights are pickles, which are never loaded"
    return "no weights yet"


def _too_large(release: Release, counts: str, need: float, free_disk: int | None) -> Skip | None:
    if free_disk is None or need <= free_disk:
        return None
    reason = (
        f"{counts}; source, its GGUF and tiers need about {need / 1e9:,.0f} GB of disk, "
        f"{free_disk / 1e9:,.0f} GB are free"
    )
    return Skip(release=release, reason=reason, outcome="too_large")


def _experts(experts: int, active: int) -> str:
    return f"{experts} experts, {active} active"
