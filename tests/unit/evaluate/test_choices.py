import bz2
import re
from pathlib import Path

import pytest

from bot.clients.llama.session import Session
from bot.errors import SettingsError
from bot.evaluate import choices
from bot.evaluate.choices import Task

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def quiet(_done: int, _total: int) -> None:
    """Nobody looks."""


def tasks(count: int) -> list[Task]:
    return [Task(context=f"c{i}", right=i % 4, endings=("a", "b", "c", "d")) for i in range(count)]


def test_the_generator_is_mt19937() -> None:
    """First outputs of std::mt19937(1), as any C++ standard library gives them."""
    draw = choices._raw_draws()
    assert [draw() for _ in range(4)] == [1791095845, 4282876139, 3093770124, 4005303368]


def test_below_follows_lemire() -> None:
    # product = 1791095845 * 10042 = 4187 * 2^32 + rest, and the rest is not rejected
    assert choices._below(10042, lambda: 1791095845) == (1791095845 * 10042) >> 32
    draws = iter([0, 1 << 31])  # for 3, a low half below 2^32 mod 3 = 1 is drawn again
    assert choices._below(3, lambda: next(draws)) == 1


def test_drawing_takes_each_task_once_and_fewer_are_a_prefix() -> None:
    everything = tasks(50)
    drawn = choices.draw(everything, 50)
    assert sorted(drawn, key=lambda t: int(t.context[1:])) == everything
    assert drawn != everything
    assert choices.draw(everything, 20) == drawn[:20]
    assert len(choices.draw(everything, 99)) == 50


def test_wilson_interval_as_llama_perplexity_prints_it() -> None:
    low, high = choices.wilson(106, 400)
    assert (round(100 * low, 4), round(100 * high, 4)) == (22.4134, 31.0337)
    assert choices.wilson(0, 1) == pytest.approx((0, 0.793451), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 lines"),
        ("c\n0\na\nb\nc\n", "5 lines"),
        ("c\n4\na\nb\nc\nd\n", ":2 is not the number"),
        ("c\nx\na\nb\nc\nd\n", ":2 is not the number"),
    ],
)
def test_a_broken_task_file_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tasks.txt"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        choices.read_tasks(path)


def test_shared_beginnings_are_decoded_once() -> None:
    texts = [[1, 2, 3, 4], [1, 2, 5], [1, 2, 3, 6], [1, 2, 7, 8, 9]]
    assert choices._common(texts) == 2
    batch = choices._batch(texts, 2)
    assert [t.id for t in batch] == [1, 2, 3, 4, 5, 3, 6, 7, 8, 9]
    assert [t.wanted for t in batch] == [
        *(False, True),
        *(True, False),
        False,
        *(True, False),
        *(True, True, False),
    ]
    assert choices._common([[1, 2], [1, 2], [1, 2], [1, 2]]) == 1  # something is left to score


def test_scores_do_not_depend_on_decoding_together(demo_model: Path) -> None:
    """The best of four endings is the one that wins when each is decoded alone."""
    task = Task(
        context="Alice was beginning to get very tired of",
        right=0,
        endings=(
            "sitting by her sister on the bank.",
            "green seven the of the of quickly.",
            "the.",
            "9 9 9 9 9 9 9 9.",
        ),
    )
    with Session(demo_model, n_ctx=512, threads=2, sequences=4) as session:
        together = choices._likeliest(session, task)
        alone = []
        for ending in task.endings:
            ids = session.tokenize(f"{task.context} {ending}")
            prefix = choices._common(
                [session.tokenize(f"{task.context} {e}") for e in task.endings]
            )
            scores = choices._log_softmax(session.decode_chunk(ids, prefix - 1))
            picked = [scores[i, token] for i, token in enumerate(ids[prefix:])]
            alone.append(sum(picked) / len(picked))
        assert together == max(range(4), key=alone.__getitem__)
        counted, answers = choices.hellaswag(session, [task, task], name="x", progress=quiet)
        assert counted.correct == sum(answers)
        assert counted.tasks == 2


def test_a_task_longer_than_the_context_is_said(demo_model: Path) -> None:
    task = Task(context="word " * 300, right=0, endings=("a", "b", "c", "d"))
    with (
        Session(demo_model, n_ctx=256, threads=2, sequences=4) as session,
        pytest.raises(SettingsError, match=r"raise evaluation\.context"),
    ):
        choices.hellaswag(session, [task], name="x", progress=quiet)


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared data not present")
@pytest.mark.parametrize("count", [60, pytest.param(400, marks=pytest.mark.long)])
def test_same_answers_as_llama_perplexity(tmp_path: Path, count: int) -> None:
    path = tmp_path / "tasks.txt"
    with bz2.open(SHARED / "text" / "hellaswag_val_full.txt.bz2") as packed:
        path.write_bytes(packed.read())
    drawn = choices.draw(choices.read_tasks(path), count)
    model = SHARED / "models" / "tiny-moe" / "tiny-moe-BF16.gguf"
    with Session(model, n_ctx=2048, threads=2, sequences=4) as session:
        _, answers = choices.hellaswag(session, drawn, name="HellaSwag", progress=quiet)
    printed = (SHARED / "expected" / "hellaswag-400-ref.txt").read_text()
    expected = [float(share) for share in re.findall(r"^\d+\t([\d.]+)%", printed, re.MULTILINE)]
    running = [100 * sum(answers[: i + 1]) / (i + 1) for i in range(count)]
    assert running == pytest.approx(expected[:count], abs=1e-6)
