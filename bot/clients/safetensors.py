"""What safetensors files hold, read from their headers alone.

Format (github.com/huggingface/safetensors): 8 bytes with the header's length, little-endian, then
JSON: name → dtype, shape, data_offsets within the rest of the file. Files are strangers': all
sizes are bounded before anything is allocated for them.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from bot import weights
from bot.errors import SourceError
from bot.records import HeaderTensor, Release, RepoFile

Fetch = Callable[[str, int, int], bytes]  # path, start, stop → these bytes of the file
Report = Callable[[int, int], None]  # files read, files in all

FIRST = 100_000  # bytes asked for at once; most headers are shorter
LONGEST = 10_000_000  # bytes of a header; safetensors itself allows 100 MB
LONGEST_INDEX = 40_000_000  # bytes of the list of all files' tensors
MOST_TENSORS = 65_536  # of a file
WIDE = 1_000_000  # bytes of a header that is not ASCII: it takes four times as many to parse
PARALLEL = 8
MOST_DIMENSIONS = 8
MOST_WEIGHTS = 1 << 48
LONGEST_NAME = 500

# bits of one element: `Dtype::bitsize`, safetensors/src/tensor.rs
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


# ── one header ──────────────────────────────────────────────────────────────────────────────


def read_header(fetch: Fetch, path: str, size: int) -> tuple[HeaderTensor, ...]:
    """Tensors of one file of `size` bytes, with at most two calls of `fetch`.

    Raises SourceError for anything but a whole safetensors file.
    """
    start = fetch(path, 0, min(FIRST, size))
    length = int.from_bytes(start[:8], "little")
    if len(start) < 8 or not 2 <= length <= size - 8:
        raise _damaged(path, "its header is longer than the file")
    if length > LONGEST:
        raise _damaged(path, f"its header has {length:,} bytes")
    end = 8 + length
    if end > len(start):
        start += fetch(path, len(start), end)
    if len(start) < end:
        raise _damaged(path, "its header is cut short")
    return parse_header(start[8:end], path, size - end)


def parse_header(header: bytes, path: str, room: int) -> tuple[HeaderTensor, ...]:
    """The tensors that a header names, whose data fills at most `room` bytes after it.

    Raises SourceError for a header that is not JSON, not of the format, or not consistent.
    """
    _require_sparse(header, path)
    try:
        entries = json.loads(header, object_pairs_hook=_once)
    except (ValueError, RecursionError, MemoryError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(entries, dict):
        raise _damaged(path, "its header is not a JSON object")
    entries.pop("__metadata__", None)
    offsets: list[tuple[int, int]] = []
    tensors = tuple(_tensor(name, entry, path, offsets) for name, entry in entries.items())
    _require_apart(offsets, path, room)
    return tensors


def _require_sparse(header: bytes, path: str) -> None:
    """Refuse JSON of more objects than tensors could need, before it is parsed into memory."""
    size = len(header)
    few = (
        header.count(b"{") <= min(size // 40, MOST_TENSORS) + 16
        and header.count(b"[") <= size // 20 + 16
        and header.count(b",") <= size // 4 + 64
        and (size <= WIDE or header.isascii())
    )
    if not few:
        raise _damaged(path, "its header lists no tensors")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _tensor(name: str, entry: Any, path: str, offsets: list[tuple[int, int]]) -> HeaderTensor:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, end]}:
            bits = BITS.get(dtype)
            count = _count(shape)
            if (
                _is_place(start, end)
                and bits is not None
                and count is not None
                and (end - start) * 8 == count * bits
                and _is_name(name)
            ):
                offsets.append((start, end))
                return HeaderTensor(
                    name=name, dtype=dtype, shape=tuple(shape), bytes=end - start, file=path
                )
        case _:
            pass
    shown = "".join(letter for letter in name[:120] if letter.isprintable())
    raise _damaged(path, f"its tensor {shown!r} makes no sense")


def _is_place(start: Any, end: Any) -> bool:
    # JSON's true is an int to Python
    return type(start) is int and type(end) is int and 0 <= start <= end


def _is_name(name: str) -> bool:
    return 0 < len(name) <= LONGEST_NAME and name.isprintable()


def _count(shape: Sequence[Any]) -> int | None:
    """Elements of a shape, None for one that no tensor has."""
    if len(shape) > MOST_DIMENSIONS:
        return None
    count = 1
    for length in shape:
        if type(length) is not int or not 0 <= length <= MOST_WEIGHTS:
            return None
        count *= length
        if count > MOST_WEIGHTS:
            return None
    return count


def _require_apart(offsets: list[tuple[int, int]], path: str, room: int) -> None:
    """Every tensor lies inside the file and on no other."""
    reached = 0
    for start, end in sorted(offsets):
        if start < reached:
            raise _damaged(path, "its tensors overlap")
        reached = end
    if reached > room:
        raise _damaged(path, "its tensors lie outside of it")


def _damaged(path: str, reason: str) -> SourceError:
    shown = "".join(letter for letter in path[-120:] if letter.isprintable())
    return SourceError(f"{shown} is not a safetensors file: {reason}; its maker has to repair it")


def stored_as(tensors: Iterable[HeaderTensor]) -> str | None:
    """The type of most bytes of a file's matrices; MLX where they are laid out for that library.

    MLX stacks the experts of a layer under a name of its own (mlx-lm's SwitchGLU).
    """
    found = Counter[str]()
    for tensor in tensors:
        if ".switch_mlp." in tensor.name:
            return "MLX"
        if len(tensor.shape) > 1:
            found[tensor.dtype] += tensor.bytes
    return next((dtype for dtype, _ in found.most_common()), None)


# ── all files of a checkpoint ───────────────────────────────────────────────────────────────


def needs_index(release: Release) -> bool:
    """Whether names of files alone do not tell which belong to the checkpoint."""
    files = weights.safetensors(release)
    sets = {re.sub(r"-\d{5}-of-\d{5}(?=\.)", "", file.path) for file in files}
    return len(sets) > 1 and any(file.path == weights.INDEX for file in release.files)


def read_headers(
    fetch: Fetch,
    release: Release,
    index: Mapping[str, Any] | None = None,
    report: Report | None = None,
) -> tuple[HeaderTensor, ...]:
    """Tensors of all files of a release's checkpoint, `PARALLEL` files at a time.

    `index` is the parsed model.safetensors.index.json, where it was needed. Raises SourceError for
    a checkpoint without files, with missing or damaged ones, or with a tensor in two of them.
    """
    files = weights.safetensors(release, index)
    missing = weights.missing_shards(files)
    if not files or missing:
        lacks = f"lacks {missing} of its safetensors files" if files else "has no safetensors files"
        raise SourceError(f"{release.repo_id} {lacks}; wait for its maker or choose another model")
    tensors = tuple(_distinct(_each(fetch, files, report)))
    _require_all(tensors, index, release)
    return tensors


def _require_all(
    tensors: Iterable[HeaderTensor], index: Mapping[str, Any] | None, release: Release
) -> None:
    """Whether every tensor that the index promises is there."""
    named = index.get("weight_map") if index is not None else None
    lost = set(named if isinstance(named, Mapping) else ()) - {tensor.name for tensor in tensors}
    if lost:
        shown = "".join(letter for letter in min(lost)[:120] if letter.isprintable())
        raise SourceError(
            f"{release.repo_id} lacks {len(lost)} tensors of its index, the first is {shown}; "
            "wait for its maker or fetch it again"
        )


def _each(
    fetch: Fetch, files: Sequence[RepoFile], report: Report | None
) -> list[tuple[HeaderTensor, ...]]:
    """The headers of all files in their order; the first trouble ends the rest."""
    with ThreadPoolExecutor(max_workers=min(PARALLEL, len(files))) as pool:
        work = [pool.submit(read_header, fetch, file.path, file.size) for file in files]
        try:
            for done, ready in enumerate(as_completed(work), 1):
                ready.result()
                if report:
                    report(done, len(files))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [one.result() for one in work]


def _distinct(headers: Iterable[tuple[HeaderTensor, ...]]) -> Iterator[HeaderTensor]:
    places: dict[str, str] = {}
    for header in headers:
        for tensor in header:
            other = places.setdefault(tensor.name, tensor.file)
            if other != tensor.file:
                raise _damaged(tensor.file, f"{other} holds {tensor.name!r} too")
            yield tensor


def local_safetensors(folder: Path) -> tuple[HeaderTensor, ...]:
    """Tensors of a checkpoint in a folder of this machine, chosen as those of a repository.

    Raises SourceError as `read_headers`.
    """
    release = local_release(folder)
    index = folder / weights.INDEX
    named = _json(index) if index.is_file() else None
    return read_headers(functools.partial(_read, folder), release, named)


def local_release(folder: Path) -> Release:
    """The files of a folder, as a repository would list them. Raises SourceError for no folder."""
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; name one that holds a checkpoint")
    files = tuple(
        RepoFile(path=path.name, size=path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.is_file()
    )
    return Release(repo_id=folder.resolve().name, commit="", files=files)


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LONGEST_INDEX:
        raise SourceError(f"{path.name} is too large for an index; fetch it again")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path.name} is not JSON; fetch it again") from error
    if not isinstance(found, dict):
        raise SourceError(f"{path.name} is not a JSON object; fetch it again")
    return found


def _read(folder: Path, path: str, start: int, stop: int) -> bytes:
    with (folder / path).open("rb") as file:
        file.seek(start)
        return file.read(stop - start)
