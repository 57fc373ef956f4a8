"""An answer is written, and looked at.

Answers are written greedily: whether one ends does not depend on luck, and the same file writes the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bot.behaviour.reasoning import reasoned
from bot.behaviour.tool_calls import Offered, is_proper
from bot.clients.llama.check import find_loop
from bot.clients.llama.session import Floats, Session, Token

LOOK = 16  # tokens between looks at whether an answer goes in circles


@dataclass(frozen=True, kw_only=True)
class Question:
    """A rendered prompt, and what its answer is looked at for."""

    text: str
    offered: tuple[Offered, ...] = ()
    needle: str = ""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a template knows: its form of tool calls, its marks of reasoning."""

    form: str
    marks: tuple[str, str] | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one answer; None: not judged."""

    ends: bool | None = None  # with a token that ends a generation, before the limit
    goes_on: bool | None = None  # not: the same few tokens over and over
    calls: bool | None = None  # a tool that is offered, with its parameters
    finds: bool | None = None  # what was hidden
    closes: bool | None = None  # the reasoning block that was opened


@dataclass(kw_only=True)
class Answer:
    """Tokens written so far; `ends`: whether a token came that ends them."""

    written: list[int] = field(default_factory=list)
    ends: bool = False
    over: bool = False  # nothing more will be written


def write(session: Session, prompts: Sequence[Sequence[int]], limit: int) -> list[Answer]:
    """The likeliest tokens after each prompt, side by side, each a sequence of the session.

    At most `limit`; fewer where they go in circles, or where nothing is likeliest.
    """
    session.clear()
    answers = [Answer() for _ in prompts]
    for number, prompt in enumerate(prompts):
        last = len(prompt) - 1
        batch = [
            Token(id=token, position=i, sequences=(number,), logits=i == last)
            for i, token in enumerate(prompt)
        ]
        _go_on(session, answers[number], session.decode(batch)[0], limit)
    while live := [number for number, answer in enumerate(answers) if not answer.over]:
        batch = [
            Token(
                id=answers[number].written[-1],
                position=len(prompts[number]) + len(answers[number].written) - 1,
                sequences=(number,),
                logits=True,
            )
            for number in live
        ]
        for number, logits in zip(live, session.decode(batch), strict=True):
            _go_on(session, answers[number], logits, limit)
    return answers


def _go_on(session: Session, answer: Answer, logits: Floats, limit: int) -> None:
    """Write the likeliest token, if there is one and it does not end the answer."""
    if not np.isfinite(logits).all():
        answer.over = True
        return
    token = int(logits.argmax())
    if session.is_end(token):
        answer.ends = answer.over = True
        return
    answer.written.append(token)
    count = len(answer.written)
    answer.over = count >= limit or (count % LOOK == 0 and bool(find_loop(answer.written)))


def judged(question: Question, answer: Answer, words: Session, known: Known) -> Outcome:
    """The outcome of an answer: what its text says, by the template's own marks."""
    written, ends = answer.written, answer.ends
    text = words.text(written, control=True)
    reason = reasoned(question.text, text, known.marks)
    calls = bool(question.offered and known.form)
    return Outcome(
        ends=ends,
        goes_on=bool(written or ends) and not (find_loop(written) and not ends),
        calls=is_proper(known.form, reason.answer, question.offered) if calls else None,
        finds=question.needle in reason.answer if question.needle else None,
        closes=reason.closed if reason.opened else None,
    )
