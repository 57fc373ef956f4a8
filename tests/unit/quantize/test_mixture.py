import pytest

from bot.errors import SettingsError
from bot.quantize.mixture import mix


def counts(picks: tuple[tuple[int, int], ...], texts: int) -> list[int]:
    return [sum(text == number for text, _ in picks) for number in range(texts)]


def test_one_text_is_taken_in_order() -> None:
    assert mix([3], [None], None) == ((0, 0), (0, 1), (0, 2))
    assert mix([3], [None], 2) == ((0, 0), (0, 1))


def test_without_weights_all_of_all_texts_each_chunk_once() -> None:
    picks = mix([7, 1, 4], [None] * 3, None)
    assert sorted(picks) == [(t, c) for t, n in enumerate([7, 1, 4]) for c in range(n)]


def test_any_beginning_has_the_proportions_of_the_whole() -> None:
    weights = [5.0, 3.0, 2.0]
    picks = mix([100, 100, 100], weights, 100)
    assert counts(picks, 3) == [50, 30, 20]
    for length in range(1, 101):
        for share, count in zip(weights, counts(picks[:length], 3), strict=True):
            assert abs(count - share * length / 10) < 1


def test_with_weights_the_text_that_ends_first_ends_the_mix() -> None:
    assert counts(mix([100, 3], [1.0, 1.0], None), 2) == [3, 3]
    assert counts(mix([10, 100], [2.0, 1.0], None), 2) == [10, 5]
    assert counts(mix([10, 100], [2.0, 1.0], 6), 2) == [4, 2]


def test_chunks_of_a_text_keep_their_order() -> None:
    for number in range(2):
        chunks = [chunk for text, chunk in mix([9, 5], [1.0, 2.0], None) if text == number]
        assert chunks == sorted(chunks)


def test_weights_for_some_only_are_refused() -> None:
    with pytest.raises(SettingsError, match="give all one"):
        mix([1, 2], [1.0, None], None)
