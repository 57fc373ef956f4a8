"""A file answers prompts, and each answer is looked at: the work of a child.

Answers are written greedily: whether one ends does not depend on luck, and the same file writes the
same. They are looked at where they are written; of what a stranger's model wrote nothing but the
verdicts comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bot.apart.voice import Voice
from bot.behaviour.memory_edits import after_edit
from bot.behaviour.reasoning import reasoned
from bot.behaviour.tool_calls import Offered, is_proper
from bot.clients.llama.check import find_loop
from bot.clients.llama.session import Loading, Session, Token
from bot.clients.llama.vocabulary import vocabulary_of
from bot.records.measured import MemoryEdit

LOOK = 16  # tokens between looks at whether an answer goes in circles
MARGIN = 8  # tokens of memory that nobody counted


@dataclass(frozen=True, kw_only=True)
class Question:
    """A rendered prompt, and what its answer is looked at for."""

    text: str
    offered: tuple[Offered, ...] = ()
    needle: str = ""


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """All that one file is asked; `form` and `marks` are what its template knows."""

    questions: tuple[Question, ...]
    edits: tuple[tuple[str, str], ...]
    form: str
    marks: tuple[str, str] | None
    limit: int  # tokens of an answer
    context: int  # tokens of prompt and answer together at most; longer ones are not asked


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one answer; None: not judged."""

    ends: bool | None = None  # with a token that ends a generation, before the limit
    goes_on: bool | None = None  # not: the same few tokens over and over
    calls: bool | None = None  # a tool that is offered, with its parameters
    finds: bool | None = None  # what was hidden
    closes: bool | None = None  # the reasoning block that was opened


@dataclass(frozen=True, kw_only=True)
class Answered:
    """All outcomes in the order of the questions, and of the edits that fit into the context."""

    outcomes: tuple[Outcome, ...]
    edits: tuple[MemoryEdit, ...]


def marks_of_file(voice: Voice, path: Path) -> tuple[str, str]:
    """Texts of a file's BOS and EOS tokens, as its chat template is given them."""
    voice.progress(0, 1)
    with vocabulary_of(path) as words:
        return words.marks


def answered(voice: Voice, model: Loading, sitting: Sitting) -> Answered:
    """Let the model answer all questions, and go on after all edits."""
    total = len(sitting.questions) + len(sitting.edits)
    voice.progress(0, total)
    with vocabulary_of(model.path) as words:
        prompts = [words.tokenize_prompt(question.text) for question in sitting.questions]
        edits = [(words.tokenize_prompt(a), words.tokenize_prompt(b)) for a, b in sitting.edits]
    fitting = [len(prompt) + sitting.limit <= sitting.context for prompt in prompts]
    edits = [edit for edit in edits if max(map(len, edit)) <= sitting.context]
    needs = [len(p) + sitting.limit for p, fits in zip(prompts, fitting, strict=True) if fits]
    needs += [max(map(len, edit)) for edit in edits]
    if not needs:
        return Answered(outcomes=(Outcome(),) * len(prompts), edits=())
    outcomes, changes = [], []
    with model.session(max(needs) + MARGIN) as session:
        for number, (question, prompt) in enumerate(zip(sitting.questions, prompts, strict=True)):
            voice.progress(number, total)
            asked = fitting[number] and bool(prompt)
            outcomes.append(
                judged(question, *write(session, prompt, sitting.limit), session, sitting)
                if asked
                else Outcome()
            )
        for number, (before, after) in enumerate(edits, len(prompts)):
            voice.progress(number, total)
            changes.append(after_edit(session, before, after))
    return Answered(outcomes=tuple(outcomes), edits=tuple(changes))


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
    question: Question, written: Sequence[int], ends: bool, words: Session, sitting: Sitting
) -> Outcome:
    """The outcome of an answer: what its text says, by the template's own marks."""
    text = words.text(written, control=True)
    reason = reasoned(question.text, text, sitting.marks)
    calls = bool(question.offered and sitting.form)
    return Outcome(
        ends=ends,
        goes_on=bool(written or ends) and not (find_loop(written) and not ends),
        calls=is_proper(sitting.form, reason.answer, question.offered) if calls else None,
        finds=question.needle in reason.answer if question.needle else None,
        closes=reason.closed if reason.opened else None,
    )
