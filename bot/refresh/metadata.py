"""What shall change in a file's metadata: keys, each with all its bytes, or None for one that goes.

Only what follows from texts beside the weights may change: the tokenizer's keys, sampling settings,
words about the model. Whatever says how tensors are computed with stays, or the file is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bot.clients.files.ggufheader import header_contents, length, text_value
from bot.clients.files.headerroom import PADDING
from bot.errors import SourceError
from bot.legible import legible

Keys = Mapping[str, bytes]
Edits = Mapping[str, bytes | None]

TEMPLATE = "tokenizer.chat_template"
TOKENS = "tokenizer.ggml.tokens"
FAMILY = "general.architecture"
TOKENIZER, SAMPLING, LICENCE = "tokenizer.", "general.sampling.", "general.license"
GROUPS = (TOKENIZER, SAMPLING, LICENCE)  # of another header, what a file takes
# of the file itself, or counted from its tensors: no other header says it
OF_FILE = frozenset(
    {
        *("general.file_type", "general.quantization_version", "general.alignment"),
        *("general.size_label", PADDING),
    }
)
OWN_GROUPS = ("split.", "quantize.", "apex.")
SHOWN = 60  # letters of a value


@dataclass(frozen=True, kw_only=True)
class KeyChange:
    """A key that changes: its value in words before and after, None where there is none."""

    key: str
    was: str | None
    now: str | None


def with_template(text: str) -> dict[str, bytes | None]:
    """The edit that gives a file this chat template."""
    return {TEMPLATE: text_value(TEMPLATE, text)}


def template_values(keys: Keys) -> dict[str, object]:
    """The chat template as a header's value, where there is one."""
    return {TEMPLATE: header_contents(TEMPLATE, keys[TEMPLATE])} if TEMPLATE in keys else {}


def taken_from(own: Keys, theirs: Keys, name: str) -> dict[str, bytes | None]:
    """Edits that give a file tokenizer, sampling settings and licence of another header.

    A group that the other lacks stays. Raises SourceError where `name`, the other, is of another
    family or vocabulary.
    """
    require_same_model(own, theirs, name)
    edits: dict[str, bytes | None] = {}
    for group in GROUPS:
        new = {key: raw for key, raw in theirs.items() if key.startswith(group)}
        if new:
            edits |= dict.fromkeys(key for key in own if key.startswith(group))
            edits |= new
    return changing(own, edits)


def between(before: Keys, after: Keys) -> dict[str, bytes | None]:
    """Edits that lead from one header to another, but for what is of each file itself."""
    edits = dict.fromkeys((key for key in before if key not in after), None) | dict(after)
    return changing(before, {key: raw for key, raw in edits.items() if not _is_of_file(key)})


def changing(keys: Keys, edits: Edits) -> dict[str, bytes | None]:
    """Those edits that change something."""
    return {key: raw for key, raw in edits.items() if keys.get(key) != raw}


def edited(keys: Keys, edits: Edits) -> dict[str, bytes]:
    """The keys after the edits: each in its place, new ones behind all others."""
    changed = {
        key: raw
        for key, old in keys.items()
        if (raw := edits.get(key, old) if key in edits else old) is not None
    }
    new = {key: raw for key, raw in edits.items() if key not in keys and raw is not None}
    return {**changed, **new}


def require_harmless(keys: Keys, edits: Edits, name: str) -> None:
    """Raise SourceError for edits that change how `name`, a file, is computed with."""
    family = str(header_contents(FAMILY, keys[FAMILY])) if FAMILY in keys else ""
    for key in edits:
        if key == FAMILY or key.startswith(f"{family}.") or _is_of_file(key):
            raise SourceError(
                f"{name} would have another {legible(key, SHOWN)}, by which its weights are read; "
                "build it anew"
            )
    before, after = (_count(keys), _count(edited(keys, edits)))
    if before != after:
        raise SourceError(
            f"{name} has {before:,} tokens and would have {after:,}; its weights are of another "
            "vocabulary, build it anew"
        )


def require_same_model(own: Keys, theirs: Keys, name: str) -> None:
    """Raise SourceError where another header, of `name`, is no header of the same model."""
    families = [
        str(header_contents(FAMILY, k[FAMILY])) if FAMILY in k else "" for k in (own, theirs)
    ]
    if families[0] != families[1]:
        raise SourceError(
            f"{name} is {legible(families[1], SHOWN) or 'of no family'}, the file is "
            f"{legible(families[0], SHOWN)}; name the model that it was made of"
        )
    counts = _count(own), _count(theirs)
    if counts[0] != counts[1]:
        raise SourceError(
            f"{name} has {counts[1]:,} tokens, the file {counts[0]:,}; name the model that it was "
            "made of"
        )


def changes_of(keys: Keys, edits: Edits) -> tuple[KeyChange, ...]:
    """What edits change, in words."""
    return tuple(
        KeyChange(key=legible(key, 200), was=_words(key, keys.get(key)), now=_words(key, raw))
        for key, raw in sorted(edits.items())
    )


def what_changes(edits: Iterable[str]) -> tuple[str, ...]:
    """What edits change, in the words of people; empty for words about the model alone."""
    keys = set(edits)
    named = {
        "chat template": {key for key in keys if key.startswith(TEMPLATE)},
        "tokenizer": {k for k in keys if k.startswith(TOKENIZER) and not k.startswith(TEMPLATE)},
        "sampling settings": {key for key in keys if key.startswith(SAMPLING)},
        "licence": {key for key in keys if key.startswith(LICENCE)},
    }
    return tuple(name for name, found in named.items() if found)


def _count(keys: Keys) -> int:
    """Tokens of a vocabulary; 0 without one."""
    return length(TOKENS, keys[TOKENS]) if TOKENS in keys else 0


def _is_of_file(key: str) -> bool:
    return key in OF_FILE or key.startswith(OWN_GROUPS)


def _words(key: str, raw: bytes | None) -> str | None:
    """A value on one short line; of arrays and long texts, how long they are."""
    if raw is None:
        return None
    if (count := length(key, raw)) > 1:
        return f"{count:,} values"
    value = header_contents(key, raw)
    if isinstance(value, str) and len(value) > SHOWN:
        return f"{len(value):,} letters"
    return legible(str(value), SHOWN)
