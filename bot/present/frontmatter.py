"""The card's front matter: what the Hub indexes.

Keys and values follow the Hub's model card metadata (hub-docs, docs/hub/model-cards.md).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from bot.present.escape import clean, url
from bot.records import Release, Results

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}|multilingual")
SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def model_url(release: Release) -> str:
    """A model's page on the Hub."""
    return f"https://huggingface.co/{release.repo_id}"


def front_matter(results: Results, quantized_by: str | None) -> str:
    """YAML between two lines of dashes; a value the Hub would refuse is left out."""
    release = results.release
    data: dict[str, Any] = {}
    if release is not None:
        data |= _license(release)
        languages = [tag for tag in release.languages[:200] if LANGUAGE.fullmatch(tag)]
        data |= {"language": languages} if languages else {}
        if REPO_ID.fullmatch(release.repo_id):
            data["base_model"] = release.repo_id
    data["base_model_relation"] = "quantized"
    if quantized_by:
        data["quantized_by"] = clean(quantized_by, 100)
    data["library_name"] = "gguf"
    if release is not None and SLUG.fullmatch(release.pipeline_tag or ""):
        data["pipeline_tag"] = release.pipeline_tag
    data["tags"] = _tags(results)
    dumped = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{dumped}---\n"


def _license(release: Release) -> dict[str, str]:
    """The source's licence; one that is no identifier of the Hub's becomes `other` with a name."""
    found: dict[str, str] = {}
    if release.license and LICENSE.fullmatch(release.license):
        found["license"] = release.license
    elif release.license:
        found |= {"license": "other", "license_name": clean(release.license, 100)}
    if release.license_name:
        found["license_name"] = clean(release.license_name, 100)
    if release.license_link and (target := _license_link(release, release.license_link)):
        found["license_link"] = target
    return found


def _license_link(release: Release, given: str) -> str | None:
    """An absolute address; a file of the source's repository is found there."""
    address = url(given)
    if address != "#":
        return str(address)
    if re.fullmatch(r"[\w.-]{1,100}", given, re.ASCII):
        return str(url(f"{model_url(release)}/blob/{release.commit}/{given}"))
    return None


def _tags(results: Results) -> list[str]:
    tags = ["gguf", "quantized", "apex", "moe", "mixture-of-experts"]
    if any(row.imatrix for row in results.tiers):
        tags.append("imatrix")
    family = results.architecture.family
    return [*tags, family] if SLUG.fullmatch(family) and family not in tags else tags
