"""The card's front matter: what the Hub indexes.

Keys and values follow the Hub's model card metadata (hub-docs, docs/hub/model-cards.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any

import yaml

from bot import licences
from bot.card.tables.cells import CardFile
from bot.legible import legible
from bot.records.releases import REPO_ID, Release
from bot.records.results import Results
from bot.settings.showing import CardSettings
from bot.wording.escape import url
from bot.wording.rows import CardRow, files_of

LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}|multilingual")
SAFE = re.compile(r"[\w .=+-]{1,200}")
SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def model_url(release: Release) -> str:
    """A model's page on the Hub."""
    return f"https://huggingface.co/{release.repo_id}"


def card_front_matter(
    results: Results,
    quantized_by: str | None,
    repo_id: str,
    look: CardSettings,
    files: Sequence[CardFile],
) -> str:
    """YAML between two lines of dashes; a value the Hub would refuse is left out."""
    release = results.release or results.origin
    data: dict[str, Any] = {}
    if release is not None:
        data |= _license(release)
        languages = [tag for tag in release.languages[:200] if LANGUAGE.fullmatch(tag)]
        data |= {"language": languages} if languages else {}
        if REPO_ID.fullmatch(release.repo_id):
            data["base_model"] = release.repo_id
    data["base_model_relation"] = "quantized"
    if quantized_by:
        data["quantized_by"] = legible(quantized_by, 100)
    data["library_name"] = "gguf"
    if release is not None and SLUG.fullmatch(release.pipeline_tag or ""):
        data["pipeline_tag"] = release.pipeline_tag
    data["tags"] = _tags(results, look, files)
    if (index := _model_index(results, repo_id)) is not None:
        data["model-index"] = index
    dumped = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{dumped}---\n"


def _license(release: Release) -> dict[str, Any]:
    """The source's licences; what is no identifier of the Hub's becomes `other` with its name."""
    named = licences.licences_of(release)
    identifiers = [licences.identifier(name) for name in named]
    fields: dict[str, Any] = {}
    if identifiers:
        ids = list(dict.fromkeys(identifier or "other" for identifier in identifiers))
        fields["license"] = ids if len(ids) > 1 else ids[0]
    own = [
        legible(name, 100)
        for name, identifier in zip(named, identifiers, strict=True)
        if identifier is None
    ]
    name = legible(release.license_name, 100) if release.license_name else ", ".join(own)[:100]
    if name:
        fields["license_name"] = name
    if release.license_link and (target := _license_link(release, release.license_link)):
        fields["license_link"] = target
    return fields


def _license_link(release: Release, target: str) -> str | None:
    """An absolute address; a file of the source's repository is found there."""
    address = url(target)
    if address != "#":
        return str(address)
    if release.commit and re.fullmatch(r"[\w.-]{1,100}", target, re.ASCII):
        return str(url(f"{model_url(release)}/blob/{release.commit}/{target}"))
    return None


def _tags(results: Results, look: CardSettings, files: Sequence[CardFile]) -> list[str]:
    tags = ["gguf", "quantized", "apex", "moe", "mixture-of-experts"]
    if any(row.imatrix for row in files_of(results, "tier")):
        tags.append("imatrix")
    model, release = results.architecture, results.release
    tags.append(model.family)
    task = release.pipeline_tag if release else None
    if model.vision or task == "image-text-to-text":
        # what a repository without a projector cannot do is not claimed
        seeing = any(file.path.startswith("mmproj") for file in files)
        tags += ["vision", "vlm"] if seeing else []
    return [tag for tag in dict.fromkeys([*tags, *look.tags]) if SLUG.fullmatch(tag)]


def _model_index(results: Results, repo_id: str) -> list[dict[str, Any]] | None:
    """Perplexities and accuracies as the Hub's model-index; divergences have no place in it.

    Keys: hub-docs, modelcard.md; each metric's name says of which tier it is.
    """
    rows = [row for row in files_of(results, "tier") if SAFE.fullmatch(row.label)]
    entries = [_index_entry("perplexity", results.evaluation.text.name, _perplexities(rows))]
    tasks = dict.fromkeys(name for row in rows for name in row.shares)
    entries += [_index_entry("accuracy", name, _accuracies(rows, name)) for name in tasks]
    measured = [entry for entry in entries if entry["metrics"]]
    if not measured or not REPO_ID.fullmatch(repo_id):
        return None
    return [{"name": repo_id.partition("/")[2], "results": measured}]


def _index_entry(kind: str, data: str, values: list[tuple[str, float]]) -> dict[str, Any]:
    name = legible(data, 100) or "text"
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "text"
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": name, "type": slug},
        "metrics": [
            {"type": kind, "value": value, "name": f"{kind} ({label})"}
            for label, value in values
            if isfinite(value)
        ],
    }


def _perplexities(rows: Sequence[CardRow]) -> list[tuple[str, float]]:
    return [(row.label, row.perplexity) for row in rows if row.perplexity is not None]


def _accuracies(rows: Sequence[CardRow], name: str) -> list[tuple[str, float]]:
    return [(row.label, row.shares[name].value) for row in rows if name in row.shares]
