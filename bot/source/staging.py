"""The folder that the converter reads: a checkpoint's data files, and metadata that we vouch for.

No Python file, no pickle and no model card of the repository is in it, and its configs name no
code. What the converter would guess from a card or a folder's name is written here instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.disk.paths import slug
from bot.foreign import read_json
from bot.source.checkpoint import CheckpointFolder
from bot.tensors.configs import SPELLINGS, config_names

_DATA = re.compile(
    r"[\w.-]+\.(json|jsonl|jinja|model|tiktoken|txt|vocab)|tokenizer\.model\.v\d+", re.ASCII
)
_LARGEST = 16 << 20  # bytes of a tokenizer_config.json
_REWRITTEN = ("config.json", "tokenizer_config.json")
# keys that name code of the repository's own, or a path of the machine it was saved on
_DROPPED = frozenset({"auto_map", "_name_or_path", "name_or_path", "custom_pipelines"})
_MTP_KEYS = ("num_nextn_predict_layers", "mtp_num_hidden_layers")


@dataclass(frozen=True, kw_only=True)
class ConvertFacts:
    """Metadata for the converted file; all of it optional but the name."""

    name: str  # general.name, such as Qwen3.6-35B-A3B
    repo_id: str | None = None
    commit: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    site: str = "https://huggingface.co"  # where repo_id lies


def stage(
    checkpoint: CheckpointFolder, folder: Path, facts: ConvertFacts, *, without_mtp: bool
) -> Path:
    """Make the converter's view of a checkpoint below `folder`; the folder to name to it.

    `without_mtp` makes the config deny multi-token prediction layers. Weights are linked, not
    copied. The folder takes the model's name: size label and base name are read off it.
    """
    staged = folder / slug(facts.name)
    staged.mkdir(parents=True)
    links = zip(weight_names(len(checkpoint.files)), checkpoint.files, strict=True)
    for name, file in (*links, *((own, own) for own in _data_files(checkpoint.folder))):
        if name not in _REWRITTEN:
            _show((checkpoint.folder / file).resolve(), staged / name)
    _write_json(staged / "config.json", _config(checkpoint.config, without_mtp=without_mtp))
    tokenizer = checkpoint.folder / "tokenizer_config.json"
    if tokenizer.is_file():
        _write_json(staged / tokenizer.name, _tokenizer_config(read_json(tokenizer, _LARGEST)))
    templates = checkpoint.folder / "additional_chat_templates"
    if templates.is_dir():
        (staged / templates.name).mkdir()
        for path in templates.glob("*.jinja"):
            (staged / templates.name / path.name).symlink_to(path.resolve())
    (staged / "README.md").write_text(_card(facts), encoding="utf-8")
    return staged


def _show(source: Path, link: Path) -> None:
    """Link a file; one of JSON with a byte order mark, which Python's json refuses, without it."""
    marked = False
    if link.suffix == ".json":
        with source.open("rb") as file:
            marked = file.read(3) == b"\xef\xbb\xbf"
    if marked:
        link.write_bytes(source.read_bytes()[3:])
    else:
        link.symlink_to(source)


def write_metadata(path: Path, facts: ConvertFacts) -> None:
    """The file for --metadata (load of gguf-py's metadata.py): wins over what is guessed."""
    data: dict[str, Any] = {"general.name": facts.name}
    if facts.license_name:
        data["general.license.name"] = facts.license_name
    if facts.license_link:
        data["general.license.link"] = facts.license_link
    if facts.repo_id:
        url = f"{facts.site.rstrip('/')}/{facts.repo_id}"
        organization, _, name = facts.repo_id.rpartition("/")
        base = {"name": name, "organization": organization, "repo_url": url}
        data["general.source.repo_url"] = url
        if facts.commit:
            data["general.source.url"] = f"{url}/tree/{facts.commit}"
            base["version"] = facts.commit
        data["general.base_models"] = [base]
    _write_json(path, data)


def names_code(checkpoint: CheckpointFolder) -> bool:
    """Whether the repository asks for its own Python code to be run for its tokenizer."""
    path = checkpoint.folder / "tokenizer_config.json"
    return path.is_file() and "auto_map" in read_json(path, _LARGEST)


def weight_names(count: int) -> tuple[str, ...]:
    """Names of `count` files of weights, as the converter reads them without an index.

    It takes model*.safetensors (index_tensors of conversion/base.py); theirs may be any.
    """
    return tuple(f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1))


def _data_files(folder: Path) -> list[str]:
    """Config, tokenizer and the like; no index, whose files are shown under other names."""
    names = (path.name for path in folder.iterdir() if path.is_file())
    return sorted(n for n in names if _DATA.fullmatch(n) and not n.endswith(".index.json"))


def _card(facts: ConvertFacts) -> str:
    """A model card of our own: the converter takes a licence from nowhere else."""
    fields = {"license": facts.license, "language": facts.languages, "tags": facts.tags}
    front = {key: value for key, value in fields.items() if value}
    return f"---\n{json.dumps(front)}\n---\n"  # JSON is YAML


def _config(config: Mapping[str, Any], *, without_mtp: bool) -> dict[str, Any]:
    clean = {key: value for key, value in config.items() if key not in _DROPPED}
    for key, value in clean.items():
        if isinstance(value, dict):
            clean[key] = _config(value, without_mtp=without_mtp)
    if "architectures" in clean:
        clean["architectures"] = [SPELLINGS.get(n, n) for n in config_names(clean["architectures"])]
    if without_mtp:
        clean.update({key: 0 for key in _MTP_KEYS if key in clean})
    return clean


def _tokenizer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without code, and as transformers 4 reads it: version 5 renamed two things."""
    clean = {key: value for key, value in config.items() if key not in _DROPPED}
    if clean.get("tokenizer_class") == "TokenizersBackend":
        clean["tokenizer_class"] = "PreTrainedTokenizerFast"
    extra = clean.get("extra_special_tokens")
    if isinstance(extra, list):
        del clean["extra_special_tokens"]
        clean.setdefault("additional_special_tokens", extra)
    return clean


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
