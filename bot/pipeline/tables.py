"""Results for people: the text that verbs print."""

from __future__ import annotations

import io
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bot.records import CalibrationFacts, Recipe, Results, Row

if TYPE_CHECKING:
    from bot.pipeline.demo import Demonstrated
    from bot.pipeline.doctor import Finding
    from bot.pipeline.job import Job
    from bot.pipeline.models import Model
    from bot.pipeline.publish import Published

WIDTH = 160  # wider than any table of ours: lines are never cut


def size(count: int) -> str:
    """Bytes as the Hub shows them: decimal, one place."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Aligned columns; the first `left` to the left, numbers to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, name in enumerate(columns):
        made.add_column(name, justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    out = io.StringIO()
    Console(file=out, width=WIDTH, color_system=None).print(made)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def architecture(model: Model) -> str:
    """What `bot inspect` says."""
    a = model.architecture
    experts = f"{a.experts} routed, {a.experts_active} active" + (
        ", one shared" if a.shared_expert else ""
    )
    attention = ", ".join(f"{n} {kind}" for kind, n in Counter(a.attention).items())
    facts = (
        ("model", a.name),
        ("family", a.family),
        ("source", f"{model.source.repo_id or model.source.path} at {model.source.commit[:12]}"),
        ("precision", f"{a.source_type}, {size(model.source.bytes)}"),
        ("parameters", f"{a.parameters:,} ({a.parameters_active:,} active)"),
        ("layers", f"{a.layers}" + (f" and {a.mtp_layers} MTP" if a.mtp_layers else "")),
        ("experts", experts),
        ("attention", attention),
        ("context", f"{a.context_length:,}"),
        ("vocabulary", f"{a.vocabulary:,}" + (", tied" if a.tied_embeddings else "")),
    )
    return "\n".join(f"{name:<11} {value}" for name, value in facts)


def plan(job: Job) -> str:
    """What `bot plan` says: tiers, sizes, types of the routed experts by band, disk."""
    made = job.plan
    parameters = made.model.parameters
    rows = [
        (
            recipe.tier,
            recipe.base,
            "yes" if recipe.imatrix else "",
            f"{recipe.tensor_bytes * 8 / parameters:.2f}",
            f"{recipe.tensor_bytes:,}",
            size(made.predicted(recipe)),
            _band(recipe, "edge"),
            _band(recipe, "near"),
            _band(recipe, "middle"),
            f"same as {recipe.same_as}" if recipe.same_as else "",
        )
        for recipe in made.recipes
    ]
    columns = ("tier", "base", "imatrix", "bpw", "tensor bytes", "file")
    bands = ("edge", "near", "middle", "")
    windows = made.recipes[0].windows
    disk = sum(made.predicted(recipe) for recipe in made.distinct)
    layers = made.model.architecture.layers
    middle = max(layers - 2 * (windows.edge + windows.near), 0)
    depth = (
        f"{layers} layers: {windows.edge} edge and {windows.near} near at each end, "
        f"{middle} middle; attention edge {windows.attention_edge}"
    )
    room = (
        f"disk: {size(disk)} for files, about {size(job.reference_guess())} for the "
        "reference's log-probabilities"
    )
    return "\n".join((table((*columns, *bands), rows, left=3), "", depth, room))


def _band(recipe: Recipe, band: str) -> str:
    """The type that most bytes of routed experts have in a band."""
    types = Counter[str]()
    for assignment in recipe.assignments:
        if assignment.band == band and "_exps" in assignment.tensor:
            types[assignment.type] += assignment.bytes
    return types.most_common(1)[0][0] if types else "-"


def recipe(found: Recipe) -> str:
    """A line for each tensor: name, role, band, type."""
    return "\n".join(f"{a.tensor}\t{a.role}\t{a.band}\t{a.type}" for a in found.assignments)


def coverage(found: CalibrationFacts) -> str:
    """What `bot calibrate` says of texts and experts: layers in which some were hardly reached."""
    chunks = f"{found.chunks} chunks of {found.context} tokens"
    parts = zip(found.texts, found.taken, strict=False)
    mix = ", ".join(f"{text.name} {count}" for text, count in parts)
    lines = [f"{chunks}: {mix}" if mix else chunks]
    poor = [layer for layer in found.coverage if layer.unreached or layer.rare]
    columns = ("layer", "experts", "fewest tokens", "median", "unreached", "rare")
    rows = [
        tuple(map(str, (c.layer, c.experts, c.fewest, c.median, len(c.unreached), len(c.rare))))
        for c in poor
    ]
    if poor:
        lines.append(table(columns, rows))
    elif found.coverage:
        fewest = min(layer.fewest for layer in found.coverage)
        lines.append(f"every expert of {len(found.coverage)} layers saw at least {fewest} tokens")
    return "\n".join(lines)


def results(found: Results) -> str:
    """The table of `bot evaluate`, largest first, llama.cpp's own types among the tiers."""
    choices = found.reference.scores.choices
    fixed = ("tier", "size", "bpw", "PPL", "±", "KLD mean", "±", "median", "99.9 %", "max")
    columns = (*fixed, "same top", *(choice.name for choice in choices))
    tiers = sorted((*found.tiers, *found.baselines), key=lambda row: -row.bytes)
    return table(columns, [_measured(row) for row in (found.reference, *tiers)])


def _measured(row: Row) -> tuple[str, ...]:
    ppl, kld = row.scores.perplexity, row.scores.divergence
    cells = [row.name, size(row.bytes), f"{row.bits_per_weight:.2f}"]
    cells += [f"{ppl.value:.4f}", f"{ppl.error:.4f}"]
    if kld is None:
        cells += ["—"] * 6
    else:
        cells += [f"{kld.mean:.6f}", f"{kld.mean_error:.6f}", f"{kld.median:.6f}"]
        cells += [f"{kld.p999:.4f}", f"{kld.max:.4f}", f"{kld.same_top:.2%}"]
    return (*cells, *(f"{choice.accuracy:.1%}" for choice in row.scores.choices))


def published(done: Published) -> str:
    """How a publication ended."""
    return _published(done, done.url)


def _published(done: Published, where: str) -> str:
    seen = "public" if done.public else "private"
    if not done.changed:
        return f"nothing to do: {where} ({seen}) already holds these {len(done.files)} files"
    sent = f"{len(done.changed)} of {len(done.files)} files"
    return f"{where} ({seen}), {sent} in commit {done.commit[:12]}, every hash verified"


def finding(found: Finding) -> str:
    """A line of the doctor."""
    mark = {True: "ok", False: "FAIL", None: "note"}[found.good]
    return f"{mark:<5} {found.name:<10} {found.text}"


def _command() -> str:
    """How this program is called here: `bot` where a shell finds it, else its path."""
    if shutil.which("bot"):
        return "bot"
    path = Path(sys.argv[0]).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def demonstrated(done: Demonstrated, folder: Path, port: int) -> str:
    """What the demo made, and how to look at it."""
    same = [f"{r.name} (the same as {r.same_as})" for r in done.results.tiers if r.same_as]
    gguf = sum(row.same_as is None for row in done.results.tiers)
    lines = [
        results(done.results),
        "",
        _published(done.published, f"{done.published.repo_id} on the local Hub"),
        f"{gguf} GGUF files" + (f"; not built again: {', '.join(same)}" if same else ""),
        f"files: {done.published.folder}",
        f"{done.sample_file}, downloaded again, continues: {' '.join(done.sample.split())!r}",
        "",
        f"see the card:  {_command()} hub serve {folder / 'hub'} --port {port}",
        f"               then open http://127.0.0.1:{port}/{done.published.repo_id}",
    ]
    return "\n".join(lines)
