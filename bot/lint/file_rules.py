"""Files: damaged, other than their hashes or measures say, of other types than they claim."""

from __future__ import annotations

from collections.abc import Iterator

from bot.lint.contents import Defect, LintedRepository
from bot.wording.naming import models

LARGE = 0.01  # share of a model's weights that a tensor left in 16 bits may have


WIDE = ("F32", "F16", "BF16")


def check_damaged(given: LintedRepository) -> Iterator[Defect]:
    for path, why in given.damaged.items():
        yield Defect(rule="damaged-file", level="error", path=path, text=why)


def check_sums(given: LintedRepository) -> Iterator[Defect]:
    if given.sums is None:
        if given.results is None and any(p.endswith(".gguf") for p in given.paths):
            yield Defect(
                rule="no-hashes", level="warning", path="SHA256SUMS",
                text="nothing says which bytes were meant; add SHA256SUMS",
            )  # fmt: skip
        return
    for path in sorted(set(given.sums) - set(given.paths)):
        yield Defect(
            rule="missing-file", level="error", path=path,
            text="is in SHA256SUMS and not in the repository; add it or drop the line",
        )  # fmt: skip
    for file in given.files:
        known = given.sums.get(file.path)
        if known is not None and file.sha256 is not None and known != file.sha256:
            yield Defect(
                rule="hash-differs", level="error", path=file.path,
                text="differs from SHA256SUMS; upload the file that was measured, or list it anew",
            )  # fmt: skip


def check_measured(given: LintedRepository) -> Iterator[Defect]:
    """Files against results.json, where there is one."""
    if given.results is None:
        for path in models(given.paths)[:1]:
            yield Defect(
                rule="not-measured", level="warning", path=path,
                text="no results.json says what the files are worth; measure them (bot evaluate)",
            )  # fmt: skip
        return
    known = {file.file: file for row in given.results.tiers for file in row.files}
    for file in given.files:
        row = known.get(file.path)
        if row is not None and row.bytes != file.bytes:
            yield Defect(
                rule="size-differs", level="error", path=file.path,
                text=f"has {file.bytes:,} bytes, results.json says {row.bytes:,}; upload it again",
            )  # fmt: skip
        elif row is not None and file.sha256 not in (None, row.sha256):
            yield Defect(
                rule="hash-differs", level="error", path=file.path,
                text="is not the file that results.json measured; upload that one, or measure anew",
            )  # fmt: skip
    for path in sorted(set(known) - set(given.paths)):
        yield Defect(
            rule="missing-file", level="error", path=path,
            text="is in results.json and not in the repository; upload it",
        )  # fmt: skip
    for path in models(given.paths):
        if path not in known:
            yield Defect(
                rule="not-measured", level="warning", path=path,
                text="is not in results.json; measure it or take it out",
            )  # fmt: skip


PLACES = ("safetensors", "model", "hf", "output", "snapshot", "tmp", "checkpoint")


def check_heads(given: LintedRepository) -> Iterator[Defect]:
    """Metadata and types of the files themselves."""
    for path, head in given.heads.items():
        if not head.name.strip() or head.name.strip().casefold() in PLACES:
            yield Defect(
                rule="general-name", level="error", path=path,
                text=f"calls itself {head.name!r} (general.name); convert with --model-name",
            )  # fmt: skip
        whole = sum(tensor.parameters for tensor in head.tensors)
        narrow = any(t.type not in WIDE for t in head.tensors)
        for tensor in head.tensors if narrow else ():
            if tensor.type in WIDE and tensor.parameters > LARGE * whole:
                yield Defect(
                    rule="left-wide", level="error", path=path,
                    text=f"{tensor.name} is still {tensor.type}; give it a rule in the recipe",
                )  # fmt: skip
    yield from check_base_types(given)


def check_base_types(given: LintedRepository) -> Iterator[Defect]:
    """X and I-X are one map of types: their file types are the same."""
    by_path = dict(given.heads)
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
