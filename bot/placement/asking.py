"""Files put on paper, of this machine or of a Hub, and llama.cpp asked about them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.apart.worker import away
from bot.clients.files.gguf import read_split
from bot.clients.files.shards import local_release
from bot.clients.llama.library import library_version
from bot.clients.llama.placing import Asked, Placed
from bot.errors import SourceError
from bot.placement.fitting import Candidate, Fitter, Wish
from bot.placement.machines import SPARE, SPARE_MEMORY, usual_machines
from bot.placement.onpaper import OnPaper, put_on_paper
from bot.records.placements import Fits, Placement, Unplaced
from bot.records.releases import Release, RepoFile
from bot.settings.settings import Settings
from bot.tensors import weights
from bot.workplace.children import room_for
from bot.workplace.loaded import placed
from bot.workplace.workplace import Workplace

PAPERS = "apex-bot-paper-"


@dataclass(frozen=True, kw_only=True)
class NamedFile:
    """A model that may be taken: what it is called, and where it, or its first shard, lies."""

    name: str
    path: Path
    types: Mapping[str, str] | None = None  # that its tensors will have, where they are not made
    file: str = ""  # what it will be called


@contextmanager
def fitter_of(
    settings: Settings, files: Sequence[NamedFile], wish: Wish, *, projector: int = 0
) -> Iterator[Fitter]:
    """Answers for files of this machine, the best first; `projector` are bytes beside each.

    Raises SourceError where a header is not sound.
    """
    with tempfile.TemporaryDirectory(prefix=PAPERS) as place:
        candidates = [
            Candidate(
                name=file.name,
                file=file.file or file.path.name,
                paper=put_on_paper(file.path, Path(place) / f"{number}.gguf", file.types),
                beside=projector,
            )
            for number, file in enumerate(files)
        ]
        yield Fitter(candidates, wish, asking(settings))


def usual_fits(
    settings: Settings,
    files: Sequence[NamedFile],
    projector: int,
    report: Callable[[int, int], None],
) -> Fits:
    """What usual machines hold best of files, the first being the best. Raises as `fitter_of`."""
    placed: list[Placement | Unplaced] = []
    machines, wish = usual_machines(), Wish()
    with fitter_of(settings, files, wish, projector=projector) as fitter:
        for number, machine in enumerate(machines):
            placed.append(fitter.place(machine))
            report(number + 1, len(machines))
    return Fits(
        llama_cpp=library_version(),
        cache_type=wish.cache_type,
        micro_batch=wish.micro_batch,
        spare=SPARE,
        spare_memory=SPARE_MEMORY,
        placed=tuple(one for one in placed if isinstance(one, Placement)),
        unplaced=tuple(one for one in placed if isinstance(one, Unplaced)),
    )


def asking(settings: Settings) -> Callable[[OnPaper, Asked], Placed]:
    """llama.cpp's answers on a paper, each given by a child."""

    def ask(paper: OnPaper, asked: Asked) -> Placed:
        return away(placed, room_for(settings, paper.path))(paper.path, asked)

    return ask


@contextmanager
def models_of(
    workplace: Workplace, name: str, revision: str
) -> Iterator[tuple[list[NamedFile], int]]:
    """The models that a name means, the largest first, and the bytes of the projector beside them.

    A name is a path, of a file or of a folder, or ORG/NAME or ORG/NAME:PATTERN on the Hub, of which
    only headers are asked for. Raises SourceError where there is no GGUF model, and what the Hub
    raises.
    """
    path = Path(name).expanduser()
    if path.is_file():
        yield [NamedFile(name=path.name, path=path.absolute())], 0
        return
    if path.is_dir():
        release, pattern = local_release(path), ""
    else:
        repo_id, _, pattern = name.partition(":")
        release = workplace.hub.release(repo_id, revision)
    models = weights.named(release, pattern) if pattern else weights.gguf_models(release)
    if not models:
        what = f"that fits {pattern!r}" if pattern else "in one piece or with all its shards"
        raise SourceError(f"{name} has no GGUF model {what}; name another")
    models = sorted(models, key=weights.total, reverse=True)
    projector = weights.projector(release, models[0][0])
    beside = projector.size if projector else 0
    if path.is_dir():
        yield _quantized([_named(files, path / files[0].path) for files in models]), beside
        return
    with tempfile.TemporaryDirectory(prefix=PAPERS) as place:
        with workplace.narrator.work(f"reading headers of {name}") as report:
            named = []
            for number, files in enumerate(models):
                named.append(_fetched(workplace, release, files, Path(place) / str(number)))
                report(number + 1, len(models))
        yield _quantized(named), beside


def _quantized(files: list[NamedFile]) -> list[NamedFile]:
    """Without 16-bit models, where there are others: nobody takes those to run them."""
    smaller = [
        file
        for file in files
        if weights.gguf_storage(read_split(file.path).tensors) not in weights.SIXTEEN_BIT
    ]
    return smaller or files


def _named(files: Sequence[RepoFile], path: Path) -> NamedFile:
    return NamedFile(name=Path(files[0].path).name, path=path)


def _fetched(
    workplace: Workplace, release: Release, files: Sequence[RepoFile], folder: Path
) -> NamedFile:
    """Stand-ins of a model's files, which hold their headers alone."""
    folder.mkdir()
    for file in files:
        workplace.hub.gguf_header(release, file, folder / Path(file.path).name)
    return _named(files, folder / Path(files[0].path).name)
