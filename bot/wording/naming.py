"""Which file a short name of others fetches: the Hub's labels, llama.cpp's and Ollama's tags.

Rules: huggingface.js packages/tasks/src/gguf.ts (parseGGUFQuantLabel), llama.cpp
common/download.cpp (find_best_model, find_best_sibling), hub-docs docs/hub/ollama.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# GGMLFileQuantizationType of gguf.ts, in its order: the first that matches at a place counts
_TYPES = (
    "F32|F16|Q4_0|Q4_1|Q4_1_SOME_F16|Q4_2|Q4_3|Q8_0|Q5_0|Q5_1|Q2_K|Q3_K_S|Q3_K_M|Q3_K_L|"
    "Q4_K_S|Q4_K_M|Q5_K_S|Q5_K_M|Q6_K|IQ2_XXS|IQ2_XS|Q2_K_S|IQ3_XS|IQ3_XXS|IQ1_S|IQ4_NL|"
    "IQ3_S|IQ3_M|IQ2_S|IQ2_M|IQ4_XS|IQ1_M|BF16|Q4_0_4_4|Q4_0_4_8|Q4_0_8_8|TQ1_0|TQ2_0|"
    "MXFP4_MOE|MXFP4|NVFP4|Q1_0|Q2_0|Q2_K_XL|Q3_K_XL|Q4_K_XL|Q5_K_XL|Q6_K_XL|Q8_K_XL|"
    "MXFP4"  # an alias, and the last there: MXFP4_MOE is a label of its own
)
_LABEL = re.compile(f"(?:UD-)?(?:{_TYPES})(?:_[A-Z]+)?")
_WITHIN = re.compile(f"(?:UD-)?(?:{_TYPES})", re.IGNORECASE | re.ASCII)
_APART = "-_. "  # what stands between the words of a name
# parts of a name of Ollama's (isValidPart of types/model/name.go): an owner has no dot
_OLLAMA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_OLLAMA_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_SPLIT = re.compile(r"^(.+)-([0-9]{5})-of-([0-9]{5})$", re.IGNORECASE)
_SIDE = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
_DEFAULTS = ("Q4_K_M", "Q8_0")


def hub_label(path: str) -> str | None:
    """The label by which the Hub's widgets call a file; None where the name holds none."""
    labels: list[str] = _LABEL.findall(path.upper())
    return labels[-1] if labels else None


def tier_label(base: str, tier: str) -> str:
    """A label of the Hub's for a tier: llama.cpp's file type, then the tier in letters.

    `Q6_K_IQUALITY` for I-Quality; the Hub reads a type and one word of letters after it.
    """
    kind = base if hub_label(base) == base else f"{base}_M"  # llama-quantize's alias Q5_K: Q5_K_M
    letters = re.sub("[^A-Z]", "", tier.upper())
    return f"{kind}_{letters}" if letters else kind


def unlabelled(name: str) -> str:
    """A model's name without the labels in it, which every file of the model would be called by."""
    while match := _WITHIN.search(name):
        parts = (name[: match.start()].rstrip(_APART), name[match.end() :].lstrip(_APART))
        name = "-".join(part for part in parts if part)
    return name


def is_model(path: str) -> bool:
    """Whether llama.cpp takes a file for a model (gguf_filename_is_model)."""
    name = path.rpartition("/")[2]
    return path.endswith(".gguf") and not any(part in name for part in _SIDE)


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
    if "preset.ini" in all_paths:
        return "preset.ini"
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


def ollama_file(paths: Iterable[str], tag: str) -> str | None:
    """What `ollama run hf.co/REPO:TAG` fetches: a whole file's name, or the only file so labelled.

    Shards are refused by Ollama, and tags that are no part of a name for it.
    """
    if not _OLLAMA.fullmatch(tag):
        return None
    whole_files = [
        path for path in paths if is_model(path) and not _SPLIT.match(path[: -len(".gguf")])
    ]
    if tag in whole_files:
        return tag
    labelled = [path for path in whole_files if hub_label(path) == tag.upper()]
    return labelled[0] if len(labelled) == 1 else None


def ollama_tag(repo_id: str, paths: Sequence[str], path: str) -> str | None:
    """What to say after `hf.co/REPO:` for just `path`: its name, its label, or None for neither.

    Each part of the name that Ollama makes of it has at most 80 characters.
    """
    owner, _, name = repo_id.partition("/")
    if not _OLLAMA_OWNER.fullmatch(owner) or not _OLLAMA.fullmatch(name):
        return None
    tags = [tag for tag in (path, hub_label(path)) if tag]
    return next((tag for tag in tags if ollama_file(paths, tag) == path), None)


def hub_snippet(paths: Iterable[str]) -> str | None:
    """The file that the Hub's own `llama-server -hf REPO:LABEL` names: of labelled files Q4_K_M,
    else the first; None where no name has a label.
    """
    labelled = [path for path in sorted(paths) if path.endswith(".gguf") and hub_label(path)]
    preferred = [path for path in labelled if hub_label(path) == "Q4_K_M"]
    return next(iter([*preferred, *labelled]), None)


def ambiguous(paths: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Labels that several models share."""
    by_label: dict[str, list[str]] = {}
    for path in models(paths):
        if label := hub_label(path):
            by_label.setdefault(label, []).append(path)
    return [(label, tuple(sharing)) for label, sharing in by_label.items() if len(sharing) > 1]
