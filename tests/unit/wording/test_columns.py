"""Columns of text: aligned, whole, and nothing in them that a terminal obeys."""

from __future__ import annotations

from bot.wording.columns import table


def test_words_stand_left_and_numbers_right() -> None:
    assert table(("tier", "size"), [("I-Mini", "7"), ("Q", "1234")]).splitlines() == [
        "tier    size",
        "I-Mini     7",
        "Q       1234",
    ]
    assert table(("a", "b"), [("x", "yy")], left=2).splitlines() == ["a  b", "x  yy"]


def test_cells_are_text_and_none_is_cut() -> None:
    long = "x" * 1000
    text = table(("a", "b"), [("[bold]\x1b[31mred", "1"), (long, "2")])
    assert "[bold]red" in text
    assert long in text
    assert "\x1b" not in text


def test_wide_letters_take_two_columns() -> None:
    assert table(("a", "b"), [("漢字", "1"), ("xxxx", "2")]) == "a     b\n漢字  1\nxxxx  2"


def test_no_line_ends_in_blanks() -> None:
    lines = table(("a", "b"), [("x", ""), ("yyyy", "1")]).splitlines()
    assert lines == [line.rstrip() for line in lines]
