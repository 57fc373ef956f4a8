"""What files are measured against, and how it cuts the text."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from bot.apart.worker import away
from bot.disk.paths import inside
from bot.evaluate.against.cutting import Cutter, CutText, chat_template_of
from bot.evaluate.data import Data
from bot.evaluate.subject import Subject
from bot.measures.opening import Reference, require_same_cut, require_same_rendered
from bot.measures.windows import TextWindows
from bot.records.coding import digest
from bot.workplace.children import room_for
from bot.workplace.workplace import Workplace


class Against:
    """A model, or the file `base` with its log-probabilities.

    Its tokenizer cuts the text of the settings; where there is neither, each file cuts it itself,
    and nothing is compared.
    """

    def __init__(
        self, workplace: Workplace, model: Subject | None, base: Path | None = None
    ) -> None:
        self._workplace, self._cutter = workplace, Cutter(workplace)
        self.model, self.base = model, base

    @property
    def _nothing(self) -> bool:
        return self.model is None and self.base is None

    def require_model(self) -> Subject:
        """The model. Raises TypeError where there is none."""
        if self.model is None:
            raise TypeError("no reference was given")
        return self.model

    @cached_property
    def chats(self) -> bool:
        """Whether the model has a chat template: instruction-tuned ones do."""
        return self.model is not None and chat_template_of(self.model.path) is not None

    @cached_property
    def sha256(self) -> str:
        """Of the model, or of the file with log-probabilities."""
        if self.base is None:
            return self.require_model().sha256
        base = self.base.resolve()
        inputs = {"path": inside(self._workplace.folders.root, base)}
        title = f"hashing {base.name}"
        done = self._workplace.step(
            digest(inputs), "hash", inputs, [base], title, lambda _report: None
        )
        return done.files[0].sha256

    def tokens_by(self, subject: Subject) -> str:
        """The hash of the file whose tokens the text is read in where a subject is measured."""
        return subject.sha256 if self._nothing else self.sha256

    # ── the text ────────────────────────────────────────────────────────────────────────────

    @property
    def text(self) -> Data:
        """The text of perplexity and divergence."""
        return self._cutter.text

    @cached_property
    def cut(self) -> CutText:
        """The text as the reference cuts it. Raises TypeError where there is none."""
        if self.base is None:
            return self._cutter.by_model(self.require_model().path)
        return self._cutter.by_logits(self.base)

    def cut_of(self, subject: Subject) -> CutText:
        """The text as it is cut for a subject: by the reference, or by itself without one."""
        return self._cutter.by_model(subject.path) if self._nothing else self.cut

    def windows(self, subject: Subject) -> TextWindows:
        """What the text is cut into for a subject."""
        return self.cut_of(subject).windows

    def require_same(self, subject: Subject) -> None:
        """Raise BuildError for a file of another vocabulary, or that cuts the text elsewhere."""
        text, settings = self.cut, self._workplace.settings
        reference = Reference(
            name=self.base.name if self.base is not None else self.require_model().name,
            vocabulary=text.vocabulary,
            tokenizer=text.tokenizer,
            all_windows=settings.evaluation.stride is None,
        )
        path, room = subject.path.absolute(), room_for(settings, subject.path)
        if text.conversations:
            require_rendered = away(require_same_rendered, room)
            require_rendered(path, text.conversations, text.windows, reference)
        else:
            away(require_same_cut, room)(path, text.words, text.windows, reference)
