"""Requests of lm-evaluation-harness as tokens, cut as its own `hf` model cuts them.

`TemplateLM` of lm_eval/api/model.py and lm_eval/models/huggingface.py say where a continuation
begins, how long texts fall into windows, and what a text too long for the context loses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot.benchmarks.harness_requests import HarnessRequest
from bot.benchmarks.sharing import MOST_STEMS, Line, Packing, tokens_decoded
from bot.clients.llama.vocabulary import Vocabulary
from bot.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much is decoded together.

    `context`: tokens of a request at most, with those to be written; longer ones lose their
    beginning. `memory`: tokens that all sequences share. `sequences`: requests side by side.
    """

    context: int
    memory: int
    sequences: int

    @property
    def held(self) -> int:
        """Sequences that a session needs, with those of stems."""
        return self.sequences + MOST_STEMS


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Of a request: the tokens of a line whose log-probabilities are summed, and where."""

    number: int  # among all that are scored
    request: int
    line: int
    first: int  # the token before the first target
    targets: tuple[int, ...]


class RequestCutter:
    """Requests as lines of tokens, by one vocabulary; equal tokens are one line."""

    def __init__(self, words: Vocabulary, context: int) -> None:
        self._words, self._context = words, context
        self.scored: list[Scored] = []
        self._lines: dict[tuple[int, ...], int] = {}
        self._first: list[int] = []

    @property
    def lines(self) -> list[Line]:
        """Lines to decode for all that was added."""
        return [
            Line(tokens=tokens, first=self._first[number]) for tokens, number in self._lines.items()
        ]

    def add(self, number: int, request: HarnessRequest) -> None:
        """A request for log-probabilities."""
        pairs = self._windows(request) if request.kind == "rolling" else [self._pair(request)]
        for before, targets in pairs:
            if not 0 < len(targets) <= self._context:
                raise SettingsError(
                    f"a request scores {len(targets)} tokens, 1 to {self._context} fit; "
                    "raise evaluation.benchmarks.context"
                )
            whole = [*before, *targets][-(self._context + 1) :][:-1]
            tokens = tuple(whole)
            line = self._lines.setdefault(tokens, len(self._lines))
            first = len(tokens) - len(targets)
            if line == len(self._first):
                self._first.append(first)
            self._first[line] = min(self._first[line], first)
            self.scored.append(
                Scored(
                    number=len(self.scored),
                    request=number,
                    line=line,
                    first=first,
                    targets=tuple(targets),
                )
            )

    def _pair(self, request: HarnessRequest) -> tuple[list[int], list[int]]:
        """Context and continuation, as `TemplateLM.loglikelihood` and `_encode_pair` cut them."""
        if not request.context:
            targets = encoded(self._words, request.continuation, begins=False)
            opening = self._words.opening
            if targets[:1] == [opening]:
                return targets[:1], targets[1:]
            return [opening], targets
        bare = request.context.rstrip()
        continuation = request.context[len(bare) :] + request.continuation
        before = encoded(self._words, bare)
        return before, encoded(self._words, bare + continuation)[len(before) :]

    def _windows(self, request: HarnessRequest) -> Iterator[tuple[list[int], list[int]]]:
        """All tokens of a text, each scored once (get_rolling_token_windows of lm_eval/utils.py,
        with a context of one token, and make_disjoint_window)."""
        tokens, size = encoded(self._words, request.continuation), self._context
        first = tokens[:size]
        if first:
            yield [self._words.opening], first
        done = len(first)
        while done < len(tokens):
            end = done + min(len(tokens) - done, size)
            before = tokens[end - size - 1 : end - 1]
            targets = tokens[done:end]
            yield before[: len(before) - len(targets) + 1], targets
            done = end


def encoded(words: Vocabulary, text: str, *, begins: bool = True) -> list[int]:
    """Tokens as transformers' tokenizers give them: names of control tokens are these."""
    tokens = words.tokenize(text, special=True, begins=begins)
    if begins and words.bos is not None and tokens[:2] == [words.bos] * 2:
        return tokens[1:]  # the text began with it, as rendered conversations do
    return tokens


def prompt_of(words: Vocabulary, context: int, request: HarnessRequest) -> Line:
    """A text to write, as a line. Raises SettingsError where it leaves no room for its prompt."""
    most = context - request.limit
    if most < 1 or request.limit < 1:
        raise SettingsError(
            f"a request writes up to {request.limit} tokens, {context} fit with its prompt; "
            "raise evaluation.benchmarks.context, or set its most_tokens"
        )
    tokens = encoded(words, request.context)[-most:] or [words.opening]
    return Line(tokens=tuple(tokens), first=len(tokens) - 1, room=request.limit)


def tokens_to_read(words: Vocabulary, bounds: Bounds, requests: Sequence[HarnessRequest]) -> int:
    """Tokens of all that is asked, beginnings that are shared once; raises as `prompt_of`."""
    cutting = RequestCutter(words, bounds.context)
    texts: list[Line] = []
    for number, request in enumerate(requests):
        if request.kind == "text":
            texts.append(prompt_of(words, bounds.context, request))
        else:
            cutting.add(number, request)
    packings = [
        Packing(lines=lines, room=bounds.memory, sequences=bounds.sequences)
        for lines in (cutting.lines, texts)
        if lines
    ]
    return sum(tokens_decoded(packing.lines, packing.packs()) for packing in packings)
