"""What decides a file: the types by tensor, whether they were weighed, the base type."""

from __future__ import annotations

from dataclasses import replace

from bot.records.recipes import Assignment, Recipe, Windows, content_hash, recipe_hash


def assignment(tensor: str, kind: str, size: int) -> Assignment:
    return Assignment(tensor=tensor, role="experts", band="edge", type=kind, bytes=size)


RECIPE = Recipe(
    tier="I-Mini",
    base="IQ2_M",
    imatrix=True,
    windows=Windows(edge=2, near=4, attention_edge=2),
    assignments=(assignment("a", "Q4_K", 5), assignment("b", "Q6_K", 7)),
)


def test_content_is_of_types_in_any_order() -> None:
    turned = replace(RECIPE, assignments=RECIPE.assignments[::-1], tier="other")
    assert (
        turned.content == RECIPE.content == content_hash({"b": "Q6_K", "a": "Q4_K"}, imatrix=True)
    )
    assert turned.hash == RECIPE.hash == recipe_hash("IQ2_M", RECIPE.content)
    assert RECIPE.tensor_bytes == 12


def test_weights_base_and_types_are_told_apart() -> None:
    assert replace(RECIPE, imatrix=False).content != RECIPE.content
    other = replace(RECIPE, base="Q3_K_M")
    assert other.content == RECIPE.content
    assert other.hash != RECIPE.hash
    fewer = replace(RECIPE, assignments=RECIPE.assignments[:1])
    assert fewer.content != RECIPE.content
