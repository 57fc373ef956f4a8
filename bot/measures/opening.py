"""Measures of files that strangers may have made: works for a child, see bot/apart/worker.py.

Each opens its file itself. A pass sends each group's values as soon as it has them, so that its
parent keeps them in a journal and a later call goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bot.apart.voice import Voice
from bot.clients.llama.drafting import Drafting
from bot.clients.llama.session import Loading, Session
from bot.clients.llama.vocabulary import vocabulary_of
from bot.errors import BuildError
from bot.kernels.rows.rowwork import RowKernels, loaded
from bot.measures import choices, divergence, perplexity, speed
from bot.measures.journal import TOKEN, Journal, Values, coded, values_of
from bot.measures.logits import open_base
from bot.measures.tasks import ChoiceTask
from bot.measures.windows import TextWindows, cut, cut_conversations, sequences
from bot.records.measured import Divergence, Drafts, Perplexity, Speed

BEGINNING = 16  # characters a token at most, for the part of a text that tokenizers are compared on
_NUMBERS = ("nll", "nll_base", "kld", "delta_p")
_TRUTH = np.dtype(TOKEN).fields["same_top"][1]  # type: ignore[index]  # where a yes or no lies
MOST_WORDS = 1 << 24  # tokens of a vocabulary


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A text as a file's vocabulary cuts it."""

    windows: TextWindows
    vocabulary: int
    tokenizer: str  # hash, see Vocabulary


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A model that reads windows, as many contexts as `lanes`."""

    model: Loading
    lanes: int = 1
    kernels: Path | None = None  # folder of `prepared`; None: logits are worked on by NumPy

    def row_kernels(self) -> RowKernels | None:
        """Kernels that work on its logits."""
        return None if self.kernels is None else loaded(self.kernels)

    def session(self, windows: TextWindows) -> Session:
        """The model loaded, with room for a group of the windows."""
        return self.model.session(
            windows.together * windows.context,
            sequences=windows.together,
            unified=False,
            lanes=self.lanes,
        )


# ── works ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How a text is cut: see `cut` in windows.py."""

    context: int
    limit: int | None
    stride: int | None


def cut_text(voice: Voice, path: Path, text: str, how: Cutting) -> Cut:
    """The text in windows. Raises BuildError, or SettingsError for a text that is too short."""
    voice.progress(0, 1)
    with vocabulary_of(path) as words:
        return Cut(
            windows=cut(words, text, context=how.context, limit=how.limit, stride=how.stride),
            vocabulary=words.vocabulary,
            tokenizer=words.tokenizer,
        )


def ends_of(voice: Voice, path: Path) -> tuple[str, str]:
    """The texts of a file's BOS and EOS, as chat templates name them."""
    voice.progress(0, 1)
    with vocabulary_of(path) as words:
        return words.ends


def cut_rendered(voice: Voice, path: Path, texts: tuple[str, ...], how: Cutting) -> Cut:
    """Rendered conversations in windows. Raises BuildError, or SettingsError for too few."""
    voice.progress(0, 1)
    with vocabulary_of(path) as words:
        return Cut(
            windows=cut_conversations(words, texts, context=how.context, limit=how.limit),
            vocabulary=words.vocabulary,
            tokenizer=words.tokenizer,
        )


def require_same_rendered(
    voice: Voice, path: Path, texts: tuple[str, ...], windows: TextWindows, reference: Reference
) -> None:
    """As `require_same_cut`, of rendered conversations: the first window where words agree."""
    voice.progress(0, 1)
    with vocabulary_of(path) as words:
        divergence.require_same_vocabulary(words, reference.vocabulary, reference.name)
        same = reference.tokenizer is not None and words.tokenizer == reference.tokenizer
        count = 1 if same else len(windows.tokens)
        own = cut_conversations(words, texts, context=windows.context, limit=count)
        if not np.array_equal(own.tokens, windows.tokens[:count]):
            raise BuildError(
                f"{path.name} cuts conversations into other tokens than {reference.name}: another "
                "tokenizer; compare files of one model"
            )


def require_same_cut(
    voice: Voice, path: Path, text: str, windows: TextWindows, reference: Reference
) -> None:
    """Raise BuildError unless the file cuts a text as its reference did.

    Where all tokens are the same words, the beginning of the text will do.
    """
    voice.progress(0, 1)
    with vocabulary_of(path) as words:
        divergence.require_same_vocabulary(words, reference.vocabulary, reference.name)
        if reference.tokenizer is not None and words.tokenizer == reference.tokenizer:
            part = text[: BEGINNING * windows.context]
            first = replace(windows, tokens=windows.tokens[:1])
            divergence.require_same_tokens(words, part, first, reference.name)
        elif reference.all_windows:
            divergence.require_same_tokens(words, text, windows, reference.name)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a file is compared with: its name, and how it cuts texts."""

    name: str
    vocabulary: int
    tokenizer: str | None  # None where a file of log-probabilities is the reference
    all_windows: bool  # whether they are compared, and not the text's beginning alone


def perplexity_pass(
    voice: Voice, reading: Reading, windows: TextWindows, *, done: list[str]
) -> Perplexity:
    """Perplexity alone, after the groups that are `done`."""
    with reading.session(windows) as session:
        return perplexity.measure_perplexity(
            session,
            windows,
            Relayed(voice, 0, done),
            threads=reading.model.threads,
            progress=voice.progress,
            kernels=reading.row_kernels(),
        )


def reference_pass(
    voice: Voice, reading: Reading, windows: TextWindows, target: Path, *, done: list[str]
) -> Perplexity:
    """Perplexity of the reference; its log-probabilities go to `target`."""
    with reading.session(windows) as session:
        return perplexity.reference_perplexity(
            session,
            windows,
            target,
            Relayed(voice, 0, done),
            threads=reading.model.threads,
            progress=voice.progress,
            kernels=reading.row_kernels(),
        )


def divergence_pass(
    voice: Voice, reading: Reading, base: Path, *, together: int | None, done: list[str]
) -> tuple[Perplexity, Divergence]:
    """Perplexity and divergence from a file of log-probabilities, `together` windows at once."""
    with open_base(base) as opened:
        windows = replace(opened.windows, together=together or opened.windows.together)
        with reading.session(windows) as session:
            return divergence.measure_divergence(
                session,
                opened,
                Relayed(voice, 0, done),
                together=together,
                threads=reading.model.threads,
                progress=voice.progress,
                kernels=reading.row_kernels(),
            )


def pass_beside(
    voice: Voice,
    reading: Reading,
    reference: Reading,
    windows: TextWindows,
    *,
    done: list[str],
    reference_done: list[str],
) -> tuple[Perplexity, Divergence]:
    """The same with the reference loaded beside, after both models' groups that are done."""
    with reference.session(windows) as reference_session, reading.session(windows) as session:
        return divergence.measure_beside(
            session,
            reference_session,
            windows,
            (Relayed(voice, 0, done), Relayed(voice, 1, reference_done)),
            threads=reading.model.threads,
            progress=voice.progress,
            kernels=reading.row_kernels(),
        )


def answers_to(
    voice: Voice, model: Loading, tasks: list[ChoiceTask], *, n_ctx: int, sequences: int
) -> list[bool]:
    """Whether each task was answered rightly."""
    with model.session(n_ctx, sequences=sequences, unified=True) as session:
        return list(
            choices.answers_of(session, tasks, threads=model.threads, progress=voice.progress)
        )


def speeds_of(voice: Voice, model: Loading, *, repetitions: int) -> tuple[Speed, Speed]:
    """Tokens per second, read and written."""
    with model.session(speed.PROMPT, sequences=1, unified=False) as session:
        return speed.measure_speed(session, repetitions, voice.progress)


@dataclass(frozen=True, kw_only=True)
class Predicting:
    """A model and its prediction layers: in a file of their own, or in the model's."""

    model: Loading
    drafter: Path | None


def drafts_of(
    voice: Voice, model: Predicting, *, prompts: tuple[tuple[int, ...], ...]
) -> tuple[Drafts, ...]:
    """How many tokens that were guessed ahead are kept, and tokens per second."""
    loading = model.model
    with Drafting(
        loading.path,
        model.drafter,
        n_ctx=speed.ROOM,
        drafts=max(speed.GUESSES),
        threads=loading.threads,
        gpu_layers=loading.gpu_layers,
        devices=loading.devices,
    ) as drafting:
        return speed.measure_drafts(drafting, prompts, voice.progress)


# ── groups on their way ─────────────────────────────────────────────────────────────────────


class Relayed(Journal):
    """A pass's journal in a child: what it gets goes to number `number` of its parent's."""

    def __init__(self, voice: Voice, number: int, done: Sequence[str]) -> None:
        self._voice, self._number = voice, number
        self.groups = [values_of(group) for group in done]

    def add(self, values: Values) -> None:
        """Send the next group."""
        self.groups.append(values)
        self._voice.tell({"journal": self._number, "group": coded(values)})

    def keep(self, groups: int) -> None:
        """Send that only the first `groups` count."""
        del self.groups[groups:]
        self._voice.tell({"journal": self._number, "keep": groups})


class Listener:
    """The parent's side: keeps what a pass sends, where it has the shape that was asked for."""

    def __init__(self, windows: TextWindows, *journals: Journal) -> None:
        self._windows, self._journals = windows, journals

    def hear(self, message: Any) -> None:
        """Take a message of `Relayed`. Raises ValueError for anything else."""
        if not isinstance(message, dict) or type(number := message.get("journal")) is not int:
            raise ValueError("no journal")
        if not 0 <= number < len(self._journals):
            raise ValueError("another journal")
        journal = self._journals[number]
        if "keep" in message:
            _cut_back(journal, message["keep"])
        else:
            journal.add(self._group(len(journal.groups), message.get("group")))

    def _group(self, number: int, group: Any) -> Values:
        windows_left = len(self._windows.tokens) - number * self._windows.together
        rows = min(windows_left, self._windows.together) * self._windows.scored
        if rows <= 0 or not isinstance(group, str):
            raise ValueError("no group")
        values = values_of(group)
        truth = values.view(np.uint8).reshape(len(values), -1)[:, _TRUTH]
        numbers = all(np.isfinite(values[name]).all() for name in _NUMBERS)
        if len(values) != rows or not numbers or truth.max() > 1:
            raise ValueError("another group")
        return values


def _cut_back(journal: Journal, groups: Any) -> None:
    if type(groups) is not int or not 0 <= groups <= len(journal.groups):
        raise ValueError("no such group")
    journal.keep(groups)


def require_cut(name: str, text_cut: Cut, how: Cutting) -> Cut:
    """A text's windows as a child gave them. Raises BuildError where they cannot be such."""
    windows, tokens = text_cut.windows, text_cut.windows.tokens
    most = how.limit or len(tokens)
    first = how.context // 2 if how.stride is None else how.context - 1 - how.stride
    shape = (windows.context, windows.first, windows.together)
    good = shape == (how.context, first, sequences(how.context)) and 1 <= len(tokens) <= most
    if not good or not 0 <= tokens.min() <= tokens.max() < text_cut.vocabulary <= MOST_WORDS:
        raise BuildError(f"{name} cuts a text into what are no tokens of it; do not use it")
    return text_cut
