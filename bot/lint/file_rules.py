"""Files: damaged, other than their hashes or measures say, of other types than they claim."""

from __future__ import annotations

from collections.abc import Iterator

from bot.lint.contents import Defect, LintedRepository
from bot.resolvers.llamacpp import models

LARGE = 0.01  # share of a model's weights that a tensor left in 16 bits may have
WIDE = ("F32", "F16", "BF16")


def check_damaged(repository: LintedRepository) -> Iterator[Defect]:
    """Files that could not be read, with the reason."""
    for path, why in repository.damaged.items():
        yield Defect(rule="damaged-file", level="error", path=path, text=why)


def check_sums(repository: LintedRepository) -> Iterator[Defect]:
    """Files against SHA256SUMS."""
    if repository.sums is None:
        if repository.results is None and any(p.endswith(".gguf") for p in repository.paths):
            yield Defect(
                rule="no-hashes", level="warning", path="SHA256SUMS",
                text="nothing says which bytes were meant; add SHA256SUMS",
            )  # fmt: skip
        return
    for path in sorted(set(repository.sums) - set(repository.paths)):
        yield Defect(
            rule="missing-file", level="error", path=path,
            text="is in SHA256SUMS and not in the repository; add it or drop the line",
        )  # fmt: skip
    for file in repository.files:
        digest = repository.sums.get(file.path)
        if digest is not None and file.sha256 is not None and digest != file.sha256:
            yield Defect(
                rule="hash-differs", level="error", path=file.path,
                text="differs from SHA256SUMS; upload the file that was measured, or list it anew",
            )  # fmt: skip


def check_measured(repository: LintedRepository) -> Iterator[Defect]:
    """Files against results.json, where there is one."""
    if repository.results is None:
        for path in models(repository.paths)[:1]:
            yield Defect(
                rule="not-measured", level="warning", path=path,
                text="no results.json says what the files are worth; measure them (bot evaluate)",
            )  # fmt: skip
        return
    measured_files = {file.file: file for row in repository.results.tiers for file in row.files}
    for file in repository.files:
        measured = measured_files.get(file.path)
        if measured is not None and measured.bytes != file.bytes:
            yield Defect(
                rule="size-differs", level="error", path=file.path,
                text=f"has {file.bytes:,} bytes, results.json says {measured.bytes:,}; "
                "upload it again",
            )  # fmt: skip
        elif measured is not None and file.sha256 not in (None, measured.sha256):
            yield Defect(
                rule="hash-differs", level="error", path=file.path,
                text="is not the file that results.json measured; upload that one, or measure anew",
            )  # fmt: skip
    for path in sorted(set(measured_files) - set(repository.paths)):
        yield Defect(
            rule="missing-file", level="error", path=path,
            text="is in results.json and not in the repository; upload it",
        )  # fmt: skip
    for path in models(repository.paths):
        if path not in measured_files:
            yield Defect(
                rule="not-measured", level="warning", path=path,
                text="is not in results.json; measure it or take it out",
            )  # fmt: skip


PLACES = ("safetensors", "model", "hf", "output", "snapshot", "tmp", "checkpoint")


def check_heads(repository: LintedRepository) -> Iterator[Defect]:
    """Metadata and types of the files themselves."""
    for path, head in repository.heads.items():
        if not head.name.strip() or head.name.strip().casefold() in PLACES:
            yield Defect(
                rule="general-name", level="error", path=path,
                text=f"calls itself {head.name!r} (general.name); convert with --model-name",
            )  # fmt: skip
        parameters = sum(tensor.parameters for tensor in head.tensors)
        narrow = any(t.type not in WIDE for t in head.tensors)
        for tensor in head.tensors if narrow else ():
            if tensor.type in WIDE and tensor.parameters > LARGE * parameters:
                yield Defect(
                    rule="left-wide", level="error", path=path,
                    text=f"{tensor.name} is still {tensor.type}; give it a rule in the recipe",
                )  # fmt: skip
    yield from check_base_types(repository)


def check_base_types(repository: LintedRepository) -> Iterator[Defect]:
    """X and I-X are one map of types: their file types are the same."""
    by_path = dict(repository.heads)
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
