"""Addresses of a Hub as people paste them: one repository each, and the revision they name."""

from __future__ import annotations

import pytest

from bot.clients.hub.addresses import parse_address
from bot.errors import SourceError

SITE = "http://127.0.0.1:8910"


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/org/Model-1.5",
        "http://huggingface.co/org/Model-1.5/",
        "HTTPS://HuggingFace.co/org/Model-1.5?library=transformers#files",
        "https://www.huggingface.co/org/Model-1.5/discussions/3",
        "huggingface.co/org/Model-1.5",
        "hf.co/org/Model-1.5",
        "https://hf.co/org/Model-1.5//",
        "hf.co/org/Model-1.5:Q4_K_M",
        "<https://huggingface.co/org/Model-1.5>",
        " https://huggingface.co/models/org/Model-1.5 ",
        "https://huggingface.co/api/models/org/Model-1.5",
        "https://huggingface.co/org/Model-1.5.git",
        "git@hf.co:org/Model-1.5.git",
        "ssh://git@hf.co/org/Model-1.5",
        "hf://org/Model-1.5",
        "hf://models/org/Model-1.5/config.json",
        f"{SITE}/org/Model-1.5",
        "127.0.0.1:8910/org/Model-1.5/tree",
    ],
)
def test_every_form_of_an_address_is_one_repository(text: str) -> None:
    assert parse_address(text, SITE) == ("org/Model-1.5", None)


@pytest.mark.parametrize(
    ("text", "revision"),
    [
        ("https://huggingface.co/org/M/tree/main", "main"),
        ("https://huggingface.co/org/M/blob/v1.0/config.json", "v1.0"),
        ("https://huggingface.co/org/M/resolve/main/m.gguf?download=true", "main"),
        (f"{SITE}/org/M/tree/feature%2Fx/sub", "feature/x"),
        ("hf.co/org/M/tree/refs%2Fpr%2F7", "refs/pr/7"),
        ("hf.co/org/M/tree/refs/pr/7/folder", "refs/pr/7"),
        ("hf://org/M@1f2e3d/config.json", "1f2e3d"),
        (f"https://huggingface.co/org/M/commit/{'a' * 40}", "a" * 40),
    ],
)
def test_an_address_names_a_revision(text: str, revision: str) -> None:
    assert parse_address(text, SITE) == ("org/M", revision)


@pytest.mark.parametrize(
    "text", ["org/Model", "./m-BF16.gguf", "/data/m", "models.d/m.yaml", "org/M:*.gguf", "", "m"]
)
def test_other_words_are_no_addresses(text: str) -> None:
    assert parse_address(text, SITE) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://huggingface.co/datasets/org/texts", "is a dataset, not a model"),
        ("hf.co/spaces/org/demo", "is a space, not a model"),
        ("https://huggingface.co/org", "names no model"),
        ("https://huggingface.co/", "names no model"),
        ("https://example.com/org/Model", "is not on http://127.0.0.1:8910"),
    ],
)
def test_what_leads_elsewhere_is_said(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        parse_address(text, SITE)


def test_a_hub_below_a_path() -> None:
    assert parse_address("https://hub.lan/hf/org/M", "https://hub.lan/hf") == ("org/M", None)
