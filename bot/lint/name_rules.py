"""Names: labels of the Hub, tags of llama.cpp, places among shards."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.lint.contents import Defect, LintedRepository
from bot.resolvers.hub_labels import hub_label
from bot.resolvers.llamacpp import ambiguous, is_model, llama_file, models
from bot.resolvers.programs import PROGRAMS


def check_labels(repository: LintedRepository) -> Iterator[Defect]:
    """Model files need a label of the Hub (Q4_K_M), each its own."""
    bare = [path for path in models(repository.paths) if hub_label(path) is None]
    if bare:
        other_names = f", nor in those of {len(bare) - 1} more" if len(bare) > 1 else ""
        yield Defect(
            rule="no-label", level="warning", path=bare[0],
            text=f"the Hub finds no quantization label in the name{other_names}; {{label}} in "
            "publish.file gives each tier one",
        )  # fmt: skip
    for label, labelled in ambiguous(repository.paths):
        yield Defect(
            rule="ambiguous-label", level="error", path=labelled[0],
            text=f"{label} names {len(labelled)} files ({', '.join(labelled)}); "
            "give each its own label",
        )  # fmt: skip


def check_tags(repository: LintedRepository) -> Iterator[Defect]:
    """A tier's name as llama.cpp's tag fetches the tier's own file."""
    for path in models(repository.paths):
        tier = re.search(r"-APEX-([\w-]{1,40}?)(?:-\d{5}-of-\d{5})?\.gguf$", path)
        fetched = llama_file(repository.paths, tier[1]) if tier else path
        if tier and fetched != path:
            yield Defect(
                rule="ambiguous-tag", level="warning", path=path,
                text=f"`-hf REPO:{tier[1]}` fetches {fetched}; say :APEX-{tier[1]} or --hf-file",
            )  # fmt: skip


def check_alone(repository: LintedRepository) -> Iterator[Defect]:
    """What programs take that are given the repository alone is a model, and one to recommend."""
    model_paths = models(repository.paths)
    for program in PROGRAMS if model_paths else ():
        taken = program.alone(repository.repo_id or "", repository.paths)
        if taken.path is not None and not is_model(taken.path):
            yield Defect(
                rule="no-model-taken", level="error", path=taken.path,
                text=f"{program.name} takes this file for the model where it is given the "
                f"repository alone ({program.source}); give it another ending than .gguf, or a "
                "name that sorts before the models'",
            )  # fmt: skip
        elif taken.path is None and program.name == "LocalAI":
            yield Defect(
                rule="nothing-taken", level="error", path=model_paths[0],
                text=f"LocalAI finds nothing in this repository: {taken.why}; have one level of "
                "folders at most",
            )  # fmt: skip


SHARD = re.compile(r"\A(.{1,400})-(\d{5})-of-(\d{5})(\.gguf|\.safetensors)")


def check_shards(repository: LintedRepository) -> Iterator[Defect]:
    """Each file of a model in several."""
    sets: dict[tuple[str, int, str], set[int]] = {}
    for path in repository.paths:
        if match := SHARD.fullmatch(path):
            sets.setdefault((match[1], int(match[3]), match[4]), set()).add(int(match[2]))
    for (stem, count, end), numbers in sets.items():
        first = next((n for n in range(1, count + 1) if n not in numbers), None)
        if first is not None:
            path = f"{stem}-{first:05d}-of-{count:05d}{end}"
            text = f"is not there, of {count} shards {len(numbers)} are; upload them all"
            yield Defect(rule="missing-shard", level="error", path=path, text=text)
