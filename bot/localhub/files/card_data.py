"""What the Hub knows of a repository from its files: card data, tags, a part of config.json.

Both files are written by strangers: sizes, depths and numbers of values are bounded, and what
does not parse counts as absent.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import yaml

from bot.localhub.files.modelfacts import Read, gguf_facts
from bot.localhub.files.repository import Entry

CARD_LIMIT = 1 << 20  # bytes of README.md that are looked at
FRONT_MATTER_LIMIT = 64 << 10  # characters
CONFIG_LIMIT = 1 << 20  # bytes
DEPTH = 12
VALUES = 200  # items of a list that become tags
FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?<=\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


class _Loader(yaml.SafeLoader):
    """YAML without aliases, which can make a few lines into gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed in front matter")
        return super().compose_node(parent, index)


def split_card(text: str) -> tuple[str | None, str]:
    """A card's front matter (None without one) and its body."""
    match = FRONT_MATTER.match(text)
    return (match[1], text[match.end() :]) if match else (None, text)


def front_matter(text: str) -> dict[str, Any]:
    """The card's metadata as JSON values. Raises ValueError with one line for the author."""
    source, _ = split_card(text)
    if source is None or not source.strip():
        return {}
    if len(source) > FRONT_MATTER_LIMIT:
        raise ValueError(f"front matter is longer than {FRONT_MATTER_LIMIT} characters")
    try:
        value = yaml.load(source, Loader=_Loader)  # noqa: S506 - a SafeLoader without aliases
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from error
    except RecursionError as error:
        raise ValueError("front matter is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("front matter is not a mapping of names to values")
    return {_key(key): _plain(item, 1) for key, item in value.items()}


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{str(key)[:40]!r} is not a name; put it in quotes")
    return key


def _plain(value: Any, depth: int) -> Any:
    """A YAML value as JSON can say it."""
    if depth > DEPTH:
        raise ValueError(f"front matter is nested deeper than {DEPTH} levels")
    match value:
        case None | bool() | str():
            return value
        case int() if abs(value) < 1 << 63:
            return value
        case float() if math.isfinite(value):
            return value
        case date():
            return value.isoformat()
        case list():
            return [_plain(item, depth + 1) for item in value]
        case dict():
            return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
        case _:
            kind = type(value).__name__
            raise ValueError(f"front matter holds a {kind} that JSON cannot say")


def repository_facts(files: Mapping[str, Entry], read: Read) -> dict[str, Any]:
    """The facts of one commit: cardData, config, tags, library_name, pipeline_tag, gguf."""
    card = _card(files, read)
    config = _config(files, read)
    formats = [
        name for name in ("safetensors", "gguf") if any(p.endswith(f".{name}") for p in files)
    ]
    library = _text(card.get("library_name"))
    pipeline = _text(card.get("pipeline_tag"))
    base = _base_models(card, quantized="gguf" in formats)
    tags = [
        *_texts(library),
        *formats,
        *_texts(config.get("model_type")),
        *_texts(pipeline),
        *_texts(card.get("tags")),
        *_texts(card.get("language")),
        *(f"dataset:{name}" for name in _texts(card.get("datasets"))),
        *base,
        *(f"license:{name}" for name in _texts(card.get("license"))[:1]),
    ]
    return {
        "cardData": card or None,
        "config": config or None,
        "tags": list(dict.fromkeys(tags)),
        "library_name": library,
        "pipeline_tag": pipeline,
        "gguf": gguf_facts(files, read),
    }


def _card(files: Mapping[str, Entry], read: Read) -> dict[str, Any]:
    if "README.md" not in files:
        return {}
    text = read(files["README.md"].sha256, CARD_LIMIT).decode("utf-8", "replace")
    try:
        return front_matter(text)
    except ValueError:  # the author was told by /api/validate-yaml; here it is as if absent
        return {}


def _config(files: Mapping[str, Entry], read: Read) -> dict[str, Any]:
    """The part that a listing carries; the number of experts is not in it, as on the Hub."""
    if "config.json" not in files or files["config.json"].size > CONFIG_LIMIT:
        return {}
    try:
        config = json.loads(read(files["config.json"].sha256, CONFIG_LIMIT))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(config, dict):
        return {}
    quantization = config.get("quantization_config")
    method = _text(quantization.get("quant_method")) if isinstance(quantization, dict) else None
    part: dict[str, Any] = {
        "architectures": _texts(config.get("architectures")),
        "model_type": _text(config.get("model_type")),
        "quantization_config": {"quant_method": method} if method else None,
    }
    return {name: value for name, value in part.items() if value}


def _base_models(card: Mapping[str, Any], *, quantized: bool) -> Iterable[str]:
    models = _texts(card.get("base_model"))
    relation = _text(card.get("base_model_relation")) or ("quantized" if quantized else "finetune")
    return [
        *(f"base_model:{name}" for name in models),
        *(f"base_model:{relation}:{name}" for name in models),
    ]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 256 else None


def _texts(value: Any) -> list[str]:
    """A string or a list of strings as a list; anything else in it is left out."""
    items = value[:VALUES] if isinstance(value, list) else [value]
    return [text for text in map(_text, items) if text is not None]
