"""All files of a checkpoint: what its index says, and the tensors of all of them.

A folder is read as a repository would be, with the same answers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from bot.clients.files.safetensors import Fetch, read_safetensors
from bot.disk.paths import require_safe
from bot.errors import SourceError
from bot.foreign import printable, read_bounded, strict_object
from bot.records.model import HeaderTensor
from bot.records.releases import Release, RepoFile
from bot.tensors import weights
from bot.tensors.stored import part_of, parts_by_file

Report = Callable[[int, int], None]  # files read, files in all

PARALLEL = 8
MOST_TENSORS = 600_000  # of a checkpoint; Kimi-K3's 92 layers of 896 experts are 497,052
LONGEST_INDEX = 64 << 20  # bytes: so many tensors' names and files; Kimi-K3's are 56 MiB
NESTED = 64  # objects and lists of an index: it has two or three

# ── the index ───────────────────────────────────────────────────────────────────────────────


def parse_index(content: bytes, name: str) -> dict[str, str]:
    """Tensor → file of a model.safetensors.index.json.

    Raises SourceError for anything else, before it is parsed into more than a list of names.
    """
    if content.count(b"{") > NESTED or content.count(b"[") > NESTED:
        raise SourceError(f"{name} is no list of tensors; its maker has to repair it")
    entries = strict_object(content, name, MOST_TENSORS)
    weight_map = entries.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise SourceError(f"{name} has no weight_map; its maker has to repair it")
    wrong = next((value for value in weight_map.values() if not isinstance(value, str)), None)
    if wrong is not None:
        raise SourceError(f"{name} names a file that is no text; its maker has to repair it")
    return weight_map


def local_index(folder: Path) -> dict[str, str] | None:
    """The index in a folder, None where there is none. Raises SourceError for a damaged one."""
    path = folder / weights.INDEX
    if not path.is_file() or not path.stat().st_size:
        return None
    return parse_index(read_bounded(path, LONGEST_INDEX), str(path))


# ── the headers ─────────────────────────────────────────────────────────────────────────────


def read_headers(
    fetch: Fetch,
    name: str,
    chosen: weights.CheckpointFiles,
    index: Mapping[str, str] | None = None,
    report: Report | None = None,
) -> tuple[HeaderTensor, ...]:
    """Tensors of all files of the checkpoint of `name`, `PARALLEL` files at a time.

    Raises SourceError for a checkpoint without files, with missing or damaged ones, with a tensor
    in two of them, or other tensors than its index names.
    """
    lacks = chosen.lacks()
    if lacks:
        raise SourceError(f"{name} {lacks}; wait for its maker or choose another model")
    tensors = tuple(_distinct(_each(fetch, chosen.files, report), name))
    if index is not None:
        _require_promised(tensors, index, chosen.left_out, name)
    return tensors


def _require_promised(
    tensors: Iterable[HeaderTensor], index: Mapping[str, str], left_out: Collection[str], name: str
) -> None:
    """The files hold every tensor that the index names, and no weight that it does not."""
    names = {tensor.name for tensor in tensors}
    lost = {tensor for tensor, file in index.items() if file not in left_out} - names
    if lost:
        raise SourceError(
            f"{name} lacks {len(lost)} tensors of its index, the first is {printable(min(lost))}; "
            "wait for its maker or fetch it again"
        )
    strange = {tensor for tensor in names - set(index) if part_of(tensor, None) != "none"}
    if strange:
        raise SourceError(
            f"{name} holds {len(strange)} tensors that its index does not name, the first is "
            f"{printable(min(strange))}; its maker has to repair it"
        )


def _each(
    fetch: Fetch, files: Sequence[RepoFile], report: Report | None
) -> list[tuple[HeaderTensor, ...]]:
    """The headers of all files in their order; the first trouble ends the rest."""
    with ThreadPoolExecutor(max_workers=min(PARALLEL, len(files))) as pool:
        work = [pool.submit(read_safetensors, fetch, file.path, file.size) for file in files]
        try:
            tensors = 0
            for done, ready in enumerate(as_completed(work), 1):
                tensors += len(ready.result())
                if tensors > MOST_TENSORS:
                    raise SourceError(
                        f"{printable(files[0].path)} and its shards have more than the "
                        f"{MOST_TENSORS:,} tensors that this apex-bot reads; choose another model"
                    )
                if report:
                    report(done, len(files))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in work]


def _distinct(headers: Iterable[tuple[HeaderTensor, ...]], name: str) -> Iterator[HeaderTensor]:
    places: dict[str, str] = {}
    for header in headers:
        for tensor in header:
            other = places.setdefault(tensor.name, tensor.file)
            if other != tensor.file:
                both = f"{printable(other)} and {printable(tensor.file)}"
                raise SourceError(
                    f"{name}: {both} both hold {printable(tensor.name)!r}; "
                    "its maker has to remove the file that is not the model's"
                )
            yield tensor


# ── a folder ────────────────────────────────────────────────────────────────────────────────


def local_safetensors(
    folder: Path, config: Mapping[str, Any], dropped: Collection[str] = ()
) -> tuple[HeaderTensor, ...]:
    """Tensors of a checkpoint in a folder of this machine, chosen as those of a repository.

    `dropped` are parts that will not be converted. Raises SourceError as `read_headers`.
    """
    index = local_index(folder)
    release = local_release(folder, index)
    named = parts_by_file(config, index) if index is not None else None
    chosen = weights.checkpoint(release, named, dropped)
    return read_headers(functools.partial(_read, folder), str(folder), chosen, index)


def local_release(folder: Path, index: Mapping[str, str] | None = None) -> Release:
    """The files of a folder, as a repository would list them; below it those its index names.

    Raises SourceError for no folder.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; name one that holds a checkpoint")
    names = {path.name for path in folder.iterdir() if path.is_file()}
    names |= {name for name in (index or {}).values() if _lies_in(folder, name)}
    files = (RepoFile(path=name, size=(folder / name).stat().st_size) for name in sorted(names))
    return Release(repo_id=folder.resolve().name, commit="", files=tuple(files))


def _lies_in(folder: Path, name: str) -> bool:
    try:
        require_safe(name, folder.name)
    except SourceError:
        return False
    return (folder / name).is_file()


def _read(folder: Path, path: str, start: int, stop: int) -> bytes:
    with (folder / path).open("rb") as file:
        file.seek(start)
        return file.read(stop - start)
