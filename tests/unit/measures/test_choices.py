import bz2
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bot.clients.llama.session import Session, Token
from bot.errors import BuildError, SettingsError
from bot.measures import choices, tasks
from bot.measures.logits import softmax
from bot.measures.tasks import ChoiceTask, Kind
from bot.settings.sections import DEMO
from tests import evaluation as shared
from tests import llama_tools
from tests.evaluation import SHARED, quiet
from tests.unit.measures.test_tasks import binary

ALICE = ChoiceTask(
    texts=tuple(
        f"Alice was beginning to get very tired of {ending}"
        for ending in (
            "sitting by her sister on the bank.",
            "green seven the of the of quickly.",
            "the.",
            "9 9 9 9 9 9 9 9.",
        )
    ),
    right=0,
)


def test_wilson_interval_as_llama_perplexity_prints_it() -> None:
    low, high = choices.wilson(106, 400)
    assert (round(100 * low, 4), round(100 * high, 4)) == (22.4134, 31.0337)
    assert choices.wilson(0, 1) == pytest.approx((0, 0.793451), abs=1e-6)


def test_answers_are_kept_one_by_one() -> None:
    counted = choices.count("x", [True, False, True])
    assert (counted.correct, counted.tasks, counted.answers) == (2, 3, "101")


def asked(texts: tuple[tuple[int, ...], ...], prefix: int) -> choices.Question:
    picks = choices.picks_of_endings(texts, prefix)
    return choices.Question(
        texts=texts, prefix=prefix, every=False, picks=picks, right=0, last_of_equals=False
    )


def test_shared_beginnings_are_decoded_once() -> None:
    texts = ((1, 2, 3, 4), (1, 2, 5), (1, 2, 3, 6), (1, 2, 7, 8, 9))
    assert choices.shared_beginning(texts) == 2
    task = asked(texts, 2)
    assert (task.tokens, task.rows) == (10, 5)
    assert task.picks == (((0, 3), (1, 4)), ((0, 5),), ((0, 3), (2, 6)), ((0, 7), (3, 8), (4, 9)))
    batch = choices.batch_of([task, task])
    assert [t.id for t in batch[:10]] == [1, 2, 3, 4, 5, 3, 6, 7, 8, 9]
    assert [t.logits for t in batch[:10]] == [
        *(False, True),
        *(True, False),
        False,
        *(True, False),
        *(True, True, False),
    ]
    assert batch[10].sequences == (4, 5, 6, 7)
    assert (
        choices.shared_beginning([[1, 2], [1, 2], [1, 2], [1, 2]]) == 1
    )  # something is left to score


def test_where_sequences_share_no_token_each_text_is_decoded_whole() -> None:
    """DeepSeek-V4's cache ends the process over a token of sequences of unequal lengths."""
    texts = ((1, 2, 3, 4), (1, 2, 5), (1, 2, 7, 8, 9))
    together = asked(texts, 2)
    apart = replace(together, coupled=False)
    assert (apart.tokens, apart.rows) == (12, together.rows)
    batch = choices.batch_of([apart, apart])
    assert [t.id for t in batch[:12]] == [1, 2, 3, 4, 1, 2, 5, 1, 2, 7, 8, 9]
    assert all(len(token.sequences) == 1 for token in batch)
    scored = [(t.sequences[0], t.position) for t in batch if t.logits]
    alone = [(t.sequences[0], t.position) for t in choices.batch_of([together] * 2) if t.logits]
    assert scored == alone  # the same rows in the same order


def test_winogrande_scores_what_follows_the_choice() -> None:
    long = ((1, 2, 8, 3, 4, 5, 6), (1, 2, 9, 9, 3, 4, 5, 6))
    # the choice ends after 3 and 4 tokens; the last token, a full stop, is left out
    assert choices.picks_after_choice(long, 2, (3, 4)) == (
        ((1, 3), (2, 4), (3, 5)),
        ((7, 3), (8, 4), (9, 5)),
    )
    short = ((1, 2, 8, 3), (1, 2, 9, 3))  # scored with the choice, the second from another's row
    assert choices.picks_after_choice(short, 2, (3, 3)) == (((0, 8),), ((2, 9),))
    assert choices.picks_after_choice((long[0], long[0]), 6, (3, 3)) == ((), ())


@pytest.mark.parametrize("sequences", [4, 12])
def test_scores_do_not_depend_on_decoding_together(demo_model: Path, sequences: int) -> None:
    """The best of four endings is the one that wins when each is decoded alone."""
    with Session(demo_model, n_ctx=1024, threads=2, sequences=sequences) as session:
        together = choices.answers_of(session, [ALICE] * 5, threads=2, progress=quiet)
        alone = []
        for text in ALICE.texts:
            ids = session.tokenize(text)
            prefix = choices.shared_beginning([session.tokenize(other) for other in ALICE.texts])
            session.clear()
            begun = ids if session.bos is None else [session.bos, *ids[1:]]
            scores = session.decode(
                [Token(id=t, position=i, logits=i >= prefix - 1) for i, t in enumerate(begun)]
            )
            _, highest, log_sum = softmax(scores)
            picked = [
                float(scores[i, token] - highest[i] - log_sum[i])
                for i, token in enumerate(ids[prefix:])
            ]
            alone.append(sum(picked) / len(picked))
    assert together == (max(range(4), key=alone.__getitem__) == 0,) * 5


def test_what_does_not_fit_is_said(demo_model: Path) -> None:
    long = ChoiceTask(texts=tuple("word " * 300 + end for end in "abcd"), right=0)
    many = ChoiceTask(texts=tuple(f"One {end}" for end in "abcdefgh"), right=0)
    apart = ChoiceTask(texts=("One", "Two"), right=0)
    wrong = ((long, r"raise evaluation\.context"), (many, "8 answers, 4 fit"), (apart, "share no"))
    with Session(demo_model, n_ctx=256, threads=2, sequences=4) as session:
        for task, message in wrong:
            with pytest.raises(SettingsError, match=message):
                choices.answers_of(session, [task], threads=2, progress=quiet)


def test_logits_that_are_no_numbers_are_named(demo_model: Path, tmp_path: Path) -> None:
    broken = shared.with_nan(demo_model, tmp_path / "broken.gguf")
    with (
        Session(broken, n_ctx=512, threads=2, sequences=4) as session,
        pytest.raises(BuildError, match=r"broken\.gguf at task 1 gives logits that are no numbers"),
    ):
        choices.answers_of(session, [ALICE], threads=2, progress=quiet)


@pytest.mark.road
@pytest.mark.skipif(not SHARED.is_dir(), reason="shared data not present")
@pytest.mark.parametrize("count", [60, pytest.param(400, marks=pytest.mark.long)])
def test_same_answers_as_llama_perplexity(tmp_path: Path, count: int) -> None:
    path = tmp_path / "tasks.txt"
    with bz2.open(SHARED / "text" / "hellaswag_val_full.txt.bz2") as packed:
        path.write_bytes(packed.read())
    drawn = tasks.read_tasks(path, "hellaswag", count)
    model = SHARED / "models" / "tiny-moe" / "tiny-moe-BF16.gguf"
    with Session(model, n_ctx=2048, threads=2, sequences=4) as session:
        answers = choices.answers_of(session, drawn, threads=2, progress=quiet)
    printed = (SHARED / "expected" / "hellaswag-400-ref.txt").read_text()
    expected = [float(share) for share in re.findall(r"^\d+\t([\d.]+)%", printed, re.MULTILINE)]
    assert running(answers) == pytest.approx(expected[:count], abs=1e-6)


def running(answers: tuple[bool, ...]) -> list[float]:
    """Accuracy in percent after each task."""
    return [100 * sum(answers[: i + 1]) / (i + 1) for i in range(len(answers))]


def gaps(count: int) -> str:
    """Winogrande's form from the demo's text: a word taken out of a sentence."""
    words = (DEMO / "evaluation.txt").read_text().replace(",", "").replace('"', "").split()
    lines = []
    for i in range(count + 1):
        part = words[40 * i : 40 * i + 14]
        tail = " ".join(part[9 : 14 if i % 3 else 10])
        sentence = " ".join(part[:8]).replace("_", "")
        lines.append(f"{i},{sentence} _ {tail}.,{part[8]},{words[40 * i + 20]},{1 + i % 2}")
    return "\n".join(lines) + "\n"


@pytest.mark.long
@pytest.mark.parametrize("kind", ["hellaswag", "winogrande", "multiple-choice"])
@pytest.mark.parametrize("count", [None, 30])
def test_same_answers_as_the_tool_beside_us(
    demo_model: Path, tmp_path: Path, kind: Kind, count: int | None
) -> None:
    path = tmp_path / "tasks"
    option = {"multiple-choice": "-bf"}.get(kind, "-f")
    lines = (DEMO / "tasks.txt").read_text().split("\n")[: 6 * 50]
    if kind == "hellaswag":
        path.write_text("\n".join(lines) + "\n")
    elif kind == "winogrande":
        path.write_text(gaps(50))
    else:
        six = [lines[i : i + 6] for i in range(0, len(lines), 6)]
        path.write_bytes(
            binary([(s[0], s[2 : 4 + i % 3], int(s[1]) % 2) for i, s in enumerate(six)])
        )
    questions = () if count is None else (f"--{kind}-tasks", str(count))
    arguments = ("-m", demo_model, option, path, f"--{kind}", *questions, "-t", "2")
    printed = llama_tools.run("llama-perplexity", *arguments)
    expected = [float(s) for s in re.findall(r"^\d+\t *([\d.]+)", printed, re.MULTILINE)]
    with Session(demo_model, n_ctx=2048, threads=2, sequences=4) as session:
        answers = choices.answers_of(
            session, tasks.read_tasks(path, kind, count), threads=2, progress=quiet
        )
    assert running(answers) == pytest.approx(expected, abs=1e-4)
