import random

from bot.benchmarks.sharing import MOST_STEMS, Line, Pack, Packing, tokens_decoded


def line(*tokens: int, first: int | None = None, room: int = 0) -> Line:
    return Line(tokens=tokens, first=len(tokens) - 1 if first is None else first, room=room)


def require_sound(lines: list[Line], packing: Packing) -> list[Pack]:
    """Every line in one pack, in the room there is, behind what it begins with."""
    packs = list(packing.packs())
    assert sorted(n for pack in packs for n in pack.lines) == list(range(len(lines)))
    for pack in packs:
        assert len(pack.lines) <= packing.sequences
        assert len(pack.stems) <= MOST_STEMS
        assert list(pack.stems) == sorted(pack.stems)
        taken = pack.depth
        for group in pack.groups:
            first = lines[group.lines[0]].tokens[: group.shared]
            for n in group.lines:
                assert lines[n].tokens[: group.shared] == first
                assert group.shared <= lines[n].first
            taken += group.shared - pack.depth
            taken += sum(lines[n].size - group.shared for n in group.lines)
        assert taken <= packing.room
        stems = {lines[n].tokens[: pack.depth] for n in pack.lines}
        assert len(stems) == 1
    return packs


def test_examples_before_questions_are_decoded_once() -> None:
    examples = tuple(range(1000, 1400))
    lines = [line(*examples, 7, i, i + 1, first=401) for i in range(60)]
    packs = require_sound(lines, Packing(lines=lines, room=600, sequences=8))
    assert {pack.stems for pack in packs} == {(401,)}
    assert tokens_decoded(lines, packs) == 401 + 60 * 2


def test_answers_to_one_question_share_it_within_a_batch() -> None:
    lines = [line(*range(50), 100 + i, 3, first=49) for i in range(4)]
    (pack,) = require_sound(lines, Packing(lines=lines, room=200, sequences=4))
    assert (pack.stems, pack.groups[0].shared) == ((), 49)
    assert tokens_decoded(lines, [pack]) == 49 + 4 * 3


def test_no_more_is_shared_than_stands_before_what_is_scored() -> None:
    lines = [line(1, 2, 3, 4, first=1), line(1, 2, 3, 5, first=3)]
    (pack,) = require_sound(lines, Packing(lines=lines, room=20, sequences=4))
    assert pack.groups[0].shared == 1


def test_stems_lie_on_stems() -> None:
    """A task's examples behind what all tasks begin with."""
    lines = [
        line(*range(40), *([100 + task] * 60), *range(500 + question, 520 + question))
        for task in range(3)
        for question in range(20)
    ]
    packs = require_sound(lines, Packing(lines=lines, room=250, sequences=16))
    assert {pack.stems for pack in packs} == {(40, 100)}
    assert tokens_decoded(lines, packs) == 40 + 3 * 60 + 60 * 20


def test_room_for_texts_is_kept() -> None:
    lines = [line(1, 2, i, room=97) for i in range(10)]
    packs = require_sound(lines, Packing(lines=lines, room=300, sequences=16))
    assert [len(pack.lines) for pack in packs] == [3, 3, 3, 1]


def test_where_sequences_share_no_token_each_line_is_decoded_whole() -> None:
    lines = [line(*range(100), i) for i in range(6)]
    packs = require_sound(lines, Packing(lines=lines, room=400, sequences=8, couples=False))
    assert tokens_decoded(lines, packs) == 606
    assert {pack.stems for pack in packs} == {()}


def test_any_lines_are_packed_soundly() -> None:
    """Trees of tokens, equal beginnings at random; the same lines give the same packs."""
    for seed in range(200):
        draw = random.Random(seed)  # noqa: S311 - no secret
        lines = []
        for _ in range(draw.randint(1, 60)):
            depth = draw.randint(1, 90)
            tokens = [draw.choice([0, 0, 0, 0, 0, 1]) if i % 20 == 0 else i for i in range(depth)]
            lines.append(line(*tokens, first=draw.randint(0, depth - 1), room=draw.choice([0, 9])))
        packing = Packing(
            lines=lines, room=draw.randint(100, 400), sequences=draw.randint(1, 12),
            couples=seed % 5 > 0,
        )  # fmt: skip
        packs = require_sound(lines, packing)
        assert packs == list(packing.packs())
        assert tokens_decoded(lines, packs) <= sum(len(one.tokens) for one in lines)
