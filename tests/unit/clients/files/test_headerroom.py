"""A header with other keys: as long as the old one where that can be, and parsed by others."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bot.clients.files import ggufheader
from bot.clients.files.headerroom import PADDING, PLACE, refitted
from bot.errors import SourceError
from bot.settings.sections import DEMO

MODEL = DEMO / "tiny-moe-Q8_0.gguf"
KEY = "tokenizer.chat_template"


def with_text(keys: dict[str, bytes], length: int) -> dict[str, bytes]:
    return keys | {KEY: ggufheader.text_value(KEY, "x" * length)}


@pytest.mark.parametrize("alignment", [8, 16, 32, 64, 256])
def test_any_length_leads_to_a_header_that_others_read_and_data_moves_by_whole_places(
    alignment: int, tmp_path: Path
) -> None:
    import gguf  # noqa: TID251 - the other opinion

    keys = {"general.architecture": ggufheader.text_value("general.architecture", "llama")}
    if alignment != 32:
        keys["general.alignment"] = ggufheader.u32("general.alignment", alignment)
    keys = with_text(keys, 300)
    entries = [("a", (4, 2), 0, 32)]
    head = ggufheader.write_header(keys.values(), entries, alignment)
    old = ggufheader.parse_header(head, "old")
    assert old.data_offset == len(head)
    drawn = random.Random(alignment)  # noqa: S311 - lengths of a test
    for length in [*range(200, 420), *(drawn.randrange(20_000) for _ in range(40))]:
        new = refitted(old, with_text(keys, length), "old")
        read = ggufheader.parse_header(new, "new")
        assert (read.data_offset, read.tensors) == (len(new), old.tensors)
        assert (len(new) - len(head)) % max(PLACE, alignment) == 0
        assert set(read.keys) - {PADDING} == set(keys)
        assert len(new) == len(head) or length > 240
        once_more = refitted(read, keys, "new")
        assert len(once_more) == len(new)
        assert set(ggufheader.parse_header(once_more, "again").keys) - {PADDING} == set(keys)
    path = tmp_path / "new.gguf"
    path.write_bytes(new + bytes(32))
    reader = gguf.GGUFReader(path)
    assert reader.fields[KEY].contents() == "x" * length
    assert reader.tensors[0].data_offset == len(new)


def test_the_same_keys_give_the_same_header() -> None:
    header = ggufheader.read_header(MODEL)
    assert refitted(header, header.keys, "it") == MODEL.read_bytes()[: header.data_offset]


def test_another_alignment_is_refused() -> None:
    header = ggufheader.read_header(MODEL)
    with pytest.raises(SourceError, match="another alignment"):
        refitted(header, {**header.keys, "general.alignment": b""}, "it")
