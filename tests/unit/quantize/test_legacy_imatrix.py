"""The `.dat` form: what llama.cpp wrote, and whatever a stranger may have put there instead."""

import struct
from pathlib import Path

import numpy as np
import pytest

from bot.errors import SourceError
from bot.quantize import imatrix
from bot.quantize.legacy_imatrix import read_legacy


def entry(name: bytes, calls: int, values: list[float]) -> bytes:
    head = struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(values))
    return head + struct.pack(f"<{len(values)}f", *values)


DENSE = entry(b"blk.0.attn_q.weight", 4, [4.0, 8.0])
EXPERTS = entry(b"blk.0.ffn_up_exps.weight", 2, [2.0, 6.0, 2.0, 2.0])
END = struct.pack("<ii", 9, 8) + b"chat.txt"
WHOLE = struct.pack("<i", 2) + DENSE + EXPERTS + END


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "imatrix.dat"


def test_values_calls_chunks_and_dataset(path: Path) -> None:
    path.write_bytes(WHOLE)
    matrix = imatrix.read_matrix(path)
    assert (matrix.chunks, matrix.datasets) == (9, ("chat.txt",))
    weights = matrix.weights()  # load_imatrix of tools/quantize/quantize.cpp: value / calls
    assert weights["blk.0.attn_q.weight"].tolist() == [1.0, 2.0]
    assert weights["blk.0.ffn_up_exps.weight"].tolist() == [1.0, 3.0, 1.0, 1.0]
    assert matrix.unreached() == ()
    assert matrix.coverage() == ()  # the form cannot tell


@pytest.mark.parametrize("end", [b"", struct.pack("<i", 9), struct.pack("<ii", 9, 0)])
def test_the_end_may_be_missing(path: Path, end: bytes) -> None:
    path.write_bytes(struct.pack("<i", 1) + DENSE + end)
    assert imatrix.read_matrix(path).datasets == ()


def test_of_a_path_on_somebodys_machine_only_the_end_is_kept(path: Path) -> None:
    for name in (b"/home/me/chat.txt", b"C:\\me\\chat.txt", b"../me/chat.txt"):
        path.write_bytes(struct.pack("<i", 1) + DENSE + struct.pack("<ii", 9, len(name)) + name)
        assert imatrix.read_matrix(path).datasets == ("chat.txt",)


DAMAGED = {
    "empty": b"",
    "no entries": struct.pack("<i", 0),
    "negative entries": struct.pack("<i", -1) + DENSE,
    "many entries": struct.pack("<i", 2**31 - 1) + DENSE,
    "cut": WHOLE[: len(WHOLE) // 2],
    "one byte short": WHOLE[:-1],
    "one byte more": WHOLE + b"\0",
    "twice the same": struct.pack("<i", 2) + DENSE + DENSE,
    "no name": struct.pack("<i", 1) + entry(b"", 1, [1.0]),
    "a name of control characters": struct.pack("<i", 1) + entry(b"a\nb", 1, [1.0]),
    "a name that is no text": struct.pack("<i", 1) + entry(b"\xff\xfe", 1, [1.0]),
    "no calls": struct.pack("<i", 1) + entry(b"x", 0, [1.0]),
    "no values": struct.pack("<i", 1) + entry(b"x", 1, []),
    "more values than bytes": struct.pack("<ii", 1, 1) + b"x" + struct.pack("<ii", 1, 2**31 - 1),
    "not a number": struct.pack("<i", 1) + entry(b"x", 1, [float("nan")]),
    "infinite": struct.pack("<i", 1) + entry(b"x", 1, [float("inf")]),
    "negative": struct.pack("<i", 1) + entry(b"x", 1, [-1.0]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused(path: Path, name: str) -> None:
    path.write_bytes(DAMAGED[name])
    with pytest.raises(SourceError):
        imatrix.read_matrix(path)


@pytest.mark.road
def test_any_bytes_are_read_or_refused(path: Path) -> None:
    """Thousands of files that differ from a good one in a few bytes, lengths or their end."""
    chance = np.random.default_rng(4)
    read = 0
    for _ in range(3000):
        data = bytearray(WHOLE)
        for _ in range(chance.integers(1, 5)):
            data[chance.integers(len(data))] = int(chance.choice((0, 1, 127, 128, 255)))
        path.write_bytes(
            data[: len(data) if chance.random() < 0.5 else int(chance.integers(len(data)))]
        )
        try:
            legacy = read_legacy(path)
        except SourceError:
            continue
        read += 1
        assert sum(4 * e.values.size for e in legacy.entries) < len(data)
        assert all(e.values.dtype == np.float32 and e.calls > 0 for e in legacy.entries)
    assert 0 < read < 3000
