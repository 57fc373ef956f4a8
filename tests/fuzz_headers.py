"""Headers as no honest maker writes them, read in a process with little room and little time.

    python -m tests.fuzz_headers gguf SEED COUNT      or safetensors
    python -m tests.fuzz_headers large 0 0            the few that are as large as headers may be

A case is a header with hostile choices, damaged or cut on top. Reading it must give tensors or a
SourceError; anything else, a second of CPU time, or 100 MB more than the process had, ends the
process with another exit code than 0. Prints JSON: how many were read and refused.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import struct
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bot.clients.files import gguf, safetensors
from bot.clients.files.ggufheader import LARGEST, MOST_STRINGS, MOST_TENSORS, write_header
from bot.errors import SourceError
from bot.settings.sections import DEMO

ROOM = 100 << 20  # bytes
LARGE_SECONDS = 3.0  # three readers one after another, a second each
HUGE = (1 << 63, (1 << 63) - 1, (1 << 64) - 1, 1 << 62, 1 << 32, (1 << 31) - 1, 1 << 48, 10**6)
DAMAGES = 4  # at most
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

Case = tuple[bytes, bool]  # the file, and whether only a refusal is right


# ── GGUF ────────────────────────────────────────────────────────────────────────────────────


class GgufMaker:
    """Small files, whole or with one hostile choice."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.hostile = False
        with (DEMO / "tiny-moe-Q8_0.gguf").open("rb") as file:
            self.real = file.read(200_000)

    def case(self) -> Case:
        dice = self.dice
        self.hostile = False
        made = self.real if dice.random() < 0.2 else self._made()
        if made is self.real or dice.random() < 0.4:
            return damaged(dice, made), False
        return made, self.hostile

    def _made(self) -> bytes:
        dice = self.dice
        choice = dice.choice(
            ["", "", "count", "length", "array", "offset", "shape", "type", "twice"]
        )
        keys = [self._key(f"k.{n}") for n in range(dice.randint(0, 12))]
        tensors = [self._tensor(n) for n in range(dice.randint(1, 12))]
        self.hostile = bool(choice)
        if choice == "length":
            keys.append(struct.pack("<Q", dice.choice(HUGE)) + b"k" * dice.randint(0, 40))
        elif choice == "array":
            keys.append(_text("deep") + struct.pack("<I", 9) + self._deep(dice.randint(1, 400)))
        elif choice == "twice":
            keys += [_text("again") + struct.pack("<IB", 0, 1)] * 2
        elif choice == "shape":
            number = dice.randrange(len(tensors))
            name, _, kind, size = tensors[number]
            tensors[number] = name, [dice.choice(HUGE[1:4]) & (2**63 - 1)] * 4, kind, size
        elif choice == "type":
            name, shape, _, size = tensors[0]
            tensors[0] = name, shape, dice.choice([4, 5, 99, 1 << 31]), size
        head = bytearray(write_header(keys, tensors, 32))
        if choice == "count":
            struct.pack_into("<Q", head, dice.choice([8, 16]), dice.choice(HUGE))
        elif choice == "offset":
            last = tensors[-1][0].encode()
            at = head.rindex(last) + len(last) + 4 + 8 * len(tensors[-1][1]) + 4
            (old,) = struct.unpack_from("<Q", head, at)
            wrong = [n for n in (*HUGE, 0, old + 1, old - 32, old + 32) if 0 <= n != old]
            struct.pack_into("<Q", head, at, dice.choice(wrong))
        data = sum(-(-size // 32) * 32 for *_, size in tensors)
        return bytes(head) + bytes(min(data, 1 << 16))

    def _key(self, name: str) -> bytes:
        dice = self.dice
        kind = dice.choice([*SIZES, 8, 9])
        if kind == 8:
            return _text(name) + struct.pack("<I", 8) + _text("v" * dice.randint(0, 50))
        if kind == 9:
            inner, count = dice.choice([4, 6, 8]), dice.randint(0, 9)
            value = _text("x") * count if inner == 8 else bytes(4 * count)
            return _text(name) + struct.pack("<IIQ", 9, inner, count) + value
        return _text(name) + struct.pack("<I", kind) + dice.randbytes(SIZES[kind])

    def _tensor(self, number: int) -> tuple[str, list[int], int, int]:
        shape = [self.dice.choice([32, 64]), *[self.dice.randint(2, 4)] * self.dice.randint(0, 3)]
        count = 1
        for length in shape:
            count *= length
        kind, size = self.dice.choice([(0, count * 4), (1, count * 2), (8, count // 32 * 34)])
        return f"t.{number}", shape, kind, size

    def _deep(self, depth: int) -> bytes:
        return struct.pack("<IQ", 9, 1) * depth + struct.pack("<IQ", 4, 0)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def read_gguf(path: Path) -> None:
    """Everything that the bot reads of a stranger's GGUF file."""
    readers: tuple[Callable[[Path], object], ...] = (
        gguf.read_gguf,
        gguf.raw_headers,
        gguf.read_arrays,
    )
    refused: dict[object, SourceError] = {}
    for read in readers:
        try:
            read(path)
        except SourceError as error:
            refused[read] = error.with_traceback(None)  # its frames hold what was read
    if gguf.read_gguf in refused:  # the strictest
        raise refused[gguf.read_gguf]


# ── safetensors ─────────────────────────────────────────────────────────────────────────────


class SafetensorsMaker:
    """Small files, whole or with one hostile choice."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def case(self) -> Case:
        dice = self.dice
        made, hostile = self._made()
        return (damaged(dice, made), False) if dice.random() < 0.4 else (made, hostile)

    def _made(self) -> Case:
        dice = self.dice
        choice = dice.choice(
            [
                "",
                "",
                "length",
                "overlap",
                "outside",
                "shape",
                "number",
                "deep",
                "twice",
                "type",
                "junk",
            ]
        )
        entries: dict[str, Any] = {"__metadata__": {"format": "pt"}} if dice.random() < 0.5 else {}
        end = 0
        for number in range(dice.randint(1, 12)):
            shape = [dice.randint(0, 9) for _ in range(dice.randint(0, 4))]
            count = 1
            for side in shape:
                count *= side
            entries[f"t.{number}"] = _entry("BF16", shape, end, end + 2 * count)
            end += 2 * count
        self._spoil(entries, choice, end)
        text = json.dumps(entries)
        if choice == "twice":
            text = text[:-1] + ', "again": 1, "again": 2}'
        if choice == "deep":
            text = '{"t": ' + "[" * dice.choice([50, 5000, 100_000]) + "}"
        data = text.encode()
        size = dice.choice([*HUGE, len(data) + 4096, 0, 1]) if choice == "length" else len(data)
        return struct.pack("<Q", size) + data + bytes(end), bool(choice)

    def _spoil(self, entries: dict[str, Any], choice: str, end: int) -> None:
        dice = self.dice
        wrong: dict[str, Any] = {
            "overlap": _entry("BF16", [2], 0, 4) | {"again": 0},
            "outside": _entry("U8", [1], end + 8, end + 9),
            "shape": _entry("BF16", [dice.choice(HUGE), dice.choice(HUGE)], 0, 4),
            "number": _entry("BF16", [1], dice.choice([-2, 0.5, True, None, "0", 10**400]), 2),
            "type": _entry(dice.choice(["", "BF17", "x" * 5000]), [1], end, end + 2),
            "junk": dice.choice([None, 1, [], {}, "x", {"dtype": "U8"}, [[[[]]]]]),
        }
        if choice == "overlap":
            entries.update({name: _entry("U8", [4], 0, 4) for name in ("one", "other")})
        elif choice in wrong:
            entries["wrong"] = wrong[choice]


def _entry(dtype: str, shape: list[int], start: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def read_safetensors(path: Path) -> None:
    """As the headers of a repository's files are read, with ranges."""
    data = path.read_bytes()
    safetensors.read_safetensors(lambda _path, start, stop: data[start:stop], path.name, len(data))


# ── as large as may be ──────────────────────────────────────────────────────────────────────


def large_cases() -> Iterator[tuple[str, str, bytes]]:
    """Kind, name and content of files that are small parts, as many as fit."""
    start, size = b"GGUF" + struct.pack("<I", 3), LARGEST - 4096

    def array(inner: int, count: int) -> bytes:
        return start + struct.pack("<qq", 0, 1) + _text("a") + struct.pack("<IIQ", 9, inner, count)

    yield "gguf", "empty strings", array(8, size // 8) + bytes(size)
    yield "gguf", "short strings", array(8, MOST_STRINGS - 1) + _text("ab") * (MOST_STRINGS - 1)
    yield "gguf", "numbers", array(0, size) + bytes(size)
    one = 32
    tensors = [(f"{n:05}" + "x" * 600, (one,), 0, 4 * one) for n in range(MOST_TENSORS)]
    yield "gguf", "tensors", write_header([], tensors, 32)
    keys = [_text(f"{n:04}") + struct.pack("<I", 8) + _text("v" * 4_000) for n in range(9_999)]
    yield "gguf", "keys", write_header(keys, [], 32)
    room = safetensors.LONGEST - 64
    empty = b'"dtype":"U8","shape":[0],"data_offsets":[0,0]'
    entries = b",".join(b'"t%07d":{%s}' % (n, empty) for n in range(room // 60))
    most = entries[: 57 * safetensors.MOST_TENSORS].rpartition(b"},")[0] + b"}"
    for name, text in {
        "entries": b"{" + entries + b"}",
        "fewer entries": b"{" + most + b"}",
        "numbers": b'{"t":{"dtype":"U8","shape":[' + b"1234567890," * (room // 12) + b"1]}}",
        "objects": b'{"t":[' + b"{}," * (room // 4) + b"1]}",
        "letters": b'{"' + "🙂".encode() + b"x" * room + b'":1}',
        "digits": b'{"t":' + b"9" * room + b"}",
        "depth": b'{"t":' + b"[" * (room - 9),
    }.items():
        yield "safetensors", name, struct.pack("<Q", len(text)) + text


def main_large() -> Counter[str]:
    """Time of each alone, then its memory: counting that takes time of its own."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for kind, name, data in large_cases():
            path = Path(folder) / "case"
            read = read_gguf if kind == "gguf" else read_safetensors
            found[read_once(read, path, data, LARGE_SECONDS)] += 1
            tracemalloc.start()
            read_once(read, path, data, 0)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            if peak > ROOM:
                raise AssertionError(f"{kind} of {name} took {peak >> 20} MB")
    return found


# ── both ────────────────────────────────────────────────────────────────────────────────────


def damaged(dice: random.Random, data: bytes) -> bytes:
    """Bytes changed, numbers made huge, parts cut out, doubled or missing at the end."""
    made = bytearray(data)
    for _ in range(dice.randint(1, DAMAGES)):
        if len(made) < 16:
            break
        at = dice.randrange(min(len(made) - 8, dice.choice([64, 4_000, len(made)])))
        match dice.randrange(5):
            case 0:
                made[at] = dice.randrange(256)
            case 1:
                struct.pack_into("<Q", made, at, dice.choice(HUGE))
            case 2:
                del made[at : at + dice.randint(1, 64)]
            case 3:
                made[at:at] = made[at : at + dice.randint(1, 64)]
            case _:
                del made[at + 8 :]
    return bytes(made)


def cases(kind: str, seed: int, count: int) -> Iterator[Case]:
    """Seeded: the same arguments give the same cases."""
    dice = random.Random(seed)  # noqa: S311 - damage, not secrets
    maker = GgufMaker(dice) if kind == "gguf" else SafetensorsMaker(dice)
    for _ in range(count):
        yield maker.case()


def main(kind: str, seed: int, count: int) -> Counter[str]:
    """Read all cases; raises for the first with an outcome that must not be."""
    read = read_gguf if kind == "gguf" else read_safetensors
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case"
        read_once(read, path, next(cases(kind, 0, 1))[0])  # imports are no case's own
        limit_memory()
        for number, (data, hostile) in enumerate(cases(kind, seed, count)):
            outcome = read_once(read, path, data)
            if hostile and outcome == "read":
                raise AssertionError(f"case {number} of seed {seed} was read: {data[:200]!r}")
            found[outcome] += 1
    return found


def read_once(read: Callable[[Path], None], path: Path, data: bytes, seconds: float = 1.0) -> str:
    """`read` or `refused`. More CPU time than `seconds` kills the process (SIGPROF)."""
    path.write_bytes(data)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        read(path)
    except SourceError as error:
        if isinstance(error.__cause__, MemoryError):
            raise AssertionError("it took too much memory") from error
        return "refused"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "read"


def limit_memory() -> None:
    """From now on this process gets no more than `ROOM` beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    kind, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    outcome = main_large() if kind == "large" else main(kind, seed, count)
    print(json.dumps(outcome))  # noqa: T201 - a program of its own
