"""provenance.json: what was made of what, by which programs.

An in-toto statement (https://in-toto.io/Statement/v1) with a SLSA provenance predicate
(https://slsa.dev/provenance/v1). It holds no time and no name of a machine: the same build gives
the same bytes. Its subjects are also how a later run knows which files of a repository are ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.clients.hub.hub import Hub
from bot.disk.hashes import git_blob_id
from bot.errors import SourceError
from bot.legible import legible
from bot.records.built import Built
from bot.records.coding import dump
from bot.records.releases import Release, RepoFile
from bot.records.results import Results

NAME = "provenance.json"
ALWAYS = frozenset({"README.md", NAME, "SHA256SUMS", "results.json"})  # beside the models
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD = "urn:apex-bot:build:1"
LIMIT = 4_000_000  # bytes
REGULAR = 10 << 20  # bytes; a Hub keeps larger files as large ones, known by their sha256


@dataclass(frozen=True, kw_only=True)
class AskedFor:
    """Hashes of all that a build was asked for: of each tier's inputs, and of everything else."""

    tiers: Mapping[str, str] = field(default_factory=dict)
    rest: str = ""

    def holds(self, other: AskedFor) -> bool:
        """Whether all tiers that `other` asks for were asked for here, just so."""
        return bool(other.tiers) and other.tiers.items() <= self.tiers.items()


NOTHING = AskedFor()


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a provenance says, as far as two of them are compared."""

    files: Mapping[str, str]  # sha256 by path
    source: str
    llama: str
    recipes: Mapping[str, str] = field(default_factory=dict)  # hash by tier
    calibration: str = ""
    evaluation: str = ""
    blobs: Mapping[str, str] = field(default_factory=dict)  # git's names of the same files
    asked: AskedFor = NOTHING
    bot: str = ""  # version
    job: str = ""  # key
    refreshed: tuple[str, ...] = ()  # files of the source by which headers alone were rewritten

    def is_of(self, asked: AskedFor) -> bool:
        """Whether this is what was asked for, neither more nor less, and no tier was left out."""
        return (
            bool(asked.tiers) and self.asked == asked and asked.tiers.keys() <= self.recipes.keys()
        )


def statement(
    results: Results, files: Mapping[str, Built], job: str, asked: AskedFor = NOTHING
) -> dict[str, Any]:
    """The statement about `files`, made by the job with this key."""
    tools = results.tools
    return {
        "_type": STATEMENT,
        "subject": [{"name": path, "digest": _digest(files[path])} for path in sorted(files)],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": _parameters(results, asked),
                "resolvedDependencies": [*_dependencies(results)],
            },
            "runDetails": {
                "builder": {
                    "id": "urn:apex-bot",
                    "version": {"apex-bot": tools.bot, "llama.cpp": tools.llama_cpp},
                },
                "metadata": {"invocationId": job},
            },
        },
    }


def _parameters(results: Results, asked: AskedFor) -> dict[str, Any]:
    """What decided the build, of all that was asked for: SLSA's externalParameters."""
    return {
        "source": _source(results),
        "recipes": {row.name: row.recipe for row in results.tiers if row.recipe},
        "calibration": results.calibration.sha256 if results.calibration else None,
        "evaluation": {
            "text": results.evaluation.text.sha256,
            "context": results.evaluation.context,
            "chunks": results.evaluation.chunks,
        },
        "asked": {"tiers": dict(asked.tiers), "rest": asked.rest},
        **({"refreshed": dump(results.refreshed)} if results.refreshed else {}),
    }


def _dependencies(results: Results) -> Iterator[dict[str, Any]]:
    """What the build was made of: SLSA's resolvedDependencies."""
    if (release := results.release) is not None:
        yield _dependency(release.repo_id, release.commit)
    yield {"name": "source", "digest": {"sha256": results.source_sha256}}
    yield from _texts(results)
    yield {"uri": f"pkg:pypi/llama-cpp-python@{results.tools.llama_cpp_python}"}


def statement_text(statement: Mapping[str, Any]) -> str:
    """The statement as the file has it."""
    return json.dumps(statement, indent=2, ensure_ascii=False) + "\n"


def _digest(file: Built) -> dict[str, str]:
    """A file's hashes (in-toto, digest_set.md). A Hub tells git's of what is no large file."""
    named = {"sha256": file.sha256}
    if file.bytes <= REGULAR and not file.path.endswith(".gguf"):
        named["gitBlob"] = git_blob_id(Path(file.path))
    return named


def _source(results: Results) -> str:
    release = results.release
    return f"{release.repo_id}@{release.commit}" if release else f"sha256:{results.source_sha256}"


def _dependency(repo_id: str, commit: str) -> dict[str, Any]:
    return {"uri": f"pkg:huggingface/{repo_id}@{commit}", "digest": {"gitCommit": commit}}


def _texts(results: Results) -> Iterator[dict[str, Any]]:
    facts = results.evaluation
    texts = [facts.text, *facts.tasks]
    texts += results.calibration.texts if results.calibration else ()
    for text in texts:
        yield {"name": text.name, "digest": {"sha256": text.sha256}}


def parse_statement(statement: Mapping[str, Any] | None) -> Provenance | None:
    """What a provenance.json of a repository says; None when it is none of ours.

    Whoever can write to the repository could have written it: paths and hashes are only compared.
    """
    try:
        if statement is None or statement["predicateType"] != PREDICATE:
            return None
        defined = statement["predicate"]["buildDefinition"]
        if defined["buildType"] != BUILD:
            return None
        parameters, run = defined["externalParameters"], statement["predicate"]["runDetails"]
        digests = {str(row["name"]): row["digest"] for row in statement["subject"]}
        asked = parameters.get("asked", {})
        return Provenance(
            files={path: str(hashes["sha256"]) for path, hashes in digests.items()},
            source=str(parameters["source"]),
            llama=str(run["builder"]["version"]["llama.cpp"]),
            bot=str(run["builder"]["version"]["apex-bot"]),
            recipes=_hashes(parameters["recipes"]),
            calibration=str(parameters["calibration"]),
            evaluation=str(parameters["evaluation"]),
            blobs={p: str(h["gitBlob"]) for p, h in digests.items() if "gitBlob" in h},
            asked=AskedFor(tiers=_hashes(asked.get("tiers", {})), rest=str(asked.get("rest", ""))),
            job=str(run.get("metadata", {}).get("invocationId", "")),
            refreshed=tuple(map(str, parameters.get("refreshed", {}).get("latest", ()))),
        )
    except (KeyError, TypeError, AttributeError):
        return None


def _hashes(by_tier: Mapping[str, Any]) -> dict[str, str]:
    return {str(tier): str(hash_) for tier, hash_ in by_tier.items()}


def of_files(files: Mapping[str, Built]) -> Provenance | None:
    """What the provenance among files of this machine says; None without one."""
    if NAME not in files:
        return None
    return parse_statement(json.loads(Path(files[NAME].path).read_bytes()))


def reasons(old: Provenance, new: Provenance) -> Iterator[str]:
    """Why the files of `new` are others than those of `old`, a sentence each."""
    if old.source != new.source:
        yield f"new source: {_line(old.source)} → {_line(new.source)}"
    if new.refreshed and old.source != new.source:
        texts = _line(", ".join(new.refreshed))
        yield f"metadata alone: {texts}; tensors and measurements are what they were"
    if old.llama != new.llama:
        yield f"new llama.cpp: {_line(old.llama)} → {_line(new.llama)}"
    both = old.recipes.keys() & new.recipes.keys()
    if changed := sorted(tier for tier in both if old.recipes[tier] != new.recipes[tier]):
        yield f"changed recipe: {', '.join(changed)}"
    if added := sorted(new.recipes.keys() - old.recipes.keys()):
        yield f"new tiers: {', '.join(added)}"
    if removed := sorted(old.recipes.keys() - new.recipes.keys()):
        yield f"tiers no longer published: {_line(', '.join(removed))}"
    if old.calibration != new.calibration:
        yield "calibrated anew"
    if old.evaluation != new.evaluation:
        yield "measured on another text"


def _line(text: str) -> str:
    """Words of a file that others can write, on one short line."""
    return legible(text, 160)


# ── as a Hub has it ─────────────────────────────────────────────────────────────────────────


def provenance_of(hub: Hub, release: Release) -> Provenance | None:
    """What the bot said it made of this repository, at this commit; None where it said nothing."""
    if NAME not in {file.path for file in release.files}:
        return None
    try:
        statement = hub.read_json(release.repo_id, release.commit, NAME, LIMIT)
    except SourceError:  # no JSON object: not the bot's
        return None
    return parse_statement(statement)


def is_whole(release: Release, provenance: Provenance) -> bool:
    """Whether every file of a build is there, with the content that its provenance names.

    Card and changelog need only be there: people may write in them.
    """
    hub_files = {file.path: file for file in release.files}
    return hub_files.keys() >= ALWAYS and all(
        path in hub_files and _is(hub_files[path], sha256, provenance.blobs.get(path))
        for path, sha256 in provenance.files.items()
    )


def _is(file: RepoFile, sha256: str, blob: str | None) -> bool:
    """By sha256 where the Hub keeps one (LFS), else by git's name of the content."""
    return file.sha256 == sha256 if file.sha256 is not None else file.blob_id == blob
