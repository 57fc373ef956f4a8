"""What is wrong with a file is found and named, whatever it is."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bot.clients.files import gguf
from bot.clients.files.ggufheader import RawTensor, read_header
from bot.clients.llama.check import LENGTH, check_headers, check_rows, check_speech, find_loop
from bot.clients.llama.session import Session
from bot.errors import BotError, BuildError, SourceError
from bot.quantize.passes import onepass
from bot.quantize.passes.layout import OutputSpec
from tests.split_gguf import split


def quiet(*_: object) -> None:
    """Nobody looks."""


@pytest.fixture(scope="module")
def good(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model in a few types, among them one of each kind of scale."""
    kinds = {"gate_exps": "Q4_K", "up_exps": "IQ4_XS", "down_exps": "Q3_K", "attn_q": "Q6_K"}
    path = tmp_path_factory.mktemp("good") / "good.gguf"
    types = {
        tensor.name: next((k for part, k in kinds.items() if part in tensor.name), "Q8_0")
        for tensor in gguf.read_gguf(demo_model).tensors
        if tensor.type == "BF16"
    }
    want = OutputSpec(target=path, file_type=15, types=types, weights=None)
    onepass.quantize_all(demo_model, [want], threads=2, memory=1 << 30, progress=quiet)
    return path


def look(path: Path) -> None:
    check_rows(check_headers(path), threads=2, progress=quiet)


def tensor_of(path: Path, name: str) -> tuple[RawTensor, int]:
    """A tensor and where its data begins."""
    header = read_header(path)
    raw = next(t for t in header.tensors if t.name == name)
    return raw, header.data_offset + raw.offset


def test_whole_files_pass(good: Path, demo_model: Path, tmp_path: Path) -> None:
    for path in (good, demo_model, *split(demo_model, tmp_path / "T.gguf", 60)[:1]):
        model = check_headers(path)
        reports: list[tuple[int, int]] = []

        def tell(done: int, total: int, reports: list[tuple[int, int]] = reports) -> None:
            reports.append((done, total))

        size = check_rows(model, threads=2, progress=tell)
        assert size == sum(tensor.bytes for tensor in gguf.read_split(path).tensors)
        assert reports[-1] == (size, size)


def cut(data: bytearray, _path: Path) -> bytearray:
    return data[:-5000]


def cut_in_the_header(data: bytearray, _path: Path) -> bytearray:
    return data[:3000]


def empty(_data: bytearray, _path: Path) -> bytearray:
    return bytearray()


def longer(data: bytearray, _path: Path) -> bytearray:
    return data + b"more"


def scale(name: str, at: int, value: bytes) -> Callable[[bytearray, Path], bytearray]:
    """Bytes of a tensor's first block overwritten."""

    def damage(data: bytearray, path: Path) -> bytearray:
        _, start = tensor_of(path, name)
        data[start + at : start + at + len(value)] = value
        return data

    return damage


def entry(name: str, at: int, value: bytes) -> Callable[[bytearray, Path], bytearray]:
    """A tensor's entry in the header changed, `at` bytes after its name."""

    def damage(data: bytearray, _path: Path) -> bytearray:
        key = struct.pack("<Q", len(name)) + name.encode()
        start = data.index(key) + len(key) + at
        data[start : start + len(value)] = value
        return data

    return damage


NAN16, NAN32 = b"\x00\x7e", b"\x00\x00\xc0\x7f"
UP, GATE, DOWN, QUERY = (
    *(f"blk.2.ffn_{part}_exps.weight" for part in ("up", "gate", "down")),
    "blk.3.attn_q.weight",
)
# blocks of ggml-common.h: where each type keeps its f16 scale
DAMAGE = {
    "truncated": (cut, "bytes, not|shorter than its header"),
    "cut in the header": (cut_in_the_header, "damaged header"),
    "empty": (empty, "is empty"),
    "bytes after the end": (longer, "bytes, not"),
    "NaN scale of Q4_K": (scale(GATE, 0, NAN16), rf"{GATE} holds rows that are no valid Q4_K"),
    "NaN minimum of Q4_K": (scale(GATE, 2, NAN16), "no valid Q4_K"),
    "NaN scale of IQ4_XS": (scale(UP, 0, NAN16), rf"{UP} holds rows that are no valid IQ4_XS"),
    "NaN scale of Q3_K": (scale(DOWN, 108, NAN16), "no valid Q3_K"),
    "NaN scale of Q6_K": (scale(QUERY, 208, NAN16), "no valid Q6_K"),
    "NaN scale of Q8_0": (scale("token_embd.weight", 0, NAN16), "token_embd.weight holds rows"),
    "infinite scale": (scale(GATE, 0, b"\x00\x7c"), "no valid Q4_K"),
    "NaN in a norm": (scale("output_norm.weight", 8, NAN32), "output_norm.weight holds rows"),
    # after the name: u32 dimensions, u64 each, u32 type, u64 offset
    "offset": (entry(UP, 4 + 24 + 4, struct.pack("<Q", 32)), "lies at offset 32, not"),
    "huge offset": (entry(UP, 4 + 24 + 4, struct.pack("<Q", 1 << 62)), "lies at offset"),
    "unknown type": (entry(UP, 4 + 24, struct.pack("<I", 4711)), "type 4711, which ggml lacks"),
    "removed type": (entry(UP, 4 + 24, struct.pack("<I", 4)), "type 4, which ggml lacks"),
    "another type": (entry(UP, 4 + 24, struct.pack("<I", 0)), "lies at offset"),
    "odd row": (entry(UP, 4, struct.pack("<Q", 255)), "cannot be IQ4_XS"),
    "no row": (entry(UP, 4, struct.pack("<Q", 0)), "cannot be IQ4_XS"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_in_one_line(good: Path, tmp_path: Path, what: str) -> None:
    damage, message = DAMAGE[what]
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damage(bytearray(good.read_bytes()), good))
    assert path.read_bytes() != good.read_bytes()
    with pytest.raises(SourceError, match=message) as refused:
        look(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("first", "last", "which"), [(0, 6, " of expert 0"), (2, 3, " of expert 2")]
)
def test_tensors_that_were_rounded_to_zeros_are_found(
    good: Path, tmp_path: Path, first: int, last: int, which: str
) -> None:
    """What llama-quantize makes of sums that are all zero."""
    raw, start = tensor_of(good, UP)
    (size,) = (t.size for t in check_headers(good).tensors if t.name == UP)
    each = size // raw.shape[2]
    path = tmp_path / "zeros.gguf"
    data = bytearray(good.read_bytes())
    data[start + first * each : start + last * each] = bytes((last - first) * each)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=rf"{UP}{which} holds zeros alone"):
        look(path)


def test_two_tensors_of_one_name_are_refused(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "twice.gguf"
    path.write_bytes(good.read_bytes().replace(b"blk.1.ffn_up_exps", b"blk.0.ffn_up_exps", 1))
    with pytest.raises(SourceError, match="two tensors of one name"):
        look(path)


def test_a_damaged_shard_is_named(demo_model: Path, tmp_path: Path) -> None:
    first, second, *_ = split(demo_model, tmp_path / "T.gguf", 60)
    data = bytearray(second.read_bytes())
    data[-1000:-996] = b"\xff" * 4  # a NaN in BF16 and in F32
    second.write_bytes(data)
    with pytest.raises(SourceError, match=rf"{second.name}: .* holds rows"):
        look(first)
    second.write_bytes(data[:-64])
    with pytest.raises(SourceError, match=f"{second.name}"):
        look(first)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        look(tmp_path / "none.gguf")
    path = tmp_path / "imatrix.gguf"
    gguf.write_arrays(path, [("general.type", "imatrix")], [("a.sums", np.ones(4, np.float32))])
    with pytest.raises(SourceError, match="it is no model"):
        look(path)


def test_seeded_damage_never_ends_in_another_error(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    head = read_header(good).data_offset
    random = np.random.default_rng(3)
    path = tmp_path / "damaged.gguf"
    refused = 0
    for _ in range(60):
        data = bytearray(content)
        for at in random.integers(0, head, 3):
            data[at] = random.integers(256)
        path.write_bytes(data)
        try:
            look(path)
        except BotError:
            refused += 1
    assert refused > 5


# ── what a model writes ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def session(good: Path) -> Iterator[Session]:
    with Session(good, n_ctx=256, threads=2) as loaded:
        yield loaded


def test_a_sound_model_writes_the_same_text_each_time(session: Session) -> None:
    text = check_speech(session)
    assert len(text.split()) > 20
    assert check_speech(session) == text


def damaged_weights(good: Path, target: Path, name: str, factor: float) -> Path:
    """A copy in which an f32 tensor is multiplied."""
    data = bytearray(good.read_bytes())
    raw, start = tensor_of(good, name)
    values = np.frombuffer(data, np.float32, raw.shape[0], start)
    data[start : start + values.nbytes] = (values * np.float32(factor)).tobytes()
    target.write_bytes(data)
    return target


def test_a_model_that_predicts_nothing_is_found(good: Path, tmp_path: Path) -> None:
    path = damaged_weights(good, tmp_path / "zero.gguf", "output_norm.weight", 0)
    look(path)  # every number is valid
    with (
        Session(path, n_ctx=256, threads=2) as session,
        pytest.raises(BuildError, match="predicts nothing"),
    ):
        check_speech(session)


def test_a_model_that_goes_in_circles_is_found(good: Path, tmp_path: Path) -> None:
    """Without its attention's and experts' output each token only knows itself."""
    path = tmp_path / "circles.gguf"
    data = bytearray(good.read_bytes())
    header = read_header(good)
    for raw in header.tensors:
        if raw.name.endswith("post_attention_norm.weight") or "attn_norm" in raw.name:
            start = header.data_offset + raw.offset
            data[start : start + 4 * raw.shape[0]] = bytes(4 * raw.shape[0])
    path.write_bytes(data)
    path = damaged_weights(path, path, "output_norm.weight", 30)
    look(path)
    with (
        Session(path, n_ctx=256, threads=2) as session,
        pytest.raises(BuildError, match="without end"),
    ):
        check_speech(session)


def test_loops_are_told_from_text() -> None:
    text = list(range(LENGTH))
    assert find_loop(text) == ()
    assert find_loop([*text[:60], *[7] * 36]) == [7]
    assert find_loop([*text[:40], *[1, 2, 3] * 20]) == [1, 2, 3]
    assert find_loop([*text[:40], *[1, 2, 3] * 5]) == ()  # fifteen tokens may well repeat
    assert find_loop([*range(16)] * 4) == list(range(16))
    assert find_loop([*range(17)] * 6) == ()
    assert find_loop([7] * 10) == ()
