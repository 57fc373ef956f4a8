"""Text to tokens and back, by the vocabulary of a file alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.clients.llama.vocabulary import vocabulary_of
from bot.settings.sections import DEMO

MODEL = DEMO / "tiny-moe-Q8_0.gguf"
TEXT = "The river rises in the hills, and café owners know it.\n"


def test_a_text_comes_back_from_its_tokens() -> None:
    with vocabulary_of(MODEL) as vocabulary:
        tokens = vocabulary.tokenize(TEXT)
        text = tokens[1:] if vocabulary.adds_bos else tokens
        assert vocabulary.text(text) == TEXT
        assert all(0 <= token < vocabulary.vocabulary for token in tokens)
        assert not any(vocabulary.is_end(token) for token in text)


def test_what_looks_like_a_control_token_is_text() -> None:
    """As the tools read a corpus: parse_special is false."""
    with vocabulary_of(MODEL) as vocabulary:
        ends = [token for token in range(vocabulary.vocabulary) if vocabulary.is_end(token)]
        assert ends
        assert vocabulary.text(ends) == "", "control tokens are no text"
        assert not set(ends) & set(vocabulary.tokenize("<|endoftext|></s><|im_end|>"))


def test_broken_text_has_tokens_too() -> None:
    with vocabulary_of(MODEL) as vocabulary:
        assert vocabulary.tokenize("a\udcffb")
        assert vocabulary.tokenize("") == vocabulary.tokenize("")[:1] * vocabulary.adds_bos


@pytest.mark.parametrize(("old", "new"), [(b"general.name", b"general.nome"), (b"", b"")])
def test_files_with_one_vocabulary_agree(tmp_path: Path, old: bytes, new: bytes) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(MODEL.read_bytes().replace(old, new, 1))
    with vocabulary_of(MODEL) as vocabulary, vocabulary_of(other) as another:
        assert another.tokenizer == vocabulary.tokenizer


def test_another_token_is_another_vocabulary(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    content = MODEL.read_bytes()
    with vocabulary_of(MODEL) as vocabulary:
        token = max(vocabulary.tokenize(TEXT), key=lambda one: len(vocabulary.text([one])))
        word = vocabulary.text([token]).strip().encode()
        assert len(word) > 2
        tokens = content.index(b"tokenizer.ggml.tokens")
        at = content.index(word, tokens)
        other.write_bytes(content[:at] + bytes(reversed(word)) + content[at + len(word) :])
        with vocabulary_of(other) as another:
            assert another.tokenizer != vocabulary.tokenizer
