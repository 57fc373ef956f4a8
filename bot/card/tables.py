"""The card's tables: cells ready to print, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bot.records.measured import KLD, PPL, Row, best
from bot.records.results import Results
from bot.settings.showing import CardSettings
from bot.wording.escape import Verbatim, code_cell, escaped_text, link, path
from bot.wording.formats import (
    MISSING,
    error_places,
    fixed,
    grouped,
    percent,
    size_text,
    value_places,
    with_error,
)
from bot.wording.rows import CardRow, card_rows, elsewhere, row_names

LISTED = 6  # names that a note gives before it counts
TASK = "task:"
PLOTS = "plots/"  # shown on the card, not listed


@dataclass(frozen=True, kw_only=True)
class CardFile:
    """A file of the repository. `path` is relative to its root; 0 bytes, no sha256: not known."""

    path: str
    tier: str | None
    bytes: int
    sha256: str
    note: str


@dataclass(frozen=True, kw_only=True)
class CardTable:
    """Cells of a Markdown table; `sides` has a letter for each column, l or r."""

    columns: tuple[Verbatim, ...]
    rows: tuple[tuple[Verbatim, ...], ...]
    sides: str
    notes: tuple[str, ...] = ()  # plain sentences that belong below

    @property
    def rule(self) -> tuple[Verbatim, ...]:
        """The line between head and body, which carries the alignment."""
        return tuple(Verbatim("---:" if side == "r" else "---") for side in self.sides)


@dataclass(frozen=True, kw_only=True)
class _Column:
    title: str
    key: str  # as the setting calls it; task:NAME
    value: Callable[[CardRow], float | None]
    cell: Callable[[CardRow], str]
    error: Callable[[CardRow], float | None] = lambda _row: None
    measure: str | None = None  # that a comparison can support


def benchmarks(results: Results, look: CardSettings) -> CardTable:
    """The reference, then tiers, baselines and other publishers' files, the largest first.

    An em dash stands where nothing was measured, and a note says of what. Bold is what paired tests
    found better than every other file of the table: the best of its column, as a reader takes it.
    """
    rows = card_rows(results)
    table = _table(rows, look)
    chosen = [column for column in _columns(rows, look) if column.measure]
    files = [row.name for row in rows[1:] if row.same_as is None]
    bold = {
        (name, column.title)
        for column in chosen
        if (name := best(results.comparisons, column.measure or "", files)) is not None
    }
    if not bold:
        return table
    return _emboldened(table, rows, bold)


def others(results: Results, look: CardSettings) -> CardTable | None:
    """Imported rows without a kind, measured elsewhere on other texts; None without any."""
    rows = elsewhere(results)
    return _table(rows, look) if rows else None


def drafts(results: Results) -> CardTable | None:
    """What prediction layers bring to each tier; None where nothing was measured of them.

    Shares of guesses kept, first, second and third of a draft, and tokens per second.
    """
    rows = [row for row in results.tiers if row.same_as is None and row.scores.drafts]
    if not rows:
        return None
    most = max(row.scores.drafts[-1].guesses for row in rows)
    heads = (
        *("Model", *(f"{place} kept" for place in PLACES[:most]), "tok/s without"),
        *(f"tok/s with {number + 1}" for number in range(most)),
    )
    return CardTable(
        columns=tuple(escaped_text(head) for head in heads),
        rows=tuple(_drafted(row, most) for row in rows),
        sides="l" + "r" * (len(heads) - 1),
    )


def answers_of_harness(results: Results) -> CardTable | None:
    """What lm-evaluation-harness found of each file; None where nothing was asked.

    Of a group its own numbers, not those of its tasks. ± is the harness's standard error.
    """
    files = [row for row in (*results.tiers, *results.baselines) if row.same_as is None]
    rows = [row for row in (results.reference, *files, *results.others) if row.scores.benchmarks]
    titles = dict.fromkeys(title for row in rows for title in _of_harness(row))
    if not titles:
        return None
    heads = ("Model", *titles)
    body = ((row.name, *(_of_harness(row).get(title, MISSING) for title in titles)) for row in rows)
    return CardTable(
        columns=tuple(escaped_text(head) for head in heads),
        rows=tuple(tuple(escaped_text(cell) for cell in cells) for cells in body),
        sides="l" + "r" * len(titles),
    )


def _of_harness(row: Row) -> dict[str, str]:
    return {
        f"{one.measure} {'↓' if one.higher_is_better is False else '↑'}": with_error(
            100 * one.value, None if one.error is None else 100 * one.error, 1
        )
        for benchmark in row.scores.benchmarks
        for one in benchmark.scores
        if one.task == benchmark.name or not any(s.task == benchmark.name for s in benchmark.scores)
    }


def domains(results: Results) -> CardTable | None:
    """Divergence by domain, in nats; None where none was measured.

    First the means over domains of 99.9 % and mean, then of each domain both, and same top.
    """
    facts = results.evaluation.domains
    files = [*results.tiers, *results.baselines, *results.others]
    rows = [row for row in files if row.same_as is None and row.scores.domains]
    if not facts or not rows:
        return None
    heads = ("Model", "KL 99.9% ↓", "KL mean ↓", *(domain.name for domain in facts))
    return CardTable(
        columns=tuple(escaped_text(head) for head in heads),
        rows=tuple(_on_domains(row, [domain.name for domain in facts]) for row in rows),
        sides="l" + "r" * (len(heads) - 1),
    )


def _on_domains(row: Row, names: Sequence[str]) -> tuple[Verbatim, ...]:
    by_name = {domain.name: domain.divergence for domain in row.scores.domains}
    known = [by_name[name] for name in names if name in by_name]
    whole = len(known) == len(names)
    p999, mean = (fmean(values) for values in ([d.p999 for d in known], [d.mean for d in known]))
    cells = [
        f"{fixed(of.p999, 2)} / {fixed(of.mean, 4)} / {percent(of.same_top)}" if of else MISSING
        for of in map(by_name.get, names)
    ]
    over = (fixed(p999, 2), fixed(mean, 4)) if whole else (MISSING, MISSING)
    return tuple(escaped_text(cell) for cell in (row.name, *over, *cells))


PLACES = ("1st", "2nd", "3rd")


def _drafted(row: Row, most: int) -> tuple[Verbatim, ...]:
    drafts, longest = row.scores.drafts, row.scores.drafts[-1]
    shares = [
        f"{percent(place.kept / place.offered)} ({percent(place.low)}–{percent(place.high)})"
        if place.offered
        else MISSING
        for place in longest.places
    ]
    rates = [fixed(one.rate, 1) for one in drafts]
    cells = (
        *(row.name, *shares, *[MISSING] * (most - len(shares))),
        *(fixed(longest.rate_without, 1), *rates, *[MISSING] * (most - len(rates))),
    )
    return tuple(escaped_text(cell) for cell in cells)


def behaviour(results: Results) -> CardTable | None:
    """What each file did with prompts in its chat template: good answers of those judged.

    None where nothing was asked. A habit that the reference was never judged for has no column.
    """
    tiers = [row for row in results.tiers if row.same_as is None and row.scores.behaviour]
    reference = results.reference.scores.behaviour
    if reference is None or not tiers:
        return None
    names = [habit.name for habit in reference.habits if habit.judged]
    rows = [results.reference, *sorted(tiers, key=lambda row: -row.bytes)]
    heads = ("Model", *(BEHAVIOUR[name] for name in names), "Edited middle, nats")
    return CardTable(
        columns=tuple(escaped_text(head) for head in heads),
        rows=tuple(_behaved(row, names) for row in rows),
        sides="l" + "r" * (len(heads) - 1),
    )


BEHAVIOUR = {
    "ends": "Ends by its stop token",
    "goes on": "No repetition",
    "calls": "Tool calls",
    "finds": "Found in long text",
    "closes": "Reasoning closed",
}


def _behaved(row: Row, names: Sequence[str]) -> tuple[Verbatim, ...]:
    found = row.scores.behaviour
    habits = [found.habit(name) if found else None for name in names]
    counts = [f"{h.good} of {h.judged}" if h and h.judged else MISSING for h in habits]
    worst = [edit.worst for edit in found.edits] if found else []
    known = [value for value in worst if value is not None]
    edits = f"{max(known):.1e}" if known and len(known) == len(worst) else MISSING
    return tuple(escaped_text(cell) for cell in (row.name, *counts, edits))


def _table(rows: Sequence[CardRow], look: CardSettings) -> CardTable:
    columns = _columns(rows, look)
    body = tuple(
        (
            escaped_text(row.title),
            escaped_text(size_text(row.bytes, look.sizes) if row.bytes else MISSING),
            *(escaped_text(column.cell(row)) for column in columns),
        )
        for row in rows
    )
    heads = ("Model", "Size", *(column.title for column in columns))
    notes = (*_missing(rows, columns), *(_footnotes(rows, columns) if _noted(look) else ()))
    return CardTable(
        columns=tuple(escaped_text(head) for head in heads),
        rows=body,
        sides="l" + "r" * (len(heads) - 1),
        notes=notes,
    )


def _noted(look: CardSettings) -> bool:
    return look.errors == "footnote"


def _columns(rows: Sequence[CardRow], look: CardSettings) -> list[_Column]:
    ppl = error_places((row.perplexity_error for row in rows), 3)
    mean = error_places(row.mean_error for row in rows)
    inline = not _noted(look)
    columns = [
        _perplexity(ppl, inline),
        _mean_divergence(mean, inline),
        _of_divergence(rows, "KL median ↓", "median", mean),
        _of_divergence(rows, "KL 99.9% ↓", "p999"),
        _of_divergence(rows, "KL max ↓", "max"),
        _same_top(),
        *(_task(name, inline) for name in _named(row.shares for row in rows)),
        *(_speed(name) for name in _named(row.speed for row in rows)),
        _bits(inline),
    ]
    optional = {"bits", "p999", "same_top", "speed"} - set(look.columns)
    return [column for column in columns if column.key not in optional]


def _perplexity(places: int, inline: bool) -> _Column:
    return _Column(
        title="PPL ↓",
        key="ppl",
        value=lambda row: row.perplexity,
        error=lambda row: row.perplexity_error,
        cell=lambda row: _value(row.perplexity, row.perplexity_error, places, inline),
        measure=PPL,
    )


def _mean_divergence(places: int, inline: bool) -> _Column:
    return _Column(
        title="KL mean ↓",
        key="mean",
        value=lambda row: row.mean,
        error=lambda row: row.mean_error,
        cell=lambda row: _value(row.mean, row.mean_error, places, inline),
        measure=KLD,
    )


def _same_top() -> _Column:
    return _Column(
        title="Same top ↑",
        key="same_top",
        value=lambda row: row.kld.get("same_top"),
        cell=lambda row: _percent(row.kld.get("same_top"), 2),
    )


def _bits(inline: bool) -> _Column:
    return _Column(
        title="BPW",
        key="bits",
        value=lambda row: row.bits,
        cell=lambda row: _value(row.bits, None, 2, inline),
    )


def _of_divergence(
    rows: Sequence[CardRow], title: str, key: str, places: int | None = None
) -> _Column:
    if places is None:
        places = value_places(row.kld[key] for row in rows if key in row.kld)
    digits = places
    return _Column(
        title=title,
        key=key,
        value=lambda row: row.kld.get(key),
        cell=lambda row: _value(row.kld.get(key), None, digits, False),
    )


def _task(name: str, inline: bool) -> _Column:
    def cell(row: CardRow) -> str:
        share = row.shares.get(name)
        if share is None:
            return MISSING
        if not inline or share.low is None or share.high is None:
            return percent(share.value)
        return f"{percent(share.value)} ({_bounds(share.low, share.high)})"

    return _Column(
        title=f"{name} ↑",
        key=TASK + name,
        value=lambda row: row.shares[name].value if name in row.shares else None,
        cell=cell,
        measure=name,
    )


def _bounds(low: float, high: float) -> str:
    return f"{percent(low).removesuffix('%')}–{percent(high).removesuffix('%')}"


def _speed(name: str) -> _Column:
    def cell(row: CardRow) -> str:
        if name not in row.speed:
            return MISSING
        return with_error(*row.speed[name], 1)

    return _Column(
        title=f"{name} t/s ↑",
        key="speed",
        value=lambda row: row.speed[name][0] if name in row.speed else None,
        cell=cell,
    )


def _named(mappings: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for row in mappings for name in row))


def _value(value: float | None, error: float | None, places: int, inline: bool) -> str:
    if value is None:
        return MISSING
    return with_error(value, error, places) if inline else fixed(value, places)


def _percent(value: float | None, places: int) -> str:
    return MISSING if value is None else percent(value, places)


def _missing(rows: Sequence[CardRow], columns: Sequence[_Column]) -> list[str]:
    """Why a dash stands where one does, rows and columns together that belong together."""
    reasons: dict[tuple[str, ...], list[str]] = {}
    for column in columns:
        lacking = tuple(
            row.title for row in rows if column.value(row) is None and not _itself(row, column)
        )
        if lacking:
            reasons.setdefault(lacking, []).append(column.title.rstrip(" ↓↑"))
    notes = [
        f"Not measured: {', '.join(titles)} of {_some(lacking, len(rows))}."
        for lacking, titles in reasons.items()
    ]
    if any(_itself(row, column) for row in rows for column in columns):
        notes.insert(0, "The reference has no divergence from itself.")
    return notes


def _itself(row: CardRow, column: _Column) -> bool:
    return row.kind == "reference" and column.key in ("mean", "median", "p999", "max", "same_top")


def _some(titles: Sequence[str], row_count: int) -> str:
    if len(titles) == row_count:
        return "every row"
    more = [f"{len(titles) - LISTED} more"] if len(titles) > LISTED else []
    return ", ".join([*titles[:LISTED], *more])


def _footnotes(rows: Sequence[CardRow], columns: Sequence[_Column]) -> list[str]:
    """The errors that the cells leave out, from the smallest to the largest of a column."""
    spans, without_error = [], []
    for column in columns:
        name = column.title.rstrip(" ↓↑")
        errors = [error for row in rows if (error := column.error(row)) is not None]
        if errors:
            places = error_places(errors)
            spans.append(f"{name} ± {_span(errors, places)} (one standard error)")
        elif column.key.startswith(TASK):
            spans += _intervals(rows, column, name)
        elif column.key in ("ppl", "mean"):
            without_error.append(name)
    notes = [f"Uncertainty: {'; '.join(spans)}."] if spans else []
    if without_error:
        notes.append(f"No error is known of {', '.join(without_error)}.")
    return notes


def _intervals(rows: Sequence[CardRow], column: _Column, name: str) -> list[str]:
    task = column.key.removeprefix(TASK)
    shares = [share for row in rows if (share := row.shares.get(task)) and share.low is not None]
    halves = [100 * ((share.high or 0) - (share.low or 0)) / 2 for share in shares]
    return [f"{name} ± {_span(halves, 1)} points (95% interval)"] if halves else []


def _span(values: Sequence[float], places: int) -> str:
    low, high = fixed(min(values), places), fixed(max(values), places)
    return low if low == high else f"{low} to {high}"


def _emboldened(table: CardTable, rows: Sequence[CardRow], bold: set[tuple[str, str]]) -> CardTable:
    titles = [str(column) for column in table.columns]
    bold_cells = {(name, str(escaped_text(title))) for name, title in bold}
    body = tuple(
        tuple(
            Verbatim(f"**{cell}**")
            if (row.name, title) in bold_cells and row.same_as is None
            else cell
            for title, cell in zip(titles, cells, strict=True)
        )
        for row, cells in zip(rows, table.rows, strict=True)
    )
    note = (
        "Bold: better than every other file here, by tests that pair what both answered (95%, all "
        "together)."
    )
    return CardTable(
        columns=table.columns, rows=body, sides=table.sides, notes=(note, *table.notes)
    )


def available(
    results: Results, files: Sequence[CardFile], about: Mapping[str, str], look: CardSettings
) -> CardTable:
    """Every file but plots: models, shards one after another, then the others; the largest first.

    A column of which nothing is known is left out.
    """
    columns = ("File", "Profile", "Size", "Best For", "BPW", "Bytes", "SHA-256")
    models = {file.file: row for row in results.tiers if row.same_as is None for file in row.files}

    def place(file: CardFile) -> tuple[bool, int, str]:
        row = models.get(file.path)
        return row is None and file.tier is None, -(row.bytes if row else file.bytes), file.path

    ordered = sorted((file for file in files if not file.path.startswith(PLOTS)), key=place)
    body = [_file(results, file, models.get(file.path), about, look) for file in ordered]
    shown_columns = [
        i for i in range(len(columns)) if i < 4 or any(line[i] != MISSING for line in body)
    ]
    return CardTable(
        columns=tuple(escaped_text(columns[i]) for i in shown_columns),
        rows=tuple(tuple(line[i] for i in shown_columns) for line in body),
        sides="".join("llrlrrl"[i] for i in shown_columns),
    )


def _file(
    results: Results,
    file: CardFile,
    row: Row | None,
    about: Mapping[str, str],
    look: CardSettings,
) -> tuple[Verbatim, ...]:
    tiers = row_names(results, row) if row else [file.tier] if file.tier else []
    purpose = file.note or (about.get(tiers[0], "") if tiers else "")
    shards = [shard.file for shard in row.shards] if row else []
    if file.path in shards:
        part = f"part {shards.index(file.path) + 1} of {len(shards)}"
        purpose = f"{purpose} ({part})" if purpose else part
    exact = file.bytes and (row or file.sha256)
    return (
        link(file.path, path(file.path)),
        escaped_text(", ".join(tiers) or MISSING),
        escaped_text(size_text(file.bytes, look.sizes) if file.bytes else MISSING),
        escaped_text(purpose or MISSING),
        escaped_text(fixed(row.bits_per_weight, 2) if row else MISSING),
        escaped_text(grouped(file.bytes) if exact else MISSING),
        code_cell(file.sha256[:12]) or escaped_text(MISSING),
    )
