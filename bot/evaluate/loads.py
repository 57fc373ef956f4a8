"""Loading files to be measured: what a child may see of them, use, and write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bot.apart.worker import Room
from bot.clients.llama.session import Loading
from bot.evaluate.against.cutting import CutText
from bot.evaluate.subject import Subject
from bot.measures.journal import Journal
from bot.measures.opening import Listener, Reading
from bot.measures.reference import Need, need, require_memory
from bot.measures.windows import TextWindows, sequences
from bot.progress import Report
from bot.settings.settings import Settings
from bot.tensors.weights import SIXTEEN_BIT
from bot.workplace.children import loading, room_for, row_kernels, used_devices_of
from bot.workplace.job import free_memory_of

MANY = 1 << 31  # logits of a pass, for fewer Numba takes longer to import than kernels save


def tokens_at_once(settings: Settings) -> int:
    """Tokens of the windows that are decoded together, as llama-perplexity does."""
    context = settings.evaluation.context
    return sequences(context) * context


def on_gpu(settings: Settings) -> bool:
    """Whether a device other than the processor decodes."""
    used = used_devices_of(settings)
    return any(device.kind != "cpu" for device in used)


@dataclass(frozen=True)
class Sessions:
    """Subjects as models in children, by settings."""

    settings: Settings

    @property
    def _lanes(self) -> int:
        return 2 if self.settings.evaluation.overlap else 1

    def need(self, subject: Subject, text: CutText) -> Need:
        """Memory that a pass over the text takes."""
        rows = text.windows.together * (text.windows.scored + 1)
        return need(
            subject.bytes, text.vocabulary, rows, self._lanes, self.settings.llama.micro_batch
        )

    def require_memory(self, subject: Subject, text: CutText) -> None:
        """Raise CapacityError unless a pass fits into memory.

        A 16-bit file that the processor decodes is mapped as it is: what memory does not hold of it
        is read from the disk again, for each batch, and takes hours instead. Others are copied in
        part, into an order that llama.cpp computes faster with.
        """
        needed, free = self.need(subject, text), free_memory_of(self.settings)
        if free.device is None and subject.name in SIXTEEN_BIT:
            needed = replace(needed, device=needed.device - subject.bytes)
        require_memory(subject.name, needed, free)

    def loading(self, subject: Subject) -> Loading:
        """A subject as it is loaded."""
        return loading(subject.path, self.settings.llama)

    def reading(self, subject: Subject, text: CutText) -> Reading:
        """A subject as a pass over a text loads it; with kernels where the text is long for it."""
        logits = len(text.windows.tokens) * text.windows.scored * text.vocabulary
        kernels = row_kernels(self.settings) if logits >= MANY else None
        return Reading(model=self.loading(subject), lanes=self._lanes, kernels=kernels)

    def room(self, subject: Subject, report: Report, *beside: Path) -> Room:
        """A child's room for one subject, and files beside it."""
        return room_for(self.settings, subject.path, *beside, report=report)

    def pass_room(
        self,
        reading: Reading,
        report: Report,
        windows: TextWindows,
        *journals: Journal,
        beside: tuple[Path, ...] = (),
        writes: tuple[Path, ...] = (),
    ) -> Room:
        """A child's room for a pass over windows, whose groups go to the journals."""
        hear = Listener(windows, *journals).hear
        path, seen = reading.model.path, (*beside, *filter(None, [reading.kernels]))
        return room_for(self.settings, path, *seen, writes=writes, report=report, hear=hear)
