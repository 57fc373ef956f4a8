"""The verbs: parse, call one stage, print one result.

Results go to stdout, narration to stderr. Heavy libraries are imported by the verbs that use them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial, update_wrapper
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from bot import interrupts, rights, secrecy
from bot.cli import disk, hubs, init, runs
from bot.cli.options import (
    JSON,
    REVISION,
    TIERS,
    Place,
    Repository,
    Sections,
    Verbs,
    anywhere,
    listed,
)
from bot.cli.step import VERBS as STEP_VERBS
from bot.cli.watch import VERBS
from bot.errors import AccessError, BotError, SourceError, of_machine

if TYPE_CHECKING:
    from bot.detect.inspection import Sight
    from bot.disk.folders import JobFolder
    from bot.plan.models import Plan, Sketch
    from bot.progress import Narrator
    from bot.records.built import Built
    from bot.settings.settings import Settings
    from bot.workplace.job import Job
    from bot.workplace.workplace import Workplace

EPILOG = """
\b
Exit codes
  0  done                           6  token missing or not allowed
  1  other failure                  7  Hub or GitHub unreachable, try again
  2  wrong usage                    8  llama.cpp refused
  3  settings or profile wrong      9  published files differ, left private
  4  model unusable                10  another bot works on the job
  5  disk, memory or device short  11  gate not passed
                                   12  not on the Hub, or not shown
129  ended by SIGHUP              130  interrupted
143  ended by SIGTERM
"""


class Context:
    """What the options before the verb said; settings are read when first needed."""

    def __init__(self, config: Path | None, quiet: bool) -> None:
        self.config, self.quiet, self.log = config, quiet, "text"
        self.overrides: dict[str, Any] = {}  # what a verb's own options say, nested as bot.yaml

    def log_as(self, kind: str) -> None:
        """Narrate for people, or in JSON."""
        self.log = kind
        if kind == "json":
            from bot.progress import log_as_json

            log_as_json()

    def override(self, section: str, **values: Any) -> None:
        """Let options of the command line win over a section of the settings."""
        self.overrides[section] = {**self.overrides.get(section, {}), **values}

    @cached_property
    def narrator(self) -> Narrator:
        """Somebody who narrates on stderr."""
        from bot.progress import Narrator

        return Narrator(quiet=self.quiet, events=self.log == "json")

    @cached_property
    def settings(self) -> Settings:
        """The settings file and the environment."""
        from bot.settings.settings import load

        settings = load(self.config, **self.overrides)
        rights.share(settings.workdir_access)
        return settings

    @cached_property
    def workplace(self) -> Workplace:
        """The stages, with the settings and the token of the environment."""
        from bot.settings.settings import hub_token, token_origin
        from bot.workplace.workplace import Workplace

        token = hub_token()
        return Workplace(self.settings, self.narrator, token, variable=token_origin())


class Road(Sections):
    """The whole command, its verbs by what one wants to do."""

    sections: ClassVar[Mapping[str, Sequence[str]]] = {
        "A release": (
            "inspect", "plan", "publish", "push", "card", "gate", "timeline", "rollback",
        ),
        "Its parts": (
            "toolchain", "convert", "calibrate", "quantize", "verify", "evaluate", "compare",
            "import", "lint",
        ),
        "Watching": (
            "watch", "why", "status", "approve", "retry", "ignore", "pause", "resume", "serve",
        ),
        "Builds on GitHub": ("init", "dispatch", "runs", "cancel", "rerun", "step"),
        "This machine": ("doctor", "clean", "config", "demo", "hub", "db"),
    }  # fmt: skip


@click.group(cls=Road, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=Place(),
    envvar="BOT_CONFIG",
    help="Settings file [default: bot.yaml here, if there is one]",
)
@click.option("-q", "--quiet", is_flag=True, help="No narration on stderr.")
@click.option(
    "--log",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="BOT_LOG",
    help="Narration for people, or a JSON object a line.",
)
@click.version_option(package_name="apex-bot", prog_name="bot")
@click.pass_context
def cli(ctx: click.Context, config: Path | None, quiet: bool, log: str) -> None:
    """Turn Mixture-of-Experts releases into measured, verified APEX GGUF repositories.

    \b
    bot demo                              see the whole road on this machine
    bot publish Qwen/Qwen3.6-35B-A3B      build, measure, describe, publish
    bot watch --once                      what is new, and what would be built
    """
    ctx.obj = Context(config, quiet)
    ctx.obj.log_as(log)


MODEL = click.argument("model", type=Repository())
TO = click.option("--to", type=Repository(), metavar="OWNER/NAME", help="Repository to publish to.")
PRIVATE = click.option("--private", is_flag=True, help="Leave a new repository private.")


def _prune(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.obj.override("publish", prune=True)


PRUNE = click.option(
    "--prune",
    is_flag=True,
    callback=_prune,
    expose_value=False,
    help="Give back the Hub's storage of files that updates replaced (publish.keep_builds).",
)


def _baselines(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value:
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        ctx.obj.override("quantize", baselines=names)


BASELINES = click.option(
    "--baselines",
    callback=_baselines,
    expose_value=False,
    metavar="TYPE,TYPE",
    help="llama.cpp's own types to compare with, such as Q8_0,Q4_K_M; not published.",
)


def _emit(record: Any) -> None:
    """A record, or a plain value, as JSON."""
    from bot.records.coding import to_json

    click.echo(to_json(record), nl=False)


def _planned(
    context: Context,
    name: str,
    revision: str,
    tiers: tuple[str, ...],
    uses: Collection[str] | None = None,
) -> Job:
    """The job of a model, of which `uses` are the texts and tasks to be read; None: all."""
    from bot.release import needs
    from bot.workplace.demo_texts import EVERY_USE
    from bot.workplace.job import Job

    _require_own(context, name)
    from bot.release.finding import model_of

    workplace = context.workplace
    needs.require_here(workplace, tiers, EVERY_USE if uses is None else uses)
    return Job(workplace, workplace.plan(model_of(workplace, name, revision), tiers))


def _require_room(job: Job, at_a_time: Sequence[Collection[str]] = ()) -> None:
    from bot.release import room

    room.require_room(job, at_a_time)


def _told(section: str, key: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback by which an option stands above a key of the settings."""

    def take(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if value is not None:
            ctx.obj.override(section, **{key: value})

    return take


OF_A_FILE = tuple(
    click.option(
        f"--{key.replace('_', '-')}",
        callback=_told("source", key),
        expose_value=False,
        metavar=metavar,
        help=said,
    )
    for key, metavar, said in (
        ("base_model", "OWNER/NAME", "Of a file: the model on the Hub that it was made of."),
        ("license", "LICENCE", "Of a file: its licence, as the Hub names it."),
        ("license_name", "NAME", "Of a file: what its licence is called, where that is `other`."),
        ("license_link", "ADDRESS", "Of a file: where its licence stands."),
        ("name", "NAME", "Of a file: what the model is called [default: as the file is]"),
    )
)


def _require_own(context: Context, model: str) -> None:
    """Raise for options about a file beside a repository, which tells all of it itself."""
    from bot.workplace.workplace import as_file

    if as_file(model) is None and context.overrides.get("source"):
        raise click.UsageError("--name, --license and --base-model are for a file of this machine")


def _paths(context: Context, name: str, revision: str, tiers: tuple[str, ...]) -> JobFolder:
    """The folder of a model's job; nothing of the model is fetched for it."""
    from bot.workplace import asked

    workplace = context.workplace
    pinned = workplace.pinned(name, revision)
    return asked.order(context.settings, pinned, tiers).paths(workplace.folders)


def staged(verb: Callable[..., None]) -> Callable[..., None]:
    """Options that every verb working on a model's job has."""
    wrapped = click.pass_obj(verb)
    for option in (JSON, *OF_A_FILE, BASELINES, TIERS, REVISION, MODEL):
        wrapped = option(wrapped)
    return update_wrapper(wrapped, verb)


@cli.command()
@MODEL
@REVISION
@JSON
@click.pass_obj
def inspect(context: Context, model: str, revision: str, as_json: bool) -> None:
    """Say what a model is: layers, experts, parameters, attention; and whether it can be built.

    MODEL is ORG/NAME on the Hub, of which only headers are read, or a path: of a 16-bit GGUF
    file, of a checkpoint's folder, or of a config.json.

    \b
    bot inspect Qwen/Qwen3.6-35B-A3B
    bot inspect ./model-BF16.gguf --json
    """
    from bot.cli import text_tables

    sight = _sight(context, model, revision)
    if sight is not None:
        _emit(text_tables.sight_values(sight)) if as_json else click.echo(text_tables.sight(sight))
        return
    from bot.release.finding import model_of

    found = model_of(context.workplace, model)
    counted = found.architecture
    if as_json:
        _emit(text_tables.architecture_values(counted))
    else:
        click.echo(
            text_tables.architecture(counted, f"{found.source.path}, {found.source.sha256[:12]}")
        )


def _sight(context: Context, model: str, revision: str) -> Sight | None:
    """What a repository, a checkpoint or a config is; None for a GGUF file, which tells itself."""
    from bot.detect import inspection
    from bot.workplace.workplace import as_file, as_repo

    path = Path(model).expanduser()
    if path.is_dir() or path.suffix == ".json":
        return inspection.look_at_folder(path, inspection.dropped(context.settings))
    if as_file(model):
        return None
    machine = inspection.machine(context.workplace)
    return inspection.look_at(context.workplace, as_repo(model), revision, machine)


def _sketched(context: Context, model: str, revision: str, tiers: tuple[str, ...]) -> Plan[Sketch]:
    """The plan of a model, made without its weights where they are not here."""
    sight = _sight(context, model, revision)
    if sight is None:
        from bot.release.finding import model_of

        return context.workplace.plan(model_of(context.workplace, model), tiers)
    if sight.sketch is None:
        raise SourceError(
            f"{model} has no plan ({sight.decision.outcome}): {sight.decision.reason}; "
            "choose another model"
        )
    return context.workplace.plan(sight.sketch, tiers)


@cli.group(cls=Verbs)
def toolchain() -> None:
    """llama.cpp's converter, in an environment of its own."""


@toolchain.command()
@JSON
@click.pass_obj
def install(context: Context, as_json: bool) -> None:
    """Fetch the converter of the llama.cpp in use and what it needs (torch, about 1.2 GB).

    A second run does nothing.

    \b
    bot toolchain install
    """
    from bot.toolchain import toolchain as chain

    found = chain.install(context.workplace.folders.toolchain, report=context.narrator.say)
    _emit(found) if as_json else click.echo(f"{found.version} in {found.tree}")


@toolchain.command()
@JSON
@click.pass_obj
def show(context: Context, as_json: bool) -> None:
    """Say which converter is in use, and how many architectures it knows.

    \b
    bot toolchain show
    """
    from bot.toolchain import toolchain as chain

    found = chain.chosen(context.settings.convert, context.workplace.folders.toolchain)
    if as_json:
        _emit(found)
        return
    models, projectors = chain.supported(found)
    click.echo(f"{found.version} in {found.tree}")
    click.echo(f"{len(models)} text architectures, {len(projectors)} vision and audio ones")


@cli.command()
@click.argument("checkpoint", type=Place(exists=True, file=False))
@click.argument("target", type=Place(folder=False))
@click.option("--name", help="The model's name in the file [default: the folder's]")
@JSON
@click.pass_obj
def convert(
    context: Context, checkpoint: Path, target: Path, name: str | None, as_json: bool
) -> None:
    """Convert a safetensors checkpoint to the BF16 GGUF file that tiers are made from.

    CHECKPOINT is a folder with config.json, tokenizer and *.safetensors. llama.cpp's own converter
    does it, without a token or a network; what it made is loaded and compared with the checkpoint.

    \b
    bot toolchain install
    bot convert ./Qwen3-30B-A3B ./Qwen3-30B-A3B-BF16.gguf
    bot publish ./Qwen3-30B-A3B-BF16.gguf
    """
    from bot.source.converting import convert_folder

    made = convert_folder(context.workplace, checkpoint, target, name)
    if as_json:
        _emit(made)
        return
    for path in (*made.model, made.projector, made.mtp):
        if path is not None:
            click.echo(str(path))
    for note in made.notes:
        context.narrator.say(note)


@cli.command()
@click.option("--recipe", metavar="TIER", help="Print one tier's recipe, a line for each tensor.")
@staged
def plan(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    recipe: str | None,
) -> None:
    """Show each tier's recipe: sizes, bits per weight, types by band, disk needed.

    Nothing is downloaded: for ORG/NAME on the Hub, headers are enough.

    \b
    bot plan Qwen/Qwen3.6-35B-A3B
    bot plan ./model-BF16.gguf
    bot plan ./model-BF16.gguf --recipe I-Mini > i-mini.txt
    """
    made = _sketched(context, model, revision, (recipe,) if recipe else tiers)
    from bot.cli import text_tables

    if as_json:
        _emit(text_tables.plan_values(made))
    elif recipe:
        click.echo(text_tables.recipe(made.recipes[0]))
    else:
        click.echo(_plan_text(context, made))


def _plan_text(context: Context, made: Plan[Sketch]) -> str:
    from bot.cli import text_tables
    from bot.release.room import reference_guess

    vocabulary = made.model.architecture.vocabulary
    return text_tables.plan(made, reference_guess(context.settings, vocabulary))


@cli.command()
@staged
def calibrate(
    context: Context, model: str, revision: str, tiers: tuple[str, ...], as_json: bool
) -> None:
    """Make the importance matrix that the I- tiers need, and say how well it covers the experts.

    Texts, their proportions and chunks are settings (calibration). A run that was stopped goes on
    at its last checkpoint and ends with the same sums. --json gives the facts of results.json.

    \b
    bot calibrate ./model-BF16.gguf
    bot calibrate some-org/model-BF16-GGUF --json
    """
    from bot.cli import text_tables
    from bot.quantize import calibrating
    from bot.workplace.demo_texts import MATRIX

    job = _planned(context, model, revision, tiers, {MATRIX})
    with job.paths.locked():
        _require_room(job)
        made = calibrating.facts(job)
    if as_json:
        _emit(made)
    elif made is None:
        click.echo("no tier needs an importance matrix")
    else:
        click.echo(str(job.paths.imatrix))
        click.echo(text_tables.coverage(made))


@cli.command()
@click.option(
    "--engine",
    type=click.Choice(["one-pass", "llama"]),
    help="All tiers in one reading of the model, or llama.cpp's own function for each.",
)
@click.option(
    "--imatrix",
    type=Place(exists=True, folder=False),
    help="An importance matrix to use instead of calibrating.",
)
@click.option("--no-stamp", is_flag=True, help="No tier, recipe hash and bot version in the files.")
@staged
def quantize(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    engine: str | None,
    imatrix: Path | None,
    no_stamp: bool,
) -> None:
    """Make the GGUF file of each tier. Both engines write the same bytes.

    Without the stamp they are the bytes of llama-quantize. Files above quantize.shard_gb are
    written as shards.

    \b
    bot quantize ./model-BF16.gguf --tiers I-Quality,I-Mini
    bot quantize ./model-BF16.gguf --tiers I-Mini --baselines Q8_0,Q4_K_M
    bot quantize ./model-BF16.gguf --imatrix ./imatrix.gguf --engine llama --no-stamp
    """
    from bot.quantize import tier_files
    from bot.workplace.demo_texts import MATRIX

    if engine:
        context.override("quantize", engine=engine)
    if no_stamp:
        context.override("quantize", stamp=False)
    job = _planned(context, model, revision, tiers, () if imatrix else {MATRIX})
    with job.paths.locked():
        _require_room(job)
        built = tier_files.quantize(job, imatrix)
    if as_json:
        _emit(built)
        return
    for tier, made in built.items():
        for file in made.files:
            click.echo(f"{tier}\t{file.bytes}\t{file.sha256}\t{file.path}")


@cli.command()
@click.argument("file", type=Place(folder=False))
@click.option("--no-run", is_flag=True, help="Do not load it: where memory is short.")
@JSON
@click.pass_obj
def verify(context: Context, file: Path, no_run: bool, as_json: bool) -> None:
    """Check a GGUF file: header, every row, its recipe, and that it writes sensible text.

    FILE is a model, or the first of its shards. The exit code is 0 when nothing is wrong.

    \b
    bot verify ./model-APEX-I-Mini.gguf
    bot verify ./model-APEX-Quality-00001-of-00004.gguf --no-run --json
    """
    from bot.cli import text_tables
    from bot.quantize.verify import verify as look

    findings = []
    try:
        for finding in look(file, context.settings, context.narrator, run=not no_run):
            findings.append(finding)
            if finding.good is not False and not as_json:
                click.echo(text_tables.finding(finding))
    finally:
        if as_json:
            _emit(tuple(findings))


AGAINST = click.option(
    "--against",
    metavar="REF",
    help="The reference: a GGUF file, or llama.cpp's file of its log-probabilities.",
)
MEASURES = click.option(
    "--measures",
    callback=listed,
    metavar="NAME,NAME",
    help="ppl, kld, noise, speed, tasks, or sets of tasks by name [default: as in bot.yaml]",
)


def texts(verb: Callable[..., None]) -> Callable[..., None]:
    """Options that say on what is measured; they stand above bot.yaml."""

    def run(ctx: click.Context, **given: Any) -> None:
        told = {name: given.pop(name) for name in ("text", "chunks", "context")}
        asked = {name: str(value) for name, value in told.items() if value is not None}
        if asked:
            ctx.obj.overrides["evaluation"] = asked
        ctx.invoke(verb, ctx.obj, **given)

    update_wrapper(run, verb)
    wrapped: Callable[..., None] = click.pass_context(run)
    for option in (
        click.option("--context", type=click.IntRange(min=32), help="Tokens of a chunk."),
        click.option("--chunks", type=click.IntRange(min=1), help="At most so many chunks."),
        click.option("--text", help="A file, or a name in `data` of bot.yaml."),
    ):
        wrapped = option(wrapped)
    return update_wrapper(wrapped, verb)


@cli.command()
@click.argument("files", nargs=-1, required=True, type=Repository(), metavar="MODEL | FILE...")
@AGAINST
@MEASURES
@texts
@click.option("--out", type=Place(), help="Results, after each measure anew.")
@click.option(
    "--keep-logits",
    type=Place(),
    help="Write the reference's log-probabilities as llama-perplexity does.",
)
@TIERS
@REVISION
@JSON
def evaluate(
    context: Context,
    files: tuple[str, ...],
    against: str | None,
    measures: tuple[str, ...],
    out: Path | None,
    keep_logits: Path | None,
    tiers: tuple[str, ...],
    revision: str,
    as_json: bool,
) -> None:
    """Measure a model's tiers against it; or any GGUF files, by --against or --measures.

    A FILE is a path, or ORG/REPOSITORY:PATTERN of a file on the Hub, shards too. What was measured
    once with the same text on the same machine is not measured again.

    \b
    bot evaluate ./model-BF16.gguf --tiers I-Quality --json
    bot evaluate a.gguf b.gguf --against model-BF16.gguf --measures ppl,kld,hellaswag
    bot evaluate unsloth/Qwen3.6-35B-A3B-GGUF:UD-Q4_K_XL --against ./model-BF16.gguf
    """
    from bot.cli import text_tables

    if against is not None or measures:
        from bot.evaluate.files import evaluate as measure_files

        found = measure_files(
            context.workplace, files, against, measures, out=out, logits=keep_logits
        )
        _emit(found) if as_json else click.echo(text_tables.evaluation(found))
        return
    if len(files) > 1 or out or keep_logits:
        raise click.UsageError(
            "several files, --out and --keep-logits need --against or --measures"
        )
    from bot.release import stages

    job = _planned(context, files[0], revision, tiers)
    with job.paths.locked():
        _require_room(job)
        results = stages.results(job)
    _emit(results) if as_json else click.echo(text_tables.results(results))


@cli.command()
@click.argument("one")
@click.argument("other")
@AGAINST
@MEASURES
@texts
@click.option(
    "--results",
    "path",
    type=Place(exists=True, folder=False),
    help="A results.json; ONE and OTHER are then names of its rows.",
)
@JSON
def compare(
    context: Context,
    one: str,
    other: str,
    against: str | None,
    measures: tuple[str, ...],
    path: Path | None,
    as_json: bool,
) -> None:
    """Say whether two files differ, by tests that pair what both answered.

    \b
    bot compare a.gguf b.gguf --against model-BF16.gguf --measures kld,hellaswag
    bot compare I-Mini I-Nano --results results.json
    """
    from bot.cli import text_tables
    from bot.evaluate import files

    if path is not None:
        found = files.stored_comparisons(path, one, other)
    else:
        found = files.evaluate(context.workplace, (one, other), against, measures).comparisons
    _emit(found) if as_json else click.echo("\n".join(text_tables.comparisons(found)))


@cli.command("import")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=Place(exists=True, folder=False),
)
@JSON
@click.pass_obj
def import_(context: Context, files: tuple[Path, ...], as_json: bool) -> None:
    """Read what others measured: results of the APEX project, logs of llama-perplexity.

    Named in evaluation.imported of bot.yaml, they stand in results.json, marked as imported.

    \b
    bot import coder30b/*.json qwen36_35b/kl_results.txt
    """
    del context
    from bot.cli import text_tables
    from bot.measures.imported import read

    found = tuple(row for path in files for row in read(path))
    _emit(found) if as_json else click.echo(text_tables.imported(found))


@cli.command()
@TO
@click.option(
    "--out",
    type=Place(file=False),
    help="Where the card of a sheet goes [default: a folder of its repository's name]",
)
@click.option(
    "--preview", is_flag=True, help="Show the repository in a browser, until interrupted."
)
@click.option("--port", default=0, help="Port of --preview [default: a free one]")
@staged
def card(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    to: str | None,
    out: Path | None,
    preview: bool,
    port: int,
) -> None:
    """Write the card, its plots, results.json and SHA256SUMS; print where the card is.

    MODEL may be a sheet as well: a YAML file of facts beside result files of others, such as the
    APEX project's. Its card goes into --out.

    \b
    bot card ./model-BF16.gguf --to my-name/model-APEX-GGUF
    bot card ./sheet.yaml --out ./card
    bot card ./model-BF16.gguf --preview
    """
    from bot.card import sheet
    from bot.release import stages

    if sheet.is_sheet(model):
        path = Path(model).expanduser()
        repo_id = to or sheet.read(path).repository
        folder = out or Path(repo_id.partition("/")[2])
        say = context.narrator.say
        settings = context.settings
        made = sheet.write_card(path, folder, settings.templates, repo_id, say, settings.kept_apart)
        _emit(made) if as_json else click.echo(str(folder / "README.md"))
        if preview:
            _preview(context, folder, repo_id, made, port)
        return
    if out is not None:
        raise click.UsageError("--out is for sheets; the card of a model lies in its job's folder")
    job = _planned(context, model, revision, tiers)
    repo_id = job.workplace.target(job.plan.model, to)
    with job.paths.locked():
        _require_room(job)
        files = stages.card(job, repo_id)
    if as_json:
        _emit(files)
    else:
        click.echo(str(job.paths.card))
    if preview:
        _preview(context, job.paths.folder, repo_id, files, port)


def _preview(
    context: Context, folder: Path, repo_id: str, files: Mapping[str, Built], port: int
) -> None:
    """Serve what was made until interrupted, and open it where there is a browser."""
    import webbrowser

    from bot.verbs.card_preview import preview

    def ready(url: str) -> None:
        context.narrator.say(f"{url}  (Ctrl-C ends it)")
        webbrowser.open(url)

    preview(folder, repo_id, files, port, ready)


@cli.command()
@click.argument("repository", type=Repository(), metavar="REPO_OR_FOLDER")
@REVISION
@click.option("--no-hashes", is_flag=True, help="Do not read a folder's files whole.")
@JSON
@click.pass_context
def lint(
    ctx: click.Context, repository: str, revision: str, no_hashes: bool, as_json: bool
) -> None:
    """Say what is wrong with a repository of GGUF files: names, links, commands, sizes, hashes.

    Of ours or of others'; on the Hub only headers and small files are read. The exit code is 1
    where there are errors; warnings alone leave it 0.

    \b
    bot lint some-org/Model-GGUF
    bot lint ./release --json
    """
    from bot.lint.defects import lint as look
    from bot.lint.reading import read

    found = look(read(ctx.obj.workplace, repository, revision, hashes=not no_hashes))
    if as_json:
        _emit(tuple(found))
    for defect in () if as_json else found:
        click.echo(f"{defect.level:<8} {defect.rule:<18} {defect.path}: {defect.text}")
    if not found and not as_json:
        click.echo(f"nothing is wrong with {repository}")
    ctx.exit(1 if any(defect.level == "error" for defect in found) else 0)


@cli.command()
@TO
@staged
def gate(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    to: str | None,
) -> None:
    """Hold the measured tiers against the rules of `gate` in bot.yaml, and say what would happen.

    Exit code 0: the release may go, perhaps without some tiers; 11: nothing would be published.

    \b
    bot gate ./model-BF16.gguf --to my-name/model-APEX-GGUF
    bot gate Qwen/Qwen3.6-35B-A3B --json
    """
    from bot.errors import GateError
    from bot.gate.verdicts import as_text
    from bot.release import stages

    if not _paths(context, model, revision, tiers).results.is_file():
        raise SourceError(f"{model} is not measured with these settings; run `bot evaluate`")
    job = _planned(context, model, revision, tiers)
    repo_id = job.workplace.target(job.plan.model, to)
    with job.paths.locked():
        verdict = stages.judge(job, repo_id)
    if as_json:
        _emit(verdict)
    else:
        click.echo(as_text(verdict))
    if verdict.stops is not None:
        sys.exit(GateError.exit_code)


def _publish(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    to: str | None,
    private: bool,
    *,
    built_only: bool,
    unless_published: bool = False,
    show_timeline: bool = False,
) -> None:
    from bot.cli import text_tables
    from bot.gate import gating
    from bot.publish import afterwards
    from bot.publish.publication import held_already, waits
    from bot.quantize import tier_files
    from bot.release import ahead, lanes, needs, stages
    from bot.release.timeline import Timeline
    from bot.workplace import asked

    if private:
        context.override("publish", private=True)
    timeline = Timeline()
    context.narrator.listener = timeline.heard
    _require_own(context, model)
    # the token is asked for before hours of work, not after
    workplace = context.workplace
    workplace.require_publisher()
    ahead.require(workplace, model, tiers, to)
    needs.require_here(workplace, tiers)
    pinned = workplace.pinned(model, revision)
    gating.require_allowed(workplace, model, revision, pinned.release)
    order = asked.order(context.settings, pinned, tiers)
    repo_id, wanted = workplace.target(pinned, to), context.settings.publish
    look = partial(held_already, workplace, repo_id, order, private=wanted.private)
    done = look(others=unless_published) or waits(workplace, repo_id, order)
    if done is None:
        if built_only and not order.paths(workplace.folders).card.is_file():
            raise SourceError(f"{model} is not built with these settings; run `bot publish`")
        needs.require(workplace, tiers)
        job = _planned(context, model, pinned.commit if pinned.release else revision, tiers)
        with job.paths.locked():
            for line in (*ahead.renamed(model), *ahead.outlook(workplace, job.plan, repo_id)):
                context.narrator.say(line)
            gating.begin(job, repo_id)
            lanes.remake_lost(job, repo_id)
            overlap = wanted.overlap and not built_only
            _require_room(job, tier_files.passes(job) if overlap and wanted.free != "never" else ())
            timeline.keep_in(job.paths.timeline)
            if overlap:
                lanes.prepare(job, repo_id, timeline)
            if (done := look(others=unless_published)) is None:  # again: the build took hours
                with timeline.on("card", "cpu"):
                    files = stages.card(job, repo_id)
                with timeline.on("commit", "network"):
                    done = stages.push(job, repo_id, files, private=wanted.private)
    done = afterwards.follow(workplace, done)
    if show_timeline:
        click.echo(_timeline_text(order.paths(workplace.folders).timeline), err=True)
    if as_json:
        _emit(done)
    else:
        click.echo(text_tables.ended(done, order.paths(workplace.folders).results))


@cli.command()
@TO
@PRIVATE
@PRUNE
@staged
def push(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    to: str | None,
    private: bool,
) -> None:
    """Publish what was built: one commit, verified, then public.

    \b
    bot push ./model-BF16.gguf --to my-name/model-APEX-GGUF
    """
    _publish(context, model, revision, tiers, as_json, to, private, built_only=True)


@cli.command()
@TO
@PRIVATE
@PRUNE
@click.option("--dry-run", is_flag=True, help="Plan and print; build and send nothing.")
@click.option(
    "--unless-published",
    is_flag=True,
    help="Do nothing where the Hub holds these tiers of this commit already.",
)
@click.option(
    "--on",
    "where",
    type=click.Choice(["here", "github"]),
    default="here",
    show_default=True,
    help="Build on this machine, or by a workflow of github.repo, followed to its end.",
)
@click.option("--timeline", "show_timeline", is_flag=True, help="Say on stderr what took how long.")
@staged
def publish(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    as_json: bool,
    to: str | None,
    private: bool,
    dry_run: bool,
    unless_published: bool,
    where: str,
    show_timeline: bool,
) -> None:
    """Quantize, measure, describe and publish a model. Run again, it goes on where it stopped.

    MODEL is ORG/NAME on the Hub, or the path of a 16-bit GGUF file. HF_TOKEN must be a token that
    may write.

    \b
    bot publish Qwen/Qwen3.6-35B-A3B --tiers I-Balanced,I-Quality,I-Compact
    bot publish ./model-BF16.gguf --to my-name/model-APEX-GGUF --private
    bot publish ./model-BF16.gguf --dry-run
    bot publish ./model-BF16.gguf --prune --dry-run
    bot publish Qwen/Qwen3.6-35B-A3B --on github
    """
    if where == "github":
        if to or private or unless_published or "publish" in context.overrides:
            raise click.UsageError(
                "--to, --private, --prune and --unless-published are the workflow's own with "
                "--on github"
            )
        runs.publish(context, model, revision, tiers, as_json=as_json, dry_run=dry_run)
        return
    if not dry_run:
        _publish(
            context, model, revision, tiers, as_json, to, private,
            built_only=False, unless_published=unless_published, show_timeline=show_timeline,
        )  # fmt: skip
        return
    if private:
        context.override("publish", private=True)
    _rehearse(
        context, model, revision, tiers, to, as_json=as_json, unless_published=unless_published
    )


def _rehearse(
    context: Context,
    model: str,
    revision: str,
    tiers: tuple[str, ...],
    to: str | None,
    *,
    as_json: bool,
    unless_published: bool,
) -> None:
    """All that a publication would find before it makes anything, and what it would do."""
    from bot.cli import text_tables
    from bot.gate import gating
    from bot.publish.replacing import would_prune
    from bot.release import ahead, needs
    from bot.release.room import require_room_ahead
    from bot.workplace import asked

    _require_own(context, model)
    workplace = context.workplace
    lines = [*ahead.renamed(model)]
    needs.require(workplace, tiers)
    gating.require_allowed(workplace, model, revision)
    try:
        ahead.require(workplace, model, tiers, to)
    except AccessError as error:
        if workplace.has_token:
            raise
        lines.append(f"a publication would end here: {error}")
    made = _sketched(context, model, revision, tiers)
    require_room_ahead(workplace, made)
    repo_id = workplace.target(made.model, to) if workplace.can_name(to) else None
    lines += ahead.outlook(workplace, made, repo_id) if repo_id else ()
    gone = None
    if repo_id and context.settings.publish.prune:
        order = asked.order(context.settings, workplace.pinned(model, revision), tiers)
        gone = would_prune(workplace, made, order, repo_id, others=unless_published)
    if as_json:
        values = {"plan": text_tables.plan_values(made), "target": repo_id, "notes": lines}
        _emit(values if gone is None else {**values, "prune": gone})
        return
    shown = [_plan_text(context, made), "", *lines]
    if repo_id and gone is not None:
        shown.append(text_tables.would_prune(gone, repo_id))
    click.echo("\n".join(shown))


def _timeline_text(path: Path) -> str:
    import shutil

    from bot.release import timeline

    if not path.is_file():
        return "nothing was done"
    return timeline.text(timeline.read(path), shutil.get_terminal_size().columns)


@cli.command()
@staged
def timeline(
    context: Context, model: str, revision: str, tiers: tuple[str, ...], as_json: bool
) -> None:
    """Say where the time of the last `bot publish` went, by CPU, GPU and network.

    --json prints all runs in Chrome's trace format, for chrome://tracing or ui.perfetto.dev.

    \b
    bot timeline ./model-BF16.gguf
    bot timeline ./model-BF16.gguf --json > trace.json
    """
    from bot.release import timeline as timelines

    path = _paths(context, model, revision, tiers).timeline
    timelines.read(path)
    if as_json:
        click.echo(path.read_text(encoding="utf-8"), nl=False)
    else:
        click.echo(_timeline_text(path))


@cli.command()
@click.argument("repository", type=Repository(), metavar="OWNER/NAME")
@click.argument("revision", required=False)
@JSON
@click.pass_obj
def rollback(context: Context, repository: str, revision: str | None, as_json: bool) -> None:
    """Return a published repository to an earlier REVISION, in one commit.

    Only the bot's files go back; what people added stays. The Hub copies the files itself. A commit
    may be named by its first digits; without REVISION the builds there are listed.

    \b
    bot rollback my-name/model-APEX-GGUF
    bot rollback my-name/model-APEX-GGUF 1f2e3d4c5b6a
    """
    from bot.cli import text_tables
    from bot.publish.publication import back, builds
    from bot.workplace.workplace import as_repo

    if revision is None:
        found = builds(context.workplace, as_repo(repository))
        _emit(found) if as_json else click.echo(text_tables.builds(found))
        return
    context.workplace.require_publisher()
    done = back(context.workplace, as_repo(repository), revision)
    if as_json:
        _emit(done)
    else:
        click.echo(text_tables.rolled_back(done))


OTHERS = (init.VERBS, runs.VERBS, STEP_VERBS, hubs.VERBS, disk.VERBS)
for verb_elsewhere in (*VERBS, *chain.from_iterable(OTHERS)):
    cli.add_command(verb_elsewhere)


@cli.command()
@click.option(
    "--dir",
    "folder",
    type=Place(file=False),
    default=Path("apex-demo"),
    show_default=True,
    help="Where everything goes.",
)
@click.option("--serve", "stay", is_flag=True, help="Serve the local Hub afterwards.")
@click.option("--port", default=8910, show_default=True, help="Port of --serve.")
@JSON
@click.pass_obj
def demo(context: Context, folder: Path, stay: bool, port: int, as_json: bool) -> None:
    """Run the whole road here: a local Hub, a tiny release on it, nine measured tiers of it.

    \b
    bot demo
    bot demo --serve            and look at the card in a browser
    """
    import os

    # read when the Hub client is imported; nothing of the demo enters the user's own caches
    os.environ["HF_HOME"] = str(folder / "hf-home")
    from bot.cli import text_tables
    from bot.verbs.demo import demonstrate
    from bot.watcher import assembly

    narrator = context.narrator
    done = demonstrate(
        folder,
        narrator,
        context.settings.llama,
        lambda decision: narrator.say(assembly.as_line(decision)),
    )
    if as_json:
        _emit(done)
    else:
        click.echo(text_tables.demonstrated(done, folder, port))
    if stay:
        from bot.localhub.server import serve as run

        run(folder / "hub", port, "127.0.0.1", lambda url: narrator.say(f"serving at {url}"))


@cli.command()
@JSON
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this machine: versions, devices, disk, tokens, Hub, GitHub, settings.

    \b
    bot doctor
    bot --config /etc/apex-bot/bot.yaml doctor --json
    """
    from bot.cli import text_tables
    from bot.cli.doctor import examine

    findings = []
    for finding in examine(ctx.obj.config):
        findings.append(finding)
        if not as_json:
            click.echo(text_tables.finding(finding))
    if as_json:
        _emit(tuple(findings))
    ctx.exit(1 if any(finding.good is False for finding in findings) else 0)


anywhere(
    cli,
    (
        ("config", lambda obj, value: setattr(obj, "config", value)),
        ("quiet", lambda obj, value: setattr(obj, "quiet", value)),
        ("log", lambda obj, value: obj.log_as(value)),
    ),
)


def main() -> None:
    """The command `bot`."""
    secrecy.guard()
    rights.close()
    interrupts.guard()
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read at import; the narrator has bars
    try:
        code = cli.main(prog_name="bot", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        interrupts.finish(interrupts.number_of(error))
    except BotError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        ended = interrupts.heard()  # a terminal that hung up takes no words
        if ended is not None:
            interrupts.finish(ended)
        told = of_machine(error)
        if told is None:
            raise
        click.echo(f"Error: {told}", err=True)
        sys.exit(told.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
