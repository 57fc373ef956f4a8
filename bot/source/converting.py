"""A checkpoint on this machine → a 16-bit GGUF file that the other stages start from."""

from __future__ import annotations

from pathlib import Path

from bot.apart import sandbox
from bot.apart.sandbox import Limits
from bot.errors import SettingsError
from bot.source.convert import Converted, convert_checkpoint
from bot.source.converter_run import Options
from bot.source.staging import ConvertFacts
from bot.toolchain import toolchain
from bot.toolchain.toolchain import Toolchain
from bot.workplace.children import terms_of
from bot.workplace.workplace import Workplace

ISOLATED = {
    "offline": "the converter ran without a token and a network, but could read this user's files",
    "none": "the converter ran without a token, but could read this user's files and reach the "
    "network; isolation: cell refuses to go on like that",
}


def convert_folder(workplace: Workplace, folder: Path, target: Path, name: str | None) -> Converted:
    """Convert the safetensors checkpoint in `folder` to `target`, checked against it.

    Raises SettingsError without a toolchain, SourceError for a checkpoint that cannot be
    converted, BuildError naming the converter's log when it fails.
    """
    chosen = matching_toolchain(workplace)
    facts = ConvertFacts(name=name or folder.resolve().name)
    return convert_with(workplace, folder, target, chosen, facts)


def convert_with(
    workplace: Workplace, folder: Path, target: Path, chosen: Toolchain, facts: ConvertFacts
) -> Converted:
    """Convert with a toolchain that was chosen already; raises as `convert_folder` does."""
    options = converter_options(workplace)
    with workplace.narrator.work(f"converting {facts.name}", unit="B") as report:
        converted = convert_checkpoint(
            folder,
            target,
            toolchain=chosen,
            facts=facts,
            options=options,
            report=report,
        )
    if converted.isolation != "cell":
        workplace.narrator.say(ISOLATED[converted.isolation])
    for note in (*converted.notes, *converted.lacks):
        workplace.narrator.say(note)
    return converted


def matching_toolchain(workplace: Workplace) -> Toolchain:
    """The converter that settings name, or the installed one.

    Raises SettingsError where there is none, or it is of another llama.cpp than the library.
    """
    settings = workplace.settings
    if settings.llama.library is not None and settings.convert.llama_cpp is None:
        raise SettingsError(
            f"llama.library {settings.llama.library} lies in no checkout of llama.cpp, whose "
            "converter belongs to it; name that as convert.llama_cpp"
        )
    return toolchain.chosen_toolchain(settings.convert, workplace.folders.toolchain)


def converter_options(workplace: Workplace) -> Options:
    """How settings have it. Raises CapacityError where the isolation they want is not to be had."""
    settings, terms = workplace.settings.convert, terms_of(workplace.settings)
    sandbox.chosen_isolation(terms.isolation)  # refused before anything is made
    memory = settings.memory_gb
    return Options(
        mtp=settings.mtp,
        projector=settings.projector,
        shard=int(settings.shard_gb * 1e9) if settings.shard_gb else None,
        threads=workplace.settings.llama.threads,
        reserve=workplace.settings.reserve,
        limits=Limits(
            seconds=settings.timeout_hours * 3600, memory=int(memory * 1e9) if memory else None
        ),
        terms=terms,
    )
