"""Parameters that load a model, so that another process can be given them as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.clients.llama.session import Session


@dataclass(frozen=True, kw_only=True)
class Loading:
    """A model's file, or the first of its shards, and where it computes."""

    path: Path
    threads: int
    gpu_layers: int = -1
    devices: tuple[str, ...] = ()

    def session(self, n_ctx: int, **more: Any) -> Session:
        """Load it; `more` is `Session`'s. Raises as that does."""
        return Session(
            self.path,
            n_ctx=n_ctx,
            threads=self.threads,
            gpu_layers=self.gpu_layers,
            devices=self.devices,
            **more,
        )
