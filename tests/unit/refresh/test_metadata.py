"""Which keys change, and which may not."""

from __future__ import annotations

import pytest

from bot.clients.files.ggufheader import text_value, u32
from bot.errors import SourceError
from bot.refresh import metadata
from tests.gguf_keys import keys_of

OLD = keys_of(
    {
        "general.architecture": "llama",
        "general.name": "It",
        "llama.block_count": 2,
        "general.file_type": 7,
        "apex.tier": "I-Mini",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["a", "b"],
        "tokenizer.chat_template": "{{ messages }}",
        "general.sampling.temp": 1,
    }
)


def test_between_two_headers_only_what_differs_changes_and_nothing_of_the_file() -> None:
    before = {k: raw for k, raw in OLD.items() if not k.startswith("apex.")}
    after = {
        **{k: raw for k, raw in before.items() if not k.startswith("general.sampling")},
        "tokenizer.chat_template": text_value("tokenizer.chat_template", "new"),
        "general.file_type": u32("general.file_type", 32),
        "general.license": text_value("general.license", "mit"),
    }
    edits = metadata.between(before, after)
    assert set(edits) == {"general.sampling.temp", "tokenizer.chat_template", "general.license"}
    new = metadata.edited(OLD, edits)
    assert list(new)[:8] == list(OLD)[:8]  # each at its place
    assert new["apex.tier"] == OLD["apex.tier"]
    assert new["general.file_type"] == OLD["general.file_type"]
    assert "general.sampling.temp" not in new
    assert metadata.between(after, after) == {}
    assert metadata.what_changes(edits) == ("chat template", "sampling settings", "licence")


def test_of_another_header_groups_are_taken_whole_and_names_stay() -> None:
    theirs = keys_of(
        {
            "general.architecture": "llama",
            "general.name": "Other",
            "llama.block_count": 9,
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.tokens": ["a", "c"],
            "general.license": "mit",
        }
    )
    edits = metadata.taken_from(OLD, theirs, "their/model")
    assert edits["tokenizer.chat_template"] is None  # they have none any more
    assert set(edits) == {
        "tokenizer.chat_template",
        "tokenizer.ggml.tokens",
        "general.license",
    }  # and no sampling settings, which stay
    told = {change.key: (change.was, change.now) for change in metadata.changes_of(OLD, edits)}
    assert told["general.license"] == (None, "mit")
    assert told["tokenizer.ggml.tokens"] == ("2 values", "2 values")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"general.architecture": "qwen3moe"}, "is qwen3moe, the file is llama"),
        ({"tokenizer.ggml.tokens": ["a"]}, "has 1 tokens, the file 2"),
        ({"general.architecture": None}, "is of no family"),
    ],
)
def test_another_model_is_refused(other: dict[str, object], reason: str) -> None:
    theirs = {**OLD, **keys_of({k: v for k, v in other.items() if v is not None})}
    for key, value in other.items():
        if value is None:
            del theirs[key]
    with pytest.raises(SourceError, match=reason):
        metadata.taken_from(OLD, theirs, "their/model")


@pytest.mark.parametrize(
    "key", ["llama.block_count", "general.architecture", "general.alignment", "split.count"]
)
def test_what_weights_are_read_by_may_not_change(key: str) -> None:
    with pytest.raises(SourceError, match="build it anew"):
        metadata.require_harmless(OLD, {key: u32(key, 3)}, "it.gguf")
    metadata.require_harmless(OLD, metadata.with_template("new"), "it.gguf")


def test_another_count_of_tokens_may_not_come() -> None:
    tokens = keys_of({"tokenizer.ggml.tokens": ["a", "b", "c"]})
    with pytest.raises(SourceError, match="has 2 tokens and would have 3"):
        metadata.require_harmless(OLD, tokens, "it.gguf")
