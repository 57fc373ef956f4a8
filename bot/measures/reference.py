"""Where a candidate's reference comes from: a file of log-probabilities, or a model beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bot.clients.llama.session import MICRO_BATCH
from bot.errors import CapacityError

Preference = Literal["auto", "file", "beside"]
SOME = 256 << 20  # bytes: key-value memory, states, what the library itself takes


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes that a loaded model takes: where it computes, and on the host for its logits."""

    device: int
    host: int

    def __add__(self, other: Need) -> Need:
        return Need(device=self.device + other.device, host=self.host + other.host)


@dataclass(frozen=True, kw_only=True)
class Free:
    """Bytes that are free: on the host, and on the GPUs in use; None where the host computes."""

    host: int
    device: int | None = None

    def holds(self, need: Need) -> bool:
        """Whether both parts fit."""
        if self.device is None:
            return need.host + need.device <= self.host
        return need.host <= self.host and need.device <= self.device

    def shortage(self, need: Need) -> str:
        """What is needed and what is there."""
        if self.device is None:
            memory = f"{(need.host + need.device) / 1e9:.2f} GB of memory, {self.host / 1e9:.2f} GB"
            return f"{memory} are free"
        return (
            f"{need.device / 1e9:.2f} GB on the GPU and {need.host / 1e9:.2f} GB beside it, "
            f"{self.device / 1e9:.2f} and {self.host / 1e9:.2f} GB are free"
        )


def need(
    file_bytes: int, vocabulary: int, rows: int, lanes: int = 1, micro_batch: int = MICRO_BATCH
) -> Need:
    """What a model takes whose batches ask for `rows` rows of logits."""
    graph = 4 * micro_batch * vocabulary
    return Need(device=file_bytes + lanes * graph + SOME, host=lanes * 4 * rows * vocabulary)


def require_memory(name: str, needed: Need, free: Free) -> None:
    """Raise CapacityError unless a model fits."""
    if not free.holds(needed):
        raise CapacityError(
            f"{name} needs {free.shortage(needed)}; take a larger machine, lower llama.gpu_layers "
            "or set evaluation.overlap: false"
        )


@dataclass(frozen=True, kw_only=True)
class ReferenceChoice:
    """The choice, and what speaks for it."""

    beside: bool
    reason: str


def choose(
    preference: Preference, *, candidates: int, disk: int, free_disk: int, both: Need, free: Free
) -> ReferenceChoice:
    """File or beside, for `candidates` files still to be measured.

    One candidate alone is measured beside where both fit: nothing is written or read. For several
    the file is better, since the reference then decodes once. Raises CapacityError, with both
    shortages, when neither is possible.
    """
    on_disk, in_memory = disk <= free_disk, free.holds(both)
    size = f"{disk / 1e9:.2f} GB of log-probabilities"
    if preference == "file" or (
        preference == "auto" and on_disk and (candidates > 1 or not in_memory)
    ):
        if not on_disk:
            raise CapacityError(
                f"the reference takes {size}, {max(free_disk, 0) / 1e9:.2f} GB of disk are free; "
                "set workdir to a larger disk, lower evaluation.chunks or let "
                "evaluation.reference be auto"
            )
        return ReferenceChoice(beside=False, reason=f"{size} on disk, for {candidates} to compare")
    if in_memory:
        return ReferenceChoice(beside=True, reason="beside the candidate in memory, no file")
    if preference == "beside":
        raise CapacityError(
            f"reference and candidate together need {free.shortage(both)}; let "
            "evaluation.reference be auto"
        )
    raise CapacityError(
        f"the reference takes {size}, {max(free_disk, 0) / 1e9:.2f} GB of disk are free, and "
        f"beside the candidate {free.shortage(both)}; lower evaluation.chunks"
    )
