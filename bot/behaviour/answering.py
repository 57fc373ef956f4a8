"""An answer is written, and looked at.

Answers are written greedily: whether one ends does not depend on luck, and the same file writes the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bot.behaviour.reasoning import reasoned
from bot.behaviour.tool_calls import Offered, is_proper
from bot.clients.llama.check import find_loop
from bot.clients.llama.session import Session, Token

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


def write(session: Session, prompt: Sequence[int], limit: int) -> tuple[list[int], bool]:
    """The likeliest tokens after a prompt, and whether a token came that ends them.

    At most `limit`; fewer where they go in circles, or where nothing is likeliest.
    """
    session.clear()
    batch = [Token(id=t, position=i, logits=i == len(prompt) - 1) for i, t in enumerate(prompt)]
    written: list[int] = []
    while len(written) < limit:
        logits = session.decode(batch)[0]
        if not np.isfinite(logits).all():
            break
        token = int(logits.argmax())
        if session.is_end(token):
            return written, True
        written.append(token)
        if len(written) % LOOK == 0 and find_loop(written):
            break
        batch = [Token(id=token, position=len(prompt) + len(written) - 1, logits=True)]
    return written, False


def judged(
    question: Question, written: Sequence[int], ends: bool, words: Session, known: Known
) -> Outcome:
    """The outcome of an answer: what its text says, by the template's own marks."""
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
