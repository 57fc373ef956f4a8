"""What a child may see, reach and use for a call on a model's file, by settings and folders."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from bot.apart import sandbox
from bot.apart.memory import free_memory
from bot.apart.worker import ChildTerms, Room, away
from bot.clients import rpc_servers
from bot.clients.llama.library import Device, devices, used_devices
from bot.clients.llama.session import Loading
from bot.disk.folders import Folders
from bot.kernels.choice import Kernels
from bot.kernels.rows.rowwork import prepared
from bot.progress import Narrator
from bot.settings.making import LlamaSettings
from bot.settings.settings import Settings
from bot.workplace.loaded import installed_devices

REACHES: dict[str, str] = {
    "offline": "llama.cpp opens files without a token and a network, but can read this user's",
    "none": "llama.cpp opens files without a token, but can read this user's and reach the "
    "network; isolation: cell refuses to go on like that",
}
_SAID = {"cell"}
LIBRARY = 1 << 30  # bytes that Python and llama.cpp themselves may take
_SHARD = re.compile(r"\A(.*)-\d{5}-of-(\d{5})\.gguf")


def terms_of(settings: Settings) -> ChildTerms:
    """Isolation, patience and memory of children; memory is a stop and no budget.

    Where settings do not limit it, it is about what is free now.
    """
    limit = settings.evaluation.memory_gb
    return ChildTerms(
        isolation=settings.kept_apart,
        silence=settings.llama.patience_hours * 3600,
        memory=(int(limit * 1e9) if limit else free_memory()) + LIBRARY,
    )


def tell_isolation(narrator: Narrator, settings: Settings) -> None:
    """Say once what a child may reach, where this system, or a setting, lets it reach much."""
    level = sandbox.chosen_isolation(settings.kept_apart)
    if level not in _SAID:
        _SAID.add(level)
        narrator.say(REACHES[level])


def room_for(
    settings: Settings, file: Path, *beside: Path, writes: tuple[Path, ...] = (), **more: Any
) -> Room:
    """The room of a work on `file`: it sees that, its shards, and the paths `beside`.

    The folders `writes` are made where they are not there; `more` are other fields of `Room`.
    """
    visible = [p for path in (file, *beside) for p in paths_of_file(path, settings.workdir)]
    for folder in writes:
        folder.mkdir(parents=True, exist_ok=True)
    return Room(
        about=file,
        terms=terms_of(settings),
        reads=tuple(dict.fromkeys(visible)),
        writes=writes,
        **more,
    )


def devices_of(settings: Settings) -> tuple[Device, ...]:
    """Every device that llama.cpp finds; with RPC servers, which take one client, as of the start.

    Raises UnreachableError where a server is not there.
    """
    if not rpc_servers.named():
        return devices()
    return _devices_afar(rpc_servers.named(), terms_of(settings))


@cache
def _devices_afar(servers: tuple[str, ...], terms: ChildTerms) -> tuple[Device, ...]:
    # ggml ends its process where a server is not there
    return away(installed_devices, Room(about=Path(servers[0]), terms=terms))()


def used_devices_of(settings: Settings) -> tuple[Device, ...]:
    """The devices that models run on, by settings."""
    llama = settings.llama
    return used_devices(devices_of(settings), llama.devices, gpu=llama.gpu_layers != 0)


def loading(path: Path, llama: LlamaSettings) -> Loading:
    """How a file is loaded by settings."""
    return Loading(
        path=path.absolute(),
        threads=llama.threads,
        gpu_layers=llama.gpu_layers,
        devices=llama.devices,
        micro_batch=llama.micro_batch,
    )


def row_kernels(settings: Settings) -> Path | None:
    """The folder with our kernels on rows, for a child to load; None where there are none."""
    used = settings.quantize.kernels
    return prepared(Kernels(folder=Folders(settings.workdir).kernels if used else None))


def paths_of_file(path: Path, workdir: Path) -> tuple[Path, ...]:
    """Paths that show a file in a cell: its folder where that is ours, else it and its shards.

    A folder of ours holds the files of one job, one source or one measure, and more of them come.
    """
    path = path.absolute()
    folder, root = path.parent, workdir.resolve()
    if root in folder.resolve().parents:
        return (folder,)
    split = _SHARD.fullmatch(path.name)
    if split is None:
        return (path,)
    stem, count = split[1], split[2]
    numbered = (f"{stem}-{number:05}-of-{count}.gguf" for number in range(1, int(count) + 1))
    return tuple(shard for name in numbered if (shard := folder / name).is_file())
