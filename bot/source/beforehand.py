"""Checks of a checkpoint's small files before its weights are fetched or converted.

Whether each file is itself, whether the tokenizer fits the embedding, and whether the vision or
audio part can be converted: the same reading as the converter's, without its torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bot.errors import SourceError
from bot.foreign import printable, read_json, require_file_itself
from bot.tensors.configs import SPELLINGS, config_names, number, scopes_of
from bot.toolchain.converter_source import preprocessor_needs
from bot.toolchain.toolchain import Toolchain, supported

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_LARGEST = 64 << 20  # bytes of a tokenizer.json; those of 262,144 tokens have some 35 MB
_SENTENCEPIECE = "tokenizer.model"


def require_whole(folder: Path, config: Mapping[str, Any], rows: int) -> None:
    """Raise SourceError for a file that is none, or a tokenizer with more tokens than `rows`.

    `rows` is the length of the embedding, 0 where it is not known.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix != ".safetensors":
            require_file_itself(path)
    declared = number(tuple(scopes_of(config)), ("vocab_size",), most=1 << 30) or 0
    limit = min((count for count in (declared, rows) if count), default=0)
    if not limit or (folder / _SENTENCEPIECE).is_file():  # whose ids beyond are left out
        return
    top = max(_ids(folder), default=-1)
    if top >= limit:
        raise SourceError(
            f"its tokenizer numbers tokens up to {top:,}, its embedding has {rows or declared:,} "
            f"rows and config.json says {declared or rows:,}; its maker has to fit one to the other"
        )


def _ids(folder: Path) -> Iterator[int]:
    """Numbers of all tokens that the converter's tokenizer would know."""
    if (folder / "tokenizer.json").is_file():
        tokenizer = read_json(folder / "tokenizer.json", _LARGEST)
        model = tokenizer.get("model")
        vocabulary = model.get("vocab") if isinstance(model, Mapping) else None
        if isinstance(vocabulary, Mapping):
            yield from (number for number in vocabulary.values() if isinstance(number, int))
        elif isinstance(vocabulary, list):
            yield len(vocabulary) - 1
        added = tokenizer.get("added_tokens")
        for token in added if isinstance(added, list) else ():
            if isinstance(token, Mapping) and isinstance(token.get("id"), int):
                yield token["id"]
    if (folder / "added_tokens.json").is_file():
        more = read_json(folder / "added_tokens.json", _LARGEST)
        yield from (number for number in more.values() if isinstance(number, int))


# ── vision and audio ────────────────────────────────────────────────────────────────────────


def projector_architecture(config: Mapping[str, Any]) -> str | None:
    """The name the converter looks up for a projector (get_model_architecture)."""
    inner = config.get("vision_config")
    named = config_names(inner.get("architectures")) if isinstance(inner, dict) else ()
    outer = (*named, *config_names(config.get("architectures")))
    return SPELLINGS.get(outer[0], outer[0]) if outer else None


def lacking_projector(folder: Path, config: Mapping[str, Any], toolchain: Toolchain) -> str | None:
    """Why the vision or audio part of a checkpoint cannot be converted; None where it can.

    As MmprojModel of llama.cpp's conversion/base.py and its families read these files.
    """
    architecture = projector_architecture(config)
    if architecture is None or architecture not in supported(toolchain)[1]:
        return f"llama.cpp's converter has none for {printable(architecture or 'it')}"
    needs = preprocessor_needs(toolchain.tree, architecture)
    processors = [folder / name for name in PROCESSORS if (folder / name).is_file()]
    lost = sorted(needs - {key for path in processors for key in _keys(read_json(path))})
    if not lost:
        return None
    if not processors:
        return f"there is no {PROCESSORS[0]}, which tells {', '.join(lost)}"
    return f"{' and '.join(path.name for path in processors)} tell no {', '.join(lost)}"


def _keys(config: Mapping[str, Any]) -> set[str]:
    """Keys of a processor's config and of the parts in it, which some families merge."""
    parts = (value for value in config.values() if isinstance(value, Mapping))
    return {*config, *(key for part in parts for key in part)}
