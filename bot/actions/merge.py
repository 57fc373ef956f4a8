"""Three versions of a text → one: what the user changed stays, what we changed comes in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A merged text. `refused` are changes of ours that met one of the user's: theirs stands."""

    text: str
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Change:
    start: int  # lines of the base that are replaced
    end: int
    lines: tuple[str, ...]

    def meets(self, other: _Change) -> bool:
        """Whether both change the same lines, or lines beside each other."""
        return self.start <= other.end and other.start <= self.end


def merged_text(base: str, theirs: str, ours: str) -> Merged:
    """The user's text with our changes since `base`; line by line, as diff3 does it."""
    lines = base.splitlines(keepends=True)
    kept = list(_changes(lines, theirs))
    refused = []
    for change in _changes(lines, ours):
        met = [other for other in kept if change.meets(other)]
        if not met:
            kept.append(change)
        elif any(
            (o.start, o.end, o.lines) != (change.start, change.end, change.lines) for o in met
        ):
            refused.append("".join(change.lines))
    made: list[str] = []
    at = 0
    for change in sorted(kept, key=lambda change: (change.start, change.end)):
        made += [*lines[at : change.start], *change.lines]
        at = change.end
    return Merged(text="".join([*made, *lines[at:]]), refused=tuple(refused))


def _changes(base: Sequence[str], text: str) -> Iterator[_Change]:
    lines = text.splitlines(keepends=True)
    for kind, start, end, low, high in SequenceMatcher(None, base, lines, False).get_opcodes():
        if kind != "equal":
            yield _Change(start=start, end=end, lines=tuple(lines[low:high]))
