"""What is asked of llama.cpp about strangers' files: works for a child (apart/worker.py)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.apart.voice import Voice
from bot.clients.llama import check
from bot.clients.llama.loading import Loading
from bot.clients.llama.placing import Asked, Placed, place
from bot.clients.llama.quantization import chosen_types, to_bf16
from bot.clients.llama.session import generate

EVERY = 1.0  # seconds between looks at a file that grows
SENTENCE = 64  # tokens of memory for a sentence


def speech(voice: Voice, model: Loading, *, n_ctx: int) -> str:
    """What the model writes; raises as `check_speech` does."""
    voice.progress(0, 1)
    with model.session(n_ctx) as session:
        return check.check_speech(session)


def continuation(voice: Voice, model: Loading, prompt: str, *, limit: int, n_ctx: int) -> str:
    """The likeliest text after a prompt, at most `limit` tokens."""
    voice.progress(0, 1)
    with model.session(n_ctx) as session:
        return generate(session, prompt, limit)


def computes(voice: Voice, model: Loading) -> None:
    """Raise RefusedError unless the model's logits for a sentence are finite."""
    voice.progress(0, 1)
    with model.session(SENTENCE) as session:
        check.require_finite(session)


def expanded(voice: Voice, source: Path, target: Path, *, threads: int) -> None:
    """Four-bit weights as BF16."""
    with growing(voice, target, source):
        to_bf16(source, target, threads)


def chosen_tensor_types(
    voice: Voice, source: Path, *, file_type: int, weighed: bool
) -> dict[str, str]:
    """The type that llama.cpp itself gives each tensor in a file type."""
    voice.progress(0, 1)
    return chosen_types(source, file_type, imatrix=weighed)


def placed(voice: Voice, path: Path, asked: Asked) -> Placed:
    """What each device would hold of a file on paper."""
    voice.progress(0, 1)
    return place(path, asked)


@contextmanager
def growing(voice: Voice, target: Path, source: Path) -> Iterator[None]:
    """Tell how far a file is while llama.cpp, which says nothing of it, writes it."""
    over, most = threading.Event(), 4 * source.stat().st_size

    def look() -> None:
        while not over.wait(EVERY):
            size = target.stat().st_size if target.exists() else 0
            voice.progress(min(size, most), most)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
