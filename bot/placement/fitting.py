"""The best of some files for a machine, with its context and llama.cpp's arguments."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from bot.clients.llama.placing import Asked, Placed, experts_pattern
from bot.placement.machines import Machine
from bot.placement.onpaper import OnPaper
from bot.placement.splitting import Places, Split
from bot.records.placements import Placement, Unplaced

CONTEXT = 32_768  # tokens that a conversation with files takes
LEAST = 4_096  # with fewer nobody gets far
MOST = 1 << 20
Ask = Callable[[OnPaper, Asked], Placed]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a user wants of a context: its length (None: what fits, from 32,768 on), its cache."""

    context: int | None = None
    cache_type: str = "F16"
    micro_batch: int = 512


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file that may be taken. `beside` are bytes that lie on the first card with it."""

    name: str
    file: str
    paper: OnPaper
    beside: int = 0


@dataclass(eq=False)
class Fitter:
    """Answers for one set of files, the best first; llama.cpp is asked through `ask`."""

    candidates: Sequence[Candidate]
    wish: Wish
    ask: Ask
    _places: dict[tuple[str, int], Places] = field(default_factory=dict)

    def place(self, machine: Machine) -> Placement | Unplaced:
        """The first candidate that fits, with its longest context that costs no expert more.

        Where none fits with the context that is wanted, shorter ones are tried, unless the user
        named it.
        """
        for context in self._contexts():
            for candidate in self.candidates:
                placement = self._placed(candidate, machine, context)
                if placement is not None:
                    return placement
        smallest = min(
            self._at(c, self._contexts()[-1]).smallest() + c.beside for c in self.candidates
        )
        room = sum(machine.room) + machine.room_in_memory
        return Unplaced(cards=machine.cards, memory=machine.memory, lacking=max(smallest - room, 1))

    def all_on_cards(self, candidate: Candidate, machine: Machine, context: int) -> int:
        """Bytes that cards hold of a candidate where nothing of it goes elsewhere."""
        return sum(self._at(candidate, context).split(machine).cards)

    def _contexts(self) -> list[int]:
        if self.wish.context is not None:
            return [self.wish.context]
        trained = max(candidate.paper.trained_context for candidate in self.candidates)
        first = min(CONTEXT, trained or CONTEXT)
        return [first, *(n for n in (16_384, 8_192, LEAST) if n < first)]

    def _at(self, candidate: Candidate, context: int) -> Places:
        key = (candidate.name, context)
        if key not in self._places:
            setup = Asked(
                cards=0,
                n_ctx=context,
                cache_type=self.wish.cache_type,
                micro_batch=self.wish.micro_batch,
            )
            paper = candidate.paper
            self._places[key] = Places(lambda asked: self.ask(paper, asked), paper.layers, setup)
        return self._places[key]

    def _placed(self, candidate: Candidate, machine: Machine, context: int) -> Placement | None:
        narrower = _narrower(machine, candidate.beside)
        split = self._at(candidate, context).best(narrower)
        if split is None:
            return None
        if self.wish.context is None:
            split = self._longer(candidate, narrower, split)
        return _placement(candidate, machine, split)

    def _longer(self, candidate: Candidate, machine: Machine, split: Split) -> Split:
        """The same placement with the longest context, doubled step by step, that still fits."""
        trained = candidate.paper.trained_context or MOST
        while split.asked.n_ctx < min(trained, MOST):
            context = min(2 * split.asked.n_ctx, trained)
            longer = self._at(candidate, context).split(
                machine,
                layers=split.asked.layers,
                parts=split.asked.parts,
                in_memory=split.asked.in_memory,
            )
            if not longer.fits(machine) or longer.memory > machine.room_in_memory:
                break
            split = longer
        return split


def _narrower(machine: Machine, beside: int) -> Machine:
    """A machine of which something lies on the first card, or in memory where there is none."""
    if not beside:
        return machine
    if not machine.cards:
        return replace(machine, memory=max(machine.memory - beside, 0))
    first, *others = machine.cards
    return replace(machine, cards=(max(first - beside, 0), *others))


def _placement(candidate: Candidate, machine: Machine, split: Split) -> Placement:
    used = list(split.cards)
    if used:
        used[0] += candidate.beside
    return Placement(
        cards=machine.cards,
        memory=machine.memory,
        name=candidate.name,
        file=candidate.file,
        context=split.asked.n_ctx,
        arguments=arguments(split.asked, split.blocks),
        moved=split.moved / split.experts if split.experts else 0.0,
        resident=bool(machine.cards) and split.all_on_cards,
        cards_used=tuple(used),
        memory_used=split.memory + (0 if used else candidate.beside),
    )


def arguments(asked: Asked, blocks: int) -> tuple[str, ...]:
    """llama-server's options for a placement, of one conversation at a time."""
    words = ["-c", str(asked.n_ctx), "--parallel", "1"]
    words += ["-ngl", "999" if asked.layers in (-1, blocks + 1) else str(asked.layers)]
    if asked.parts:
        words += ["-ts", ",".join(map(str, asked.parts))]
    moved = asked.in_memory
    if moved and moved == tuple(range(moved[0], moved[-1] + 1)) and not moved[0]:
        words += ["--n-cpu-moe", str(len(moved))]
    elif moved:
        words += ["-ot", f"{experts_pattern(moved)}=CPU"]
    if asked.cache_type != "F16":
        words += ["-ctk", asked.cache_type.lower(), "-ctv", asked.cache_type.lower()]
    if asked.micro_batch != Asked.micro_batch:
        words += ["-ub", str(asked.micro_batch)]
    return tuple(words)


def command(file: str, words: Iterable[str]) -> str:
    """A line of shell that serves a file."""
    return " ".join(("llama-server", "-m", *(shlex.quote(word) for word in (file, *words))))
