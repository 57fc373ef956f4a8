"""A card of numbers that were measured elsewhere: a sheet of facts beside result files → README.md.

    # sheet.yaml
    repository: some-org/Model-APEX-GGUF
    model:
      name: Model 30B-A3B
      repository: some-lab/Model-30B-A3B
      layers: 40
      attention: [linear, linear, linear, full]     # repeated over the layers
      …
    results: [results/*.json, results/kl_results.txt]    # as `bot import` reads them
    rows:
      - {name: BF16, kind: reference, gib: 65, perplexity: 6.722}
      - {name: I-Balanced, kind: tier, imatrix: true, from: [apex_i_balanced, Model-I-Balanced],
         file: Model-APEX-I-Balanced.gguf, best_for: Best overall}
    files:
      - {path: mmproj.gguf, profile: Vision projector, gib: 0.9}

Of the rows of the results that `from` names, later ones fill in what earlier ones leave open; what
the sheet itself says of a row comes before both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from bot import rights
from bot.apart.sandbox import IsolationSetting
from bot.card.rendering import CardOrder, render
from bot.card.tables.cells import CardFile
from bot.disk.hashes import sha256
from bot.disk.writing import keep_text
from bot.errors import SettingsError
from bot.measures.choices import wilson
from bot.measures.imported import read_imported as read_imported
from bot.plots.pictures import draw_pictures, lacking_plots, pictures
from bot.records.built import Built
from bot.records.measured import Imported, Row, Scores, Text, Tools
from bot.records.model import Architecture
from bot.records.recipes import Windows
from bot.records.releases import Release
from bot.records.results import CalibrationFacts, CalibrationText, EvaluationFacts, Results
from bot.settings.sections import NAME, Part
from bot.settings.showing import CardSettings

GIB = 1 << 30
LARGEST = 1 << 20  # bytes of a sheet
Count = Annotated[int, Field(ge=0)]


class ModelFacts(Part):
    """What the model is, as `bot inspect` would say."""

    name: str
    repository: Annotated[str, Field(pattern=rf"^{NAME}{{1,96}}/{NAME}{{1,96}}$")]
    commit: str = ""
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    languages: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    family: str
    layers: Annotated[int, Field(ge=1, le=10_000)]
    dense_layers: Count = 0
    experts: Annotated[int, Field(ge=1)]
    experts_active: Annotated[int, Field(ge=1)]
    shared_expert: bool = False
    parameters: Count
    parameters_active: Count
    attention: Annotated[
        tuple[Literal["full", "linear", "sliding", "sparse", "chunked", "none"], ...],
        Field(min_length=1),
    ] = ("full",)
    context_length: Count = 0
    vocabulary: Count = 0
    vision: bool = False
    source_type: str = "BF16"
    cache_values: Count = 0  # keys and values that a token leaves in the cache, of all layers


class CalibrationSheet(Part):
    """The calibration set by its name and version, and what is in it."""

    name: str
    texts: tuple[str, ...] = ()


class SheetRow(Part):
    """A line of the benchmark table."""

    name: str
    kind: Literal["reference", "tier", "baseline"]
    imatrix: bool = False
    result_names: Annotated[tuple[str, ...], Field(alias="from")] = ()
    gib: Annotated[float, Field(gt=0)] | None = None
    perplexity: float | None = None
    perplexity_error: float | None = None
    kld: Mapping[str, float] = {}
    choices: Mapping[str, Annotated[float, Field(ge=0, le=1)]] = {}
    file: str | None = None
    best_for: str = ""


class SheetFile(Part):
    """A file of the repository that is no tier."""

    path: str
    profile: str | None = None
    gib: Annotated[float, Field(gt=0)] | None = None
    best_for: str = ""


class Sheet(Part):
    """The whole file."""

    repository: Annotated[str, Field(pattern=rf"^{NAME}{{1,96}}/{NAME}{{1,96}}$")]
    quantized_by: str | None = None
    model: ModelFacts
    windows: Windows
    llama_cpp: str
    device: str = ""
    text: str
    tasks: Mapping[str, Annotated[int, Field(ge=1)]] = {}  # how many of each set
    calibration: CalibrationSheet | None = None
    card: CardSettings = CardSettings()
    results: tuple[str, ...] = ()
    rows: Annotated[tuple[SheetRow, ...], Field(min_length=1)]
    files: tuple[SheetFile, ...] = ()


def is_sheet(name: str) -> bool:
    """Whether an argument names a sheet and not a model."""
    path = Path(name).expanduser()
    return path.suffix in (".yaml", ".yml") and path.is_file()


def read_sheet(path: Path) -> Sheet:
    """Parse a sheet. Raises SettingsError with the key that is wrong."""
    if path.stat().st_size > LARGEST:
        raise SettingsError(f"{path} is too large for a sheet; put results into files of their own")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Sheet.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path}: {key}: {first['msg']}; mend the sheet") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(f"{path} is not YAML: {reason}; mend the sheet") from error


def write_card(
    path: Path,
    folder: Path,
    templates: Path | None,
    repo_id: str | None = None,
    say: Callable[[str], None] = lambda _line: None,
    isolation: IsolationSetting = "best",
) -> dict[str, Built]:
    """Write README.md and plots into `folder`; return them by their paths in the repository.

    `repo_id` is the repository, if it is not the sheet's. What could not be drawn is said.
    """
    sheet = read_sheet(path)
    results = to_results(sheet, path.parent)
    new = [place for place in (folder, folder / "plots") if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lacking = draw_pictures(results, folder / "plots", isolation)
    for line in lacking_plots(lacking):
        say(line)
    images, drawn = pictures(results, "plots", lacking)
    order = CardOrder(
        results=results,
        repo_id=repo_id or sheet.repository,
        files=tuple(_files(sheet, results)),
        about={},
        plots=tuple(images),
        look=sheet.card,
        templates=templates,
        quantized_by=sheet.quantized_by or (repo_id or sheet.repository).split("/")[0],
    )
    keep_text(folder / "README.md", render(order, isolation))
    written = [folder / name for name in ("README.md", *drawn)]
    rights.hand_out(*written, *(place for place in new if place.is_dir()))
    return {
        file.relative_to(folder).as_posix(): Built(
            path=str(file), bytes=file.stat().st_size, sha256=sha256(file)
        )
        for file in written
    }


def _files(sheet: Sheet, results: Results) -> Iterator[CardFile]:
    """Files of the repository: those of rows, then the others."""
    sizes = {row.name: row.bytes or 0 for row in results.imported}
    for row in sheet.rows:
        if row.file is not None:
            yield CardFile(
                path=row.file, tier=row.name, bytes=sizes[row.name], sha256="", note=row.best_for
            )
    for file in sheet.files:
        size = round((file.gib or 0) * GIB)
        yield CardFile(path=file.path, tier=file.profile, bytes=size, sha256="", note=file.best_for)


def to_results(sheet: Sheet, folder: Path) -> Results:
    """The sheet as results whose rows all are imported; paths of results start at `folder`."""
    imported = {row.name: row for row in _read_results(sheet, folder)}
    rows = tuple(_row(row, imported, sheet.tasks) for row in sheet.rows)
    first = next((row for row in rows if row.kind == "reference"), None)
    if first is None:
        raise SettingsError("rows: none has the kind reference; add the model itself to the sheet")
    model = sheet.model
    return Results(
        release=_release(model),
        source_sha256="",
        architecture=_architecture(model),
        windows=sheet.windows,
        tools=Tools(
            bot="", llama_cpp_python="", llama_cpp=sheet.llama_cpp, device=sheet.device, threads=0
        ),
        evaluation=EvaluationFacts(
            text=Text(name=sheet.text, sha256="", origin=""),
            context=0,
            chunks=0,
            scored_tokens=0,
            tasks=tuple(
                Text(name=name, sha256="", origin=f"zero-shot, {count} tasks")
                for name, count in sheet.tasks.items()
            ),
        ),
        calibration=_calibration(sheet.calibration),
        reference=Row(
            name=first.name, file="", bytes=first.bytes or 0, sha256="", bits_per_weight=0,
            imatrix=False, scores=Scores(),
        ),
        tiers=(),
        imported=rows,
    )  # fmt: skip


def _read_results(sheet: Sheet, folder: Path) -> Iterator[Imported]:
    for pattern in sheet.results:
        glob_path = Path(pattern).expanduser()
        root, name = (
            (glob_path.parent, glob_path.name) if glob_path.is_absolute() else (folder, pattern)
        )
        paths = sorted(root.glob(name))
        if not paths:
            raise SettingsError(f"results: nothing is at {pattern}; mend the sheet")
        for path in paths:
            yield from read_imported(path)


def _row(entry: SheetRow, imported: Mapping[str, Imported], tasks: Mapping[str, int]) -> Imported:
    lacking = [name for name in entry.result_names if name not in imported]
    if lacking:
        names = ", ".join(imported)[:300]
        raise SettingsError(f"rows: {entry.name}: no result is called {lacking[0]}; known: {names}")
    row = Imported(name=entry.name, origin="the sheet", kind=entry.kind, imatrix=entry.imatrix)
    for name in entry.result_names:
        row = _filled(row, imported[name])
    choices = {**row.choices, **entry.choices}
    return replace(
        row,
        bytes=round(entry.gib * GIB) if entry.gib is not None else row.bytes,
        perplexity=row.perplexity if entry.perplexity is None else entry.perplexity,
        perplexity_error=(
            row.perplexity_error if entry.perplexity_error is None else entry.perplexity_error
        ),
        kld={**row.kld, **entry.kld},
        choices=choices,
        intervals=_intervals(choices, tasks),
    )


def _filled(row: Imported, more: Imported) -> Imported:
    return replace(
        row,
        origin=more.origin if row.origin == "the sheet" else f"{row.origin}; {more.origin}",
        bytes=more.bytes if row.bytes is None else row.bytes,
        perplexity=more.perplexity if row.perplexity is None else row.perplexity,
        perplexity_error=(
            more.perplexity_error if row.perplexity_error is None else row.perplexity_error
        ),
        kld={**more.kld, **row.kld},
        choices={**more.choices, **row.choices},
        speed={**more.speed, **row.speed},
    )


def _intervals(
    choices: Mapping[str, float], tasks: Mapping[str, int]
) -> dict[str, tuple[float, float]]:
    return {
        name: wilson(round(share * tasks[name]), tasks[name])
        for name, share in choices.items()
        if name in tasks
    }


def _release(model: ModelFacts) -> Release:
    return Release(
        repo_id=model.repository,
        commit=model.commit,
        license=model.license,
        license_name=model.license_name,
        license_link=model.license_link,
        languages=model.languages,
        pipeline_tag=model.pipeline_tag,
    )


def _architecture(model: ModelFacts) -> Architecture:
    return Architecture(
        family=model.family,
        name=model.name,
        layers=model.layers,
        mtp_layers=0,
        dense_layers=model.dense_layers,
        experts=model.experts,
        experts_active=model.experts_active,
        shared_expert=model.shared_expert,
        parameters=model.parameters,
        parameters_active=model.parameters_active,
        attention=tuple(islice(cycle(model.attention), model.layers)),
        context_length=model.context_length,
        vocabulary=model.vocabulary,
        embedding_length=0,
        tied_embeddings=False,
        source_type=model.source_type,
        vision=model.vision,
        cache_values=model.cache_values,
    )


def _calibration(calibration: CalibrationSheet | None) -> CalibrationFacts | None:
    if calibration is None:
        return None
    return CalibrationFacts(
        name=calibration.name,
        texts=tuple(CalibrationText(name=text, sha256="", origin="") for text in calibration.texts),
        context=0,
        chunks=0,
        file="",
        bytes=0,
        sha256="",
    )
