"""How a file behaves: prompts in its own chat template, its answers, what they come to."""

from __future__ import annotations

import hashlib

from bot.apart.conversing import RenderedText, Speaking, rendered_prompts
from bot.apart.worker import away
from bot.behaviour.answering import Known, Question
from bot.behaviour.habits import habits_of
from bot.behaviour.prompts import Prompt, conversation, edited, read_prompts
from bot.behaviour.reasoning import marks_of
from bot.behaviour.sitting import Sitting, answered
from bot.behaviour.tool_calls import Offered, form_of
from bot.errors import BuildError
from bot.evaluate.loads import Sessions
from bot.evaluate.subject import Subject
from bot.progress import Report
from bot.records.measured import Behaviour

VERSION = 1  # raised when what is asked, or how answers are judged, changes
LETTERS = 12  # of a rendered prompt's hash


def behaviour_of(
    sessions: Sessions, subject: Subject, speaking: Speaking, report: Report
) -> Behaviour:
    """A file's answers to the prompts of the settings.

    Raises SettingsError for prompts that are none, BuildError where the file cannot be asked.
    """
    wanted = sessions.settings.evaluation.behaviour
    prompts = read_prompts(wanted.prompts)
    loading = sessions.loading(subject)
    asked = [conversation(one, prompts.filler, n) for n, one in enumerate(prompts.prompts)]
    edits = [turns for edit in prompts.edits for turns in edited(edit)]
    texts = rendered_prompts(speaking, [*asked, *edits], sessions.settings.kept_apart)
    sitting = Sitting(
        questions=tuple(map(_question, prompts.prompts, texts)),
        edits=_edits(texts[len(asked) :]),
        known=Known(form=form_of(speaking.template), marks=marks_of(speaking.template)),
        limit=wanted.tokens,
        context=wanted.context,
    )
    found = away(answered, sessions.room(subject, report))(loading, sitting)
    if len(found.outcomes) != len(asked) or len(found.edits) > len(sitting.edits):
        raise BuildError(f"{subject.name} answered {len(found.outcomes)} of {len(asked)} prompts")
    return Behaviour(
        limit=wanted.tokens,
        prompts=tuple(map(_hash, texts[: len(asked)])),
        form=sitting.known.form,
        habits=habits_of(found.outcomes),
        edits=found.edits,
    )


def _question(prompt: Prompt, text: RenderedText) -> Question:
    """What could not be rendered is no text, and is not asked."""
    offered = tuple(
        Offered(name=tool.name, parameters=tuple(tool.properties), required=tool.required)
        for tool in prompt.tools
    )
    return Question(text=text.text, offered=offered, needle=prompt.needle)


def _edits(texts: tuple[RenderedText, ...]) -> tuple[tuple[str, str], ...]:
    pairs = zip(texts[0::2], texts[1::2], strict=True)
    return tuple((before.text, after.text) for before, after in pairs if before.text and after.text)


def _hash(text: RenderedText) -> str:
    return hashlib.sha256(text.text.encode()).hexdigest()[:LETTERS] if text.text else ""
