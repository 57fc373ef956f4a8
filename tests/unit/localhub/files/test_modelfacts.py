"""What a Hub tells of GGUF files: a part of the first model's header."""

from __future__ import annotations

from math import prod

import pytest
from huggingface_hub import HfApi  # noqa: TID251 - what clients read

from bot.clients.files import ggufheader
from bot.localhub.files.card_data import repository_facts
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


DEMO_MODEL = (DEMO / "tiny-moe-Q8_0.gguf").read_bytes()


def header(*keys: bytes, tensors: tuple[tuple[int, ...], ...] = ((32, 4),)) -> bytes:
    """A file whose tensors are of F32 zeros, and whose data is left out."""
    entries = [(f"t{n}", shape, 0, 4 * prod(shape)) for n, shape in enumerate(tensors)]
    return ggufheader.write_header(keys, entries, 32)


def model(*more: bytes, family: str = "llama", shape: tuple[int, ...] = (32, 4)) -> bytes:
    return header(ggufheader.text_value("general.architecture", family), *more, tensors=(shape,))


def test_the_header_of_a_model_is_told_as_the_hub_tells_it() -> None:
    import gguf  # noqa: TID251 - the other opinion

    facts = described(A=DEMO_MODEL)["gguf"]
    read = gguf.GGUFReader(DEMO / "tiny-moe-Q8_0.gguf")
    fields = {name: field.contents() for name, field in read.fields.items()}
    words = fields["tokenizer.ggml.tokens"]
    family = fields["general.architecture"]
    assert facts == {
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
    facts = described(A=DEMO_MODEL)["gguf"]
    assert listed.gguf == facts
    assert api.model_info(repo).gguf == facts
    assert api.model_info(repo, expand=["gguf"]).gguf == facts
