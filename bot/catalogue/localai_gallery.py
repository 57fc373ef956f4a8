"""A release as entries of LocalAI's gallery: one a tier, and one that chooses among them.

Keys are those of GalleryModel and Metadata (core/gallery/models_types.go, metadata_type.go), with
names, tags and places of files as .github/ci/apexentries makes them; source of August 2026. A
variant is an entry that has none of its own; LocalAI takes the one that suits its machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from bot import licences
from bot.legible import legible
from bot.records.built import Shard
from bot.records.measured import Row
from bot.records.results import Results
from bot.resolvers.localai import localai_address
from bot.wording.rows import distinct, to_take

NAME = "localai-gallery.yaml"
BASE = "github:mudler/LocalAI/gallery/virtual.yaml@master"  # of an entry that has all in overrides
LONGEST = 96  # characters of a name
# what each is called there (schema.PredictionOptions)
SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repeat_penalty",
}


GUESSES = 2  # tokens at a time, where nothing was measured


@dataclass(frozen=True, kw_only=True)
class SidePart:
    """A file that goes with every tier: a projector, or layers that predict tokens ahead."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SideParts:
    """What lies beside the tiers."""

    projector: SidePart | None = None
    drafter: SidePart | None = None

    @property
    def paths(self) -> list[str]:
        """Those that there are."""
        return [part.path for part in (self.projector, self.drafter) if part is not None]


NOTHING = SideParts()


def gallery_text(
    results: Results, repo_id: str, *, name: str, beside: SideParts = NOTHING
) -> str | None:
    """The entries as YAML; None where a file's name cannot stand in an address.

    `name` is the model's, as files have it.
    """
    entries = gallery_entries(results, repo_id, name=name, beside=beside)
    if not entries:
        return None
    apart = json.loads(json.dumps(entries))  # what two entries share would be an alias in YAML
    return yaml.safe_dump(apart, sort_keys=False, allow_unicode=True, width=1000)


def gallery_entries(
    results: Results, repo_id: str, *, name: str, beside: SideParts = NOTHING
) -> list[dict[str, Any]]:
    """First the one that chooses, which itself is the tier that the card names; then all tiers."""
    rows = distinct(results)
    paths = [file.file for row in rows for file in row.files]
    paths += beside.paths
    if not rows or any(localai_address(repo_id, path) is None for path in paths):
        return []
    shared = _shared(results, repo_id, beside)
    tiers = {row.name: _entry(results, repo_id, name, row, beside, shared) for row in rows}
    best = to_take(results)
    chosen = tiers[best.name if best and best.name in tiers else rows[0].name]
    hub = {
        **chosen,
        "name": slug(name),
        "description": _about(results, repo_id, None),
        "variants": [{"model": entry["name"]} for entry in tiers.values()],
    }
    return [hub, *tiers.values()]


def slug(name: str) -> str:
    """A name as the gallery writes it: small letters, digits, dots and single hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower())[:LONGEST].strip("-.") or "model"


def _entry(
    results: Results,
    repo_id: str,
    name: str,
    row: Row,
    beside: SideParts,
    shared: Mapping[str, Any],
) -> dict[str, Any]:
    files = [_file(repo_id, "models", file.file, file.sha256) for file in _in_order(row.files)]
    overrides = dict(shared["overrides"])
    overrides["parameters"] = {"model": files[0]["filename"], **_sampling(results)}
    for kind, key, part in (
        ("mmproj", "mmproj", beside.projector),
        ("models", "draft_model", beside.drafter),
    ):
        if part is not None:
            files.append(_file(repo_id, kind, part.path, part.sha256))
            overrides[key] = files[-1]["filename"]
    if beside.drafter is not None:
        drafts = max(row.scores.drafts, key=lambda one: one.rate, default=None)
        guesses = drafts.guesses if drafts else GUESSES
        drafting = ["spec_type:draft-mtp", f"spec_n_max:{guesses}", "spec_p_min:0"]
        overrides["options"] = [*overrides["options"], *drafting]
    return {
        "name": slug(f"{name}-apex-{row.name}"),
        "url": BASE,
        "description": _about(results, repo_id, row),
        **{key: value for key, value in shared.items() if key != "overrides"},
        "overrides": overrides,
        "files": files,
    }


def _in_order(files: Sequence[Shard]) -> list[Shard]:
    """LocalAI loads the first file that is listed."""
    return sorted(files, key=lambda file: file.file)


def _file(repo_id: str, kind: str, path: str, sha256: str) -> dict[str, str]:
    return {
        "filename": f"llama-cpp/{kind}/{repo_id}/{path}",
        "sha256": sha256,
        "uri": localai_address(repo_id, path) or "",
    }


def _shared(results: Results, repo_id: str, beside: SideParts) -> dict[str, Any]:
    """What all entries have in common."""
    release = results.release or results.origin
    named = map(licences.identifier, licences.licences_of(release) if release else ())
    licence = next(filter(None, named), None)
    more = ["vision", "multimodal"] if beside.projector else []
    more += ["mtp", "speculative"] if beside.drafter else []
    return {
        **({"license": licence} if licence else {}),
        "urls": [f"https://huggingface.co/{repo_id}"],
        "tags": ["llm", "gguf", "apex", "moe", *more],
        "overrides": {
            "backend": "llama-cpp",
            "function": {"automatic_tool_parsing_fallback": True, "grammar": {"disable": True}},
            "known_usecases": ["chat", *(["vision"] if beside.projector else [])],
            "options": ["use_jinja:true"],
            "template": {"use_tokenizer_template": True},
        },
    }


def _sampling(results: Results) -> dict[str, float]:
    told = dict(results.architecture.sampling)
    return {theirs: told[ours] for ours, theirs in SAMPLING.items() if ours in told}


def _about(results: Results, repo_id: str, row: Row | None) -> str:
    model = legible(results.architecture.name, LONGEST)
    if row is None:
        return f"{model} in APEX quantizations of {repo_id}; the one that fits is chosen."
    ppl, kld = row.scores.perplexity, row.scores.divergence
    measured = [f"perplexity {ppl.value:.4g}"] if ppl else []
    measured += [f"mean KL divergence {kld.mean:.3g}"] if kld else []
    size = f"{row.bytes / 1e9:.1f} GB"
    return f"{model}, APEX {row.name}: {', '.join([size, *measured])}."


# ── into an index ───────────────────────────────────────────────────────────────────────────


def with_entries(index: str, entries: str, repo_id: str) -> tuple[str, tuple[str, ...]]:
    """A gallery's index with a release's entries in it, and names that are somebody else's there.

    Both are YAML lists as they are written by hand: an entry begins at the line's beginning. All
    other entries stay byte for byte; an entry is ours where it names the repository.
    """
    ours = {_name(text): text for text in _items(entries)[1:]}
    preamble, *items = _items(index)
    taken = {_name(text): _ours(text, repo_id) for text in items}
    left = tuple(name for name in ours if taken.get(name) is False)
    texts = [
        ours.get(_name(text), text) if taken[_name(text)] and _name(text) in ours else text
        for text in items
    ]
    new = [text for name, text in ours.items() if name not in taken]
    whole = "".join((preamble, *texts))
    if new and whole and not whole.endswith("\n"):
        whole += "\n"
    return whole + "".join(new), left


def _items(text: str) -> list[str]:
    """What stands before the first entry, then each entry."""
    return re.split(r"(?m)^(?=- )", text)


def _name(item: str) -> str:
    """An entry's name; empty where it has none that stands alone in its line."""
    found = re.search(r"(?m)^(?:- |  )name: {0,3}[\"']?([^\"'\n]{1,200}?)[\"']? {0,3}$", item)
    return found[1] if found else ""


def _ours(item: str, repo_id: str) -> bool:
    return f"/{repo_id}/" in item or f"/{repo_id}\n" in item
