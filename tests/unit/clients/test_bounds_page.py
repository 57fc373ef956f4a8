"""The page of bounds says the figures that hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot import foreign
from bot.clients import bounds
from bot.clients.files import gguf, safetensors, shards
from bot.clients.files import ggufheader as header
from bot.jobs import orders
from bot.localhub.routes import request
from bot.serving.patience import Patience
from bot.watcher import feeds

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "bounds.md").read_text(encoding="utf-8")


def mib(size: int | None) -> str:
    return f"{(size or 0) >> 20} MiB"


@pytest.mark.parametrize(
    "figure",
    [
        f"{mib(bounds.REPLY.bytes)} after decompression",
        f"| {bounds.REPLY.values:,} |",
        f"last byte | {bounds.REPLY.seconds:.0f} |",
        f"{bounds.REPLY.requests}; {bounds.FILE.requests:,} for a file",
        f"{bounds.FILE.seconds:.0f}, and one more for each {bounds.FILE.slowest:,.0f} bytes",
        f"{feeds.MOST_PAGES:,}; 5 in a row",
        f"{mib(foreign.LARGEST_CONFIG)}, {foreign.MOST_VALUES:,} values, {foreign.DEEPEST} levels",
        f"{mib(shards.LONGEST_INDEX)}, {shards.MOST_TENSORS:,} tensors",
        f"{safetensors.LONGEST:,} bytes, {safetensors.MOST_TENSORS:,} tensors",
        f"{mib(header.LARGEST)}, {header.MOST_TENSORS:,} tensors, {header.MOST_KEYS:,} keys",
        f"{mib(header.MOST_TEXT)} in all; {gguf.MOST_ELEMENTS:,} elements",
        f"elements and {mib(gguf.MOST_KEPT)} in all",
        f"{header.MOST_STRINGS:,} texts, stepped over",
        f"{gguf.MOST_IN_ALL:,} tensors; of later shards",
        f"{orders.LONGEST:,} bytes, known keys",
        f"{mib(request.BODY_LIMIT)}, {foreign.MOST_VALUES:,} values",
        f"{Patience().seconds:.0f} s, and one more for each {Patience().slowest:,.0f} bytes",
        f"| connections | {Patience().connections} |",
    ],
)
def test_a_figure_is_the_programs(figure: str) -> None:
    assert figure in PAGE
