"""Models and plans for people: the text that verbs print, and the JSON beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bot import licences
from bot.cli.text.short_size import size
from bot.legible import legible, legible_flat
from bot.plan.recipe import NO_SMALLER
from bot.records.coding import dump
from bot.records.model import Architecture
from bot.records.recipes import Recipe
from bot.tensors.originals import FOUR_BITS
from bot.tensors.weights import SIXTEEN_BIT
from bot.wording.columns import table

if TYPE_CHECKING:
    from bot.detect.foreseen import Foreseen
    from bot.detect.inspection import Sight
    from bot.plan.models import Plan, Sketch


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
