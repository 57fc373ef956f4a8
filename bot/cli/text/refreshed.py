"""What became of metadata, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bot.legible import legible
from bot.wording.columns import table

if TYPE_CHECKING:
    from bot.refresh.metadata import KeyChange
    from bot.release.own_file import RefreshedFile
    from bot.release.refreshing import RefreshedRelease


def file_text(refreshed: RefreshedFile) -> str:
    """What `bot refresh FILE` prints."""
    if not refreshed.changes and refreshed.sha256 is None:
        return f"{refreshed.path} has this metadata already"
    lines = [_changes(refreshed.changes), ""]
    if refreshed.template is not None:
        lines.append(f"the chat template {refreshed.template}")
    if refreshed.moved:
        lines.append(f"data moves by {refreshed.moved:,} bytes: the header needs more room")
    else:
        lines.append("all data stays at its place in the file")
    if refreshed.sha256 is None:
        lines.append("nothing was written")
    else:
        lines.append(f"{refreshed.tensors} tensors are bit for bit what they were")
        lines.append(f"{refreshed.path}\t{refreshed.bytes}\t{refreshed.sha256}")
    return "\n".join(lines)


def release_text(refreshed: RefreshedRelease) -> str:
    """What `bot refresh MODEL` prints."""
    if not refreshed.texts:
        return f"{refreshed.url} has the metadata of {refreshed.source} already"
    lines = [_changes(refreshed.keys), "", f"changed in the source: {', '.join(refreshed.texts)}"]
    lines.append(f"its metadata was of {refreshed.before[:12]}, numbers stay as they are")
    for path, tensors in refreshed.tensors.items():
        lines.append(f"{path}: every tensor is what it was ({tensors[:12]})")
    if refreshed.waiting:
        lines.append(f"merge {refreshed.waiting} to publish it, then run the same command again")
    elif refreshed.commit is None:
        lines.append("nothing was written or sent")
    else:
        lines.append(f"{refreshed.url}, commit {refreshed.commit}")
    return "\n".join([lines[0], *map(legible, lines[1:])])


def _changes(changes: Sequence[KeyChange]) -> str:
    rows = [(change.key, change.was or "-", change.now or "-") for change in changes]
    return table(("key", "was", "is"), rows, left=3)
