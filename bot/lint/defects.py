"""What is wrong with a repository of GGUF files as others will meet it: names, card, hashes, files.

Pure: what is in the repository is read by bot.workplace.lint. Rules answer defects that are seen on
publishers' pages: snippets that fetch another file, numbers without error, dead links, files that
are not what the card says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase as fnmatch
from functools import partial
from typing import Literal
from urllib.parse import unquote

from bot.foreign import read_of
from bot.legible import legible
from bot.localhub.files.card_data import front_matter, split_card
from bot.records.model import Tensor
from bot.records.results import Results
from bot.wording.markdown import Cells, prose, tables, without_code
from bot.wording.naming import ambiguous, hub_label, hub_snippet, llama_file, models, ollama_file

Level = Literal["error", "warning"]
LARGE = 0.01  # share of a model's weights that a tensor left in 16 bits may have
WIDE = ("F32", "F16", "BF16")
USUAL_CONTEXT = 512  # llama-perplexity's default
LONGEST_CARD = 4_000_000
MOST = 200  # dead links that are told


@dataclass(frozen=True, kw_only=True)
class ListedFile:
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
class LintedRepository:
    """All that is looked at."""

    files: tuple[ListedFile, ...]
    card: str | None = None
    sums: Mapping[str, str] | None = None  # of SHA256SUMS, by path
    results: Results | None = None
    heads: Mapping[str, Head] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)  # why a file could not be read
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


def defects_of(repository: LintedRepository) -> list[Defect]:
    """Every defect, rule by rule; empty for a repository in which everything holds."""
    with read_of(repository.repo_id or "the repository"):
        return [_cleaned(defect) for rule in RULES for defect in rule(repository)]


def _cleaned(found: Defect) -> Defect:
    return replace(found, path=legible(found.path), text=legible(found.text))


# ── names ───────────────────────────────────────────────────────────────────────────────────


def _labels(given: LintedRepository) -> Iterator[Defect]:
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


def _tags(given: LintedRepository) -> Iterator[Defect]:
    for path in models(given.paths):
        tier = re.search(r"-APEX-([\w-]{1,40}?)(?:-\d{5}-of-\d{5})?\.gguf$", path)
        fetched = llama_file(given.paths, tier[1]) if tier else path
        if tier and fetched != path:
            yield Defect(
                rule="ambiguous-tag", level="warning", path=path,
                text=f"`-hf REPO:{tier[1]}` fetches {fetched}; say :APEX-{tier[1]} or --hf-file",
            )  # fmt: skip


# ── the card ────────────────────────────────────────────────────────────────────────────────

# bounded: no text makes them slower than its length
LINK = re.compile(
    r"\]\([ \t\n]{0,8}<?([^()\s<>]{1,500})>?[^()]{0,100}\)"
    r"|(?:src|srcset|href)=\"([^\"]{1,500})\""
)
NAMED = re.compile(r"(?<![\w/:.@*~-])[\w.*/-]{1,200}(?![\w.*/-])", re.ASCII)
FILE = re.compile(r"(?:[\w.-]+/)*[\w.*-]+\.(?:gguf|ya?ml|dat|imatrix)", re.ASCII)
ADDRESS = re.compile(r"https?://\S+|\]\([^()\s]{1,500}")
OPENED = re.compile(r"\ufeff?---[ \t]*(?:\r?\n|\Z)")
KEY = re.compile(r"^([\w-]{1,100}):", re.MULTILINE | re.ASCII)
LEAST = 4  # letters that names of one repository's files have in common, at least
REMOVED = {
    "huggingface-cli": "hf",
    "hf whoami": "hf auth whoami",
    "hf repo create": "hf repos create",
    "upload_large_folder": "upload_folder",
}


def _card(given: LintedRepository) -> Iterator[Defect]:
    if given.card is None:
        if "README.md" not in given.damaged:
            text = "there is no card; add one"
            yield Defect(rule="no-card", level="error", path="README.md", text=text)
        return
    if wrong := _front_matter(given.card):
        text = f"{wrong}; mend what stands between the two lines of ---"
        yield Defect(rule="front-matter", level="error", path="README.md", text=text)
    if not split_card(given.card)[1].strip():
        text = "the card says nothing; write what the files are"
        yield Defect(rule="empty-card", level="error", path="README.md", text=text)


def _front_matter(card: str) -> str | None:
    """What is wrong with a card's metadata, by the rules of the Hub."""
    source, _ = split_card(card)
    if source is None and OPENED.match(card):
        return "front matter has no end"
    try:
        front_matter(card)
    except ValueError as error:
        return f"front matter cannot be read: {error}"
    keys = KEY.findall(source or "")
    twice = next((key for key in keys if keys.count(key) > 1), None) if len(keys) < 200 else None
    return f"front matter has {twice!r} twice" if twice else None


def _links(given: LintedRepository) -> Iterator[Defect]:
    """Links of the text; what looks like one in code is code."""
    paths = set(given.paths)
    folders = {path[: at + 1] for path in paths for at, c in enumerate(path) if c == "/"}
    dead = {
        target
        for found in LINK.findall(without_code(given.card or ""))
        if (target := _local(found[0] or found[1]))
        and target not in paths
        and f"{target.rstrip('/')}/" not in folders
    }
    for target in sorted(dead)[:MOST]:
        yield Defect(
            rule="dead-link", level="error", path="README.md",
            text=f"links to {target}, which is not there; add the file or drop the link",
        )  # fmt: skip


def _local(target: str) -> str | None:
    if re.match(r"[a-zA-Z][\w+.-]*:|//|#|/", target):
        return None
    return unquote(target.split("#")[0].split("?")[0]).removeprefix("./") or None


def _named(given: LintedRepository) -> Iterator[Defect]:
    """Files of this repository that the text speaks of, and that are not there.

    A name is one of its files' by a folder, or by what names of its models begin with; any other
    (`docker-compose.yml`, `model.gguf`) may be the reader's, and so is all that stands in code.
    """
    known = {path.rpartition("/")[2] for path in given.paths}
    sources = {given.results.reference.file} if given.results else set()
    text = ADDRESS.sub("]", prose(given.card or ""))
    told = {name.rstrip(".") for name in NAMED.findall(text)}
    for name in sorted(name for name in told if FILE.fullmatch(name) and _is_ours(given, name)):
        last = name.rpartition("/")[2]
        if last in known or name in sources or ("*" in name and _fits(given, name)):
            continue
        yield Defect(
            rule="missing-file", level="error", path="README.md",
            text=f"names {name}, which is not there; add it or do not speak of it",
        )  # fmt: skip


def _fits(given: LintedRepository, pattern: str) -> bool:
    if pattern.count("*") > 3:
        return True
    return any(fnmatch(path, pattern) for path in given.paths)


def _is_ours(given: LintedRepository, name: str) -> bool:
    if "/" in name:
        return not name.startswith(".")  # .github/, .config/: of another place
    found = [path.rpartition("/")[2] for path in models(given.paths)]
    shared = _beginning(found) if len(found) > 1 else re.split(r"[-.]", (found or [""])[0])[0]
    return len(shared) >= min(LEAST, len(re.split(r"[-.]", name)[0])) and name.startswith(shared)


def _beginning(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:same]


def _commands(given: LintedRepository) -> Iterator[Defect]:
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


REPO = r"[\w.-]{1,96}/[\w.-]{1,96}"
BY_TAG = re.compile(rf"-hf(?:-repo)?[ \t]{{1,4}}'?({REPO}):([\w.-]{{1,200}})", re.ASCII)
BY_OLLAMA = re.compile(rf"hf\.co/({REPO}):([\w.-]{{1,200}})", re.ASCII)
BY_LOCALAI = re.compile(rf"(?<![\w.-])({REPO})@([\w./-]{{1,200}}\.gguf)(?!\w)", re.ASCII)
Fetched = Callable[[Sequence[str]], str | None]  # the file that is taken of a repository's


def _fetches(card: str) -> Iterator[tuple[str, str, Fetched]]:
    """Each command of a card that fetches by a short name, the repository, and what it takes."""
    for repo, tag in BY_TAG.findall(card):
        yield f"-hf {repo}:{tag}", repo, partial(llama_file, tag=tag)
    for repo, tag in BY_OLLAMA.findall(card):
        yield f"hf.co/{repo}:{tag}", repo, partial(ollama_file, tag=tag)
    for repo, file in BY_LOCALAI.findall(card):
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


STATED = re.compile(
    r"\b(?:ctx|context)(?:[ -](?:length|size|of)){0,2}[ \t]{0,4}[:=]?[ \t]{0,4}(\d[\d,]{2,8})\b",
    re.IGNORECASE,
)


def _context(given: LintedRepository) -> Iterator[Defect]:
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
    command = re.search(r"llama-perplexity\b[^\n`]{0,1000}", card)
    if command is None:
        return None
    given = re.search(r"(?:-c|--ctx-size)[ =](\d{1,9})", command[0])
    return int(given[1]) if given else USUAL_CONTEXT


MEASURE = re.compile(r"\b(?:PPL|perplexity|HellaSwag|MMLU|ARC|KLD?|KL divergence)\b", re.IGNORECASE)
ERROR = re.compile(r"±|\+/-|interval|standard error|std(?:err|dev)?\b|uncertainty", re.IGNORECASE)


def _uncertainty(given: LintedRepository) -> Iterator[Defect]:
    card = given.card or ""
    if any(map(_is_measured, tables(card))) and not ERROR.search(card):
        yield Defect(
            rule="no-uncertainty", level="error", path="README.md",
            text="shows measurements without any error; add errors or intervals",
        )  # fmt: skip


def _is_measured(table: Cells) -> bool:
    """Whether a column that is called by a measure holds a number."""
    places = [place for place, head in enumerate(table.head) if MEASURE.search(head[:200])]
    return any(
        re.match(r"[*~ ]{0,4}\d", row[place])
        for row in table.rows
        for place in places
        if place < len(row)
    )


NAME = re.compile(r"(?<![\w.-])[\w.-]{1,200}\.gguf(?!\w)", re.ASCII)
SIZE = re.compile(
    r"[*~≈ ]{0,4}(\d[\d,]{0,16}(?:\.\d{1,4})?)[ \u00a0]?(?:([kKMGT])i?B?|[Bb]ytes?)[* ]{0,4}"
)
THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
HEAD = re.compile(r"\bsize\b", re.IGNORECASE)
UNIT = re.compile(r"\b(?:[kKMGT]i?B|[Bb]ytes?)\b")
POWERS = {None: 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def _sizes(given: LintedRepository) -> Iterator[Defect]:
    """Sizes that a table says of a file, decimal or binary, as far as their digits go."""
    bytes_of = {file.path: file.bytes for file in given.files if file.path.endswith(".gguf")}
    for table in tables(given.card or ""):
        for row in table.rows:
            path = _file_of(row, bytes_of)
            for head, cell in zip(table.head, row, strict=False) if path else ():
                if HEAD.search(head[:200]) and path and not _is_size(head, cell, bytes_of[path]):
                    yield Defect(
                        rule="size-differs", level="error", path=path,
                        text=f"has {bytes_of[path]:,} bytes, the card says {cell[:40]}; correct it",
                    )  # fmt: skip


def _file_of(row: Sequence[str], known: Mapping[str, int]) -> str | None:
    """The one whole file that a row names, by its name or by what follows the others' beginning."""
    text = unquote(" ".join(row))
    named = set(NAME.findall(text))
    found = [path for path in known if path.rpartition("/")[2] in named]
    if not named:
        ends = [f"-{re.sub(r'[*` ]+', '-', cell.strip('*` '))}.gguf" for cell in row[:1] if cell]
        found = [path for path in known for end in ends if path.endswith(end)]
    return found[0] if len(found) == 1 and "-of-" not in found[0] else None


def _is_size(head: str, cell: str, count: int) -> bool:
    """Whether a cell can mean so many bytes; yes for one that holds no size."""
    match, unit = SIZE.fullmatch(cell[:60]), UNIT.search(head)
    if match is None and unit is not None:
        match = SIZE.fullmatch(f"{cell[:60].strip()} {unit[0]}")
    if match is None:
        return True
    power, numbers = POWERS[match[2]], [*_numbers(match[1])]
    return not numbers or any(
        abs(said - count / base**power) <= max(1.01 * step, 0.005 * said)
        for said, step in numbers
        for base in (1000, 1024)
    )


def _numbers(digits: str) -> Iterator[tuple[float, float]]:
    """What digits can mean, and the value of the last: 7,123 is written for two numbers."""
    if "," not in digits or THOUSANDS.fullmatch(digits):
        plain = digits.replace(",", "")
        yield float(plain), 10.0 ** -len(plain.partition(".")[2])
    if digits.count(",") == 1 and "." not in digits:
        plain = digits.replace(",", ".")
        yield float(plain), 10.0 ** -len(plain.partition(".")[2])


def _layers(given: LintedRepository) -> Iterator[Defect]:
    stated = re.search(r"\*\*Layers\*\*:[ \t]{0,8}(\d{1,6})", given.card or "")
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


def _damaged(given: LintedRepository) -> Iterator[Defect]:
    for path, why in given.damaged.items():
        yield Defect(rule="damaged-file", level="error", path=path, text=why)


SHARD = re.compile(r"\A(.{1,400})-(\d{5})-of-(\d{5})(\.gguf|\.safetensors)")


def _shards(given: LintedRepository) -> Iterator[Defect]:
    """Each file of a model in several."""
    sets: dict[tuple[str, int, str], set[int]] = {}
    for path in given.paths:
        if found := SHARD.fullmatch(path):
            sets.setdefault((found[1], int(found[3]), found[4]), set()).add(int(found[2]))
    for (stem, count, end), there in sets.items():
        first = next((n for n in range(1, count + 1) if n not in there), None)
        if first is not None:
            path = f"{stem}-{first:05d}-of-{count:05d}{end}"
            text = f"is not there, of {count} shards {len(there)} are; upload them all"
            yield Defect(rule="missing-shard", level="error", path=path, text=text)


def _sums(given: LintedRepository) -> Iterator[Defect]:
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


def _measured(given: LintedRepository) -> Iterator[Defect]:
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


def _heads(given: LintedRepository) -> Iterator[Defect]:
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


def _base_types(given: LintedRepository) -> Iterator[Defect]:
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


RULES: Sequence[Callable[[LintedRepository], Iterator[Defect]]] = (
    _damaged, _shards, _labels, _tags, _card, _links, _named, _commands, _context, _uncertainty,
    _sizes, _layers, _sums, _measured, _heads,
)  # fmt: skip
