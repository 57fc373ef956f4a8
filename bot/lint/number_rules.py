"""Numbers on the card: contexts, errors, sizes, layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

from bot.lint.contents import Defect, LintedRepository
from bot.wording.markdown import Cells, tables

USUAL_CONTEXT = 512  # llama-perplexity's default
STATED = re.compile(
    r"\b(?:ctx|context)(?:[ -](?:length|size|of)){0,2}[ \t]{0,4}[:=]?[ \t]{0,4}(\d[\d,]{2,8})\b",
    re.IGNORECASE,
)


def check_context(repository: LintedRepository) -> Iterator[Defect]:
    """A context said for perplexity that the numbers do not have."""
    for line in (repository.card or "").splitlines():
        stated = {int(n.replace(",", "")) for n in STATED.findall(line) if n.strip(",")}
        if not stated or not re.search(r"\bPPL\b|perplexity", line, re.IGNORECASE):
            continue
        measured = (
            repository.results.evaluation.context
            if repository.results
            else _used_context(repository.card or "")
        )
        for context in sorted(stated - {measured}) if measured else ():
            yield Defect(
                rule="context-differs", level="error", path="README.md",
                text=f"says context {context}, measured was {measured}; say what was measured",
            )  # fmt: skip


def _used_context(card: str) -> int | None:
    """The context of the card's own llama-perplexity command; None without one."""
    command = re.search(r"llama-perplexity\b[^\n`]{0,1000}", card)
    if command is None:
        return None
    option = re.search(r"(?:-c|--ctx-size)[ =](\d{1,9})", command[0])
    return int(option[1]) if option else USUAL_CONTEXT


MEASURE = re.compile(r"\b(?:PPL|perplexity|HellaSwag|MMLU|ARC|KLD?|KL divergence)\b", re.IGNORECASE)
ERROR = re.compile(r"±|\+/-|interval|standard error|std(?:err|dev)?\b|uncertainty", re.IGNORECASE)


def check_uncertainty(repository: LintedRepository) -> Iterator[Defect]:
    """A table of measurements needs errors or intervals somewhere on the card."""
    card = repository.card or ""
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


def check_sizes(repository: LintedRepository) -> Iterator[Defect]:
    """Sizes that a table says of a file, decimal or binary, as far as their digits go."""
    bytes_of = {file.path: file.bytes for file in repository.files if file.path.endswith(".gguf")}
    for table in tables(repository.card or ""):
        for row in table.rows:
            path = _file_of(row, bytes_of)
            for head, cell in zip(table.head, row, strict=False) if path else ():
                if HEAD.search(head[:200]) and path and not is_size(head, cell, bytes_of[path]):
                    yield Defect(
                        rule="size-differs", level="error", path=path,
                        text=f"has {bytes_of[path]:,} bytes, the card says {cell[:40]}; correct it",
                    )  # fmt: skip


def _file_of(row: Sequence[str], bytes_of: Mapping[str, int]) -> str | None:
    """The one whole file that a row names, by its name or by what follows the others' beginning."""
    text = unquote(" ".join(row))
    named = set(NAME.findall(text))
    paths = [path for path in bytes_of if path.rpartition("/")[2] in named]
    if not named:
        ends = [f"-{re.sub(r'[*` ]+', '-', cell.strip('*` '))}.gguf" for cell in row[:1] if cell]
        paths = [path for path in bytes_of for end in ends if path.endswith(end)]
    return paths[0] if len(paths) == 1 and "-of-" not in paths[0] else None


def is_size(head: str, cell: str, count: int) -> bool:
    """Whether a cell can mean so many bytes; yes for one that holds no size."""
    match, unit = SIZE.fullmatch(cell[:60]), UNIT.search(head)
    if match is None and unit is not None:
        match = SIZE.fullmatch(f"{cell[:60].strip()} {unit[0]}")
    if match is None:
        return True
    power, numbers = POWERS[match[2]], [*_numbers(match[1])]
    return not numbers or any(
        abs(stated - count / base**power) <= max(1.01 * step, 0.005 * stated)
        for stated, step in numbers
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


def check_layers(repository: LintedRepository) -> Iterator[Defect]:
    """The card's number of layers against the files' headers."""
    stated = re.search(r"\*\*Layers\*\*:[ \t]{0,8}(\d{1,6})", repository.card or "")
    if stated is None:
        return
    for path, head in repository.heads.items():
        if head.layers and head.layers != int(stated[1]):
            yield Defect(
                rule="layers-differ", level="error", path=path,
                text=f"has {head.layers} layers, the card says {stated[1]}; correct the card",
            )  # fmt: skip
            return
