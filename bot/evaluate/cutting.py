"""The text of perplexity and divergence, cut into windows by the reference's tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bot.apart.worker import LINE, away
from bot.evaluate.data import Data, find_text
from bot.measures.logits import open_base
from bot.measures.opening import Cutting, cut_text, require_cut
from bot.measures.windows import TextWindows, read_evaluation_text
from bot.workplace.children import room_for
from bot.workplace.workplace import Workplace

A_TOKEN = 16  # bytes of a token at most on its way from another process


@dataclass(frozen=True, kw_only=True)
class CutText:
    """The text in windows, [windows, context], as a vocabulary of so many tokens cuts it."""

    data: Data
    words: str
    windows: TextWindows
    vocabulary: int
    tokenizer: str | None  # None where a file of log-probabilities is the reference


class Cutter:
    """Cuts the text of the settings, once for each model."""

    def __init__(self, workplace: Workplace) -> None:
        self._workplace, self._settings = workplace, workplace.settings
        self._known: dict[Path, CutText] = {}

    @cached_property
    def text(self) -> Data:
        """The text of the settings."""
        return find_text(self._workplace)

    def by_model(self, path: Path) -> CutText:
        """By the tokenizer of a model's file."""
        if path not in self._known:
            self._known[path] = self._cut(path)
        return self._known[path]

    def by_logits(self, base: Path) -> CutText:
        """By a file of log-probabilities, which has the tokens itself."""
        with open_base(base) as opened:
            return CutText(
                data=self.text,
                words=read_evaluation_text(self.text.path),
                windows=opened.windows,
                vocabulary=opened.vocabulary,
                tokenizer=None,
            )

    def _cut(self, path: Path) -> CutText:
        evaluation, data = self._settings.evaluation, self.text
        text = read_evaluation_text(data.path)
        how = Cutting(context=evaluation.context, limit=evaluation.chunks, stride=evaluation.stride)
        room = room_for(self._settings, path, line=LINE + A_TOKEN * len(text.encode()))
        cut = require_cut(path.name, away(cut_text, room)(path.absolute(), text, how), how)
        return CutText(
            data=data,
            words=text,
            windows=cut.windows,
            vocabulary=cut.vocabulary,
            tokenizer=cut.tokenizer,
        )
