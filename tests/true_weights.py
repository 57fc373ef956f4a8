"""Shapes of real releases filled with weights: files that llama.cpp runs, of any size.

Weights are windows of one pool of heavy-tailed numbers, scaled so that activations stay near one:
a file of 8 GB is written in a minute, of which no more than a window is in memory. Each tensor's
depend on the seed and its name alone.
"""

from __future__ import annotations

import struct
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from math import prod, sqrt
from pathlib import Path
from zlib import crc32

import gguf  # noqa: TID251 - its own rounding to MXFP4
import numpy as np

from bot.clients.files.ggufheader import length, read_header
from bot.disk.locks import alone
from bot.tensors.sizes import padded, tensor_bytes
from tests.build_llama_tools import download
from tests.true_shapes import Shape, Size

POOL, WINDOW = 1 << 24, 1 << 20  # numbers made once; numbers of them that are scaled at a time
BLOCKS = 1 << 16  # of the pool that are rounded to MXFP4
FREEDOM = 4  # of Student's t: single weights lie far outside
UNUSED = 5  # LLAMA_TOKEN_TYPE_UNUSED
NORMS = ("norm.weight", "ln1.weight", "ln2.weight", "post_ln.weight")
TOKENS, KINDS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
# by the end of a name, before it is divided by the root of the row length; 1 for others
GAINS = {
    # a choice among tokens that is neither even nor settled: with twice as much there are tokens
    # that all but always follow themselves, and what repeats without end is not published
    "output.weight": 1.5,
    "attn_output.weight": 0.5,  # what is added to the residual stream
    "ssm_out.weight": 0.5,
    "ffn_down.weight": 0.5,
    "ffn_down_exps.weight": 0.5,
    "ffn_down_shexp.weight": 0.5,
}
# home may be hidden while a test runs
KEPT = Path.home() / ".cache" / "apex-bot-tests" / f"vocabularies-{version('llama-cpp-python')}"


def write_model(
    shape: Shape, target: Path, size: Size, *, tokenizer: Path | None = None, seed: int = 0
) -> None:
    """Write a model of a shape at a size, with the tokenizer of a GGUF file.

    Without one it is llama.cpp's own vocabulary, which is fetched once. Raises ValueError for a
    vocabulary that is smaller than the tokenizer's.
    """
    keys = [*_tokenizer(tokenizer or vocabulary(shape.tokenizer), size.vocabulary)]
    head, _ = shape.header(size, keys)
    fill(target, head, shape.typed(size), seed=seed)


def fill(
    target: Path, head: bytes, tensors: Iterable[tuple[str, tuple[int, ...], str]], *, seed: int
) -> None:
    """Write a header, and noise for its tensors: name, dimensions and type of each."""
    noise = Noise(seed)
    with target.open("wb") as file:
        file.write(head)
        for name, dimensions, kind in tensors:
            for part in noise.data(name, dimensions, kind):
                file.write(part)
            written = tensor_bytes(kind, dimensions)
            file.write(bytes(padded(written) - written))


def vocabulary(name: str) -> Path:
    """models/ggml-vocab-NAME.gguf of the source of the installed binding, kept between runs."""
    with alone(KEPT):
        if not (KEPT / ".made").exists():
            with tempfile.TemporaryDirectory() as place:
                _unpack(download(Path(place)))
            (KEPT / ".made").touch()
    return KEPT / f"ggml-vocab-{name}.gguf"


def _unpack(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            path = Path(member.name)
            if path.match("vendor/llama.cpp/models/ggml-vocab-*.gguf"):
                member.name = path.name
                tar.extract(member, KEPT, filter="data")


def _tokenizer(path: Path, count: int) -> Iterator[bytes]:
    """A file's tokenizer, with tokens nobody uses up to `count`."""
    keys = read_header(path).keys
    have = length(TOKENS, keys[TOKENS])
    if have > count:
        raise ValueError(f"the tokenizer has {have:,} tokens, more than {count:,}")
    more = [f"[PAD{number}]".encode() for number in range(have, count)]
    for key, raw in keys.items():
        if key == TOKENS:
            texts = b"".join(struct.pack("<Q", len(text)) + text for text in more)
            yield _longer(key, raw, count, texts)
        elif key == KINDS:
            yield _longer(key, raw, count, struct.pack("<i", UNUSED) * len(more))
        elif key.startswith("tokenizer."):
            yield raw


def _values_at(key: str) -> int:
    """Where the values of an array begin: behind its key, type, inner type and count."""
    return 8 + len(key.encode()) + 4 + 4 + 8


def _longer(key: str, raw: bytes, count: int, more: bytes) -> bytes:
    at = _values_at(key)
    return raw[: at - 8] + struct.pack("<Q", count) + raw[at:] + more


class Noise:
    """Heavy-tailed numbers of variance one, made once; weights are windows of them."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self._seed = seed
        self._pool = np.empty(POOL, np.float32)
        for at in range(0, POOL, WINDOW):
            self._pool[at : at + WINDOW] = random.standard_t(FREEDOM, WINDOW)
        self._pool *= np.float32((1 - 2 / FREEDOM) ** 0.5)
        # signs of their own: two windows are hardly ever alike
        self._signs = random.integers(0, 2, POOL, np.uint16) << 15
        self._blocks: np.ndarray | None = None

    def data(self, name: str, shape: tuple[int, ...], kind: str) -> Iterator[bytes]:
        """A tensor's bytes, a window at a time."""
        random = np.random.default_rng([self._seed, crc32(name.encode())])
        if kind == "F32":
            yield self._plain(random, name, shape).astype("<f4").tobytes()
            return
        slices = shape[2] if len(shape) > 2 else 1
        # experts are of different norms
        norms = np.exp(0.3 * random.standard_normal(slices)) if "_exps" in name else np.ones(slices)
        for scale in norms * _scale(name, shape):
            if kind == "MXFP4":
                yield from self._mxfp4(random, float(scale), shape[0] * shape[1] // 32)
            else:
                yield from self._bf16(random, float(scale), prod(shape[:2]))

    def _bf16(self, random: np.random.Generator, scale: float, count: int) -> Iterator[bytes]:
        for at in range(0, count, WINDOW):
            some = min(WINDOW, count - at)
            bits = self._some(random, some, scale).view(np.uint32)
            rounded = ((bits + np.uint32(0x8000)) >> np.uint32(16)).astype("<u2")
            yield (rounded ^ self._turned(random, some)).tobytes()

    def _mxfp4(self, random: np.random.Generator, scale: float, count: int) -> Iterator[bytes]:
        """Windows of whole blocks, scaled by powers of two: their first byte is an exponent."""
        if self._blocks is None:
            numbers = self._pool[: BLOCKS * 32].reshape(-1, 32)
            packed = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType.MXFP4)
            self._blocks = packed.reshape(BLOCKS, 17)
        power = np.uint8(round(np.log2(scale)) % 256)
        for at in range(0, count, BLOCKS // 2):
            some = min(BLOCKS // 2, count - at)
            start = random.integers(BLOCKS - some)
            window = self._blocks[start : start + some].copy()
            window[:, 0] += power
            window[:, 1:] ^= self._turned(random, some * 8).view(np.uint8).reshape(some, 16)
            yield window.tobytes()

    def _turned(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Which signs are turned round: the highest bit of each of `count` numbers of 16 bits."""
        start = random.integers(POOL - count)
        return self._signs[start : start + count]

    def _some(self, random: np.random.Generator, count: int, scale: float) -> np.ndarray:
        start = random.integers(POOL - count)
        return self._pool[start : start + count] * np.float32(scale)

    def _plain(self, random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """What stays in 32 bits: norms, biases, routers, the clocks of linear attention."""
        count = prod(shape)
        if name.endswith(NORMS):
            return np.exp(0.3 * random.standard_normal(count))  # channels of different weight
        if name.endswith("ssm_a"):
            return -np.exp(random.uniform(0, np.log(16), count))
        if name.endswith("ssm_dt.bias"):
            return random.uniform(-6, -2, count)  # softplus: steps of 0.002 to 0.1
        if "conv1d" in name:
            return self._some(random, count, 0.5)
        if name.endswith("sinks.weight"):
            return self._some(random, count, 1)
        if name.endswith(".bias"):
            return self._some(random, count, 0.02)
        rows = self._some(random, count, shape[0] ** -0.5).reshape(-1, shape[0])
        return rows * np.exp(0.2 * random.standard_normal((len(rows), 1)))  # some are liked better


def _scale(name: str, shape: tuple[int, ...]) -> float:
    if name == "token_embd.weight":
        return 1.0
    own = next((gain for end, gain in GAINS.items() if _ends(name, end)), 1.0)
    return own / sqrt(shape[0])


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")
