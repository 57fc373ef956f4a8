"""A model's vocabulary: text to tokens and back."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as c

from bot.clients.llama.library import start
from bot.errors import BuildError


class Vocabulary:
    """The vocabulary of the file at `path`."""

    def __init__(self, path: Path, model: Any) -> None:
        self.path = path
        self._vocab = c.llama_model_get_vocab(model)
        self.vocabulary = int(c.llama_vocab_n_tokens(self._vocab))
        self.bos = int(c.llama_vocab_bos(self._vocab)) if self.adds_bos else None

    @property
    def adds_bos(self) -> bool:
        """Whether the vocabulary puts a BOS token before a text."""
        return bool(c.llama_vocab_get_add_bos(self._vocab))

    @property
    def opening(self) -> int:
        """What stands before a text that has nothing before it: BOS, or else the end of a text.

        BOS where the vocabulary adds it: of others llama.cpp names one that they may not have.
        """
        return int(c.llama_vocab_eos(self._vocab)) if self.bos is None else self.bos

    def tokenize(self, text: str, *, special: bool = False, begins: bool = True) -> list[int]:
        """Token ids of a text, BOS added where the vocabulary wants it and the text `begins`.

        As `common_tokenize(ctx, text, begins, special)` of llama.cpp's tools: where `special`,
        words of control tokens, which chat templates write, become these tokens.
        """
        data = text.encode("utf-8", "surrogateescape")
        room = len(data) + 8
        buffer = (c.llama_token * room)()
        count = c.llama_tokenize(self._vocab, data, len(data), buffer, room, begins, special)
        if count < 0:
            raise BuildError(f"{self.path.name} could not tokenize {len(data)} bytes of text")
        return list(buffer[:count])

    def tokenize_prompt(self, text: str) -> list[int]:
        """Token ids of a rendered chat template: its control tokens are such, and one BOS is there.

        As llama-server has it: a template that writes a BOS itself gets no second one
        (common_chat_templates_apply_jinja of common/chat.cpp).
        """
        begins = self.bos is not None and not text.startswith(self.ends[0])
        return self.tokenize(text, special=True, begins=begins)

    def word(self, token: int) -> str:
        """The text of one token of the vocabulary, control tokens too; empty for none."""
        if not 0 <= token < self.vocabulary:
            return ""
        return (c.llama_vocab_get_text(self._vocab, token) or b"").decode("utf-8", "replace")

    @property
    def ends(self) -> tuple[str, str]:
        """The texts of BOS and EOS, as chat templates name them; empty where there is none."""
        bos, eos = c.llama_vocab_bos(self._vocab), c.llama_vocab_eos(self._vocab)
        return self.word(int(bos)), self.word(int(eos))

    def piece(self, token: int, *, control: bool = False) -> bytes:
        """The bytes of one token, which may end within a letter; control tokens if asked for."""
        buffer = ctypes.create_string_buffer(512)
        size = c.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, control)
        return buffer.raw[: max(size, 0)]

    def text(self, tokens: Sequence[int], *, control: bool = False) -> str:
        """The text of token ids, without control tokens unless they are asked for."""
        pieces = (self.piece(token, control=control) for token in tokens)
        return b"".join(pieces).decode("utf-8", "replace")

    def is_end(self, token: int) -> bool:
        """Whether a token ends a generation."""
        return bool(c.llama_vocab_is_eog(self._vocab, token))

    @cached_property
    def tokenizer(self) -> str:
        """A hash of the vocabulary: each token's text and kind, and what is put before a text.

        Files of one model agree; so may files of two whose merges alone differ.
        """
        hasher = hashlib.sha256(f"{c.llama_vocab_type(self._vocab)} {self.bos}".encode())
        for token in range(self.vocabulary):
            hasher.update(c.llama_vocab_get_text(self._vocab, token) or b"")
            hasher.update(bytes([0, int(c.llama_vocab_get_attr(self._vocab, token)) & 0xFF]))
        return hasher.hexdigest()


@contextmanager
def vocabulary_of(path: Path) -> Iterator[Vocabulary]:
    """The vocabulary alone, without the weights. Raises BuildError for a file without one."""
    log = start()
    log.forget()
    params = c.llama_model_default_params()
    params.vocab_only = True
    model = c.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise BuildError(f"llama.cpp could not read {path.name}: {log.reason()}")
    try:
        yield Vocabulary(path, model)
    finally:
        c.llama_model_free(model)
