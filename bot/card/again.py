"""The command that makes a release again, as `bot publish` takes it.

For a GGUF file of the user's: a name, licence or source that only the file's own metadata could
have given is read from it again; what options or settings can say stands in the command.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from pydantic import ValidationError

from bot.legible import legible
from bot.records.results import Results
from bot.settings.making import SourceSettings

LONGEST = 1000  # characters of a word


def again(results: Results) -> str:
    """One line of shell; texts and all other settings are those of bot.yaml.

    Tiers that the gate left out are asked for, too: the release says so of them.
    """
    tiers = [row.name for row in results.tiers] + [left_out.tier for left_out in results.left_out]
    words = [*_model(results), "--tiers", ",".join(tiers)]
    if results.baselines:
        words += ["--baselines", ",".join(row.name for row in results.baselines)]
    return " ".join(shlex.quote(legible(word, LONGEST)) for word in ("bot", "publish", *words))


def _model(results: Results) -> Iterator[str]:
    """The model and its commit; for a file, the options that its name, licence and source take."""
    if results.release is not None:
        yield from (results.release.repo_id, "--revision", results.release.commit)
        return
    yield results.reference.file
    origin = results.origin
    yield from _options(name=results.name)
    if origin is not None:
        yield from _options(
            license=origin.license,
            license_name=origin.license_name,
            license_link=origin.license_link,
        )
        yield from _options(base_model=origin.repo_id or None)
    if origin is None or not origin.license:
        yield "--private"  # what nobody may hand on can be made again for oneself


def _options(**options: str | None) -> Iterator[str]:
    """These as options; none where settings refuse them: the file's metadata has them then."""
    try:
        SourceSettings.model_validate(options)
    except ValidationError:
        return
    for key, value in options.items():
        if value:
            yield from (f"--{key.replace('_', '-')}", value)
