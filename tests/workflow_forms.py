"""Every form of the workflow files that `bot init` makes, by all that its options can say.

The options come from the command itself: one that is new is tried, too, or has to be told here.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
from click.testing import CliRunner

from bot.actions.install import RECORD
from bot.cli.main import cli

WORDS = {"namespace": "my-name"}  # for options that take a word
OFFER = re.compile(r"^( +)# ([a-z-]+: \S+) #", re.MULTILINE)  # a line that a user may let count
LABELS = ("[self-hosted, gpu]", "[self-hosted, cuda, big]")


def made(folder: Path) -> dict[str, str]:
    """Text by a name that ends in the file's own; each text once."""
    found: dict[str, str] = {}
    for number, chosen in enumerate(combinations()):
        for name, text in installed(folder / f"checkout-{number}", chosen):
            for form in offers(text):
                found.setdefault(form, name)
    return {f"{number}-{name}": text for number, (text, name) in enumerate(found.items())}


def combinations() -> Iterator[Sequence[str]]:
    """Every set of options that `bot init` takes, as words of its command line."""
    options = [
        one for one in cli.commands["init"].params
        if isinstance(one, click.Option) and not one.hidden  # those are of every verb
    ]  # fmt: skip
    choices = [
        [[], [one.opts[-1]] if one.is_flag else [one.opts[-1], WORDS[str(one.name)]]]
        for one in options
    ]
    for chosen in itertools.product(*choices):
        yield [word for words in chosen for word in words]


def installed(checkout: Path, options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What the command leaves in a checkout: a new one, or one of an older version that is mended.

    There the user has given runners other labels, and the older version had other words.
    """
    (checkout / ".git").mkdir(parents=True)
    if "--upgrade" in options:
        bot_init(checkout, [word for word in options if word == "--single"])
        record = json.loads((checkout / RECORD).read_text())
        for path, text in record["files"].items():
            if path.endswith(".yml"):
                older = text.replace("timeout-minutes: 30", "timeout-minutes: 31")
                record["files"][path] = older
                (checkout / path).write_text(older.replace(*LABELS))
        (checkout / RECORD).write_text(json.dumps(record))
    bot_init(checkout, options)
    for path in sorted(checkout.glob(".github/workflows/*")):
        yield path.name, path.read_text()


def bot_init(checkout: Path, options: Sequence[str]) -> None:
    """Run it, as far as it can be told from outside."""
    done = CliRunner().invoke(cli, ["init", str(checkout), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def offers(text: str) -> Iterator[str]:
    """The text with each set of lines counting that stand in it as comments."""
    found = list(OFFER.finditer(text))
    for chosen in itertools.product((False, True), repeat=len(found)):
        form = text
        for match, counts in reversed(list(zip(found, chosen, strict=True))):
            if counts:
                form = f"{form[: match.start()]}{match[1]}{match[2]} #{form[match.end() :]}"
        yield form


def written(forms: Mapping[str, str], folder: Path) -> list[Path]:
    """The forms as files."""
    folder.mkdir()
    paths = [folder / name for name in forms]
    for path in paths:
        path.write_text(forms[path.name])
    return paths
