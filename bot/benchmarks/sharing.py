"""Which token sequences are decoded together, so that what several begin with is decoded once.

Sorted, sequences that share a beginning lie side by side. Where those that share one do not fit
into a batch together, their beginning (examples before each question) is decoded once, as a stem,
and its state copied to sequence after sequence; stems may lie on stems. Within a batch a beginning
is decoded once for all that share it. What lies in which batch follows from the sequences alone:
a run that goes on from where another was killed decodes the same batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

MOST_STEMS = 4  # stems on one another
WORTH = 16  # tokens that a stem has at least: decoding it is a call of its own


@dataclass(frozen=True, kw_only=True)
class Line:
    """Tokens to decode; logits are wanted from token `first` on. `room`: tokens to be written."""

    tokens: tuple[int, ...]
    first: int
    room: int = 0

    @property
    def size(self) -> int:
        """Tokens of memory that it takes."""
        return len(self.tokens) + self.room


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Lines, by number, of which the first `shared` tokens are the same."""

    lines: tuple[int, ...]
    shared: int


@dataclass(frozen=True, kw_only=True)
class Pack:
    """What one batch decodes, after stems that end at tokens `stems` of each of its lines."""

    stems: tuple[int, ...]
    groups: tuple[Alike, ...]

    @property
    def depth(self) -> int:
        """Tokens that are decoded before the batch."""
        return self.stems[-1] if self.stems else 0

    @property
    def lines(self) -> tuple[int, ...]:
        """All lines, in the order of their sequences."""
        return tuple(line for group in self.groups for line in group.lines)


def tokens_decoded(lines: Sequence[Line], packs: Iterable[Pack]) -> int:
    """Tokens that are decoded for packs in their order, those of stems among them."""
    tokens = 0
    held: tuple[tuple[int, ...], ...] = ()
    for pack in packs:
        beginning = lines[pack.lines[0]].tokens
        stems = tuple(beginning[:end] for end in pack.stems)
        same = [one for one, other in zip(held, stems, strict=False) if one == other]
        tokens += pack.depth - (len(same[-1]) if same else 0)
        held = stems
        for group in pack.groups:
            own = sum(len(lines[line].tokens) - group.shared for line in group.lines)
            tokens += group.shared - pack.depth + own
    return tokens


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Lines into packs of at most `sequences` lines, in `room` tokens of memory.

    No line may be larger than `room`. `couples`: False where a model's memory cannot share tokens
    between sequences; then nothing is shared.
    """

    lines: Sequence[Line]
    room: int
    sequences: int
    couples: bool = True

    def packs(self) -> Iterator[Pack]:
        """All lines, each in one pack."""
        order = sorted(range(len(self.lines)), key=lambda line: self.lines[line].tokens)
        if self.couples:
            yield from self._walk(order, ())
        else:
            yield from self._side_by_side([Alike(lines=(line,), shared=0) for line in order], ())

    def _walk(self, part: Sequence[int], stems: tuple[int, ...]) -> Iterator[Pack]:
        """Packs of sorted lines that share a beginning, which the stems hold so far."""
        depth = stems[-1] if stems else 0
        shared = self._shared(part)
        if not self._fits(part, depth) and shared - depth >= WORTH and len(stems) < MOST_STEMS:
            stems, depth = (*stems, shared), shared
        groups: list[Alike] = []
        for _, alike in groupby(part, lambda line: self.lines[line].tokens[: depth + 1]):
            child = tuple(alike)
            if self._fits(child, depth):
                groups.append(Alike(lines=child, shared=max(self._shared(child), depth)))
                continue
            further = self._shared(child) - depth >= WORTH and len(stems) < MOST_STEMS
            if further:
                yield from self._side_by_side(groups, stems)
                groups = []
                yield from self._walk(child, stems)
            else:
                groups += [Alike(lines=(line,), shared=depth) for line in child]
        yield from self._side_by_side(groups, stems)

    def _side_by_side(self, groups: Sequence[Alike], stems: tuple[int, ...]) -> Iterator[Pack]:
        """As many groups at a time as there is room for."""
        depth = stems[-1] if stems else 0
        pack: list[Alike] = []
        for group in groups:
            if pack and not self._hold([*pack, group], depth):
                yield Pack(stems=stems, groups=tuple(pack))
                pack = []
            pack.append(group)
        if pack:
            yield Pack(stems=stems, groups=tuple(pack))

    def _shared(self, part: Sequence[int]) -> int:
        """Tokens that sorted lines begin with, before the first whose logits are wanted."""
        one, other = self.lines[part[0]].tokens, self.lines[part[-1]].tokens
        most = min(self.lines[line].first for line in part)
        return next((i for i in range(most) if one[i] != other[i]), most)

    def _fits(self, part: Sequence[int], depth: int) -> bool:
        shared = max(self._shared(part), depth)
        return self._hold([Alike(lines=tuple(part), shared=shared)], depth)

    def _hold(self, groups: Sequence[Alike], depth: int) -> bool:
        """Whether a pack has room for groups."""
        sizes = [
            group.shared - depth + sum(self.lines[line].size - group.shared for line in group.lines)
            for group in groups
        ]
        many = sum(len(group.lines) for group in groups)
        return depth + sum(sizes) <= self.room and many <= self.sequences
