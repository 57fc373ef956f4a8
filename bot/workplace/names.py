"""What a release will be called: model, files, repository; held against others' rules before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bot.disk.paths import require_safe
from bot.errors import SettingsError, SourceError
from bot.plan.models import HasName
from bot.plan.profiles import Profile
from bot.resolvers.hub_labels import tier_label, unlabelled
from bot.resolvers.llamacpp import ambiguous, models
from bot.resolvers.ollama import ollama_tag
from bot.settings.showing import PublishSettings
from bot.workplace.workplace import Workplace

# what a 16-bit file's name says beside the model's: its type, its place among shards
BESIDE = re.compile(r"([-_.](bf16|f16|fp16|f32|fp32))?(-\d{5}-of-\d{5})?$", re.IGNORECASE)
HASH = re.compile(r"(sha256[-:])?[0-9a-f]{40,64}", re.IGNORECASE)  # of a cache, no name
SHARD = "-00001-of-00002"
DEFAULT = "Q4_K_M"  # what llama.cpp, LocalAI, Ollama and the Hub's commands take by themselves


def name_of(stem: str) -> str:
    """A model's name by that of its file or repository, as ours are made of.

    Labels of the Hub's leave it: with `…-MXFP4-APEX-I-Mini.gguf` and its like all files of a
    release would be called MXFP4. Raises SourceError for what is no name.
    """
    name = unlabelled(BESIDE.sub("", stem))
    if HASH.fullmatch(stem):
        raise SourceError(f"{stem} is a hash and no name of a model; name it with --name")
    if not re.search(r"[A-Za-z0-9]", name):
        raise SourceError(f"{stem[:100]!r} holds no name of a model; name it with --name")
    return name


def labels_in(stem: str) -> str | None:
    """What left the name of a file or repository, for people; None where nothing did."""
    plain, name = BESIDE.sub("", stem), name_of(stem)
    return None if plain == name else f"{plain} is called {name}: the label would be every file's"


def file_name(publish: PublishSettings, name: str, tier: str, base: str) -> str:
    """The file of a tier; one in shards has their numbers before its ending.

    That of `publish.default_tier` is labelled DEFAULT, which programs look for that are told
    nothing else.
    """
    label = tier_label(base, tier)
    if tier == publish.default_tier and tier_label(base, "") == DEFAULT:
        label = DEFAULT
        if "{label}" not in publish.file:
            name = f"{name}-{DEFAULT}"
    return publish.file.format(name=name, tier=tier, label=label)


def require_files(publish: PublishSettings, name: str, tiers: Iterable[Profile]) -> list[str]:
    """The names of all tiers' files.

    Raises SettingsError where two are one, share a label, or a program would take one for
    something else than a model.
    """
    owners: dict[str, str] = {}
    file_names = []
    for profile in tiers:
        file = file_name(publish, name, profile.tier, profile.base)
        other = owners.setdefault(file.casefold(), profile.tier)
        if other != profile.tier:
            raise SettingsError(
                f"{other} and {profile.tier} would both be {file}; rename one, or use {{tier}} in "
                "publish.file"
            )
        _require_model(file)
        file_names.append(file)
        if profile.tier == publish.default_tier and tier_label(profile.base, "") != DEFAULT:
            raise SettingsError(
                f"{profile.tier} is {profile.base}, and programs take {DEFAULT} where they are "
                "told nothing; name a tier on Q4_K in publish.default_tier, or null"
            )
    if shared := ambiguous(file_names):
        label, files = shared[0]
        raise SettingsError(
            f"{', '.join(files)} would all be called {label} on the Hub; use {{tier}} or {{label}} "
            "in publish.file, and a --name without a type"
        )
    return file_names


def _require_model(file: str) -> None:
    first = f"{file.removesuffix('.gguf')}{SHARD}.gguf"
    try:
        require_safe(f"{first}.partial", "publish.file")
    except SourceError as error:
        raise SettingsError(
            f"{file[:100]!r} is no name of a file on every Hub and disk; choose a plainer or "
            "shorter --name, or mend publish.file"
        ) from error
    if not file[0].isalnum():
        raise SettingsError(f"{file} would be an option to most programs; mend publish.file")
    if models([file]) != [file] or models([first]) != [first]:
        raise SettingsError(
            f"llama.cpp would take {file} for a part of a model, by a word in its name; choose "
            "another --name, or mend publish.file"
        )


def target(publish: PublishSettings, name: str, owner: str) -> str:
    """The repository of a model by the template. Raises SourceError for what no Hub takes."""
    from bot.clients.hub.refusals import require_repo_id

    repo_id = f"{owner}/{publish.repository.format(name=name)}"
    require_repo_id(repo_id, "choose another --name or --to, or mend publish.repository")
    return repo_id


def without_command(repo_id: str, files: Sequence[str]) -> list[str]:
    """Files for which no command of Ollama's can be printed: a part of its name is too long."""
    return [file for file in files if ollama_tag(repo_id, files, file) is None]


def stem_of(path: Path) -> str:
    """A file's name as it was given, without its ending."""
    return path.name.removesuffix(path.suffix) if path.suffix.lower() == ".gguf" else path.name


# ── where it goes ───────────────────────────────────────────────────────────────────────────


def target_of(workplace: Workplace, model: HasName, to: str | None) -> str:
    """The repository to publish to: as given, or by the naming template.

    Raises SourceError for a name that no Hub takes.
    """
    if to:
        from bot.clients.hub.refusals import require_repo_id

        require_repo_id(to, "check --to")
        return to
    return target(workplace.settings.publish, model.name, owner_of(workplace))


def can_name(workplace: Workplace, to: str | None) -> bool:
    """Whether the repository to publish to can be told without a token, or there is one."""
    return bool(to or workplace.settings.hub.namespace) or workplace.has_token


def owner_of(workplace: Workplace) -> str:
    """Who owns what is published: by the settings, or the token's user."""
    namespace = workplace.settings.hub.namespace
    if namespace is None and workplace.settings.publish.trusted_publisher:
        raise SettingsError("hub.namespace is not set; a trusted publisher is no user: name it")
    return namespace or workplace.hub.whoami()
