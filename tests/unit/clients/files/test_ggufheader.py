import random
import struct
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest

from bot.clients.files import ggufheader
from bot.errors import SourceError
from bot.settings.sections import DEMO

MODEL = DEMO / "tiny-moe-Q8_0.gguf"


def test_a_header_comes_back_byte_for_byte() -> None:
    header = ggufheader.read_header(MODEL)
    ends = sorted([t.offset for t in header.tensors] + [MODEL.stat().st_size - header.data_offset])
    sizes = {offset: after - offset for offset, after in pairwise(ends)}
    entries = [(t.name, t.shape, t.type, sizes[t.offset]) for t in header.tensors]
    written = ggufheader.write_header(header.keys.values(), entries, ggufheader.ALIGNMENT)
    assert written == MODEL.read_bytes()[: header.data_offset]


def test_keys_are_what_gguf_reads(tmp_path: Path) -> None:
    import gguf  # noqa: TID251 - the other opinion

    path = tmp_path / "made.gguf"
    keys = [
        ggufheader.text_value("general.architecture", "llama"),
        ggufheader.u32("llama.block_count", 3),
    ]
    path.write_bytes(ggufheader.write_header(keys, [("a", (4, 2, 1), 0, 32)], 32) + bytes(32))
    read = gguf.GGUFReader(path)
    assert read.fields["llama.block_count"].contents() == 3
    assert [(t.name, list(t.shape)) for t in read.tensors] == [("a", [4, 2])]


def crafted(*, tensors: int = 0, keys: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<Iqq", 3, tensors, keys) + rest


HUGE = struct.pack("<Q", 1 << 63)
BAD = {
    "empty": b"",
    "other magic": b"GGML" + bytes(60),
    "version 1": b"GGUF" + struct.pack("<I", 1) + bytes(60),
    "cut in the counts": b"GGUF\x03\0\0\0\1",
    "many tensors": crafted(tensors=1 << 62),
    "negative keys": crafted(keys=-1),
    "key of 2^63 bytes": crafted(keys=1, rest=HUGE),
    "string of 2^63 bytes": crafted(keys=1, rest=b"\1" + bytes(7) + b"k\x08\0\0\0" + HUGE),
    "array of 2^63 numbers": crafted(
        keys=1, rest=b"\1" + bytes(7) + b"k\x09\0\0\0\x04\0\0\0" + HUGE
    ),
    "array of 2^63 strings": crafted(
        keys=1, rest=b"\1" + bytes(7) + b"k\x09\0\0\0\x08\0\0\0" + HUGE
    ),
    "array of arrays": crafted(keys=1, rest=b"\1" + bytes(7) + b"k\x09\0\0\0\x09\0\0\0" + bytes(8)),
    "unknown type": crafted(keys=1, rest=b"\1" + bytes(7) + b"k\xff\0\0\0"),
    "name that is not text": crafted(keys=1, rest=b"\1" + bytes(7) + b"\xff\x04\0\0\0" + bytes(4)),
    "nine dimensions": crafted(tensors=1, rest=b"\1" + bytes(7) + b"t\x09\0\0\0" + bytes(100)),
}


@pytest.mark.parametrize("case", BAD)
def test_crafted_headers_are_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "crafted.gguf"
    path.write_bytes(BAD[case])
    with pytest.raises(SourceError) as refused:
        ggufheader.read_header(path)
    assert "\n" not in str(refused.value)


def test_damaged_headers_are_refused_or_read_quickly(tmp_path: Path) -> None:
    """Seeded damage: never another error, never slow, never much memory."""
    content = MODEL.read_bytes()[:200_000]
    chance = random.Random(5)  # noqa: S311 - damage, not secrets
    path = tmp_path / "damaged.gguf"
    tracemalloc.start()
    slowest = 0.0
    refused = 0
    for _ in range(500):
        data = bytearray(content)
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(min(len(data), chance.choice([64, 4000, len(data)])))
            data[at] = chance.randrange(256)
        path.write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        start = time.process_time()
        try:
            ggufheader.read_header(path)
        except SourceError:
            refused += 1
        slowest = max(slowest, time.process_time() - start)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused > 100
    assert peak < 100e6
    assert slowest < 5


def test_values_are_integers_and_texts(tmp_path: Path) -> None:
    keys = [
        ggufheader.text_value("general.architecture", "llama"),
        ggufheader.u16("split.no", 3),
        ggufheader.i32("split.tensors.count", -7),
        ggufheader.u32("llama.block_count", 1 << 31),
    ]
    path = tmp_path / "made.gguf"
    path.write_bytes(ggufheader.write_header(keys, [("a", (4,), 0, 32)], 32) + bytes(32))
    assert ggufheader.values(ggufheader.read_header(path).keys) == {
        "general.architecture": "llama",
        "split.no": 3,
        "split.tensors.count": -7,
        "llama.block_count": 1 << 31,
    }
    metadata = ggufheader.values(ggufheader.read_header(MODEL).keys)
    assert metadata["general.architecture"] == "qwen35moe"
    assert "tokenizer.ggml.tokens" not in metadata


def test_a_text_that_is_none_and_doubled_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.gguf"
    bad = ggufheader.text_value("general.name", "x").replace(b"x", b"\xff")
    path.write_bytes(ggufheader.write_header([bad], [], 32))
    with pytest.raises(SourceError, match=r"'general\.name' holds no text"):
        ggufheader.values(ggufheader.read_header(path).keys)
    twice = [ggufheader.u32("a.b", 1), ggufheader.u32("a.b", 2)]
    path.write_bytes(ggufheader.write_header(twice, [], 32))
    with pytest.raises(SourceError, match=r"'a\.b' twice"):
        ggufheader.read_header(path)
    path.write_bytes(ggufheader.write_header([], [("t", (4,), 0, 32)] * 2, 32))
    with pytest.raises(SourceError, match="two tensors of one name"):
        ggufheader.read_header(path)
