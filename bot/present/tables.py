"""The card's two tables: cells ready to print, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.present.escape import Verbatim, code, link, path, text
from bot.present.formats import (
    MISSING,
    error_places,
    grouped,
    measured,
    percent,
    size,
    value_places,
)
from bot.present.rows import by_size, names
from bot.records import Choices, Results, Row


@dataclass(frozen=True, kw_only=True)
class CardFile:
    """A file of the repository. `path` is relative to its root."""

    path: str
    tier: str | None
    bytes: int
    sha256: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells of a Markdown table; `sides` has a letter for each column, l or r."""

    columns: tuple[Verbatim, ...]
    rows: tuple[tuple[Verbatim, ...], ...]
    sides: str

    @property
    def rule(self) -> tuple[Verbatim, ...]:
        """The line between head and body, which carries the alignment."""
        return tuple(Verbatim("---:" if side == "r" else "---") for side in self.sides)


@dataclass(frozen=True)
class _Places:
    perplexity: int
    mean: int
    median: int
    p999: int
    max: int


def benchmarks(results: Results) -> Table:
    """The reference, then tiers and llama.cpp's own types, the largest first.

    An em dash stands where nothing was measured.
    """
    compared = sorted((*by_size(results), *results.baselines), key=lambda row: -row.bytes)
    rows = [results.reference, *compared]
    places = _places(rows)
    measures = list(dict.fromkeys(c.name for row in rows for c in row.scores.choices))
    columns = ["Model", "Size", "PPL ↓", "KL mean ↓", "KL median ↓", "KL 99.9 % ↓"]
    columns += ["KL max ↓", "Same top ↑", *(f"{name} ↑" for name in measures)]
    body = []
    for row in rows:
        label = _label(results, row)
        found = {choice.name: choice for choice in row.scores.choices}
        cells = [label, *_measures(row, places), *(_accuracy(found.get(m)) for m in measures)]
        body.append(tuple(text(cell) for cell in cells))
    sides = "l" + "r" * (len(columns) - 1)
    return Table(columns=tuple(text(c) for c in columns), rows=tuple(body), sides=sides)


def _label(results: Results, row: Row) -> str:
    if row is results.reference:
        return f"{row.name} (reference)"
    if row in results.baselines:
        return f"llama.cpp {row.name}"
    return f"APEX {row.name}" + (f" (= {row.same_as})" if row.same_as else "")


def _places(rows: Sequence[Row]) -> _Places:
    divergences = [row.scores.divergence for row in rows if row.scores.divergence]
    return _Places(
        perplexity=error_places(p.error for row in rows if (p := row.scores.perplexity)),
        mean=error_places(d.mean_error for d in divergences),
        median=value_places(d.median for d in divergences),
        p999=value_places(d.p999 for d in divergences),
        max=value_places(d.max for d in divergences),
    )


def _measures(row: Row, places: _Places) -> tuple[str, ...]:
    ppl, kld = row.scores.perplexity, row.scores.divergence
    cells = (
        size(row.bytes),
        measured(ppl.value, ppl.error, places.perplexity) if ppl else MISSING,
    )
    if kld is None:
        return (*cells, *(MISSING,) * 5)
    return (
        *cells,
        measured(kld.mean, kld.mean_error, places.mean),
        f"{kld.median:.{places.median}f}",
        f"{kld.p999:.{places.p999}f}",
        f"{kld.max:.{places.max}f}",
        percent(kld.same_top, 2),
    )


def _accuracy(choice: Choices | None) -> str:
    if choice is None:
        return MISSING
    interval = f"{100 * choice.low:.1f}–{100 * choice.high:.1f}"
    return f"{percent(choice.accuracy)} ({interval})"


def available(results: Results, files: Sequence[CardFile], about: Mapping[str, str]) -> Table:
    """Every file: models, shards one after another, then the others; the largest first."""
    columns = ("File", "Tier", "Size", "About", "BPW", "Bytes", "SHA-256")
    models = {file.file: row for row in results.tiers if row.same_as is None for file in row.files}

    def place(file: CardFile) -> tuple[bool, int, str]:
        row = models.get(file.path)
        return row is None, -(row.bytes if row else file.bytes), file.path

    ordered = sorted(files, key=place)
    body = tuple(_file(results, file, models.get(file.path), about) for file in ordered)
    return Table(columns=tuple(text(column) for column in columns), rows=body, sides="llrlrrl")


def _file(
    results: Results, file: CardFile, row: Row | None, about: Mapping[str, str]
) -> tuple[Verbatim, ...]:
    tiers = names(results, row) if row else [file.tier] if file.tier else []
    purpose = file.note or (about.get(tiers[0], "") if tiers else "")
    shards = [shard.file for shard in row.shards] if row else []
    if file.path in shards:
        part = f"part {shards.index(file.path) + 1} of {len(shards)}"
        purpose = f"{purpose} ({part})" if purpose else part
    return (
        link(file.path, path(file.path)),
        text(", ".join(tiers) or MISSING),
        text(size(file.bytes)),
        text(purpose or MISSING),
        text(f"{row.bits_per_weight:.2f}" if row else MISSING),
        text(grouped(file.bytes)),
        code(file.sha256[:12]),
    )
