"""The parts of a release one by one: converter, matrix, files, a look at one, new metadata."""

from __future__ import annotations

from pathlib import Path

import click

from bot.cli.context import TO, Context, emit, road_of, staged
from bot.cli.options import JSON, REVISION, Place, RepositoryName, Verbs


@click.group(cls=Verbs)
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

    converter = chain.install_toolchain(
        context.workplace.folders.toolchain, report=context.narrator.say
    )
    emit(converter) if as_json else click.echo(f"{converter.version} in {converter.tree}")


@toolchain.command()
@JSON
@click.pass_obj
def show(context: Context, as_json: bool) -> None:
    """Say which converter is in use, and how many architectures it knows.

    \b
    bot toolchain show
    """
    from bot.toolchain import toolchain as chain

    converter = chain.chosen_toolchain(
        context.settings.convert, context.workplace.folders.toolchain
    )
    if as_json:
        emit(converter)
        return
    models, projectors = chain.supported(converter)
    click.echo(f"{converter.version} in {converter.tree}")
    click.echo(f"{len(models)} text architectures, {len(projectors)} vision and audio ones")


@click.command()
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

    converted = convert_folder(context.workplace, checkpoint, target, name)
    if as_json:
        emit(converted)
        return
    for path in (*converted.model, converted.projector, converted.mtp):
        if path is not None:
            click.echo(str(path))
    for note in converted.notes:
        context.narrator.say(note)


@click.command()
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
    from bot.cli.text import scores_text

    with road_of(context, model, revision, tiers) as road:
        facts, job = road.value("calibration"), road.value("job")
    if as_json:
        emit(facts)
    elif facts is None:
        click.echo("no tier needs an importance matrix")
    else:
        click.echo(str(job.paths.imatrix))
        click.echo(scores_text.coverage_text(facts))


@click.command()
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
    imatrix: Path | None,
    no_stamp: bool,
) -> None:
    """Make the GGUF file of each tier, all in one reading of the model.

    Without the stamp they are the bytes of llama-quantize. Files above quantize.shard_gb are
    written as shards.

    \b
    bot quantize ./model-BF16.gguf --tiers I-Quality,I-Mini
    bot quantize ./model-BF16.gguf --tiers I-Mini --baselines Q8_0,Q4_K_M
    bot quantize ./model-BF16.gguf --imatrix ./imatrix.gguf --no-stamp
    """
    if no_stamp:
        context.override("quantize", stamp=False)
    with road_of(context, model, revision, tiers, matrix=imatrix) as road:
        built = road.value("tiers").files
    if as_json:
        emit(built)
        return
    for tier, tier_file in built.items():
        for file in tier_file.files:
            click.echo(f"{tier}\t{file.bytes}\t{file.sha256}\t{file.path}")


@click.command()
@click.argument("file", type=Place(folder=False))
@click.option(
    "--against",
    type=Place(exists=True, folder=False),
    help="The 16-bit model: rows of every expert are held against its.",
)
@click.option("--no-run", is_flag=True, help="Do not load it: where memory is short.")
@JSON
@click.pass_obj
def verify(context: Context, file: Path, against: Path | None, no_run: bool, as_json: bool) -> None:
    """Check a GGUF file: header, every row, its recipe, and that it writes sensible text.

    FILE is a model, or the first of its shards. The exit code is 0 when nothing is wrong.

    \b
    bot verify ./model-APEX-I-Mini.gguf
    bot verify ./model-APEX-I-Mini.gguf --against ./model-BF16.gguf
    bot verify ./model-APEX-Quality-00001-of-00004.gguf --no-run --json
    """
    from bot.cli.text import ending_text
    from bot.quantize.verify import verify_file as look

    findings = []
    try:
        looks = look(file, context.settings, context.narrator, run=not no_run, source=against)
        for finding in looks:
            findings.append(finding)
            if finding.good is not False and not as_json:
                click.echo(ending_text.finding_line(finding))
    finally:
        if as_json:
            emit(tuple(findings))


@click.command()
@click.argument("model", type=RepositoryName(), metavar="FILE | MODEL")
@click.option(
    "--template",
    type=Place(exists=True, folder=False),
    help="Of a file: a Jinja file that becomes its chat template.",
)
@click.option(
    "--from",
    "makers",
    type=RepositoryName(),
    metavar="ORG/MODEL",
    help="Of a file: the model whose tokenizer, template, sampling and licence it takes.",
)
@click.option(
    "--output",
    type=Place(folder=False),
    metavar="FILE",
    help="Of a file: where the new one goes [default: it takes the old one's place]",
)
@click.option("--dry-run", is_flag=True, help="Say what would change; write and send nothing.")
@TO
@REVISION
@JSON
@click.pass_obj
def refresh(
    context: Context,
    model: str,
    template: Path | None,
    makers: str | None,
    output: Path | None,
    dry_run: bool,
    to: str | None,
    revision: str,
    as_json: bool,
) -> None:
    """Give a GGUF file, or all files of a published release, new metadata and the same tensors.

    MODEL is the source of a release of yours. Where only its template, tokenizer, sampling settings
    or licence changed, headers are rewritten, looked at again and sent in one commit; changed
    weights are refused: `bot publish` builds them.

    FILE is any GGUF, or the first of its shards. --from takes what llama.cpp's converter would
    write for the model by now; of its weights, headers alone are read. Nothing is quantized, every
    tensor's hash is compared, and the same command goes on where it stopped.

    \b
    bot refresh Qwen/Qwen3.6-35B-A3B --dry-run
    bot refresh ./model-Q4_K_M.gguf --template ./chat_template.jinja
    bot refresh ./model-Q4_K_M.gguf --from Qwen/Qwen3.6-35B-A3B --output ./new.gguf
    """
    from bot.cli.text.refreshed import file_text, release_text
    from bot.release.own_file import Wanted, refresh_file
    from bot.release.refreshing import refresh_release
    from bot.workplace.pinning import as_file

    file = as_file(model)
    if file is None:
        if template or makers or output:
            raise click.UsageError("--template, --from and --output are for a file of this machine")
        release = refresh_release(context.workplace, model, revision, to, dry_run=dry_run)
        emit(release) if as_json else click.echo(release_text(release))
        return
    if template is None and makers is None:
        raise click.UsageError("say what shall change: --template FILE, --from ORG/MODEL")
    wanted = Wanted(template=template, model=makers, revision=revision)
    refreshed = refresh_file(context.workplace, file, wanted, output, dry_run=dry_run)
    emit(refreshed) if as_json else click.echo(file_text(refreshed))


VERBS = (toolchain, convert, calibrate, quantize, verify, refresh)
