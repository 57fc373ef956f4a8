"""The Hub's JSON: what counts, and what strangers may put into it."""

from __future__ import annotations

from typing import Any

import pytest

from bot.clients.hub.replies import listed_of, release
from bot.errors import SourceError, UnreachableError
from bot.foreign import strict_object
from bot.licences import UNREADABLE, licences_of

ENDPOINT = "https://hub.example"
COMMIT = "0123456789abcdef" * 2 + "01234567"
ROW: dict[str, Any] = {
    "id": "maker/Model",
    "sha": COMMIT,
    "createdAt": "2026-11-02T10:15:30.123Z",
    "lastModified": "2026-11-02T12:15:30+02:00",
    "private": False,
    "gated": "auto",
    "tags": ["text-generation", "base_model:org/base"],
    "pipeline_tag": "text-generation",
    "library_name": "transformers",
    "config": {
        "model_type": "mixtral",
        "architectures": ["MixtralForCausalLM"],
        "quantization_config": {"quant_method": "fp8"},
    },
}
REPLY: dict[str, Any] = ROW | {
    "cardData": {"license": "other", "license_name": "own", "language": "en"},
    "siblings": [
        {"rfilename": "config.json", "size": 7},
        {"rfilename": "m.gguf", "size": 134, "lfs": {"size": 9000, "sha256": "ab" * 32}},
    ],
}


def test_a_row_of_a_listing() -> None:
    model = listed_of(ROW)
    assert model is not None
    assert (model.repo_id, model.commit) == ("maker/Model", COMMIT)
    assert model.created_at == "2026-11-02T10:15:30Z"
    assert model.last_modified == "2026-11-02T10:15:30Z"
    assert (model.private, model.gated, model.disabled) == (False, True, False)
    assert (model.model_type, model.quant_method) == ("mixtral", "fp8")
    assert model.architectures == ("MixtralForCausalLM",)
    assert model.tags == ("text-generation", "base_model:org/base")


@pytest.mark.parametrize(
    ("said", "tags", "named"),
    [
        ("mit", (), ("mit",)),
        (["mit", "cc-by-nc-nd-4.0"], ("license:mit",), ("mit", "cc-by-nc-nd-4.0")),
        (["mit", "mit"], (), ("mit",)),
        (["mit", {"name": "x"}], (), ("mit", UNREADABLE)),
        ({"name": "x"}, (), ()),
        ([["mit"], "mit"], (), (UNREADABLE, "mit")),
        (["mit"] * 501, (), ("mit", UNREADABLE)),
        (None, ("license:mit", "license:gpl-3.0"), ("mit", "gpl-3.0")),
        ("", (), ()),
        ([None, ""], (), ()),
    ],
)
def test_every_licence_of_a_card_counts(
    said: Any, tags: tuple[str, ...], named: tuple[str, ...]
) -> None:
    parsed = release(REPLY | {"cardData": {"license": said}, "tags": list(tags)}, "http://hub")
    assert licences_of(parsed) == named
    assert parsed.license == next(iter(named), None)


@pytest.mark.parametrize("key", sorted(ROW))
@pytest.mark.parametrize(
    "value", [None, 5, -1.5, True, "", "x" * 10_000, "\x1b[2J", [], [[]], {}, {"a": 1}]
)
def test_a_hostile_row_is_a_row_or_nothing(key: str, value: Any) -> None:
    model = listed_of(ROW | {key: value})
    if key == "id":
        assert model is None
        return
    assert model is not None
    assert model.repo_id == "maker/Model"
    words = (model.commit, model.created_at, model.pipeline_tag, model.model_type, *model.tags)
    assert all(word is None or (word.isprintable() and len(word) <= 500) for word in words)


@pytest.mark.parametrize("row", [None, 5, "maker/Model", [], {}, {"id": "../../etc/passwd"}])
def test_what_names_no_repository_is_no_row(row: Any) -> None:
    assert listed_of(row) is None


def test_a_release() -> None:
    parsed = release(REPLY, ENDPOINT)
    assert [(file.path, file.size, file.sha256) for file in parsed.files] == [
        ("config.json", 7, None),
        ("m.gguf", 9000, "ab" * 32),  # the file's size, not its pointer's
    ]
    assert (parsed.license, parsed.license_name, parsed.license_link) == ("other", "own", None)
    assert parsed.languages == ("en",)
    assert parsed.gated


def test_card_fields_of_strangers_are_words_or_absent() -> None:
    card = {"license": {"a": 1}, "license_link": "javascript:\n", "language": ["en", 5, "x" * 999]}
    parsed = release(REPLY | {"cardData": card}, ENDPOINT)
    assert (parsed.license, parsed.license_link, parsed.languages) == (None, None, ("en",))
    assert release(REPLY | {"cardData": "text"}, ENDPOINT).license is None


@pytest.mark.parametrize(
    "reply",
    [
        None,
        [],
        {},
        REPLY | {"sha": "main"},
        REPLY | {"siblings": None},
        REPLY | {"siblings": [{"rfilename": "x"}]},
        REPLY | {"siblings": [{"rfilename": "x", "size": -1}]},
        REPLY | {"siblings": [5]},
    ],
)
def test_what_no_hub_answers_is_said_so(reply: Any) -> None:
    with pytest.raises(UnreachableError, match="not as a Hub does; check"):
        release(reply, ENDPOINT)


def test_a_disabled_repository() -> None:
    with pytest.raises(SourceError, match=r"is disabled on https://hub\.example; choose"):
        release(REPLY | {"disabled": True}, ENDPOINT)


def test_json_may_have_a_mark_infinity_and_64_levels() -> None:
    limits = strict_object(b'\xef\xbb\xbf{"time_step_limit": [0.0, Infinity]}', "config.json")
    assert limits == {"time_step_limit": [0.0, float("inf")]}
    assert strict_object(b'{"a":' * 64 + b"1" + b"}" * 64, "x")
    with pytest.raises(SourceError, match="nested deeper than the 64"):
        strict_object(b'{"a":' * 65 + b"1" + b"}" * 65, "x")
