"""A file answers in its own words: the demo model, and one that follows a chat template."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.apart.conversing import Asked, Speaking, rendered_prompts
from bot.apart.voice import Voice
from bot.behaviour import memory_edits
from bot.behaviour.answering import LOOK, Answer, Known, Outcome, Question, judged, write
from bot.behaviour.habits import SAME_MEMORY
from bot.behaviour.sitting import Sitting, answered, groups_of
from bot.behaviour.tool_calls import Offered
from bot.clients.llama.check import find_loop
from bot.clients.llama.session import Loading, Session
from bot.clients.llama.vocabulary import vocabulary_of
from bot.errors import BuildError

TEXT = "Alice was beginning to get very tired of sitting by her sister on the bank"
OTHER = "Alice was beginning to get very fond of walking by her brother on the hill"
KNOWN = Known(form="Hermes", marks=("<think>", "</think>"))
SITTING = Sitting(questions=(), edits=(), known=KNOWN, limit=16, context=512)


def sitting(*questions: Question, **more: object) -> Sitting:
    given = {"questions": questions, **more}
    return Sitting(**{**vars(SITTING), **given})


def loaded(path: Path) -> Loading:
    return Loading(path=path, threads=1, gpu_layers=0)


def quiet() -> Voice:
    return Voice(lambda _line: None)


def test_every_question_has_an_outcome(demo_candidate: Path) -> None:
    long = Question(text=TEXT * 200)
    asked = sitting(Question(text=TEXT, needle="sister"), long, Question(text=""))
    found = answered(quiet(), loaded(demo_candidate), asked)
    assert len(found.outcomes) == 3
    assert found.outcomes[0].finds in (True, False)
    assert found.outcomes[1:] == (Outcome(), Outcome()), "too long, and nothing, are not judged"


def test_nothing_fits_into_a_context_that_is_too_short(demo_candidate: Path) -> None:
    asked = sitting(Question(text=TEXT), context=8, edits=((TEXT, OTHER),))
    found = answered(quiet(), loaded(demo_candidate), asked)
    assert found.outcomes == (Outcome(),)
    assert found.edits == ()


class _Words:
    """The words of an answer, for the judge alone."""

    def __init__(self, text: str) -> None:
        self._text = text

    def text(self, _tokens: object, *, control: bool) -> str:
        assert control
        return self._text


TOOL = Offered(name="find_road", parameters=("place",), required=("place",))
CALL = '<tool_call>\n{"name": "find_road", "arguments": {"place": "sun"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "tokens", "ends", "outcome"),
    [
        ("472", [1, 2], True, Outcome(ends=True, goes_on=True, finds=True)),
        ("473", [1, 2], False, Outcome(ends=False, goes_on=True, finds=False)),
        ("a" * 64, [7] * 64, False, Outcome(ends=False, goes_on=False, finds=False)),
        ("a" * 64, [7] * 64, True, Outcome(ends=True, goes_on=True, finds=False)),
        ("<think>472", [1], True, Outcome(ends=True, goes_on=True, finds=True, closes=False)),
        ("<think>x</think>472", [1], True,
         Outcome(ends=True, goes_on=True, finds=True, closes=True)),
        ("<think>472</think>no", [1], True,
         Outcome(ends=True, goes_on=True, finds=False, closes=True)),
    ],
)  # fmt: skip
def test_an_answer_is_judged(text: str, tokens: list[int], ends: bool, outcome: Outcome) -> None:
    question = Question(text="Which number?", needle="472")
    words: Session = _Words(text)  # type: ignore[assignment]  # the judge asks for the text alone
    assert judged(question, Answer(written=tokens, ends=ends), words, KNOWN) == outcome


def test_a_call_counts_where_the_form_is_known() -> None:
    question, ended = Question(text="Use it.", offered=(TOOL,)), Answer(written=[1], ends=True)
    words: Session = _Words(CALL)  # type: ignore[assignment]
    assert judged(question, ended, words, KNOWN).calls is True
    assert judged(question, ended, words, replace(KNOWN, form="")).calls is None
    wrong: Session = _Words(CALL.replace("find_road", "find_rood"))  # type: ignore[assignment]
    assert judged(question, ended, wrong, KNOWN).calls is False


def test_the_same_is_written_again(demo_candidate: Path) -> None:
    with Session(demo_candidate, n_ctx=128, threads=1, gpu_layers=0) as session:
        prompt = session.tokenize_prompt(TEXT)
        first, again = (write(session, [prompt], 12) for _ in range(2))
    assert first == again
    assert len(first[0].written) == 12 or first[0].ends


def test_side_by_side_the_same_is_written(demo_candidate: Path) -> None:
    with Session(demo_candidate, n_ctx=256, threads=1, gpu_layers=0, sequences=2) as session:
        prompts = [session.tokenize_prompt(text) for text in (TEXT, OTHER)]
        alone = [write(session, [prompt], 12)[0] for prompt in prompts]
        assert write(session, prompts, 12) == alone


def test_plain_text_does_not_go_in_circles(demo_candidate: Path, demo_text: str) -> None:
    with vocabulary_of(demo_candidate) as words:
        tokens = words.tokenize(demo_text)
    ends = range(LOOK, len(tokens), LOOK)
    assert len(ends) > 1_000
    assert not any(find_loop(tokens[max(0, end - 256) : end]) for end in ends)


def test_groups_hold_what_fits() -> None:
    assert groups_of([10, 0, 500, 20, 90], 10, 100) == [[0, 3], [4]]
    assert groups_of([], 10, 100) == []
    assert [len(group) for group in groups_of([1] * 70, 1, 1000)] == [32, 32, 6]


def test_control_tokens_of_a_prompt_are_read_and_written(demo_candidate: Path) -> None:
    with Session(demo_candidate, n_ctx=32, threads=1, gpu_layers=0) as session:
        ids = session.tokenize_prompt("<|im_start|>user")
        assert len(ids) < len(session.tokenize("<|im_start|>user"))
        assert session.text(ids, control=True) == "<|im_start|>user"
        assert session.ends[1] == session.text(ids[:1], control=True).replace("start", "end")


def test_a_hybrid_memory_is_decoded_again_after_an_edit(demo_candidate: Path) -> None:
    with Session(demo_candidate, n_ctx=128, threads=1, gpu_layers=0) as session:
        before, after = (session.tokenize_prompt(text) for text in (TEXT, OTHER))
        edit = memory_edits.after_edit(session, before, after)
    assert not edit.dropped, "a recurrent state is of all that it read"
    assert edit.kept == memory_edits.common(before, after) > 0
    assert edit.worst is not None
    assert edit.worst < SAME_MEMORY / 100


def test_a_stale_hybrid_memory_is_found(
    demo_candidate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that says it dropped the end and did not."""
    monkeypatch.setattr(Session, "forget_from", lambda _session, _position: True)
    with Session(demo_candidate, n_ctx=128, threads=1, gpu_layers=0) as session:
        before, after = (session.tokenize_prompt(text) for text in (TEXT, OTHER))
        edit = memory_edits.after_edit(session, before, after)
    assert edit.worst is None or edit.worst > SAME_MEMORY


def test_a_refusing_library_is_told(demo_candidate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(demo_candidate, n_ctx=128, threads=1, gpu_layers=0) as session:
        before, after = (session.tokenize_prompt(text) for text in (TEXT, OTHER))
        read, calls = memory_edits._read, []

        def third_fails(*given: object) -> object:
            calls.append(given)
            if len(calls) == 6:  # a recurrent memory was read anew; now what follows the edit
                raise BuildError("no")
            return read(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(memory_edits, "_read", third_fails)
        assert memory_edits.after_edit(session, before, after).worst is None


# ── templates ───────────────────────────────────────────────────────────────────────────────

USER = Asked(messages=[{"role": "user", "content": "Hi"}], tools=[], thinking=False, prompts=True)
PLAIN = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}{{ strftime_now('%Y-%m-%d') }}"
)


def test_conversations_are_rendered_in_a_child_each_by_itself() -> None:
    fails = Asked(messages=[], tools=[], thinking=False, prompts=True)
    template = PLAIN.replace("{% if", "{{ messages[0].content.upper() }}{% if")
    first, second = rendered_prompts(
        Speaking(template=template, bos="<s>", eos="</s>"), [USER, fails], "best"
    )
    assert first.text == "<s>user: Hi</s>HIassistant:2026-01-01"
    assert second.text == ""
    assert "Undefined" in (second.fault or "")


def test_a_template_that_is_none_renders_nothing() -> None:
    (only,) = rendered_prompts(Speaking(template="{% for"), [USER], "best")
    assert "TemplateSyntaxError" in (only.fault or "")
