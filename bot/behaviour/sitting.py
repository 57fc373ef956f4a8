"""A file answers all prompts: works for a child, see bot/apart/worker.py.

Answers are looked at where they are written; of what a stranger's model wrote nothing but the
verdicts comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.apart.voice import Voice
from bot.behaviour.answering import Known, Outcome, Question, judged, write
from bot.behaviour.memory_edits import after_edit
from bot.clients.llama.session import Loading
from bot.clients.llama.vocabulary import vocabulary_of
from bot.records.measured import MemoryEdit

MARGIN = 8  # tokens of memory that nobody counted
TOGETHER = 32  # answers side by side at most


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """All that one file is asked."""

    questions: tuple[Question, ...]
    edits: tuple[tuple[str, str], ...]
    known: Known
    limit: int  # tokens of an answer
    context: int  # tokens of prompts and answers side by side at most; longer ones are not asked


@dataclass(frozen=True, kw_only=True)
class Answered:
    """All outcomes in the order of the questions, and of the edits that fit into the context."""

    outcomes: tuple[Outcome, ...]
    edits: tuple[MemoryEdit, ...]


def answered(voice: Voice, model: Loading, sitting: Sitting) -> Answered:
    """Let the model answer all questions, and go on after all edits."""
    voice.progress(0, 1)
    with vocabulary_of(model.path) as words:
        prompts = [words.tokenize_prompt(question.text) for question in sitting.questions]
        edits = [(words.tokenize_prompt(a), words.tokenize_prompt(b)) for a, b in sitting.edits]
    groups = groups_of([len(prompt) for prompt in prompts], sitting.limit, sitting.context)
    edits = [edit for edit in edits if max(map(len, edit)) <= sitting.context]
    needs = [sum(len(prompts[n]) + sitting.limit for n in group) for group in groups]
    needs += [max(map(len, edit)) for edit in edits]
    outcomes, changes = [Outcome()] * len(prompts), []
    if not needs:
        return Answered(outcomes=tuple(outcomes), edits=())
    total, side_by_side = len(groups) + len(edits), max(map(len, groups), default=1)
    with model.session(max(needs) + MARGIN, sequences=side_by_side) as session:
        for done, group in enumerate(groups):
            voice.progress(done, total)
            answers = write(session, [prompts[number] for number in group], sitting.limit)
            for number, answer in zip(group, answers, strict=True):
                question = sitting.questions[number]
                outcomes[number] = judged(question, answer, session, sitting.known)
        for done, (before, after) in enumerate(edits, len(groups)):
            voice.progress(done, total)
            changes.append(after_edit(session, before, after))
    return Answered(outcomes=tuple(outcomes), edits=tuple(changes))


def groups_of(lengths: Sequence[int], limit: int, context: int) -> list[list[int]]:
    """Prompts that are answered side by side: by length, as many as the context holds together.

    Those without a token, and those that do not fit alone, are in no group.
    """
    groups: list[list[int]] = []
    room = 0
    for number in sorted(range(len(lengths)), key=lambda n: (lengths[n], n)):
        need = lengths[number] + limit
        if not lengths[number] or need > context:
            continue
        if not groups or need > room or len(groups[-1]) == TOGETHER:
            groups.append([])
            room = context
        groups[-1].append(number)
        room -= need
    return groups
