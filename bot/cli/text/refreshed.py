"""What became of metadata, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.wording.columns import table

if TYPE_CHECKING:
    from bot.release.own_file import RefreshedFile


def file_text(refreshed: RefreshedFile) -> str:
    """What `bot refresh FILE` prints."""
    if not refreshed.changes and refreshed.sha256 is None:
        return f"{refreshed.path} has this metadata already"
    rows = [(c.key, c.was or "-", c.now or "-") for c in refreshed.changes]
    lines = [table(("key", "was", "is"), rows, left=3), ""]
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
