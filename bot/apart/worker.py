"""The parent's side: works that open strangers' files are done in a child with nothing to steal.

llama.cpp ends its process where a number of a file is not what it takes for granted, and what else
a crafted file makes of it nobody knows. So a file is opened in a child (served.py) in the best
isolation there is, without token or network, which sees the files of its calls alone. It stays for
the next call: starting costs as much as a short measure. One that may write is never used again.
What it answers is read as a stranger's: bounded lines of JSON, in the shape that was asked for.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from bot import errors
from bot.apart import errand, sandbox
from bot.apart.far.relay import Relay, relay_of
from bot.apart.sandbox import IsolationSetting
from bot.apart.voice import Voice
from bot.clients import rpc_servers
from bot.clock import span
from bot.errors import BotError, BuildError, CapacityError, UnreachableError
from bot.foreign import printable
from bot.legible import legible

P = ParamSpec("P")
R = TypeVar("R")
Report = Callable[[int, int], None]

SCRIPT = "import sys; sys.path += sys.argv[2:]; from bot.apart import served; served.main()"
# what of our environment is llama.cpp's, its threads' and its devices'; all else stays here
KEPT = re.compile(
    r"(CUDA|NVIDIA|HIP|ROCR|HSA|GPU|GGML|LLAMA|OMP|GOMP|KMP|OPENBLAS|VK|MESA|ONEAPI|SYCL)_\w+"
    r"|(DY)?LD_LIBRARY_PATH|LANG|LC_ALL"
)
# where devices that compute are found: a cell shows them, too
DEVICES = ("nvidia*", "dri", "kfd", "dxg")
LINE = 1 << 20  # bytes of an answer at most, unless a call allows more
LAST_WORDS = 1 << 14  # bytes of a child's stderr that are kept
VIEW = 64  # files and folders that one child sees at most
MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # bytes of memory
SLACK = 1 << 30  # bytes of memory that are room for stacks: asked for, hardly used
_EVERY, LOOK_EVERY = 0.2, 1.0  # seconds between looks at the clock, and at memory
_TELLING = re.compile(r"GGML_ASSERT|what\(\):|terminate called|\berror\b|abort", re.IGNORECASE)
_PLACE = re.compile(r"\A(?:\S{0,300}/)?(?=[\w.-]{1,80}:\d)")  # the folder of a line of source
_LOST = re.compile(  # ggml-rpc.cpp, which ends its process there
    r"Remote RPC server crashed|Failed to connect to \d|RPC (handshake|transport)"
)
_SHORT = re.compile(r"bad_alloc|out of memory|cannot allocate", re.IGNORECASE)
# errors that a child may name; what it raises else becomes a BuildError
_KINDS = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BotError)
}


@dataclass(frozen=True, kw_only=True)
class ChildTerms:
    """What children may reach and use, by settings."""

    isolation: IsolationSetting = "best"
    silence: float = 7200.0  # seconds without a step forward, then it is ended
    memory: int | None = None  # bytes of its own; mapped files do not count


def _nobody(_done: int, _total: int) -> None:
    """Nobody looks."""


def _unasked(_found: Any) -> None:
    raise ValueError("nothing of the kind was asked for")


@dataclass(frozen=True, kw_only=True)
class Room:
    """What one call gets to see, and who hears of it."""

    about: Path  # the file that an error names
    terms: ChildTerms = field(default_factory=ChildTerms)
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()  # folders that are there
    report: Report = _nobody
    hear: Callable[[Any], None] = _unasked  # parts of the answer; raises ValueError
    line: int = LINE


def away(work: Callable[Concatenate[Voice, P], R], room: Room) -> Callable[P, R]:
    """`work` as a function that a child does; arguments and result go as JSON, by its hints.

    It raises what the work raises of ours, BuildError where the child crashes, falls silent or
    answers what was not asked, CapacityError past its memory. All name the file.
    """

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        answer = _ask(_request(work, args, kwargs), room)
        kind = get_type_hints(work, include_extras=True)["return"]
        result: R = _shaped(kind, answer, room)
        return result

    return call


def _request(work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    hints = get_type_hints(work, include_extras=True)
    bound = signature(work).bind(None, *args, **kwargs).arguments
    arguments = {
        name: TypeAdapter(hints[name]).dump_python(value, mode="json")
        for name, value in list(bound.items())[1:]
    }
    name = f"{work.__module__}:{work.__qualname__}"
    return json.dumps({"work": name, "arguments": arguments}).encode() + b"\n"


def _shaped(kind: Any, answer: Any, room: Room) -> Any:
    try:
        return TypeAdapter(kind).validate_json(json.dumps(answer), strict=True)
    except (ValidationError, ValueError) as error:
        raise _strange(room) from error


def _strange(room: Room) -> BuildError:
    return BuildError(
        f"what looks at {room.about.name} answered what was not asked: the file may be made to "
        "do harm; do not use it"
    )


# ── which child does a call ─────────────────────────────────────────────────────────────────


IDLE: list[_Child] = []
_LOCK = threading.Lock()


def _ask(request: bytes, room: Room) -> Any:
    with _borrowed(room) as child:
        return child.ask(request, room)


@contextmanager
def _borrowed(room: Room) -> Iterator[_Child]:
    """A child that sees what the call needs; it is idle again afterwards, unless it failed."""
    child = _taken(room)
    try:
        yield child
    except BaseException:
        child.close()
        raise
    if room.writes or not child.sound:
        child.close()
    else:
        with _LOCK:
            IDLE.append(child)


def _taken(room: Room) -> _Child:
    """An idle child; where none sees enough, one in their place that sees more."""
    level = sandbox.chosen_isolation(room.terms.isolation)
    if room.writes:
        return _start(room, level, room.reads)
    with _LOCK:
        fits = next((child for child in IDLE if child.serves(room, level)), None)
        idle = [] if fits else [*IDLE]
        IDLE[:] = [child for child in IDLE if child not in (fits, *idle)]
    if fits is not None:
        return fits
    readable = [path for child in idle for path in child.reads if path.exists()]
    for child in idle:
        child.close()
    return _start(room, level, tuple(dict.fromkeys((*room.reads, *readable)))[:VIEW])


def _start(room: Room, level: sandbox.Isolation, reads: tuple[Path, ...]) -> _Child:
    # a child ends with the thread that started it (tether.py): one that stays starts them all
    return _starter().submit(_Child, room, level, reads).result()


@cache
def _starter() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "children")


@atexit.register
def close_all() -> None:
    """End the children that wait for another call."""
    with _LOCK:
        idle, IDLE[:] = IDLE[:], []
    for child in idle:
        child.close()


def _environment(home: Path, relay: Relay | None) -> dict[str, str]:
    """All that a child gets to see: no token, no address; no debugger where llama.cpp crashes."""
    inherited = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    own = {"PATH": str(Path(sys.executable).parent), "HOME": str(home), "TMPDIR": str(home)}
    far = relay.environment if relay else {rpc_servers.REACHED: ",".join(rpc_servers.named())}
    return {**inherited, **own, **far, "GGML_NO_BACKTRACE": "1"}


def _system() -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """What llama.cpp needs of a system beside programs, to read and to write: its devices."""
    dev = Path("/dev")
    devices = tuple(path for name in DEVICES for path in sorted(dev.glob(name)))
    named = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    libraries = [Path(name) for name in named if name.startswith("/") and Path(name).is_dir()]
    away_ = [path for path in libraries if not path.is_relative_to("/usr")]
    return (*away_, *((Path("/sys"),) if devices else ())), devices


def _mark(path: Path) -> tuple[int, int] | None:
    """What stands at a path: a mount shows what was there when it was made."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class _Child:
    """One process, and the line to it."""

    def __init__(self, room: Room, level: sandbox.Isolation, reads: tuple[Path, ...]) -> None:
        self.level, self.reads = level, reads
        self._marks = {path: _mark(path) for path in reads}
        self._folder = tempfile.TemporaryDirectory(prefix="apex-bot-")
        home = Path(self._folder.name).resolve()
        libraries, devices = _system()
        relay = relay_of(rpc_servers.named()) if rpc_servers.named() and level != "none" else None
        # drivers of devices reserve what they never use
        bound = "0" if devices else str(MACHINE + SLACK)
        places = map(str, errand.libraries())
        words = (sys.executable, "-I", "-X", "utf8", "-c", SCRIPT, bound, *places)
        far = [relay.folder] if relay else []
        readable = (*errand.programs(), *libraries, *far, *reads)
        self._process = subprocess.Popen(
            sandbox.enclosed(
                *(words, home, readable, (*devices, *room.writes), level),
                loopback=relay is not None,
            ),
            cwd=home,
            env=_environment(home, relay),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        for stream in self._streams:
            os.set_blocking(stream.fileno(), False)
        self._last = b""  # bytes of its stderr

    @property
    def _streams(self) -> tuple[Any, Any, Any]:
        return self._process.stdin, self._process.stdout, self._process.stderr

    @property
    def sound(self) -> bool:
        """Whether it still waits for calls."""
        return self._process.poll() is None

    def serves(self, room: Room, level: sandbox.Isolation) -> bool:
        """Whether it can do a call: it sees what is there now, from the same isolation."""
        same = self.sound and self.level == level
        if level != "cell" or not same:
            return same
        return all(self._marks.get(path, ()) == _mark(path) for path in room.reads)

    def close(self) -> None:
        """End it and all that it started."""
        sandbox.end_process(self._process)
        for stream in self._streams:
            with suppress(OSError):
                stream.close()
        with suppress(OSError):
            self._folder.cleanup()

    def ask(self, request: bytes, room: Room) -> Any:
        """The result of a call."""
        self._last = b""
        answers = _Answers(room)
        for data in self._talk(request, room, answers):
            for line in answers.lines(data):
                if (result := answers.read(line)) is not None:
                    return result[0]
        raise self._crash(room)

    def _talk(self, request: bytes, room: Room, answers: _Answers) -> Iterator[bytes]:
        """Write the request; what comes on its stdout, in pieces, until that ends."""
        stdin, stdout, stderr = self._streams
        unsent, looked = memoryview(request), time.monotonic()
        with selectors.DefaultSelector() as lines:
            lines.register(stdin, selectors.EVENT_WRITE)
            lines.register(stdout, selectors.EVENT_READ)
            lines.register(stderr, selectors.EVENT_READ)
            while True:
                for key, _ in lines.select(_EVERY):
                    if key.fileobj is stdin:
                        unsent = self._hand(unsent, lines)
                    elif not (data := os.read(key.fd, 1 << 16)):
                        lines.unregister(key.fileobj)
                        if key.fileobj is stdout:
                            return
                    elif key.fileobj is stdout:
                        yield data
                    else:
                        self._last = (self._last + data)[-LAST_WORDS:]
                if (now := time.monotonic()) - looked > LOOK_EVERY:
                    looked = now
                    self._check(room, answers, now)

    def _hand(self, unsent: memoryview, lines: selectors.BaseSelector) -> memoryview:
        try:
            unsent = unsent[os.write(self._streams[0].fileno(), unsent) :]
        except BlockingIOError:
            return unsent
        except BrokenPipeError:
            unsent = unsent[len(unsent) :]  # its end is told by what it answers
        if not unsent:
            lines.unregister(self._streams[0])
        return unsent

    def _check(self, room: Room, answers: _Answers, now: float) -> None:
        terms, name = room.terms, room.about.name
        if now - answers.moved > terms.silence:
            raise BuildError(
                f"llama.cpp got no further with {name} for {span(terms.silence)}; do not use the "
                "file, or raise llama.patience_hours"
            )
        if terms.memory is None:
            return
        used = sandbox.held_memory(self._process.pid)
        if used > terms.memory:
            raise CapacityError(
                f"llama.cpp took {used / 1e9:.1f} GB of memory for {name}, "
                f"{terms.memory / 1e9:.1f} GB are there; free some, or do not use the file"
            )

    def _crash(self, room: Room) -> BotError:
        """Why a child ended in the middle of a call, in its own last words."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return _strange(room)
        with suppress(BlockingIOError, ValueError):
            while data := os.read(self._streams[2].fileno(), 1 << 16):
                self._last = (self._last + data)[-LAST_WORDS:]
        reason, name = _reason(self._last.decode("utf-8", "replace")), room.about.name
        if _LOST.search(reason):
            return UnreachableError(
                f"a server of llama.rpc went away, or is none of this llama.cpp, at {name}; start "
                "it and run the same command again: it goes on"
            )
        if code == -signal.SIGKILL or _SHORT.search(reason):
            because = f": {reason}" if reason else ""
            return CapacityError(
                f"llama.cpp was ended while it worked on {name}, likely for memory{because}; "
                "free some"
            )
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return BuildError(
            f"llama.cpp crashed on {name} ({how}: {reason or 'it gave no reason'}); the file is "
            "damaged or made to do harm, or `bot doctor` says what is wrong here"
        )


def _reason(stderr_text: str) -> str:
    """The line of a crash that tells most, without a folder of the machine that compiled it."""
    lines = [" ".join(line.split()) for line in stderr_text.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)] or lines[-1:]
    return printable(_PLACE.sub("", telling[-1])) if telling else ""


class _Answers:
    """The lines of a child in a call, read as a stranger's."""

    def __init__(self, room: Room) -> None:
        self._room, self._furthest = room, -1
        self._parts: list[bytes] = []  # of a line that has not ended
        self.moved = time.monotonic()  # when it last got further

    def lines(self, data: bytes) -> list[bytes]:
        """Whole lines. Raises BuildError for one without end."""
        first, *more = data.split(b"\n")
        self._parts.append(first)
        if sum(map(len, self._parts)) > self._room.line:
            raise _strange(self._room)
        if not more:
            return []
        complete = [b"".join(self._parts), *more[:-1]]
        self._parts = [more[-1]]
        return complete

    def read(self, line: bytes) -> tuple[Any] | None:
        """The result, where a line is that. Raises the error that it tells."""
        try:
            kind, value, text = _message(line)
            if kind == "progress":
                self._progress(value)
            elif kind == "tell":
                self._room.hear(value)
                self.moved = time.monotonic()
        except (ValueError, TypeError, RecursionError) as error:
            raise _strange(self._room) from error
        if kind == "error":
            raise self._error(value, text)
        return (value,) if kind == "result" else None

    def _progress(self, value: Any) -> None:
        done, total = value
        if type(done) is not int or type(total) is not int or not 0 <= done <= total < 1 << 62:
            raise ValueError("no progress")
        if done > self._furthest:
            self._furthest, self.moved = done, time.monotonic()
        self._room.report(done, total)

    def _error(self, kind: str, text: str) -> BotError:
        name = self._room.about.name
        if kind in _KINDS:
            return _KINDS[kind](legible(text, 2000))
        return BuildError(f"the work on {name} failed: {printable(text)}; do not use the file")


def _message(line: bytes) -> tuple[str, Any, str]:
    """(kind, value, text) of a line; ValueError for anything that is no message."""
    message = json.loads(line, parse_constant=_no_number)
    if not isinstance(message, dict) or not message:
        raise ValueError("no message")
    kind, value = next(iter(message.items()))
    text = message.get("text", "")
    if kind not in ("progress", "tell", "result", "error") or not isinstance(text, str):
        raise ValueError("no message")
    if kind == "error" and not isinstance(value, str):
        raise ValueError("no error")
    return kind, value, text


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")
