"""What is wrong with a repository of GGUF files as others will meet it: names, card, hashes, files.

Pure: what is in the repository is read by bot.pipeline.lint. Rules answer defects that are seen on
publishers' pages: snippets that fetch another file, numbers without error, dead links, files that
are not what the card says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase as fnmatch
from functools import partial
from typing import Literal
from urllib.parse import unquote

from bot.present.naming import ambiguous, hub_label, hub_snippet, llama_file, models, ollama_file
from bot.records import Results, Tensor

Level = Literal["error", "warning"]
LARGE = 0.01  # share of a model's weights that a tensor left in 16 bits may have
WIDE = ("F32", "F16", "BF16")
USUAL_CONTEXT = 512  # llama-perplexity's default
LONGEST_CARD = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A file; sha256 None: not known without reading it."""

    path: str
    bytes: int
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a GGUF file says of itself."""

    name: str
    file_type: int | None
    layers: int
    tensors: tuple[Tensor, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Repository:
    """All that is looked at."""

    files: tuple[Listed, ...]
    card: str | None = None
    sums: Mapping[str, str] | None = None  # of SHA256SUMS, by path
    results: Results | None = None
    heads: Mapping[str, Head] = field(default_factory=dict)
    repo_id: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """All files by name."""
        return tuple(file.path for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One thing that is wrong; the text ends in what to do."""

    rule: str
    level: Level
    path: str
    text: str


def lint(repository: Repository) -> list[Defect]:
    """Every defect, rule by rule; empty for a repository in which everything holds."""
    return [defect for rule in RULES for defect in rule(repository)]


# ── names ───────────────────────────────────────────────────────────────────────────────────


def _labels(given: Repository) -> Iterator[Defect]:
    bare = [path for path in models(given.paths) if hub_label(path) is None]
    if bare:
        others = f", nor in those of {len(bare) - 1} more" if len(bare) > 1 else ""
        yield Defect(
            rule="no-label", level="warning", path=bare[0],
            text=f"the Hub finds no quantization label in the name{others}; {{label}} in "
            "publish.file gives each tier one",
        )  # fmt: skip
    for label, found in ambiguous(given.paths):
        yield Defect(
            rule="ambiguous-label", level="error", path=found[0],
            text=f"{label} names {len(found)} files ({', '.join(found)}); give each its own label",
        )  # fmt: skip
    shown = hub_snippet(given.paths)
    if bare and shown is not None and shown not in bare:
        yield Defect(
            rule="misleading-snippet", level="error", path=shown,
            text="the Hub's own snippets fetch this file, as the others have no label; label them",
        )  # fmt: skip


def _tags(given: Repository) -> Iterator[Defect]:
    for path in models(given.paths):
        tier = re.search(r"-APEX-([\w-]+?)(?:-\d{5}-of-\d{5})?\.gguf$", path)
        fetched = llama_file(given.paths, tier[1]) if tier else path
        if tier and fetched != path:
            yield Defect(
                rule="ambiguous-tag", level="warning", path=path,
                text=f"`-hf REPO:{tier[1]}` fetches {fetched}; say :APEX-{tier[1]} or --hf-file",
            )  # fmt: skip


# ── the card ────────────────────────────────────────────────────────────────────────────────

LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|srcset|href)=\"([^\"]+)\"")
NAMED = re.compile(
    r"(?<![\w/:.@*-])((?:[\w.-]+/)*[\w.*-]+\.(?:gguf|ya?ml|dat|imatrix))(?![\w/])", re.ASCII
)
REMOVED = {
    "huggingface-cli": "hf",
    "hf whoami": "hf auth whoami",
    "hf repo create": "hf repos create",
    "upload_large_folder": "upload_folder",
}


def _card(given: Repository) -> Iterator[Defect]:
    if given.card is None:
        yield Defect(
            rule="no-card", level="error", path="README.md", text="there is no card; add one"
        )


def _links(given: Repository) -> Iterator[Defect]:
    dead = {
        target
        for found in LINK.findall(given.card or "")
        if (target := _local(found[0] or found[1])) and not _exists(given, target)
    }
    for target in sorted(dead):
        yield Defect(
            rule="dead-link", level="error", path="README.md",
            text=f"links to {target}, which is not there; add the file or drop the link",
        )  # fmt: skip


def _local(target: str) -> str | None:
    if re.match(r"[a-zA-Z][\w+.-]*:|//|#|/", target):
        return None
    return unquote(target.split("#")[0].split("?")[0]).removeprefix("./") or None


def _exists(given: Repository, path: str) -> bool:
    return any(file == path or file.startswith(f"{path.rstrip('/')}/") for file in given.paths)


def _named(given: Repository) -> Iterator[Defect]:
    """Files that the text speaks of; names that a command or `bot.yaml` of the reader's may hold
    are none of the repository's.
    """
    known = {path.rpartition("/")[2] for path in given.paths}
    sources = {given.results.reference.file} if given.results else set()
    for name in sorted(set(NAMED.findall(_prose(given.card or "")))):
        there = name.rpartition("/")[2] in known or any(fnmatch(p, name) for p in given.paths)
        if there or name in sources | {"bot.yaml"}:
            continue
        yield Defect(
            rule="missing-file", level="error", path="README.md",
            text=f"names {name}, which is not there; add it or do not speak of it",
        )  # fmt: skip


def _prose(card: str) -> str:
    """The card without links' targets and addresses."""
    return re.sub(r"https?://\S+|\]\([^)]*\)", "]", card)


def _commands(given: Repository) -> Iterator[Defect]:
    card = given.card or ""
    for old, new in REMOVED.items():
        if re.search(rf"(?<![\w-]){re.escape(old)}(?![\w-])", card):
            yield Defect(
                rule="removed-command", level="error", path="README.md",
                text=f"uses {old}, which huggingface_hub no longer has; write {new}",
            )  # fmt: skip
    for command, repo, fetched in _fetches(card):
        if given.repo_id in (None, repo) and fetched(given.paths) is None:
            yield Defect(
                rule="wrong-command", level="error", path="README.md",
                text=f"{command} fetches nothing of this repository; name a file that is there",
            )  # fmt: skip


Fetched = Callable[[Sequence[str]], str | None]  # the file that is taken of a repository's


def _fetches(card: str) -> Iterator[tuple[str, str, Fetched]]:
    """Each command of a card that fetches by a short name, the repository, and what it takes."""
    for repo, tag in re.findall(r"-hf(?:-repo)?\s+'?([\w.-]+/[\w.-]+):([\w.-]+)", card):
        yield f"-hf {repo}:{tag}", repo, partial(llama_file, tag=tag)
    for repo, tag in re.findall(r"hf\.co/([\w.-]+/[\w.-]+):([\w.-]+)", card):
        yield f"hf.co/{repo}:{tag}", repo, partial(ollama_file, tag=tag)
    for repo, file in re.findall(r"([\w.-]+/[\w.-]+)@([\w./-]+\.gguf)", card):
        yield f"{repo}@{file}", repo, partial(_named_file, name=file)


def _named_file(paths: Sequence[str], name: str) -> str | None:
    return name if name in paths else None


def astray(card: str, repo_id: str, ours: Sequence[str], there: Sequence[str]) -> str | None:
    """A command of our card that fetches another file of those `there` than of `ours`, if any."""
    for command, repo, fetched in _fetches(card):
        meant, found = fetched(ours), fetched(there)
        if repo == repo_id and meant is not None and meant != found:
            return f"{command} fetches {found or 'nothing'}, not {meant}"
    return None


STATED = re.compile(r"\b(?:ctx|context)(?:[ -](?:length|size|of))*\s*[:=]?\s*([\d,]{3,9})\b", re.I)


def _context(given: Repository) -> Iterator[Defect]:
    """A context said for perplexity that the numbers do not have."""
    for line in (given.card or "").splitlines():
        stated = {int(n.replace(",", "")) for n in STATED.findall(line) if n.strip(",")}
        if not stated or not re.search(r"\bPPL\b|perplexity", line, re.IGNORECASE):
            continue
        real = (
            given.results.evaluation.context if given.results else _used_context(given.card or "")
        )
        for context in sorted(stated - {real}) if real else ():
            yield Defect(
                rule="context-differs", level="error", path="README.md",
                text=f"says context {context}, measured was {real}; say what was measured",
            )  # fmt: skip


def _used_context(card: str) -> int | None:
    """The context of the card's own llama-perplexity command; None without one."""
    command = re.search(r"llama-perplexity\b[^\n`]*", card)
    if command is None:
        return None
    given = re.search(r"(?:-c|--ctx-size)[ =](\d+)", command[0])
    return int(given[1]) if given else USUAL_CONTEXT


def _uncertainty(given: Repository) -> Iterator[Defect]:
    card = given.card or ""
    heads = [line for line in card.splitlines() if line.startswith("|")]
    measured = any(re.search(r"PPL|perplexity|HellaSwag|MMLU|ARC|KL", line) for line in heads)
    if measured and not re.search(r"±|\+/-|interval|standard error|Uncertainty", card):
        yield Defect(
            rule="no-uncertainty", level="error", path="README.md",
            text="shows measurements without any error; add errors or intervals",
        )  # fmt: skip


def _layers(given: Repository) -> Iterator[Defect]:
    stated = re.search(r"\*\*Layers\*\*:\s*(\d+)", given.card or "")
    if stated is None:
        return
    for path, head in given.heads.items():
        if head.layers and head.layers != int(stated[1]):
            yield Defect(
                rule="layers-differ", level="error", path=path,
                text=f"has {head.layers} layers, the card says {stated[1]}; correct the card",
            )  # fmt: skip
            return


# ── files ───────────────────────────────────────────────────────────────────────────────────


def _sums(given: Repository) -> Iterator[Defect]:
    if given.sums is None:
        if given.results is None and any(p.endswith(".gguf") for p in given.paths):
            yield Defect(
                rule="no-hashes", level="warning", path="SHA256SUMS",
                text="nothing says which bytes were meant; add SHA256SUMS",
            )  # fmt: skip
        return
    for path in sorted(set(given.sums) - set(given.paths)):
        yield Defect(
            rule="missing-file", level="error", path=path,
            text="is in SHA256SUMS and not in the repository; add it or drop the line",
        )  # fmt: skip
    for file in given.files:
        known = given.sums.get(file.path)
        if known is not None and file.sha256 is not None and known != file.sha256:
            yield Defect(
                rule="hash-differs", level="error", path=file.path,
                text="differs from SHA256SUMS; upload the file that was measured, or list it anew",
            )  # fmt: skip


def _measured(given: Repository) -> Iterator[Defect]:
    """Files against results.json, where there is one."""
    if given.results is None:
        for path in models(given.paths)[:1]:
            yield Defect(
                rule="not-measured", level="warning", path=path,
                text="no results.json says what the files are worth; measure them (bot evaluate)",
            )  # fmt: skip
        return
    known = {file.file: file for row in given.results.tiers for file in row.files}
    for file in given.files:
        row = known.get(file.path)
        if row is not None and row.bytes != file.bytes:
            yield Defect(
                rule="size-differs", level="error", path=file.path,
                text=f"has {file.bytes:,} bytes, results.json says {row.bytes:,}; upload it again",
            )  # fmt: skip
        elif row is not None and file.sha256 not in (None, row.sha256):
            yield Defect(
                rule="hash-differs", level="error", path=file.path,
                text="is not the file that results.json measured; upload that one, or measure anew",
            )  # fmt: skip
    for path in sorted(set(known) - set(given.paths)):
        yield Defect(
            rule="missing-file", level="error", path=path,
            text="is in results.json and not in the repository; upload it",
        )  # fmt: skip
    for path in models(given.paths):
        if path not in known:
            yield Defect(
                rule="not-measured", level="warning", path=path,
                text="is not in results.json; measure it or take it out",
            )  # fmt: skip


PLACES = ("safetensors", "model", "hf", "output", "snapshot", "tmp", "checkpoint")


def _heads(given: Repository) -> Iterator[Defect]:
    """Metadata and types of the files themselves."""
    for path, head in given.heads.items():
        if not head.name.strip() or head.name.strip().casefold() in PLACES:
            yield Defect(
                rule="general-name", level="error", path=path,
                text=f"calls itself {head.name!r} (general.name); convert with --model-name",
            )  # fmt: skip
        whole = sum(tensor.parameters for tensor in head.tensors)
        narrow = any(t.type not in WIDE for t in head.tensors)
        for tensor in head.tensors if narrow else ():
            if tensor.type in WIDE and tensor.parameters > LARGE * whole:
                yield Defect(
                    rule="left-wide", level="error", path=path,
                    text=f"{tensor.name} is still {tensor.type}; give it a rule in the recipe",
                )  # fmt: skip
    yield from _base_types(given)


def _base_types(given: Repository) -> Iterator[Defect]:
    """X and I-X are one map of types: their file types are the same."""
    by_path = dict(given.heads)
    for path, head in by_path.items():
        if "-I-" not in path:
            continue
        plain = path.replace("-I-", "-")
        other = by_path.get(plain)
        if other and head.file_type is not None and other.file_type != head.file_type:
            yield Defect(
                rule="base-type-differs", level="error", path=path,
                text=f"has file type {head.file_type}, {plain} has {other.file_type}: the two "
                "were made by different rules; make one of them again",
            )  # fmt: skip


RULES: Sequence[Callable[[Repository], Iterator[Defect]]] = (
    _labels, _tags, _card, _links, _named, _commands, _context, _uncertainty, _layers, _sums,
    _measured, _heads,
)  # fmt: skip
