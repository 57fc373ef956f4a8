"""What llama.cpp's `-hf` takes, and what beside it: common/download.cpp of the installed version.

find_best_model, find_best_sibling, gguf_filename_is_model and common_download_get_hf_plan, read in
November 2026. Builds before March 2026 asked the Hub's manifest, which refuses a tag that is no
label; `--hf-repo REPO --hf-file FILE` says the same to all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bot.resolvers.hub_labels import hub_label

_SPLIT = re.compile(r"^(.+)-([0-9]{5})-of-([0-9]{5})$", re.IGNORECASE)
PREDICTION = "mtp-"  # layers that guess tokens ahead
_ASIDE = ("mmproj", "imatrix", PREDICTION, "eagle3-", "dflash-", "dspark-")
_DEFAULTS = ("Q4_K_M", "Q8_0")
PRESET = "preset.ini"  # taken instead of any model


def is_model(path: str) -> bool:
    """Whether llama.cpp takes a file for a model (gguf_filename_is_model)."""
    name = path.rpartition("/")[2]
    return path.endswith(".gguf") and not any(part in name for part in _ASIDE)


def first_of_split(path: str) -> bool:
    """Whether a file is whole or the first of its shards."""
    split = _SPLIT.match(path.removesuffix(".gguf"))
    return split is None or int(split[3]) <= 1 or int(split[2]) == 1


def models(paths: Iterable[str]) -> list[str]:
    """Each model once, by its only or first file, in the order of the Hub's tree."""
    return [path for path in sorted(paths) if is_model(path) and first_of_split(path)]


def llama_file(paths: Iterable[str], tag: str | None) -> str | None:
    """What `-hf REPO:TAG` fetches; the tag may be any text here and is taken literally."""
    all_paths = list(paths)
    if PRESET in all_paths:
        return PRESET
    model_paths = models(all_paths)
    for label in (tag,) if tag else _DEFAULTS:
        pattern = re.compile(re.escape(label) + "[.-]", re.IGNORECASE)
        for path in model_paths:
            if pattern.search(path):
                return path
    return None if tag else next(iter(model_paths), None)


def llama_tag(paths: Sequence[str], path: str, tiers: Sequence[str]) -> str | None:
    """A short tag that fetches just `path`: a tier's name, APEX- before it, or its label."""
    label = hub_label(path)
    for tag in [*(name for tier in tiers for name in (tier, f"APEX-{tier}")), label or ""]:
        if re.fullmatch(r"[\w-]{1,80}", tag, re.ASCII) and llama_file(paths, tag) == path:
            return tag
    return None


def is_split(path: str) -> bool:
    """Whether a file is one of a model in several."""
    return _SPLIT.match(path.removesuffix(".gguf")) is not None


def beside(paths: Iterable[str], model: str, kind: str) -> str | None:
    """The part that goes with a model: `kind` is `mmproj`, or `mtp-` and its like.

    In the model's own folder or one above it, the nearest; of those the one whose type has the
    number of bits that the model's has, or as near as can be; the first of equals.
    """
    folder = model.split("/")[:-1]
    found, best = None, (-1, 0)
    for path in sorted(paths):
        own = path.split("/")[:-1]
        if not path.endswith(".gguf") or kind not in path or own != folder[: len(own)]:
            continue
        apart = abs(_bits(path) - _bits(model))
        if found is None or (len(own), -apart) > best:
            found, best = path, (len(own), -apart)
    return found


def _bits(path: str) -> int:
    """The first number in the last word of a file's name (extract_quant_bits); 0 where none is."""
    stem = path.removesuffix(".gguf")
    if split := _SPLIT.match(stem):
        stem = split[1]
    word = re.search(r"[-.]([A-Za-z0-9_]+)$", stem, re.ASCII)
    digits = re.search(r"[0-9]{1,9}", word[1]) if word else None
    return int(digits[0]) if digits else 0


def ambiguous(paths: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Labels that several models share."""
    by_label: dict[str, list[str]] = {}
    for path in models(paths):
        if label := hub_label(path):
            by_label.setdefault(label, []).append(path)
    return [(label, tuple(sharing)) for label, sharing in by_label.items() if len(sharing) > 1]
