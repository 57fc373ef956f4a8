"""Bytes that stand before the tensors' data in a GGUF file that does not exist yet.

Tensor descriptions are exact (gguf_write_ti of ggml's gguf.cpp); the vocabulary, nearly all of the
rest, is estimated from the sizes that a repository lists for its tokenizer's files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import log2, log10
from typing import NamedTuple

from bot.records.model import Tensor
from bot.records.releases import Release
from bot.tensors.sizes import padded

START = 24  # magic, version, numbers of tensors and of keys
KEYS = 2_500  # bytes of plain keys: about 45 of them
PER_LAYER = 8  # bytes of keys that hold an array by layer: two of them
TEMPLATE_SHARE, LONGEST_TEMPLATE = 0.4, 12_000  # of tokenizer_config.json, where it lies in there
BYTES = 256  # tokens that no merge makes


class Layout(NamedTuple):
    """How tokenizer.json is written: bytes of an entry without its text and number."""

    token: int
    merge: int


# "a": 1, in a line of its own or not; ["a", "b"] in four lines, "a b" in one, and both compact
LAYOUTS = (Layout(12, 40), Layout(12, 11), Layout(4, 8), Layout(4, 4))


class TokenizerSize(NamedTuple):
    """Bytes of an average token's text, and whether GGUF stores merges or scores beside it."""

    text: float
    merges: bool  # pairs of tokens, as strings
    scores: bool


def header_bytes(tensors: Iterable[Tensor], layers: int, vocabulary: int, release: Release) -> int:
    """Bytes before the first tensor's data, for a vocabulary of that many tokens."""
    infos = sum(len(tensor.name.encode()) + 8 * len(tensor.shape) + 24 for tensor in tensors)
    sizes = {file.path: file.size for file in release.files}
    plain = START + KEYS + PER_LAYER * layers
    return padded(int(plain + infos + _tokens(vocabulary, sizes) + _template(sizes)))


def _tokens(count: int, sizes: Mapping[str, int]) -> float:
    """Tokens, their types, scores and merges: 8 bytes for the length of a string."""
    size = _vocabulary(count, sizes)
    stored = count * (8 + size.text + 4) + (4 * count if size.scores else 0)
    if size.merges:
        stored += max(count - BYTES, 0) * (8 + size.text + 1)
    return stored


def _vocabulary(count: int, sizes: Mapping[str, int]) -> TokenizerSize:
    usual = usual_text(count)
    if not count:
        return TokenizerSize(0, merges=False, scores=False)
    if size := sizes.get("tokenizer.model"):  # SentencePiece: 9 bytes of protobuf for a piece
        text = _plausible(size / count - 9, usual)
        return TokenizerSize(text, merges=False, scores=True)
    if size := sizes.get("tokenizer.json"):
        return TokenizerSize(_text_of_json(size, count), merges=True, scores=False)
    if size := sizes.get("tiktoken.model"):  # a line is base64, a space and a number
        text = (size / count - 2 - log10(count)) * 3 / 4
        return TokenizerSize(_plausible(text, usual), merges=True, scores=False)
    return TokenizerSize(usual, merges=True, scores=False)


def usual_text(count: int) -> float:
    """Bytes of an average token: 5 in a vocabulary of 4,096, 8.6 in one of 152,000."""
    return min(max(4.9 + 0.7 * log2(max(count, 256) / 4096), 3.0), 12.0)


def _text_of_json(size: int, count: int) -> float:
    """Bytes of an average token in tokenizer.json, in the layout that makes it most usual.

    A token's text stands there twice: once of its own, once as the pair that it is merged from.
    """
    merges, usual = max(count - BYTES, 0), usual_text(count)

    def text(layout: Layout) -> float:
        entries = count * (layout.token + log10(count)) + merges * layout.merge
        return (size - entries) / (count + merges)

    return _plausible(min(map(text, LAYOUTS), key=lambda found: abs(found - usual)), usual)


def _plausible(text: float, usual: float) -> float:
    """Bytes of an average token, `usual` where no vocabulary has such: the file holds more."""
    return text if 0.5 * usual <= text <= 2 * usual else usual


def _template(sizes: Mapping[str, int]) -> int:
    """The chat template: a file of its own, or a part of the tokenizer's settings."""
    for name in ("chat_template.jinja", "chat_template.json"):
        if name in sizes:
            return sizes[name]
    return min(int(TEMPLATE_SHARE * sizes.get("tokenizer_config.json", 0)), LONGEST_TEMPLATE)
