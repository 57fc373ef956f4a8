"""What is asked of llama.cpp about strangers' files: works for a child (apart/worker.py)."""

from __future__ import annotations

from pathlib import Path

from bot.apart.voice import Voice
from bot.clients.llama import check
from bot.clients.llama.library import Device, devices
from bot.clients.llama.placing import Asked, Placed, place
from bot.clients.llama.quantization import chosen_types
from bot.clients.llama.session import Loading, generate

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


def chosen_tensor_types(
    voice: Voice, source: Path, *, file_type: int, weighed: bool
) -> dict[str, str]:
    """The type that llama.cpp itself gives each tensor in a file type."""
    voice.progress(0, 1)
    return chosen_types(source, file_type, imatrix=weighed)


def installed_devices(voice: Voice) -> tuple[Device, ...]:
    """Every device that a child finds."""
    voice.progress(0, 1)
    return devices()


def placed(voice: Voice, path: Path, asked: Asked) -> Placed:
    """What each device would hold of a file on paper."""
    voice.progress(0, 1)
    return place(path, asked)
