"""Card metadata of strangers: read when it is fine, refused or ignored when it is not."""

from __future__ import annotations

import json
import time

import pytest

from bot.localhub.files.card_data import front_matter, repository_facts, split_card
from bot.localhub.files.commit_body import regular_entry
from tests.local_hub.server import Hub


def described(**contents: bytes) -> dict[str, object]:
    by_hash = {}
    files = {}
    for key, data in contents.items():
        path = {"card": "README.md", "config": "config.json"}.get(key, f"{key}.gguf")
        files[path] = regular_entry(path, data)
        by_hash[files[path].sha256] = data
    return repository_facts(files, lambda sha256, limit: by_hash[sha256][:limit])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: mit\n---\nbody", ("license: mit\n", "body")),
        ("---\r\nlicense: mit\r\n---\r\nbody", ("license: mit\r\n", "body")),
        ("---\n---\nbody", ("", "body")),
        ("\ufeff---\na: 1\n---", ("a: 1\n", "")),
        ("# no front matter\n---\n", (None, "# no front matter\n---\n")),
        ("---\nnever closed\n", (None, "---\nnever closed\n")),
    ],
)
def test_cards_are_split(text: str, expected: tuple[str | None, str]) -> None:
    assert split_card(text) == expected


@pytest.mark.parametrize(
    "yaml",
    ["- a\n- list", "just text", "a: [1", "a: &x [1]\nb: *x", "a: .nan", "1: number",
     "a: !!set {b}", "[" * 20_000, "a: " + "[" * 500 + "]" * 500, "x: " + "y" * 70_000,
     "a: 2024-99-99", "a: !!python/object/apply:os.system [id]", "a: " + "9" * 5000,
     "a: 1" + ":1" * 9000],
)  # fmt: skip
def test_hostile_front_matter_is_refused_and_ignored(yaml: str) -> None:
    card = f"---\n{yaml}\n---\n# Card\n"
    started = time.process_time()
    with pytest.raises(ValueError, match=r"\S"):
        front_matter(card)
    assert described(card=card.encode())["cardData"] is None
    assert time.process_time() - started < 5


def test_dates_become_text() -> None:
    assert front_matter("---\ndate: 2026-11-23\n---\n") == {"date": "2026-11-23"}


def test_the_relation_to_the_base_model() -> None:
    card = b"---\nbase_model: o/n\n---\n"
    assert "base_model:quantized:o/n" in str(described(card=card, q4=b"")["tags"])
    assert "base_model:finetune:o/n" in str(described(card=card)["tags"])
    explicit = b"---\nbase_model: o/n\nbase_model_relation: merge\n---\n"
    assert "base_model:merge:o/n" in str(described(card=explicit, q4=b"")["tags"])


@pytest.mark.parametrize("config", [b"[]", b"{", b"[" * 100_000, b"\xff", b'{"model_type": 7}'])
def test_hostile_configs_are_ignored(config: bytes) -> None:
    assert described(config=config)["config"] is None


def test_validation_tells_the_author(hub: Hub) -> None:
    def asked(content: str) -> tuple[int, int]:
        reply = hub.ask("POST", "/api/validate-yaml", {"content": content, "repoType": "model"})
        return reply.status, len(reply.json["errors"])

    assert asked("---\ntags: [a]\n---\n# no license is fine\n") == (200, 0)
    assert asked("# no front matter\n") == (200, 0)
    assert asked("---\n- not a mapping\n---\n") == (400, 1)
    assert json.dumps(asked("---\na: [1\n---\n")) == "[400, 1]"
