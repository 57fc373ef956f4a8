"""Names: labels of the Hub, tags of llama.cpp, places among shards."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.lint.contents import Defect, LintedRepository
from bot.wording.naming import ambiguous, hub_label, hub_snippet, llama_file, models


def check_labels(given: LintedRepository) -> Iterator[Defect]:
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


def check_tags(given: LintedRepository) -> Iterator[Defect]:
    for path in models(given.paths):
        tier = re.search(r"-APEX-([\w-]{1,40}?)(?:-\d{5}-of-\d{5})?\.gguf$", path)
        fetched = llama_file(given.paths, tier[1]) if tier else path
        if tier and fetched != path:
            yield Defect(
                rule="ambiguous-tag", level="warning", path=path,
                text=f"`-hf REPO:{tier[1]}` fetches {fetched}; say :APEX-{tier[1]} or --hf-file",
            )  # fmt: skip


SHARD = re.compile(r"\A(.{1,400})-(\d{5})-of-(\d{5})(\.gguf|\.safetensors)")


def check_shards(given: LintedRepository) -> Iterator[Defect]:
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
