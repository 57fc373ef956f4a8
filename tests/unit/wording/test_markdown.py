"""Strangers' Markdown taken apart: prose, inline code, tables."""

from __future__ import annotations

import pytest

from bot.wording.markdown import Cells, prose, tables, without_code


@pytest.mark.parametrize(
    ("card", "text"),
    [
        ("a\n```sh\nb\n```\nc", "a\nc"),
        ("a\n```sh\nb", "a"),  # a fence without an end reaches to the end, as CommonMark has it
        ("````\n```\na\n````\nb", "b"),  # a shorter fence inside closes nothing
        ("```\na\n~~~\nb\n```\nc", "c"),
        ("~~~ `x`\na\n~~~\nb", "b"),
        ("    ```\na", "a"),  # indented code, and no fence
        ("a\n\n    code\n    more\n\nb", "a\n\n\nb"),
        ("a\n    goes on", "a\n    goes on"),
        ("\tcode", ""),
    ],
)
def test_prose_is_what_stands_outside_of_blocks_of_code(card: str, text: str) -> None:
    assert prose(card) == text


@pytest.mark.parametrize(
    ("card", "text"),
    [
        ("a `b` c", "a  c"),
        ("a ``b ` c`` d", "a  d"),  # as many backticks end it as began it
        ("a ` b", "a ` b"),
        ("a `` b ` c ` d", "a `` b  d"),
        ("a ` b\n\nc ` d", "a ` b\n\nc ` d"),  # paragraphs share no code
    ],
)
def test_inline_code_is_paired_as_commonmark_pairs_it(card: str, text: str) -> None:
    assert without_code(card) == text


def test_tables_are_found_outside_of_code_with_their_head() -> None:
    card = (
        "| A | B |\n|---|---:|\n| 1 | 2 |\n| 3 |\n\nText | with a pipe\n\n"
        "C | D\n:- | -:\n4 | 5\n\n```\n| E |\n|---|\n| 6 |\n```\n"
    )
    assert tables(card) == [
        Cells(("A", "B"), (("1", "2"), ("3",))),
        Cells(("C", "D"), (("4", "5"),)),
    ]


def test_what_has_no_line_below_its_head_is_no_table() -> None:
    assert tables("| A | B |\n| 1 | 2 |\n") == []
    assert tables("|---|---|\n| 1 | 2 |\n") == []
