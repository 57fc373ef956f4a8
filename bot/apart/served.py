"""The child's side: works that open strangers' files, one call after another, told on stdin.

    python -I -c '…; served.main()' MEMORY

A call is a line of JSON, `{"work": "MODULE:FUNCTION", "arguments": {…}}`; answers are lines on what
was stdout, see voice.py. What the process may reach was decided before it began (sandbox.py).
"""

from __future__ import annotations

import ctypes  # noqa: TID251 - the system's own prctl, not llama.cpp
import json
import os
import resource
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any, BinaryIO, get_type_hints

from pydantic import TypeAdapter

from bot.apart.far.relay import listen_within
from bot.apart.voice import Voice
from bot.errors import BotError, CapacityError, of_machine

# modules whose public functions are works: each takes a Voice first, then what its hints say
WORKS = (
    "bot.workplace.loaded",
    "bot.quantize.works",
    "bot.evaluate.costing.trying",
    "bot.measures.opening",
    "bot.behaviour.sitting",
    "bot.benchmarks.benchmark_works",
)
PR_SET_DUMPABLE = 4


def main() -> None:
    """Answer calls until there are no more."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints is no answer
    confine(int(sys.argv[1]))
    listen_within()
    for module in WORKS:  # while nothing is asked yet
        import_module(module)
    for line in sys.stdin.buffer:
        answer(json.loads(line), answers)


def confine(memory: int) -> None:
    """No core dumps, nobody looks into this process, and no more than `memory` bytes; 0: any.

    Where the system lets it have fewer, it has those.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory and sys.platform == "linux":
        given = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = memory if given == resource.RLIM_INFINITY else min(memory, given)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def answer(call: dict[str, Any], answers: BinaryIO) -> None:
    """Do one call; the last message of its answer is its result, or its error."""
    voice = Voice(partial(_write, answers))
    try:
        result = done(work_named(call["work"]), call["arguments"], voice)
        voice.send({"result": result})
    except BotError as error:
        voice.send({"error": type(error).__name__, "text": str(error)})
    except MemoryError:
        _refuse(voice, CapacityError("it takes more memory than there is; free some"))
    except OSError as error:
        _refuse(voice, of_machine(error) or error)
    except Exception as error:  # noqa: BLE001 - the parent says it, with the file's name
        _refuse(voice, error)


def _write(answers: BinaryIO, line: bytes) -> None:
    unwritten = memoryview(line)
    while unwritten:
        unwritten = unwritten[answers.write(unwritten) :]


def _refuse(voice: Voice, error: Exception) -> None:
    text = str(error) if isinstance(error, BotError) else f"{type(error).__name__}: {error}"
    voice.send({"error": type(error).__name__, "text": text})


def work_named(name: str) -> Callable[..., Any]:
    """The function that a call names; ValueError for one that is no work."""
    module, _, function = name.partition(":")
    if module not in WORKS or function.startswith("_"):
        raise ValueError(f"{name} is no work")
    work: Callable[..., Any] = getattr(import_module(module), function)
    return work


def done(work: Callable[..., Any], arguments: dict[str, Any], voice: Voice) -> Any:
    """A work's result as JSON values; arguments are read by the hints of its parameters."""
    hints = get_type_hints(work, include_extras=True)
    names = list(signature(work).parameters)[1:]
    values = {
        name: TypeAdapter(hints[name]).validate_python(arguments[name])
        for name in names
        if name in arguments
    }
    return TypeAdapter(hints["return"]).dump_python(work(voice, **values), mode="json")
