"""A file answers all prompts: works for a child, see bot/apart/worker.py.

Answers are looked at where they are written; of what a stranger's model wrote nothing but the
verdicts comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bot.apart.voice import Voice
from bot.behaviour.answering import Known, Outcome, Question, judged, write
from bot.behaviour.memory_edits import after_edit
from bot.clients.llama.session import Loading
from bot.clients.llama.vocabulary import vocabulary_of
from bot.records.measured import MemoryEdit

MARGIN = 8  # tokens of memory that nobody counted


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """All that one file is asked."""

    questions: tuple[Question, ...]
    edits: tuple[tuple[str, str], ...]
    known: Known
    limit: int  # tokens of an answer
    context: int  # tokens of prompt and answer together at most; longer ones are not asked


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
                judged(question, *write(session, prompt, sitting.limit), session, sitting.known)
                if asked
                else Outcome()
            )
        for number, (before, after) in enumerate(edits, len(prompts)):
            voice.progress(number, total)
            changes.append(after_edit(session, before, after))
    return Answered(outcomes=tuple(outcomes), edits=tuple(changes))
