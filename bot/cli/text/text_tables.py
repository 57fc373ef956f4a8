"""Results for people: the text that verbs print."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot import licences
from bot.legible import legible, legible_flat
from bot.plan.recipe import NO_SMALLER
from bot.records.coding import dump
from bot.records.measured import Comparison, Imported, Row
from bot.records.model import Architecture
from bot.records.recipes import Recipe
from bot.records.results import CalibrationFacts, Evaluation, EvaluationFacts, Results
from bot.tensors.originals import FOUR_BITS
from bot.tensors.weights import SIXTEEN_BIT
from bot.wording.columns import table

if TYPE_CHECKING:
    from bot.detect.foreseen import Foreseen
    from bot.detect.inspection import Sight
    from bot.evaluate.files import AskedOf
    from bot.plan.models import Plan, Sketch
    from bot.publish.publication import Published, RolledBack, Version
    from bot.publish.reclaim import Replaced
    from bot.records.findings import Finding
    from bot.verbs.cleaning import Cleaned
    from bot.verbs.demo import Demonstrated

_IMPORTED = ("mean", "median", "p999", "max")


def size(count: int) -> str:
    """Bytes as the Hub shows them: decimal, one place."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def architecture_text(a: Architecture, where: str) -> str:
    """Lines of `bot inspect` for an architecture; `where` names its file or repository."""
    shared = a.shared_experts or int(a.shared_expert)
    facts = {
        "model": a.name,
        "family": a.family,
        "source": where,
        "precision": a.source_precision or a.source_type,
        "stored": stored_text(a),
        "parameters": f"{a.parameters:,} ({a.parameters_active:,} active)"
        + (f", {a.parameters_other:,} of other parts" if a.parameters_other else ""),
        "layers": f"{a.layers}"
        + (f", {a.dense_layers} of them dense" if a.dense_layers else "")
        + (f" and {a.mtp_layers} MTP" if a.mtp_layers else ""),
        "experts": f"{a.experts} routed, {a.experts_active} active"
        + (f", {shared} shared" if shared else ""),
        "attention": a.attention_pattern,
        "context": f"{a.context_length:,}",
        "vocabulary": f"{a.vocabulary:,}" + (", tied" if a.tied_embeddings else ""),
        "parts": ", ".join(n for n, has in (("vision", a.vision), ("audio", a.audio)) if has),
        "base model": f"{a.base_relation or 'made'} of {a.base_model}" if a.base_model else "",
    }
    return _facts(facts)


def stored_text(a: Architecture) -> str:
    """The published bytes of all parts, and what of them each precision takes."""
    if not a.source_shares:
        return ""
    shares = (
        f"{share.precision} {size(share.bytes)}"
        + (f" ({share.weights:,} weights)" if share.weights else "")
        for share in a.source_shares
    )
    return f"{a.source_bytes:,} bytes: {', '.join(shares)}"


def sight_text(sight: Sight) -> str:
    """Lines of `bot inspect` for a repository or a checkpoint's folder."""
    release, decision = sight.release, sight.decision
    lines = [
        _facts(
            {
                "outcome": decision.outcome,
                "reason": decision.reason,
                "license": release.license_name or ", ".join(licences.licences_of(release)),
                "languages": ", ".join(release.languages),
                "task": release.pipeline_tag or "",
            }
        )
    ]
    if sight.sketch is not None:
        where = f"{release.repo_id} at {release.commit[:12]}" if release.commit else ""
        lines.append(architecture_text(sight.sketch.architecture, where))
        lines.append(_facts({"guessed": guessed_text(sight.sketch.guessed)}))
    if sight.foreseen is not None:
        lines.append(foreseen_text(sight.foreseen, sight.sketch))
    return "\n".join(filter(None, lines))


def foreseen_text(foreseen: Foreseen, sketch: Sketch | None) -> str:
    """What would be made of a checkpoint, and the disk it takes."""
    sizes = [tier_size for _, tier_size in foreseen.tiers]
    span = f"{size(min(sizes))} to {size(max(sizes))}" if sizes else ""
    gone = f"; as large as the source: {', '.join(foreseen.left_out)}" if foreseen.left_out else ""
    source = sketch.architecture.source_bytes if sketch else 0
    return _facts(
        {
            "as GGUF": size(foreseen.converted)
            + (f", {sketch.architecture.source_type}" if sketch else ""),
            "tiers": f"{len(sizes)}: {span}{gone}" if sizes else f"none{gone}",
            "disk": f"{size(foreseen.room(source))} for source, GGUF and tiers",
        }
    )


def guessed_text(names: Sequence[str]) -> str:
    """How many tensors' roles were guessed from words of their names; empty for none."""
    if not names:
        return ""
    return f"the roles of {len(names):,} tensors by words of their names, first {names[0][:80]!r}"


def sight_values(sight: Sight) -> dict[str, Any]:
    """The JSON of `bot inspect`; `architecture` is null for what is not built."""
    release, decision, experts = sight.release, sight.decision, sight.experts
    return {
        "repo_id": release.repo_id,
        "commit": release.commit,
        "decision": type(decision).__name__.lower(),
        "outcome": decision.outcome,
        "reason": decision.reason,
        "experts": experts.experts if experts else None,
        "experts_active": experts.experts_active if experts else None,
        "experts_shared": experts.shared if experts else None,
        "license": release.license,
        "licenses": licences.licences_of(release),
        "license_name": release.license_name,
        "license_link": release.license_link,
        "languages": release.languages,
        "pipeline_tag": release.pipeline_tag,
        "architecture": architecture_values(sight.sketch.architecture) if sight.sketch else None,
        "guessed": sight.sketch.guessed if sight.sketch else (),
        "foreseen": dump(sight.foreseen) if sight.foreseen else None,
    }


def architecture_values(a: Architecture) -> dict[str, Any]:
    """An architecture for machines, with its attention in words too."""
    pattern, stored = a.attention_pattern, a.source_bytes
    return {**dump(a), "attention_pattern": pattern, "source_bytes": stored}


def _facts(facts: Mapping[str, str]) -> str:
    return "\n".join(f"{name:<11} {legible(value)}" for name, value in facts.items() if value)


def plan_table(plan: Plan[Sketch], reference: int) -> str:
    """The table of `bot plan`: sizes, bits per weight, types of routed experts by band, disk.

    `reference` is the size of the reference's log-probabilities, bytes.
    """
    parameters = plan.model.parameters
    rows = [
        (
            recipe.tier,
            recipe.base,
            "yes" if recipe.imatrix else "",
            f"{recipe.tensor_bytes * 8 / parameters:.2f}",
            f"{recipe.tensor_bytes:,}",
            size(plan.predicted(recipe)),
            _band(recipe, "edge"),
            _band(recipe, "near"),
            _band(recipe, "middle"),
            f"same as {recipe.same_as}" if recipe.same_as else "",
        )
        for recipe in plan.recipes
    ]
    gone = [f"not made, as large as the original: {r.tier}" for r in plan.left_out]
    columns = ("tier", "base", "imatrix", "bpw", "tensor bytes", "file")
    bands = ("edge", "near", "middle", "")
    windows = plan.recipes[0].windows
    disk = sum(plan.predicted(recipe) for recipe in plan.distinct)
    layers = plan.model.architecture.layers
    middle = max(layers - 2 * (windows.edge + windows.near), 0)
    depth = (
        f"{layers} layers: {windows.edge} edge and {windows.near} near at each end, "
        f"{middle} middle; attention edge {windows.attention_edge}"
    )
    room = (
        f"disk: {size(disk)} for files, about {size(reference)} for the "
        "reference's log-probabilities"
    )
    notes = (*_native(plan), *_fallbacks(plan), *gone)
    return "\n".join((table((*columns, *bands), rows, left=3), "", depth, *notes, room))


def _native(plan: Plan[Sketch]) -> list[str]:
    """A line on what of an original below 16 bits stays as it is in every tier."""
    if plan.model.architecture.source_type in SIXTEEN_BIT:
        return []
    kinds = Counter[str]()
    for given in zip(*(recipe.assignments for recipe in plan.recipes), strict=True):
        if len({assignment.type for assignment in given}) == 1:
            kinds[given[0].type] += given[0].bytes
    kept = ", ".join(f"{kind} {size(kinds[kind])}" for kind in kinds if kind in FOUR_BITS)
    return [f"passes through in every tier: {kept}"] if kept else []


def _fallbacks(plan: Plan[Sketch]) -> list[str]:
    """A line for each kind of row that no block of 256 divides, with what it takes instead."""
    by_kind: dict[tuple[str, str], Counter[int]] = {}
    for recipe in plan.recipes:
        for given, tensor in zip(recipe.assignments, plan.model.tensors, strict=True):
            if given.asked is not None:
                rows = by_kind.setdefault((given.asked, given.type), Counter())
                rows[tensor.shape[0]] += 1
    return [
        f"fallback: {asked} → {kind} where rows are of "
        f"{', '.join(f'{row:,}' for row in sorted(rows))} weights"
        for (asked, kind), rows in sorted(by_kind.items())
    ]


def plan_values(plan: Plan[Sketch]) -> list[dict[str, Any]]:
    """Recipes for machines, each with the size its file will have."""
    made = [{**dump(recipe), "file_bytes": plan.predicted(recipe)} for recipe in plan.recipes]
    gone = [
        {**dump(recipe), "file_bytes": plan.predicted(recipe), "left_out": NO_SMALLER}
        for recipe in plan.left_out
    ]
    return [*made, *gone]


def _band(recipe: Recipe, band: str) -> str:
    """The type that most bytes of routed experts have in a band."""
    types = Counter[str]()
    for assignment in recipe.assignments:
        if assignment.band == band and "_exps" in assignment.tensor:
            types[assignment.type] += assignment.bytes
    return types.most_common(1)[0][0] if types else "-"


def recipe_lines(recipe: Recipe) -> str:
    """A line for each tensor: name, role, band, type."""
    return "\n".join(
        f"{legible_flat(a.tensor)}\t{a.role}\t{a.band}\t{a.type}" for a in recipe.assignments
    )


def coverage_text(facts: CalibrationFacts) -> str:
    """What `bot calibrate` prints: texts, and layers in which some experts saw few tokens."""
    chunks = f"{facts.chunks} chunks of {facts.context} tokens"
    text_chunks = zip(facts.texts, facts.taken, strict=False)
    mix = legible(", ".join(f"{text.name} {count}" for text, count in text_chunks))
    lines = [f"{chunks}: {mix}" if mix else chunks]
    poor_layers = [layer for layer in facts.coverage if layer.unreached or layer.rare]
    columns = ("layer", "experts", "fewest tokens", "median", "unreached", "rare")
    rows = [
        tuple(map(str, (c.layer, c.experts, c.fewest, c.median, len(c.unreached), len(c.rare))))
        for c in poor_layers
    ]
    if poor_layers:
        lines.append(table(columns, rows))
    elif facts.coverage:
        fewest = min(layer.fewest for layer in facts.coverage)
        lines.append(f"every expert of {len(facts.coverage)} layers saw at least {fewest} tokens")
    return "\n".join(lines)


def results_table(results: Results) -> str:
    """The tier table of `bot evaluate`, largest first, and what it rests on."""
    rows = (
        results.reference,
        *sorted((*results.tiers, *results.baselines, *results.others), key=lambda row: -row.bytes),
    )
    parts = (*_benchmarks(rows), *_noise(results.evaluation), *_imported(results.imported))
    return "\n".join((_scores(rows), *parts))


def evaluation_text(evaluation: Evaluation) -> str:
    """What `bot evaluate FILE...` says."""
    rows = (*((evaluation.reference,) if evaluation.reference else ()), *evaluation.files)
    lines = [_scores(rows), *_benchmarks(rows)]
    lines += [*(_noise(evaluation.evaluation) if evaluation.evaluation else ())]
    return "\n".join((*lines, *comparison_lines(evaluation.comparisons)))


def comparison_lines(comparisons: Sequence[Comparison]) -> list[str]:
    """A line for each comparison."""
    lines = []
    for c in comparisons:
        interval = f" [{c.low:+.6f}, {c.high:+.6f}]" if c.low is not None else ""
        verdict = "differ" if c.differs else "cannot be told apart"
        corrected = "" if c.adjusted in (None, c.p) else f", corrected {c.adjusted:.4g}"
        lines.append(
            f"{c.measure}: {c.one} − {c.other} = {c.difference:+.6f}{interval}, "
            f"p = {c.p:.4g}{corrected}: they {verdict}"
        )
    return lines


def _scores(rows: Sequence[Row]) -> str:
    fixed = ("tier", "size", "bpw", "PPL", "±", "KLD mean", "±", "median", "99.9 %", "max")
    choice_names = dict.fromkeys(choice.name for row in rows for choice in row.scores.choices)
    speeds = dict.fromkeys(speed.name for row in rows for speed in row.scores.speed)
    columns = (*fixed, "same top", *choice_names, *(f"{name} t/s" for name in speeds))
    return table(columns, [_measured(row, list(choice_names), list(speeds)) for row in rows])


def _benchmarks(rows: Sequence[Row]) -> list[str]:
    """Each number of lm-evaluation-harness, row by row; nothing without any."""
    body = [
        (
            row.name,
            one.task,
            one.metric if one.filter == "none" else f"{one.metric}, {one.filter}",
            f"{one.value:.4f}",
            f"{one.error:.4f}" if one.error is not None else "—",
            str(one.documents),
            "—" if one.fewshot is None else str(one.fewshot),
        )
        for row in rows
        for benchmark in row.scores.benchmarks
        for one in benchmark.scores
    ]
    columns = ("tier", "benchmark", "metric", "value", "±", "documents", "few-shot")
    return ["", table(columns, body)] if body else []


def asked_table(rows: Sequence[AskedOf]) -> str:
    """What benchmarks would ask of files."""
    columns = ("file", "benchmark", "requests", "texts", "tokens to write, at most", "time")
    body = [
        (
            row.file,
            row.benchmark,
            f"{row.requests:,}",
            f"{row.texts:,}",
            f"{row.most_tokens:,}",
            "not known: measure speed first" if row.seconds is None else f"up to {row.seconds:,} s",
        )
        for row in rows
    ]
    return table(columns, body)


def _noise(facts: EvaluationFacts) -> list[str]:
    return [
        f"noise floor: the reference against itself, {n.sequences} of its {n.chunks} chunks at a "
        f"time: mean KLD {n.mean:.6f}, maximum {n.max:.6f}"
        for n in facts.noise
    ]


def _imported(rows: Sequence[Imported]) -> list[str]:
    return ["", imported_table(rows)] if rows else []


def imported_table(rows: Sequence[Imported]) -> str:
    """Other people's numbers, apart from ours and marked."""
    columns = ("imported", "size", "PPL", "KLD mean", "median", "99.9 %", "max", "HellaSwag")
    body = [
        (
            row.name,
            size(row.bytes) if row.bytes else "—",
            f"{row.perplexity:.4f}" if row.perplexity is not None else "—",
            *(f"{row.kld[k]:.6f}" if k in row.kld else "—" for k in _IMPORTED),
            f"{row.choices['HellaSwag']:.1%}" if "HellaSwag" in row.choices else "—",
        )
        for row in rows
    ]
    return "\n".join(
        ("Measured by others, on texts and machines of their own:", table(columns, body))
    )


def _measured(row: Row, choice_names: Sequence[str], speeds: Sequence[str]) -> tuple[str, ...]:
    ppl, kld = row.scores.perplexity, row.scores.divergence
    cells = [row.name, size(row.bytes), f"{row.bits_per_weight:.2f}"]
    cells += [f"{ppl.value:.4f}", f"{ppl.error:.4f}"] if ppl else ["—", "—"]
    if kld is None:
        cells += ["—"] * 6
    else:
        cells += [f"{kld.mean:.6f}", f"{kld.mean_error:.6f}", f"{kld.median:.6f}"]
        cells += [f"{kld.p999:.4f}", f"{kld.max:.4f}", f"{kld.same_top:.2%}"]
    shares = {choice.name: f"{choice.accuracy:.1%}" for choice in row.scores.choices}
    cells += [shares.get(name, "—") for name in choice_names]
    rates = {speed.name: f"{speed.mean:.1f} ± {speed.spread:.1f}" for speed in row.scores.speed}
    return (*cells, *(rates.get(name, "—") for name in speeds))


def published_text(published: Published) -> str:
    """How a publication ended, and what it lacks."""
    return "\n".join(map(legible, (_published(published, published.url), *published.lacks)))


def ended_text(published: Published, measured: Path) -> str:
    """How a publication ended: the scores of what was sent, its address, tensors without data.

    `measured` is the results.json of its job, which need not be there.
    """
    lines = [published_text(published), *gap_lines(measured)]
    if published.changed and measured.is_file():
        from bot.records.coding import from_json

        lines = [results_table(from_json(Results, measured.read_bytes())), "", *lines]
    return "\n".join(lines)


def gap_lines(path: Path) -> list[str]:
    """A line for each tier of results.json that was rounded without data of some weights."""
    from bot.quantize.quantize import gap_text
    from bot.records.coding import from_json

    if not path.is_file():
        return []
    results = from_json(Results, path.read_bytes())
    gaps = results.calibration.gaps if results.calibration else ()
    return [legible(gap_text(gap)) for gap in gaps]


def _published(published: Published, where: str) -> str:
    access = "public" if published.public else "private"
    if published.waiting:
        return (
            f"{where} ({access}) waits for a person: merge {published.waiting} to publish "
            f"{len(published.files)} files, or close it; then run the same command again"
        )
    freed = (
        f"; {size(published.reclaimed)} of replaced files given back" if published.reclaimed else ""
    )
    if published.shown and not published.changed:
        return f"{where} is public now: {len(published.files)} files, every hash verified{freed}"
    count = len(published.files)
    if not published.changed:
        return f"nothing to do: {where} ({access}) already holds these {count} files{freed}"
    sent = f"{len(published.changed)} of {count} files"
    commit = published.commit[:12]
    return f"{where} ({access}), {sent} in commit {commit}, every hash verified{freed}"


def prune_text(replaced: Sequence[Replaced], repo_id: str) -> str:
    """What storage a publication would give back, and of which files."""
    if not replaced:
        return f"--prune would give back nothing of {repo_id}"
    rows = [(file.path, size(file.bytes), file.sha256[:12]) for file in replaced]
    total = sum(file.bytes for file in replaced)
    head = f"--prune would give back {total} bytes ({size(total)}) of {repo_id}:"
    return f"{head}\n{table(('file', 'size', 'sha256'), rows)}"


def builds_table(versions: Sequence[Version]) -> str:
    """What `bot rollback REPO` prints."""
    if not versions:
        return "no build of the bot's has a tag there"
    rows = [
        (version.name, version.commit[:12], "now" if version.current else "")
        for version in versions
    ]
    return table(("build", "commit", ""), rows, left=3)


def rolled_back_text(done: RolledBack) -> str:
    """How a rollback ended."""
    if not done.changed:
        return f"nothing to do: {done.url} holds the files of {done.revision[:12]}"
    return f"{done.url} is back at {done.revision[:12]}: commit {done.commit[:12]}"


def cleaned_text(cleaned: Cleaned) -> str:
    """What `bot clean` removed, or would, and what stays; each with its reason."""
    if not cleaned.places:
        return f"nothing to free in {cleaned.folder}"
    verb = ("goes", "stays") if cleaned.dry_run else ("removed", "kept")
    rows = [
        (place.path, verb[0] if place.goes else verb[1], place.reason, size(place.bytes))
        for place in cleaned.places
    ]
    stays = sum(place.bytes for place in cleaned.places if not place.goes)
    verb_text = "would free" if cleaned.dry_run else "freed"
    summary = f"{verb_text} {size(cleaned.freed)} of {cleaned.folder}; {size(stays)} {verb[1]}"
    return f"{table(('place', '', 'why', 'size'), rows, left=3)}\n{summary}"


def finding_line(finding: Finding) -> str:
    """A line of the doctor."""
    mark = {True: "ok", False: "FAIL", None: "note"}[finding.good]
    return f"{mark:<5} {finding.name:<10} {legible(finding.text)}"


def _command() -> str:
    """How this program is called here: `bot` where a shell finds it, else its path."""
    if shutil.which("bot"):
        return "bot"
    path = Path(sys.argv[0]).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def demonstrated_text(demo: Demonstrated, folder: Path, port: int) -> str:
    """What the demo made, and how to look at it."""
    coinciding = [f"{r.name} (the same as {r.same_as})" for r in demo.results.tiers if r.same_as]
    gguf = sum(row.same_as is None for row in demo.results.tiers)
    lines = [
        results_table(demo.results),
        "",
        _published(demo.published, f"{demo.published.repo_id} on the local Hub"),
        f"{gguf} GGUF files"
        + (f"; not built again: {', '.join(coinciding)}" if coinciding else ""),
        f"files: {demo.published.folder}",
        f"{demo.sample_file}, downloaded again, continues: {' '.join(demo.sample.split())!r}",
        "",
        f"see the card:  {_command()} hub serve {folder / 'hub'} --port {port}",
        f"               then open http://127.0.0.1:{port}/{demo.published.repo_id}",
    ]
    return "\n".join(lines)
