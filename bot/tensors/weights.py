"""Which files of a release hold its weights: names and sizes in, files out, nothing is read.

Watching asks whether a release can be built, fetching what to download; both ask here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from bot.foreign import printable
from bot.records.model import INTEGER, Tensor
from bot.records.releases import Release, RepoFile

INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
MOST_SHARDS = 2_000

SIXTEEN_BIT = ("BF16", "F16", "F32")  # what a build starts from, the likeliest original first
_SIXTEEN_BIT = re.compile(r"(?<![a-z0-9])(bf16|fp?16|fp?32)(?![a-z0-9])", re.IGNORECASE)
_QUANTIZED = re.compile(
    r"(?<![a-z0-9])(i?q[1-8]_|q[2-8](?![a-z0-9])|tq[12]_|mxfp4|nvfp4)", re.IGNORECASE
)
_BESIDE_THE_MODEL = re.compile(r"mmproj|imatrix|^mtp-|draft", re.IGNORECASE)
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?=\.(?:gguf|safetensors)$)", re.IGNORECASE)
# transformers' `variant`: model.fp32-00001-of-00002.safetensors
_VARIANT = re.compile(
    r"^model\.(?!safetensors)\w{1,16}(?:-\d{5}-of-\d{5})?\.safetensors$", re.IGNORECASE
)
_NO_WEIGHTS = re.compile(r"^(adapter|optimizer|training|scheduler|rng_state)", re.IGNORECASE)
_CONSOLIDATED = "consolidated"
_SAME_AGAIN = 0.9  # a lone file of this share of all shards together holds them once more

# ── GGUF ────────────────────────────────────────────────────────────────────────────────────


def gguf(release: Release) -> tuple[RepoFile, ...]:
    """The GGUF that a build starts from: one file, or all its shards in order; () without any.

    What a header says goes before what names say. BF16 goes before F16 and F32, then the largest,
    then a single file before shards. A name that tells no type is believed last, and not at all
    beside a checkpoint.
    """
    sets = [files for files in _grouped(sixteen_bit(release)) if _whole(files)]
    return min(sets, key=lambda files: _preference(release, files), default=())


def sixteen_bit(release: Release) -> list[RepoFile]:
    """Files that may be a GGUF of the model at 16 bits or more, shards too."""
    beside = bool(safetensors(release))
    kinds = {*SIXTEEN_BIT} if beside else {*SIXTEEN_BIT, ""}
    return [file for file in ggufs(release) if _type(release, file) in kinds]


def in_doubt(release: Release) -> RepoFile | None:
    """The first file of the GGUF that a build would start from, if its type is not known yet."""
    first = next(iter(gguf(release)), None)
    return first if first is not None and not _type(release, first) else None


def with_storage(release: Release, file: RepoFile, stored: str) -> Release:
    """The release with the type of weights in a file's header, for that file and its shards."""
    same = next((files for files in _grouped(release.files) if file in files), (file,))
    files = (replace(f, stored=stored) if f in same else f for f in release.files)
    return replace(release, files=tuple(files))


def gguf_storage(tensors: Iterable[Tensor]) -> str | None:
    """The type of most matrices of a GGUF file; the first one below 16 bits where there is any."""
    kinds = types_by_weights(tensors)
    below = [kind for kind in kinds if kind not in SIXTEEN_BIT]
    return next(iter(below or kinds), None)


def types_by_weights(tensors: Iterable[Tensor]) -> list[str]:
    """Types of matrices, that of most weights first."""
    parameters = Counter[str]()
    for tensor in tensors:
        if len(tensor.shape) > 1:
            parameters[tensor.type] += tensor.parameters
    return [kind for kind, _ in parameters.most_common() if not INTEGER.fullmatch(kind)]


def ggufs(release: Release) -> list[RepoFile]:
    """GGUF files that hold a model: no projector, imatrix or draft."""
    return [
        file for file in _of_kind(release, ".gguf") if not _BESIDE_THE_MODEL.search(_name(file))
    ]


def projector(release: Release, model: RepoFile) -> RepoFile | None:
    """The vision or audio part for a GGUF `model`: beside it or in the root, F16 before BF16."""
    projectors = [
        file
        for file in _of_kind(release, ".gguf")
        if "mmproj" in _name(file).lower()
        and not _QUANTIZED.search(_name(file))
        and _folder(file) in (_folder(model), ".")
    ]
    order = ("f16", "bf16")

    def rank(file: RepoFile) -> tuple[int, str]:
        match = _SIXTEEN_BIT.search(_name(file))
        kind = match[1].lower().replace("fp", "f") if match else ""
        return (order.index(kind) if kind in order else len(order), file.path)

    return min(projectors, key=rank, default=None)


# ── safetensors ─────────────────────────────────────────────────────────────────────────────


def safetensors(release: Release) -> tuple[RepoFile, ...]:
    """The files of a checkpoint by their names alone: see `checkpoint`."""
    return checkpoint(release).files


@dataclass(frozen=True, kw_only=True)
class CheckpointFiles:
    """The safetensors files of a model, and files of it that are missing."""

    files: tuple[RepoFile, ...]
    missing: tuple[str, ...] = ()  # names of files that belong to it and are needed
    left_out: tuple[str, ...] = ()  # names of absent files of parts that are not converted
    misnamed: bool = False  # there are safetensors files, but none that is the model's

    @property
    def whole(self) -> bool:
        """Whether everything that will be converted is there."""
        return bool(self.files) and not self.missing

    def lacks(self) -> str | None:
        """The sentence about missing files; None for a whole checkpoint."""
        if self.missing:
            count, first = len(self.missing), printable(self.missing[0])
            return f"lacks {count} of its safetensors files, the first is {first}"
        if self.files:
            return None
        if self.misnamed:
            return "has no safetensors files called model*, which are what llama.cpp reads"
        return "has no safetensors files"


def checkpoint(
    release: Release,
    index: Mapping[str, Collection[str]] | None = None,
    dropped: Collection[str] = (),
) -> CheckpointFiles:
    """Which safetensors files are the model.

    With an index all that it names, and nothing else: `index` gives for each file it names the
    parts of the model that are in it. A file that is not there is no loss where it holds nothing
    but parts that are `dropped`. Without one, the rule of llama.cpp's converter (index_tensors of
    conversion/base.py): model*.safetensors in the root, of which each weight is taken once: one
    whole set of shards, rather than a single file of the same content or a variant in another
    precision. Where there is an index that was not read, this is a guess by names.
    """
    by_name = {file.path: file for file in _of_kind(release, ".safetensors")}
    root = [file for name, file in sorted(by_name.items()) if _folder(file) == "."]
    if index is not None:
        absent = [name for name in index if name not in by_name]
        dropped_files = {name for name in absent if set(index[name]) <= {*dropped, "none"}}
        return CheckpointFiles(
            files=tuple(by_name[name] for name in sorted(index) if name in by_name),
            missing=tuple(sorted(set(absent) - dropped_files)),
            left_out=tuple(sorted(dropped_files)),
            misnamed=bool(root),
        )
    unread = needs_index(release)
    candidates = [f for f in root if unread or f.path.startswith("model")]
    chosen = list(_each_once(_one_set(_no_copies(candidates))))
    return CheckpointFiles(files=tuple(chosen), missing=_absent(chosen), misnamed=bool(root))


def needs_index(release: Release) -> bool:
    """Whether there is an index, which then says which files are the model."""
    return any(file.path == INDEX and file.size for file in release.files)


def _no_copies(files: list[RepoFile]) -> list[RepoFile]:
    files = [f for f in files if not _NO_WEIGHTS.search(f.path)]
    files = [f for f in files if not _VARIANT.search(f.path)] or files
    return [f for f in files if not f.path.lower().startswith(_CONSOLIDATED)] or files


def _one_set(files: list[RepoFile]) -> list[RepoFile]:
    """Of sets of shards called alike the whole ones, else the fullest; and all other files.

    Which of two whole sets is the model, names do not tell: their headers will show that each
    holds the other's tensors.
    """
    sets: dict[str, list[tuple[RepoFile, ...]]] = {}
    for group in _grouped(files):
        if _total(group[0]):
            sets.setdefault(_SHARD.sub("", group[0].path), []).append(group)
    chosen = {file.path for groups in sets.values() for group in _wholest(groups) for file in group}
    return [file for file in files if not _total(file) or file.path in chosen]


def _wholest(groups: list[tuple[RepoFile, ...]]) -> list[tuple[RepoFile, ...]]:
    fullest = max(groups, key=lambda group: (len(group) / _total(group[0]), total(group)))
    return [group for group in groups if _whole(group)] or [fullest]


def _absent(files: Iterable[RepoFile]) -> tuple[str, ...]:
    """Names of shards that are not there, by the numbers of those that are."""
    return tuple(
        _SHARD.sub(f"-{number:05d}-of-{count:05d}", group[0].path)
        for group in _grouped(files)
        if (count := _total(group[0]))
        for number in _numbers_absent(group, count)
    )


def _numbers_absent(group: tuple[RepoFile, ...], count: int) -> list[int]:
    present = {int(match[1]) for file in group if (match := _SHARD.search(file.path))}
    return sorted(set(range(1, count + 1)) - present)


def gguf_models(release: Release) -> list[tuple[RepoFile, ...]]:
    """Every whole GGUF model of a release, each with all its shards in order."""
    return [files for files in _grouped(ggufs(release)) if _whole(files)]


def named(release: Release, pattern: str) -> list[tuple[RepoFile, ...]]:
    """The models whose file name ends in `pattern`, as `-UD-Q4_K_XL.gguf` does; any case.

    Where none does, those that have it as a word anywhere in the name.
    """
    word = rf"(?<![A-Za-z0-9]){re.escape(pattern)}"
    end = re.compile(rf"{word}(-\d{{5}}-of-\d{{5}})?\.gguf$", re.IGNORECASE)
    inside = re.compile(rf"{word}(?![A-Za-z0-9_])", re.IGNORECASE)
    models = [files for files in gguf_models(release) if end.search(_name(files[0]))]
    if len(models) > 1:  # Q4_K_XL also ends UD-Q4_K_XL: the plainest name is meant
        shortest = min(len(_name(files[0])) for files in models)
        models = [files for files in models if len(_name(files[0])) == shortest]
    return models or [files for files in gguf_models(release) if inside.search(_name(files[0]))]


def has_pickles(release: Release) -> bool:
    """Whether there are weights in a format that can run code."""
    return any(file.size and file.path.lower().endswith(PICKLES) for file in release.files)


def total(files: Iterable[RepoFile]) -> int:
    """Bytes of all files."""
    return sum(file.size for file in files)


def _each_once(files: list[RepoFile]) -> Iterator[RepoFile]:
    shards = [file for file in files if _SHARD.search(file.path)]
    for file in files:
        again = file.path.lower() == "model.safetensors" and shards
        if not again or file.size < _SAME_AGAIN * total(shards):
            yield file


# ── names ───────────────────────────────────────────────────────────────────────────────────


def _name(file: RepoFile) -> str:
    return PurePosixPath(file.path).name


def _folder(file: RepoFile) -> str:
    return str(PurePosixPath(file.path).parent)


def _of_kind(release: Release, ending: str) -> list[RepoFile]:
    return [file for file in release.files if file.size and file.path.lower().endswith(ending)]


def _total(file: RepoFile) -> int:
    shard = _SHARD.search(file.path)
    return min(int(shard[2]), MOST_SHARDS) if shard else 0


def _grouped(files: Iterable[RepoFile]) -> list[tuple[RepoFile, ...]]:
    """Shards of one model together, in order; any other file alone."""
    groups: dict[tuple[str, ...], dict[int, RepoFile]] = {}
    for file in files:
        shard = _SHARD.search(file.path)
        key = (file.path[: shard.start()], shard[2]) if shard else (file.path,)
        groups.setdefault(key, {})[int(shard[1]) if shard else 1] = file
    return [tuple(group[number] for number in sorted(group)) for group in groups.values()]


def _whole(files: tuple[RepoFile, ...]) -> bool:
    """Whether every shard is there: 1 of 3, 2 of 3, 3 of 3."""
    shards = [match for file in files if (match := _SHARD.search(file.path))]
    if not shards:
        return True
    count = int(shards[0][2])
    return count <= MOST_SHARDS and [int(m[1]) for m in shards] == list(range(1, count + 1))


def _type(release: Release, file: RepoFile) -> str:
    """BF16, F16 or F32; "quantized"; "" where it is unknown. A model's own name does not count."""
    if file.stored is not None:
        return file.stored if file.stored in SIXTEEN_BIT else "quantized"
    model_name = release.repo_id.rpartition("/")[2]
    model_name = re.sub(r"[-_.]gguf$", "", model_name, flags=re.IGNORECASE).casefold()
    name = _name(file)
    is_named_so = bool(model_name) and name.casefold().startswith(model_name)
    file_words = name[len(model_name) :] if is_named_so else name
    folder = "" if _folder(file) == "." else _folder(file)
    for words in (file_words, folder):
        if _QUANTIZED.search(words):
            return "quantized"
        if match := _SIXTEEN_BIT.search(words):
            return match[1].upper().replace("FP", "F")
    return ""


def _preference(release: Release, files: tuple[RepoFile, ...]) -> tuple[int, int, int, str]:
    order = (*SIXTEEN_BIT, "")
    return (order.index(_type(release, files[0])), -total(files), len(files), files[0].path)
