"""Three versions of a text become one."""

from __future__ import annotations

from bot.actions.merge import Merged, merged_text

BASE = "a\nb\nc\nd\ne\nf\ng\n"


def test_changes_in_different_places_are_both_there() -> None:
    theirs, ours = BASE.replace("b\n", "B\nB2\n"), BASE.replace("f\n", "")
    assert merged_text(BASE, theirs, ours) == Merged(text="a\nB\nB2\nc\nd\ne\ng\n")


def test_who_changed_nothing_has_no_say() -> None:
    changed = BASE.replace("c\n", "C\n") + "h\n"
    assert merged_text(BASE, changed, BASE).text == changed
    assert merged_text(BASE, BASE, changed).text == changed


def test_the_same_change_of_both_is_made_once() -> None:
    changed = BASE.replace("c\n", "C\n")
    assert merged_text(BASE, changed, changed) == Merged(text=changed)


def test_where_both_changed_a_line_the_users_stands_and_ours_is_told() -> None:
    theirs, ours = BASE.replace("c\n", "mine\n"), BASE.replace("c\n", "new\n").replace("g", "G")
    assert merged_text(BASE, theirs, ours) == Merged(
        text="a\nb\nmine\nd\ne\nf\nG\n", refused=("new\n",)
    )


def test_a_line_put_beside_a_change_is_not_taken_silently() -> None:
    theirs, ours = BASE.replace("c\n", "mine\n"), BASE.replace("c\n", "c\nnew\n")
    assert merged_text(BASE, theirs, ours).refused == ("c\nnew\n",)


def test_a_text_without_a_last_newline() -> None:
    assert merged_text("a\nb", "a\nb", "a\nb\nc").text == "a\nb\nc"
