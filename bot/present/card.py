"""Results → README.md. Templates hold the words, Results the numbers."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import (
    ChoiceLoader,
    FileSystemLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
)
from jinja2.sandbox import SandboxedEnvironment

from bot.errors import SettingsError
from bot.present import escape, formats, words
from bot.present.coverage import coverage
from bot.present.frontmatter import front_matter, model_url
from bot.present.highlights import highlights
from bot.present.rows import NAME_LIMIT, distinct, example, names, points
from bot.present.tables import CardFile, available, benchmarks
from bot.records import Results, Row
from bot.settings import data_folder

__all__ = ["CardFile", "render_card"]

CARD = "card.md.j2"
ALT_LIMIT = 2000
SENTENCE_LIMIT = 1200


def render_card(
    results: Results,
    *,
    repo_id: str,
    files: Sequence[CardFile],
    about: Mapping[str, str],
    plot: str | None,
    templates: Path | None = None,
    quantized_by: str | None = None,
) -> str:
    """The whole README.md, front matter first.

    `files` are all files of the repository but the card, `about` a line for each tier, `plot` the
    path of an image in the repository. A file in `templates` replaces the one of the same name.
    Raises SettingsError, naming template and line, for a template that cannot be rendered.
    """
    environment = _environment(templates)
    values = _values(results, repo_id, files, about, plot)
    try:
        body = environment.get_template(CARD).render(values)
    except (TemplateError, ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise _blame(error) from error
    return front_matter(results, quantized_by) + "\n" + _tidy(body)


def _environment(templates: Path | None) -> SandboxedEnvironment:
    if templates is not None and not templates.is_dir():
        raise SettingsError(f"templates: {templates} is no folder; make it or leave templates out")
    folders = [folder for folder in (templates, data_folder("card_templates")) if folder]
    environment = SandboxedEnvironment(
        loader=ChoiceLoader([FileSystemLoader(folder) for folder in folders]),
        undefined=StrictUndefined,
        finalize=escape.finalize,
        trim_blocks=True,
        keep_trailing_newline=True,
        lstrip_blocks=True,
        autoescape=False,  # its rules are HTML's; finalize escapes for Markdown
    )
    environment.filters |= {
        "code": escape.code,
        "url": escape.url,
        "path": escape.path,
        "shell": escape.shell,
        "literal": escape.literal,
        "sentence": partial(escape.text, limit=SENTENCE_LIMIT),
        "alt": partial(escape.text, limit=ALT_LIMIT),
        "size": formats.size,
        "large": formats.large,
        "grouped": formats.grouped,
        "short": lambda sha: sha[:12],
    }
    return environment


def _values(
    results: Results,
    repo_id: str,
    files: Sequence[CardFile],
    about: Mapping[str, str],
    plot: str | None,
) -> dict[str, Any]:
    model, release = results.architecture, results.release
    return {
        "results": results,
        "repo_id": repo_id,
        "name": release.repo_id.rpartition("/")[2] if release else model.name,
        "model_url": model_url(release) if release else None,
        "source_url": f"{model_url(release)}/tree/{release.commit}" if release else None,
        "benchmarks": benchmarks(results),
        "choices": _choices(results),
        "data": next((file.path for file in files if file.path == "results.json"), None),
        "plot": plot,
        "plot_alt": alt_text(results),
        "highlights": highlights(results),
        "files": available(results, files, about),
        "coinciding": _coinciding(results),
        "attention": words.attention(model.attention),
        "experts": words.experts(model),
        "coverage": coverage(results.calibration),
        "windows": words.windows(results.windows, model.layers),
        "example": example(results),
        "recipes": [row for row in distinct(results) if row.recipe],
        "tiers": ",".join(row.name for row in results.tiers),
    }


def _choices(results: Results) -> list[Any]:
    rows: list[Row] = [results.reference, *results.tiers]
    found = {choice.name: choice for row in reversed(rows) for choice in row.scores.choices}
    return list(found.values())


def _coinciding(results: Results) -> list[str]:
    groups = [names(results, row) for row in distinct(results)]
    return [words.listed([escape.clean(n, NAME_LIMIT) for n in g]) for g in groups if len(g) > 1]


def alt_text(results: Results) -> str:
    """The size-against-divergence plot in words, with its numbers."""
    found = points(results)
    if not found:
        return "Plot of file size against mean KL divergence: no tier was measured."
    reference = escape.clean(results.reference.name, NAME_LIMIT)
    places = formats.error_places(point.error for point in found)
    told = "; ".join(
        f"{p.label} {formats.size(p.bytes)}, {formats.measured(p.mean, p.error, places)}"
        for p in found
    )
    return (
        f"Plot of file size against mean KL divergence from {reference} in nats per "
        f"token, logarithmic, lower is better: {told}."
    )


def _blame(error: Exception) -> SettingsError:
    """The template and line that an error came from."""
    what = escape.clean(str(error)) or type(error).__name__
    match error:
        case TemplateSyntaxError():
            where = f"{error.filename or error.name}, line {error.lineno}"
        case TemplateNotFound():
            where, what = "card templates", f"{what} is missing"
        case _:
            frames = traceback.extract_tb(error.__traceback__)
            found = [frame for frame in frames if frame.filename.endswith(".j2")]
            if not found:
                raise error
            where = f"{found[-1].filename}, line {found[-1].lineno}"
    return SettingsError(f"{where}: {what}; mend the template or take it out of the folder")


def _tidy(body: str) -> str:
    """No space at line ends, one empty line at most between blocks, one final newline."""
    lines: list[str] = []
    for line in (line.rstrip() for line in body.strip().splitlines()):
        if line or lines[-1]:
            lines.append(line)
    return "\n".join(lines) + "\n"
