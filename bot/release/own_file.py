"""A GGUF file of the user's → the same tensors with a new chat template, or with the metadata that
a model's makers have by now. Nothing is quantized, nothing sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bot.apart.chat_template import LARGEST, template_facts
from bot.clients.files import gguf
from bot.clients.files.ggufheader import read_header
from bot.disk.writing import decoded
from bot.errors import SourceError
from bot.foreign import read_bounded
from bot.records.coding import digest
from bot.refresh import metadata, rewriting
from bot.refresh.metadata import KeyChange
from bot.source.without_weights import keys_of_release
from bot.workplace.pinning import as_repo
from bot.workplace.workplace import Workplace


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a file's metadata shall be taken from: a template's file, a model's repository."""

    template: Path | None = None
    model: str | None = None
    revision: str = "main"


@dataclass(frozen=True, kw_only=True)
class RefreshedFile:
    """What became of a file, or, `sha256` being None, what would; no `changes`: it is as it was.

    `tensors_sha256` is the digest of all tensors' hashes, equal before and after.
    """

    path: str
    changes: tuple[KeyChange, ...]
    tensors: int
    bytes: int
    moved: int  # bytes by which tensor data moved; 0: all of it is where it was
    template: str | None = None  # what its new chat template does
    sha256: str | None = None
    tensors_sha256: str | None = None


def refresh_file(
    workplace: Workplace, path: Path, wanted: Wanted, output: Path | None, *, dry_run: bool
) -> RefreshedFile:
    """Give a file, or the first of its shards, new metadata; its tensors stay bit for bit.

    It is replaced as a whole, or written to `output`. Raises SourceError for a file that is not
    sound, a model that it was not made of, and shards that shall go elsewhere.
    """
    files = gguf.shards(path, gguf.read_gguf(path))
    if len(files) > 1 and output is not None and output != path:
        raise SourceError(
            f"{path} is one of {len(files)} shards, which stay beside each other; leave --output "
            "out, or copy them all and refresh the copy"
        )
    keys = read_header(path).keys
    edits = _edits(workplace, keys, wanted)
    metadata.require_harmless(keys, edits, str(path))
    after = metadata.edited(keys, edits)
    plan = rewriting.planned(path, after)
    facts = template_facts(metadata.template_values(after), workplace.settings.kept_apart)
    told = RefreshedFile(
        path=str(output or path),
        changes=metadata.changes_of(keys, edits),
        tensors=sum(1 for span in plan.spans if span.name),
        bytes=plan.new_size,
        moved=plan.moved,
        template=facts.words if facts and metadata.TEMPLATE in edits else None,
    )
    target = output or path
    if dry_run or (not edits and target == path):
        rewriting.require_room(plan, target, workplace.settings.reserve)
        return told
    return _written(workplace, plan, target, told)


def _written(
    workplace: Workplace, plan: rewriting.Rewriting, target: Path, told: RefreshedFile
) -> RefreshedFile:
    with workplace.narrator.work(f"writing {target.name}", unit="B") as report:
        reserve = workplace.settings.reserve
        written = rewriting.rewrite(plan, target, reserve=reserve, report=report)
    hashes = digest(sorted(written.tensors.items()))
    return replace(told, sha256=written.file.sha256, tensors_sha256=hashes)


def _edits(workplace: Workplace, keys: metadata.Keys, wanted: Wanted) -> dict[str, bytes | None]:
    """What the wishes change; a template's file goes before the model's own."""
    edits: dict[str, bytes | None] = {}
    if wanted.model is not None:
        release = workplace.hub.release(as_repo(wanted.model), wanted.revision)
        theirs = keys_of_release(workplace, release)
        edits |= metadata.taken_from(keys, theirs, release.repo_id)
    if wanted.template is not None:
        text = decoded(read_bounded(wanted.template, LARGEST), str(wanted.template))
        edits |= metadata.with_template(text)
    return metadata.changing(keys, edits)
