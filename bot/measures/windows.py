"""Which tokens of a text are decoded together, and which predictions count.

As perplexity() in tools/perplexity/perplexity.cpp: chunks of n_ctx tokens, each decoded from an
empty memory, the first token replaced by BOS where the vocabulary adds one; positions n_ctx/2 to
n_ctx-2 predict their next token. With a stride, as perplexity_v2(): windows begin every `stride`
tokens and the last `stride` predictions of each count.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator

from bot.clients.llama.batch import Batch
from bot.clients.llama.vocabulary import Vocabulary
from bot.disk.writing import decoded
from bot.errors import SettingsError

Ints = NDArray[np.int32]


def _as_json(tokens: Ints) -> list[Any]:
    return [int(tokens.shape[1]), b64encode(tokens.astype("<i4").tobytes()).decode()]


def _from_json(pair: Any) -> Ints:
    """Tokens, [windows, context], of what `_as_json` gave. Raises ValueError for anything else."""
    if isinstance(pair, np.ndarray):
        return pair
    match pair:
        case [int(context), str(coded)] if context > 0:
            tokens = np.frombuffer(b64decode(coded, validate=True), "<i4")
            return tokens.reshape(-1, context).astype(np.int32)
    raise ValueError("no tokens")


# tokens on their way between processes
Tokens = Annotated[Ints, PlainValidator(_from_json), PlainSerializer(_as_json)]
TOGETHER = 2048  # tokens decoded at once: llama-perplexity's own batch


def sequences(context: int) -> int:
    """How many chunks are decoded at once: four of 512, as llama-perplexity does."""
    return max(1, TOGETHER // context)


def first_scored(context: int) -> int:
    """The first position of a chunk whose prediction counts."""
    return context // 2


def scored_per_chunk(context: int) -> int:
    """How many predictions of a chunk count."""
    return context - 1 - first_scored(context)


@dataclass(frozen=True, kw_only=True, eq=False)
class TextWindows:
    """The tokens that a pass decodes, [windows, context], and the first position that counts."""

    tokens: Tokens
    first: int
    together: int  # windows of a group: those decoded at once

    @property
    def context(self) -> int:
        """Tokens of a window."""
        return int(self.tokens.shape[1])

    @property
    def scored(self) -> int:
        """Predictions of a window that count."""
        return self.context - 1 - self.first

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return -(-len(self.tokens) // self.together)

    def of(self, group: int) -> Ints:
        """The windows of a group, [at most `together`, context]."""
        return self.tokens[group * self.together : (group + 1) * self.together]

    def targets(self, group: int) -> Ints:
        """The tokens that a group predicts, one window after another, [rows]."""
        return np.ascontiguousarray(self.of(group)[:, self.first + 1 :]).reshape(-1)

    def batch(self, group: int, bos: int | None) -> Batch:
        """A group as one batch, each window a sequence of its own."""
        ids = self.of(group).copy()
        if bos is not None:
            ids[:, 0] = bos
        # the last position is asked for too, as the tool does: the same graph, the same numbers
        return Batch.rows(ids, self.first)


def read_evaluation_text(path: Path) -> str:
    """A text as -f of llama.cpp's tools takes it: byte for byte, but without its final newline.

    Raises SettingsError for a text that is not UTF-8.
    """
    return decoded(path.read_bytes(), str(path)).removesuffix("\n")


def cut(
    words: Vocabulary,
    text: str,
    *,
    context: int,
    limit: int | None = None,
    stride: int | None = None,
) -> TextWindows:
    """A text as windows of `context` tokens, at most `limit` of them.

    Raises SettingsError when the text does not fill two, as llama-perplexity demands.
    """
    tokens = words.tokenize(text)
    if len(tokens) < 2 * context:
        raise SettingsError(
            f"the text has {len(tokens)} tokens, less than two chunks of {context}; "
            "name a longer one or lower evaluation.context"
        )
    if stride is None:
        starts: Sequence[int] = range(0, len(tokens) - context + 1, context)
        first = first_scored(context)
    else:
        starts = range(0, len(tokens) - context, stride)
        first = context - 1 - stride
    if first < 0:
        raise SettingsError(
            f"a stride of {stride} needs a context of more than {stride} tokens; "
            "lower evaluation.stride"
        )
    return _windows(tokens, starts[: limit or None], context, first)


def cut_conversations(
    words: Vocabulary, texts: Sequence[str], *, context: int, limit: int | None = None
) -> TextWindows:
    """Rendered conversations as windows of `context` tokens, at most `limit` of them.

    A window begins where a conversation begins, is filled up with the following ones, and the last
    of these is cut at its end; the next window begins with the next. BOS stands before each
    conversation once, where the vocabulary adds one, as llama-server has it. Raises SettingsError
    when they do not fill one.
    """
    tokens: list[int] = []
    starts: list[int] = []
    for text in texts:
        if limit is not None and len(starts) == limit and len(tokens) >= starts[-1] + context:
            break
        if not starts or len(tokens) >= starts[-1] + context:
            starts.append(len(tokens))
        bos = words.ends[0] if words.adds_bos else ""
        tokens += words.tokenize(text.removeprefix(bos), special=True)
    whole = [start for start in starts if start + context <= len(tokens)]
    if not whole:
        raise SettingsError(
            f"the conversations have {len(tokens)} tokens, which fill no chunk of {context}; "
            "name more of them or lower the domain's context"
        )
    return _windows(tokens, whole[:limit], context, first_scored(context))


def _windows(tokens: list[int], starts: Sequence[int], context: int, first: int) -> TextWindows:
    return TextWindows(
        tokens=np.array([tokens[start : start + context] for start in starts], np.int32),
        first=first,
        together=sequences(context),
    )
