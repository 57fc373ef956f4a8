"""The table of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.card.tables.cells import CardFile, CardTable
from bot.records.measured import Row
from bot.records.results import Results
from bot.settings.showing import CardSettings
from bot.wording.escape import Verbatim, code_cell, escaped_text, link, path
from bot.wording.formats import (
    MISSING,
    fixed,
    grouped,
    size_text,
)
from bot.wording.rows import row_names

PLOTS = "plots/"  # shown on the card, not listed


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
