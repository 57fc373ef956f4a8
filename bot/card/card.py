"""Results → the body of README.md. Templates hold the words, Results the numbers.

Rendering is done in a child (rendering.py sends it there): values are strangers', and templates may
be the user's.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from functools import cache, partial
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

from bot.apart.errand import carry_out
from bot.card import words
from bot.card.again import again
from bot.card.choosing import cache_bytes, card_machines, choices
from bot.card.commands import CardCommand, card_commands
from bot.card.fitted_section import fitted_section
from bot.card.frontmatter import model_url
from bot.card.highlights import best_fits, highlights
from bot.card.rendering import BODY, CardOrder
from bot.card.tables.cells import CardFile
from bot.card.tables.file_table import available
from bot.card.tables.measured_table import benchmarks, intervals, others
from bot.card.tables.subject_tables import answers_of_harness, behaviour, domains, drafts
from bot.disk.folders import SENSITIVITY
from bot.errors import SettingsError
from bot.legible import legible
from bot.plots.pictures import TYPES
from bot.records.coding import from_json
from bot.records.measured import Row
from bot.records.results import Results
from bot.resolvers.llamacpp import PREDICTION
from bot.settings.sections import data_folder
from bot.settings.showing import CardSettings
from bot.wording import escape, formats
from bot.wording.rows import NAME_LIMIT, distinct, largest_measured, row_names, to_take

CARD = "card.md.j2"
ALT_LIMIT = 2000
SENTENCE_LIMIT = 1200


def body(order: CardOrder) -> str:
    """What follows the front matter.

    Raises SettingsError, naming template and line, for a template that cannot be rendered.
    """
    environment = _environment(order.templates, order.look.sizes)
    values = _values(order.results, order.repo_id, order.files, order.about, order.look)
    maps = [plot for plot in order.plots if f"/{TYPES}" in plot.light]
    values |= {"plots": [plot for plot in order.plots if plot not in maps], "fitted_plots": maps}
    values |= {"machines": card_machines(order.fits)}
    values |= {"thinking": order.thinking}
    try:
        text = environment.get_template(CARD).render(values)
    except (TemplateError, ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise _blame(error) from error
    return _tidy(text)


def require_templates(templates: Path) -> None:
    """Raise SettingsError for a folder that does not exist, or a file in it that is no template.

    A file has to replace a block of the card, and to compile; names that it asks for are looked up
    when a release is described.
    """
    environment = _environment(templates, "GB")
    block_names = sorted(path.name for path in data_folder("card_templates").glob("*.j2"))
    for path in sorted(templates.iterdir()):
        if path.name not in block_names:
            raise SettingsError(
                f"{path} replaces no block of the card; they are {', '.join(block_names)}"
            )
        try:
            environment.get_template(path.name)
        except (TemplateError, UnicodeDecodeError) as error:
            raise _blame(error) from error


@cache
def _environment(templates: Path | None, sizes: formats.Sizes) -> SandboxedEnvironment:
    """Compiled once; a template that was changed since is read again."""
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
        optimized=False,  # what a constant comes to is computed in the child alone
    )
    environment.filters |= {
        "code": escape.code_cell,
        "url": escape.url,
        "path": escape.path,
        "shell": escape.shell,
        "literal": escape.literal,
        "sentence": partial(escape.escaped_text, limit=SENTENCE_LIMIT),
        "alt": partial(escape.escaped_text, limit=ALT_LIMIT),
        "attribute": escape.attribute,
        "verbatim": escape.verbatim,
        "size": partial(formats.size_text, style=sizes),
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
    look: CardSettings,
) -> dict[str, Any]:
    """All that templates may name, but plots, machines and thinking."""
    return {
        "results": results,
        "repo_id": repo_id,
        "look": look,
        "name": _name(results),
        "benchmarks": benchmarks(results, look),
        "intervals": intervals(results),
        "others": others(results, look),
        "domains": domains(results),
        "drafts": drafts(results),
        "behaviour": behaviour(results),
        "answers": answers_of_harness(results),
        "harness": _harness(results),
        "drafting": _drafting(results, files),
        "elsewhere": any(row.kind for row in results.imported),
        "choices": _choices(results),
        "fitted": fitted_section(results, look),
        "sensitivity": _listed(files, SENSITIVITY),
        "data": _listed(files, "results.json"),
        "sums": _listed(files, "SHA256SUMS"),
        "highlights": _sentences(results, look),
        "files": available(results, files, about, look),
        "by_memory": choices(results, look),
        "best": to_take(results),
        "largest": largest_measured(results),
        "coinciding": _coinciding(results),
        "projector": any(file.path.startswith("mmproj") for file in files),
        "recipes": [row for row in distinct(results) if row.recipe],
        **_source_values(results),
        **_model_values(results, look),
        **_command_values(results, repo_id, files, look),
    }


def _source_values(results: Results) -> dict[str, Any]:
    """Where the model is from, and how what was made of it is made again."""
    release = results.release
    return {
        "model_url": model_url(release) if release else None,
        "source_url": f"{model_url(release)}/tree/{release.commit}" if release else None,
        "again": again(results),
        "finished": max(
            (run.finished[:10] for row in _rows(results) for run in row.scores.runs), default=None
        ),
    }


def _model_values(results: Results, look: CardSettings) -> dict[str, Any]:
    """The architecture in words, and what a context of the settings' length takes of memory."""
    model = results.architecture
    tokens = min(look.context, model.context_length or look.context)
    return {
        "context": tokens,
        "cache": cache_bytes(model, tokens),
        "sampling": words.sampling_words(model.sampling),
        "native": words.native_words(model),
        "attention": words.attention_words(model.attention),
        "experts": words.experts_words(model),
        "coverage": words.coverage_lines(results.calibration),
        "windows": words.windows_words(results.windows, model.layers),
        "gradient": words.gradient(results.windows, model.layers),
    }


def _command_values(
    results: Results, repo_id: str, files: Sequence[CardFile], look: CardSettings
) -> dict[str, Any]:
    """The file that commands name, and the commands."""
    example_file = _example(results, files)
    return {
        "example": example_file,
        "commands": _commands(results, repo_id, files, example_file, look),
    }


def _rows(results: Results) -> list[Row]:
    return [results.reference, *results.tiers]


def _name(results: Results) -> str:
    """The header's name where it has the repository's letters and digits, else the repository's."""
    own = results.architecture.name
    if results.release is None:
        return own
    name = results.release.repo_id.rpartition("/")[2]
    return own if _letters(own) == _letters(name) else name


def _letters(name: str) -> str:
    return "".join(sign for sign in name[:200].casefold() if sign.isalnum())


def _listed(files: Sequence[CardFile], path: str) -> str | None:
    return next((file.path for file in files if file.path == path), None)


def _example(results: Results, files: Sequence[CardFile]) -> CardFile | None:
    """The model's file that commands name: the first where it is in several."""
    row = to_take(results)
    if row is None:
        return None
    first = next((tier.file for tier in distinct(results) if tier.name == row.name), None)
    return next(
        (f for f in files if f.path == first or (first is None and f.tier == row.name)), None
    )


def _commands(
    results: Results,
    repo_id: str,
    files: Sequence[CardFile],
    example_file: CardFile | None,
    look: CardSettings,
) -> list[CardCommand]:
    if example_file is None:
        return []
    row = next((row for row in distinct(results) if row.file == example_file.path), None)
    tiers = row_names(results, row) if row else [example_file.tier] if example_file.tier else []
    return card_commands(
        repo_id,
        [file.path for file in files],
        example_file.path,
        tiers,
        shards=[shard.file for shard in row.shards] if row else (),
        context=min(results.architecture.context_length or 4096, 4096),
        gallery=look.localai_gallery,
    )


def _harness(results: Results) -> dict[str, Any]:
    """How benchmarks of lm-evaluation-harness were asked, each once."""
    asked = {one.name: one for row in results.tiers for one in row.scores.benchmarks}
    versions = dict.fromkeys(one.harness for one in asked.values())
    return {"versions": list(versions), "benchmarks": list(asked.values())}


def _drafting(results: Results, files: Sequence[CardFile]) -> dict[str, Any] | None:
    """Where the prediction layers are, how many guesses pay most, and whether the text stayed."""
    apart = next((file.path for file in files if file.path.startswith(PREDICTION)), None)
    measured = [one for row in distinct(results) for one in row.scores.drafts]
    if apart is None and not results.architecture.mtp_layers:
        return None
    best = to_take(results)
    own = next((r.scores.drafts for r in distinct(results) if best and r.name == best.name), ())
    paying = max(own, key=lambda one: one.rate, default=None)
    return {
        "apart": apart,
        "guesses": paying.guesses if paying else 1,
        "pays": paying is not None and paying.rate > paying.rate_without,
        "texts": sum(one.texts for one in measured),
        "same": sum(one.same_texts for one in measured),
    }


def _sentences(results: Results, look: CardSettings) -> tuple[str, ...]:
    best = best_fits(results, look)
    return (*highlights(results, look.sizes), *([best] if best else []))


def _choices(results: Results) -> list[Any]:
    choices_by_name = {
        choice.name: choice for row in reversed(_rows(results)) for choice in row.scores.choices
    }
    return list(choices_by_name.values())


def _coinciding(results: Results) -> list[str]:
    groups = [row_names(results, row) for row in distinct(results)]
    return [words.enumerated([legible(n, NAME_LIMIT) for n in g]) for g in groups if len(g) > 1]


def _blame(error: Exception) -> SettingsError:
    """The template and line that an error came from."""
    text = legible(error, escape.LIMIT) or type(error).__name__
    match error:
        case TemplateSyntaxError():
            where = f"{error.filename or error.name}, line {error.lineno}"
        case TemplateNotFound():
            where, text = "card templates", f"{text} is missing"
        case _:
            frames = traceback.extract_tb(error.__traceback__)
            template_frames = [frame for frame in frames if frame.filename.endswith(".j2")]
            if not template_frames:
                raise error
            where = f"{template_frames[-1].filename}, line {template_frames[-1].lineno}"
    return SettingsError(f"{where}: {text}; mend the template or take it out of the folder")


def _tidy(body: str) -> str:
    """No space at line ends, one empty line at most between blocks, one final newline."""
    lines: list[str] = []
    for line in (line.rstrip() for line in body.strip().splitlines()):
        if line or lines[-1]:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _carried_out(order: str, folder: Path) -> None:
    text = body(from_json(CardOrder, order))
    (folder / BODY).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    carry_out(_carried_out)
