"""Card metadata of strangers: read when it is fine, refused or ignored when it is not."""

from __future__ import annotations

import json
import time
from math import prod

import pytest
from huggingface_hub import HfApi  # noqa: TID251 - what clients read

from bot.clients.files import ggufheader
from bot.localhub.files.card_data import front_matter, repository_facts, split_card
from bot.localhub.files.commit_body import regular_entry
from bot.settings.sections import DEMO
from tests.local_hub.server import Hub, large


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


# ── GGUF ────────────────────────────────────────────────────────────────────────────────────

DEMO_MODEL = (DEMO / "tiny-moe-Q8_0.gguf").read_bytes()


def header(*keys: bytes, tensors: tuple[tuple[int, ...], ...] = ((32, 4),)) -> bytes:
    """A file whose tensors are of F32 zeros, and whose data is left out."""
    entries = [(f"t{n}", shape, 0, 4 * prod(shape)) for n, shape in enumerate(tensors)]
    return ggufheader.write_header(keys, entries, 32)


def model(*more: bytes, family: str = "llama", shape: tuple[int, ...] = (32, 4)) -> bytes:
    return header(ggufheader.text_value("general.architecture", family), *more, tensors=(shape,))


def test_the_header_of_a_model_is_told_as_the_hub_tells_it() -> None:
    import gguf  # noqa: TID251 - the other opinion

    told = described(A=DEMO_MODEL)["gguf"]
    read = gguf.GGUFReader(DEMO / "tiny-moe-Q8_0.gguf")
    fields = {name: field.contents() for name, field in read.fields.items()}
    words = fields["tokenizer.ggml.tokens"]
    family = fields["general.architecture"]
    assert told == {
        "total": sum(int(tensor.n_elements) for tensor in read.tensors),
        "architecture": family,
        "context_length": fields[f"{family}.context_length"],
        **({"chat_template": text} if (text := fields.get("tokenizer.chat_template")) else {}),
        "eos_token": words[fields["tokenizer.ggml.eos_token_id"]],
    }
    assert "tokenizer.ggml.bos_token_id" not in fields


def test_parts_that_are_no_model_are_passed_over() -> None:
    beside = {
        "a-imatrix": header(ggufheader.text_value("general.type", "imatrix")),
        "b-mmproj": model(family="clip"),
        "c-lora": model(ggufheader.text_value("general.type", "adapter")),
        "d-empty": b"",
        "e-broken": DEMO_MODEL[:5000],
        "f-pointer": b"version https://git-lfs.github.com/spec/v1\n",
    }
    assert described(**beside)["gguf"] is None
    assert described(**beside, z=model())["gguf"] == {"total": 128, "architecture": "llama"}


def test_shards_are_counted_together() -> None:
    split = ggufheader.u16("split.count", 3)
    shards = {f"M-{n:05d}-of-00003": model(split, shape=(32, n)) for n in (1, 2, 3)}
    assert described(**shards)["gguf"] == {"total": 32 * 6, "architecture": "llama"}
    del shards["M-00002-of-00003"]
    assert described(**shards)["gguf"] == {"total": 32 * 4, "architecture": "llama"}


@pytest.mark.parametrize(
    "more",
    [
        ggufheader.text_value("tokenizer.chat_template", "x" * 100_000),
        ggufheader.text_value("tokenizer.chat_template", "x").replace(b"x", b"\xff"),
        ggufheader.u32("tokenizer.ggml.bos_token_id", 7),
        ggufheader.text_value("llama.context_length", "4096"),
    ],
)
def test_values_nobody_can_use_are_left_out(more: bytes) -> None:
    assert described(A=model(more))["gguf"] == {"total": 128, "architecture": "llama"}


def test_a_header_larger_than_the_first_look_is_read_on() -> None:
    large = ggufheader.text_value("general.description", "d" * (3 * ggufheader.FIRST))
    assert described(A=model(large))["gguf"] == {"total": 128, "architecture": "llama"}


def test_clients_see_it_in_a_listing_and_on_a_model(hub: Hub) -> None:
    repo = hub.create("Model")
    line = large("A.gguf", hub.send(repo, DEMO_MODEL), len(DEMO_MODEL))
    assert hub.commit(repo, line).status == 200
    api = HfApi(endpoint=hub.url, token=hub.token)
    (listed,) = api.list_models(expand=["gguf"])
    told = described(A=DEMO_MODEL)["gguf"]
    assert listed.gguf == told
    assert api.model_info(repo).gguf == told
    assert api.model_info(repo, expand=["gguf"]).gguf == told
