"""The text of perplexity and divergence, cut into windows by the reference's tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bot.apart.chat_template import KEY, LARGEST
from bot.apart.conversing import Speaking, rendered
from bot.apart.worker import LINE, away
from bot.clients.files.gguf import read_gguf
from bot.errors import BuildError
from bot.evaluate.data import Data, find_text
from bot.measures.logits import open_base
from bot.measures.opening import Cutting, cut_rendered, cut_text, ends_of, require_cut
from bot.measures.windows import TextWindows, read_evaluation_text
from bot.settings.settings import Settings
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
    conversations: tuple[str, ...] = ()  # rendered by the model's own template; then `words` is ""


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
        if data.conversations:
            return self._cut_conversations(path)
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

    def _cut_conversations(self, path: Path) -> CutText:
        """Conversations by the template of a model's file, and its tokenizer."""
        evaluation, data = self._settings.evaluation, self.text
        speaking = speaking_of(self._settings, path)
        if speaking is None:
            raise BuildError(
                f"{path.name} has no chat template to render {data.label} with; name a text"
            )
        told = rendered(data.path, speaking, self._settings.kept_apart)
        how = Cutting(context=evaluation.context, limit=evaluation.chunks, stride=None)
        letters = sum(len(text.encode()) for text in told.texts)
        room = room_for(self._settings, path, line=LINE + A_TOKEN * letters)
        cut = require_cut(
            path.name, away(cut_rendered, room)(path.absolute(), told.texts, how), how
        )
        return CutText(
            data=data,
            words="",
            windows=cut.windows,
            vocabulary=cut.vocabulary,
            tokenizer=cut.tokenizer,
            conversations=told.texts,
        )


def chat_template_of(path: Path) -> str | None:
    """The chat template in a model's header.

    None where there is none, as base models have it, or one larger than anybody could render.
    """
    template = read_gguf(path).metadata.get(KEY)
    usable = isinstance(template, str) and template.strip() and len(template) <= LARGEST
    return template if usable else None


def speaking_of(settings: Settings, path: Path) -> Speaking | None:
    """A file's chat template, and the words that it may name; None without one."""
    template = chat_template_of(path)
    if template is None:
        return None
    bos, eos = away(ends_of, room_for(settings, path))(path.absolute())
    return Speaking(template=template, bos=bos, eos=eos)
