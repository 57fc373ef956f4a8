"""Machines on the card: a table of files, and a command for each that differs."""

from __future__ import annotations

from dataclasses import replace

from bot.card.choosing import GIB, card_machines, cards_words
from bot.records.placements import Fits, Placement, Unplaced
from tests.unit.card.samples import nine_tiers, readme

SMALL, MIDDLE, PAIR = (8 * GIB,), (24 * GIB,), (24 * GIB, 24 * GIB)


def placement(cards: tuple[int, ...], memory: int, name: str, moved: float) -> Placement:
    return Placement(
        cards=cards,
        memory=memory * GIB,
        name=name,
        file=f"Sample-{name}.gguf",
        context=32768,
        arguments=("-c", "32768", "-ot", r"blk\.(0|3)\.ffn_(up|down)_exps=CPU"),
        moved=moved,
        resident=not moved,
        cards_used=cards,
        memory_used=3 * GIB,
    )


def fits(*placed: Placement, unplaced: tuple[Unplaced, ...] = ()) -> Fits:
    return Fits(
        llama_cpp="b1",
        cache_type="F16",
        micro_batch=512,
        spare=GIB,
        spare_memory=4 * GIB,
        placed=placed,
        unplaced=unplaced,
    )


def rows(text: str) -> list[str]:
    start = text.index("### With main memory beside it")
    return [line for line in text[start:].splitlines() if line.startswith("|")][:5]


def test_files_by_graphics_memory_and_main_memory() -> None:
    made = fits(
        *(placement(MIDDLE, memory, "I-Quality", 0.071) for memory in (16, 32, 64)),
        *(placement(PAIR, memory, "I-Quality", 0.0) for memory in (16, 32, 64)),
        *(placement(SMALL, memory, "I-Mini", 0.6) for memory in (32, 64)),
        unplaced=(Unplaced(cards=SMALL, memory=16 * GIB, lacking=GIB),),
    )
    assert rows(readme(nine_tiers(), fits=made)) == [
        "| Graphics memory | 16 GB | 32 GB or more |",
        "| ---: | --- | --- |",
        "| 8 GB | — | I-Mini, 60% |",
        "| 24 GB | I-Quality, 7% | I-Quality, 7% |",
        "| 2 × 24 GB | **I-Quality** | **I-Quality** |",
    ]


def test_a_command_is_ready_for_a_shell_and_told_once() -> None:
    card = readme(nine_tiers(), fits=fits(*(placement(MIDDLE, m, "I-Mini", 0.5) for m in (16, 32))))
    line = r"llama-server -m Sample-I-Mini.gguf -c 32768 -ot 'blk\.(0|3)\.ffn_(up|down)_exps=CPU'"
    assert card.count(line) == 1
    assert "24 GB, I-Mini: 32,768 tokens of context, 50% of the experts in main memory" in card


def test_nothing_is_told_where_every_machine_holds_the_same_whole() -> None:
    whole = [placement(cards, 16, "I-Quality", 0.0) for cards in (SMALL, MIDDLE)]
    assert card_machines(fits(*whole)) is None
    assert card_machines(None) is None
    other = replace(whole[0], name="I-Mini")
    assert card_machines(fits(other, whole[1])) is not None


def test_cards_in_words() -> None:
    assert cards_words(PAIR) == "2 × 24 GB"
    assert cards_words(()) == "none"
