"""Cards that people wrote into keep their words, and get our numbers."""

from __future__ import annotations

import pytest
import yaml

from bot.wording.blocks import marked, merged_card

FRONT = "---\nlicense: mit\ntags:\n- gguf\n---\n"
ONE = marked(
    FRONT + "\n# Model\n\nIntro\n\n## Files\n\n| a |\n\n## Run it\n\n```sh\n## no heading\n```\n"
)
TWO = marked(
    FRONT + "\n# Model\n\nIntro\n\n## Files\n\n| b |\n\n## Notes\n\nnew\n\n## Run it\n\nx\n"
)


def body(card: str) -> str:
    return card.partition("\n---\n")[2]


def test_each_section_is_a_block() -> None:
    names = [line for line in ONE.splitlines() if line.startswith("<!-- apex-bot")]
    assert names == [f"<!-- apex-bot: {name} -->" for name in ("top", "files", "run-it")]
    assert ONE.count("<!-- /apex-bot: ") == 3


@pytest.mark.parametrize(("held", "new"), [(ONE, ONE), (ONE, TWO), (TWO, ONE), (TWO, TWO)])
def test_a_card_nobody_touched_becomes_the_new_one(held: str, new: str) -> None:
    merged = merged_card(held, new)
    assert merged is not None
    assert "".join(merged.split()) == "".join(new.split())
    assert merged_card(merged, new) == merged


def test_words_between_the_blocks_stay() -> None:
    held = ONE.replace("<!-- apex-bot: files -->", "Tip: use a fan.\n\n<!-- apex-bot: files -->")
    merged = merged_card(held + "\nBye.\n", TWO)
    assert merged is not None
    assert merged.index("Intro") < merged.index("Tip: use a fan.") < merged.index("| b |")
    assert merged.rstrip().endswith("Bye.")
    assert "| a |" not in merged
    assert merged_card(merged, TWO) == merged


def test_a_block_that_was_emptied_stays_empty() -> None:
    start, end = ONE.index("## Run it"), ONE.index("<!-- /apex-bot: run-it -->")
    merged = merged_card(ONE[:start] + ONE[end:], TWO)
    assert merged is not None
    assert "## Run it" not in merged
    assert "new" in merged


def test_our_block_is_ours_even_if_changed() -> None:
    merged = merged_card(ONE.replace("| a |", "| better |"), TWO)
    assert merged is not None
    assert "better" not in merged


def test_a_card_without_our_blocks_is_not_touched() -> None:
    assert merged_card("# My own card\n\n## Files\n", TWO) is None


def test_keys_and_tags_that_people_added_stay() -> None:
    held = ONE.replace("license: mit\n", "license: apache-2.0\ndatasets: [a/b]\n")
    held = held.replace("- gguf\n", "- gguf\n- roleplay\n")
    merged = merged_card(held, TWO)
    assert merged is not None
    front = yaml.safe_load(merged.split("---\n")[1])
    assert front == {"license": "mit", "tags": ["gguf", "roleplay"], "datasets": ["a/b"]}


@pytest.mark.parametrize(
    "front", ["---\n[\n---\n", "---\n" + "[" * 5000 + "\n---\n", "---\n1\n---\n"]
)
def test_front_matter_that_is_none_is_replaced(front: str) -> None:
    merged = merged_card(front + body(ONE), TWO)
    assert merged is not None
    assert merged.startswith(FRONT)


def test_a_mark_inside_a_block_cannot_swallow_the_rest() -> None:
    held = ONE.replace("| a |", "<!-- apex-bot: run-it -->\n<!-- /apex-bot: run-it -->")
    merged = merged_card(held, TWO)
    assert merged is not None
    assert merged.count("<!-- apex-bot: run-it -->") == 1
