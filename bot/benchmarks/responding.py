"""A model's answers to requests of lm-evaluation-harness, over a session of ours.

What the harness's own `hf` model answers (lm_eval/models/huggingface.py, and `TemplateLM` of
lm_eval/api/model.py): the same cut between context and continuation, the same windows of long
texts, the same truncation from the left, greedy text up to a stop. Only what is decoded together
is ours: see sharing.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from bot.benchmarks.harness_requests import HarnessRequest, ModelAnswer
from bot.benchmarks.request_lines import Bounds, RequestCutter, Scored, prompt_of
from bot.benchmarks.sharing import Line, Pack, Packing
from bot.clients.llama.session import Session, Token
from bot.clients.llama.vocabulary import Vocabulary
from bot.errors import BuildError
from bot.measures.logits import Floats, rows_at_once, softmax

Give = Callable[[Sequence[tuple[str, ModelAnswer]]], None]
Progress = Callable[[int, int], None]  # done, total

LOGITS = 1 << 28  # values that one call gives at most: 1 GiB


# ── stems ───────────────────────────────────────────────────────────────────────────────────


class Stems:
    """Beginnings that are held decoded, one on another, in a session's last sequences."""

    def __init__(
        self, session: Session, bounds: Bounds, decode: Callable[[list[Token]], object]
    ) -> None:
        self._session, self._bounds, self._decode = session, bounds, decode
        self._held: list[tuple[int, ...]] = []

    def hold(self, beginnings: Sequence[tuple[int, ...]]) -> int | None:
        """Decode what is missing of them; the sequence of the last, None without any."""
        while self._held and self._held != list(beginnings[: len(self._held)]):
            self._held.pop()
            self._session.forget(self._sequence(len(self._held)))
        for tokens in beginnings[len(self._held) :]:
            level, start = len(self._held), len(self._held[-1]) if self._held else 0
            target = self._sequence(level)
            if level:
                self._session.copy(self._sequence(level - 1), target)
            self._decode(
                [
                    Token(id=tokens[i], position=i, sequences=(target,))
                    for i in range(start, len(tokens))
                ]
            )
            self._held.append(tokens)
        return self._sequence(len(self._held) - 1) if self._held else None

    def _sequence(self, level: int) -> int:
        return self._bounds.sequences + level


# ── the model at work ───────────────────────────────────────────────────────────────────────


@dataclass
class _Sum:
    logprob: float = 0.0
    greedy: bool = True
    missing: int = 0  # lines that are not decoded yet


@dataclass
class _Writing:
    """A text on its way."""

    request: HarnessRequest
    position: int
    sequence: int
    pieces: bytearray = field(default_factory=bytearray)
    tokens: int = 0
    done: bool = False

    def take(self, words: Vocabulary, token: int) -> None:
        """The next token: written, or the end."""
        if words.is_end(token):
            self.done = True
            return
        before = len(self.pieces)
        self.pieces += words.piece(token)
        self.tokens += 1
        self.done = self.tokens >= self.request.limit or any(
            self.pieces.find(stop, max(0, before - len(stop))) >= 0
            for stop in (text.encode() for text in self.request.until if text)
        )

    @property
    def text(self) -> str:
        """What was written, before the first of each stop, in their order."""
        text = self.pieces.decode("utf-8", "replace")
        for stop in filter(None, self.request.until):
            text = text.split(stop)[0]
        return text


class Answering:
    """A session that answers; it has `bounds.held` sequences in unified memory."""

    def __init__(self, session: Session, bounds: Bounds, *, threads: int) -> None:
        self._session, self._bounds, self._threads = session, bounds, threads

    def answer(
        self,
        requests: Sequence[HarnessRequest],
        done: Collection[str],
        give: Give,
        progress: Progress,
    ) -> None:
        """Give an answer to each request but those whose keys are `done`.

        Raises SettingsError for one that does not fit, BuildError for logits that are no numbers.
        """
        told = len([request for request in requests if request.key in done])

        def gave(answers: Sequence[tuple[str, ModelAnswer]]) -> None:
            nonlocal told
            give(answers)
            told += len(answers)
            progress(told, len(requests))

        progress(told, len(requests))
        scored = [request for request in requests if request.kind != "text"]
        written = [request for request in requests if request.kind == "text"]
        with ThreadPoolExecutor(self._threads) as self._pool:
            if not all(request.key in done for request in scored):
                self._score(scored, done, gave)
            if not all(request.key in done for request in written):
                self._write(written, done, gave)

    def _packs(self, lines: Sequence[Line], wanted: Collection[int]) -> Iterator[tuple[Pack, int]]:
        """Packs with a line that is wanted, after its stem is decoded; and the stem's sequence."""
        packing = Packing(
            lines=lines,
            room=self._bounds.memory,
            sequences=self._bounds.sequences,
            couples=self._session.couples,
        )
        self._session.clear()
        stems = Stems(self._session, self._bounds, lambda batch: self._decoded(batch, None))
        for pack in packing.packs():
            if not any(line in wanted for line in pack.lines):
                continue
            beginning = lines[pack.lines[0]].tokens
            stem = stems.hold([beginning[:end] for end in pack.stems])
            if stem is not None:
                for sequence in range(len(pack.lines)):
                    self._session.copy(stem, sequence)
            yield pack, pack.depth
            for sequence in range(len(pack.lines)):
                self._session.forget(sequence)

    def _score(self, requests: Sequence[HarnessRequest], done: Collection[str], give: Give) -> None:
        cutting = RequestCutter(self._session, self._bounds.context)
        for number, request in enumerate(requests):
            cutting.add(number, request)
        lines, by_line = cutting.lines, _by_line(cutting.scored)
        sums = {n: _Sum() for n, request in enumerate(requests) if request.key not in done}
        for one in cutting.scored:
            if one.request in sums:
                sums[one.request].missing += 1
        wanted = {one.line for one in cutting.scored if one.request in sums}
        for pack, depth in self._packs(lines, wanted):
            whole: list[tuple[str, ModelAnswer]] = []
            rows = _rows(lines, pack, by_line)
            found = self._decoded(_batch(lines, pack, depth, every=True), rows)
            for one, (logprob, greedy) in found.items():
                if (total := sums.get(one.request)) is None:
                    continue
                total.logprob += logprob
                total.greedy &= greedy
                total.missing -= 1
                if not total.missing:
                    answer = ModelAnswer(logprob=total.logprob, greedy=total.greedy)
                    whole.append((requests[one.request].key, answer))
            give(whole)
        empty = [n for n, total in sums.items() if not any(s.request == n for s in cutting.scored)]
        give([(requests[n].key, ModelAnswer(greedy=True)) for n in empty])

    def _decoded(
        self, batch: list[Token], rows: Sequence[Sequence[tuple[Scored, int]]] | None
    ) -> dict[Scored, tuple[float, bool]]:
        """Decode, as many logits at a time as there is room for; what `rows` of them score."""
        found: dict[Scored, tuple[float, bool]] = {}
        row = 0
        for part in _parts(batch, max(1, LOGITS // self._session.vocabulary)):
            logits = self._session.decode(part)
            if rows is None:
                continue
            totals, best = self._norms(logits)
            for i in range(len(logits)):
                for one, target in rows[row + i]:
                    logprob, greedy = found.get(one, (0.0, True))
                    more = float(logits[i, target] - totals[i])
                    found[one] = (logprob + more, greedy and int(best[i]) == target)
            row += len(logits)
        return found

    def _norms(self, logits: Floats) -> tuple[Floats, Floats]:
        block = rows_at_once(logits.shape[1])
        starts = range(0, len(logits), block)
        blocks = list(self._pool.map(lambda at: softmax(logits[at : at + block]), starts))
        totals = np.concatenate([one.total for one in blocks])
        if not np.isfinite(totals).all():
            raise BuildError(
                f"{self._session.path.name} gives logits that are no numbers (NaN or infinity); "
                "make the file again"
            )
        return totals, np.concatenate([one.best for one in blocks])

    def _write(self, requests: Sequence[HarnessRequest], done: Collection[str], give: Give) -> None:
        words, context = self._session, self._bounds.context
        lines = [prompt_of(words, context, request) for request in requests]
        wanted = {n for n, request in enumerate(requests) if request.key not in done}
        for pack, depth in self._packs(lines, wanted):
            logits = self._session.decode(_batch(lines, pack, depth, every=False))
            writing = [
                _Writing(requests[line], len(lines[line].tokens), sequence)
                for sequence, line in enumerate(pack.lines)
            ]
            self._go_on(writing, logits)
            texts = [(one.request.key, ModelAnswer(text=one.text)) for one in writing]
            give([text for text in texts if text[0] not in done])

    def _go_on(self, writing: list[_Writing], logits: Floats) -> None:
        """Write until each text has ended, one token of each at a time."""
        while writing:
            totals, best = self._norms(logits)
            del totals  # looked at for numbers that are none
            batch = []
            for one, token in zip(writing, best, strict=True):
                one.take(self._session, int(token))
                if not one.done:
                    sequences = (one.sequence,)
                    batch.append(
                        Token(
                            id=int(token), position=one.position, sequences=sequences, logits=True
                        )
                    )
                    one.position += 1
            writing = [one for one in writing if not one.done]
            if writing:
                logits = self._session.decode(batch)


def _by_line(scored: Sequence[Scored]) -> dict[int, list[Scored]]:
    found: dict[int, list[Scored]] = {}
    for one in scored:
        found.setdefault(one.line, []).append(one)
    return found


def _parts(batch: list[Token], rows: int) -> Iterator[list[Token]]:
    """A batch in parts of at most so many rows of logits."""
    part: list[Token] = []
    asked = 0
    for token in batch:
        if asked + token.logits > rows:
            yield part
            part, asked = [], 0
        part.append(token)
        asked += token.logits
    yield part


def _batch(lines: Sequence[Line], pack: Pack, depth: int, *, every: bool) -> list[Token]:
    """A pack's tokens: what a group shares once, then each line's own.

    Logits are asked for from each line's first on; without `every` after its last token alone.
    """
    batch: list[Token] = []
    sequence = 0
    for group in pack.groups:
        everyone = tuple(range(sequence, sequence + len(group.lines)))
        tokens = lines[group.lines[0]].tokens
        batch += [
            Token(id=tokens[i], position=i, sequences=everyone) for i in range(depth, group.shared)
        ]
        for number, line in zip(everyone, (lines[n] for n in group.lines), strict=True):
            first = line.first if every else len(line.tokens) - 1
            batch += [
                Token(id=line.tokens[i], position=i, sequences=(number,), logits=i >= first)
                for i in range(group.shared, len(line.tokens))
            ]
        sequence += len(group.lines)
    return batch


def _rows(
    lines: Sequence[Line], pack: Pack, by_line: dict[int, list[Scored]]
) -> list[list[tuple[Scored, int]]]:
    """For each row of a pack's logits the scored tokens that it foretells."""
    rows: list[list[tuple[Scored, int]]] = []
    for number in pack.lines:
        line = lines[number]
        rows += [
            [
                (one, one.targets[i - one.first])
                for one in by_line[number]
                if 0 <= i - one.first < len(one.targets)
            ]
            for i in range(line.first, len(line.tokens))
        ]
    return rows
