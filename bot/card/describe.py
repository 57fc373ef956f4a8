"""A job's card, its plot, and the list of all that is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bot.apart.chat_template import template_facts
from bot.card.rendering import CardOrder, render
from bot.card.tables.cells import CardFile
from bot.catalogue import localai_gallery, ollama_params
from bot.catalogue.eval_results import eval_results
from bot.catalogue.localai_gallery import SidePart, SideParts, gallery_text
from bot.catalogue.ollama_params import params_text
from bot.clients.files.gguf import read_gguf
from bot.disk.folders import MATRIX, SENSITIVITY
from bot.disk.hashes import sha256
from bot.disk.paths import inside
from bot.disk.writing import copy, keep_text
from bot.errors import BuildError
from bot.lint.contents import LintedRepository, ListedFile
from bot.lint.defects import defects_of
from bot.placement.asking import NamedFile, usual_fits
from bot.plan.recipe import asked_types
from bot.plots.pictures import draw_pictures, lacking_plots, pictures
from bot.progress import Report
from bot.records.built import Built
from bot.records.coding import digest, from_json, to_json
from bot.records.placements import Fits
from bot.records.recipes import Recipe
from bot.records.results import Results
from bot.resolvers.llamacpp import PREDICTION
from bot.wording.blocks import marked
from bot.wording.rows import to_take, worth_taking
from bot.workplace import provenance
from bot.workplace.job import Job

if TYPE_CHECKING:
    from bot.plots.pictures import Picture

FITS, CARD = "fits.json", "README.md"
NOTES = {
    MATRIX: "Importance matrix that the I- tiers were made with",
    "results.json": "Every measured value of this card, for machines",
    "provenance.json": "What was made of what, by which programs (in-toto, SLSA)",
    SENSITIVITY: "How much each tensor matters: the probes that fitted tiers rest on",
    FITS: "Which file usual machines hold, with llama.cpp's arguments",
    localai_gallery.NAME: "Entries for LocalAI's gallery, with hashes",
    ollama_params.NAME: "The makers' sampling settings, as Ollama reads them",
    "SHA256SUMS": "Hashes of all other files, for sha256sum -c",
}
ESCAPED = "\\."
PLOTS = "Plot of the measurements"


def wrong(job: Job, results: Results, files: Mapping[str, Built], repo_id: str) -> str | None:
    """The first error that `bot lint` would find in what is to be published."""
    return first_error(results, files, repo_id) if job.settings.gate.card else None


def first_error(results: Results, files: Mapping[str, Built], repo_id: str) -> str | None:
    """The first error that `bot lint` would find in a repository with these files."""
    listed_files = tuple(
        ListedFile(path=path, bytes=file.bytes, sha256=file.sha256) for path, file in files.items()
    )
    text = Path(files[CARD].path).read_text(encoding="utf-8")
    defects = defects_of(
        LintedRepository(files=listed_files, card=text, results=results, repo_id=repo_id)
    )
    errors = [
        f"{defect.path}: {defect.text} ({defect.rule})"
        for defect in defects
        if defect.level == "error"
    ]
    return next(iter(errors), None)


def written(
    job: Job,
    results: Results,
    recipes: Sequence[Recipe],
    repo_id: str,
    drafter: Built | None = None,
) -> dict[str, Built]:
    """Everything that is published, by its path in the repository; the card is made last.

    `recipes` are the tiers', as they were built, `drafter` the layers that predict tokens ahead.
    """
    files = _files(job, results, recipes)
    if drafter is not None:
        files[Path(drafter.path).name] = drafter
    fits = _fits(job, results, recipes, files)
    files |= told(job.paths.release, results, files, repo_id, job.plan.model.name)
    plots = _plots(job, results, files)
    files[provenance.NAME] = _provenance(job, results, files)
    keep_text(job.paths.sums, sums(files))
    files[job.paths.sums.name] = hashed(job.paths.sums)
    order = CardOrder(
        results=results,
        repo_id=repo_id,
        files=listed(results, files),
        about={profile.tier: profile.about for profile in job.plan.profiles},
        plots=tuple(plots),
        fits=fits,
        thinking=_thinks(job),
        look=job.settings.card,
        templates=job.settings.templates,
        quantized_by=job.settings.publish.quantized_by or repo_id.split("/")[0],
    )
    keep_text(job.paths.card, marked(render(order, job.settings.kept_apart)))
    return {**files, job.paths.card.name: hashed(job.paths.card)}


def listed(results: Results, files: Mapping[str, Built]) -> tuple[CardFile, ...]:
    """Files of a repository as its card lists them."""
    tiers = {
        file.file: row.name for row in results.tiers if row.same_as is None for file in row.files
    }
    return tuple(
        CardFile(
            path=path,
            tier=tiers.get(path),
            bytes=file.bytes,
            sha256=file.sha256,
            note=_note(path),
        )
        for path, file in files.items()
    )


def _thinks(job: Job) -> bool:
    """Whether the model's chat template knows a switch for thinking."""
    source = Path(job.plan.model.source.path)
    if not source.is_file():
        return False
    facts = template_facts(read_gguf(source).metadata, job.settings.kept_apart)
    return facts is not None and facts.thinking


def _provenance(job: Job, results: Results, files: dict[str, Built]) -> Built:
    path = job.paths.release / provenance.NAME
    statement = provenance.statement(results, files, job.key, job.order.asked)
    keep_text(path, provenance.statement_text(statement))
    return hashed(path)


def sums(files: Mapping[str, Built]) -> str:
    """SHA256SUMS as `sha256sum -c` reads it: every file but the card and itself."""
    return "".join(f"{file.sha256}  {path}\n" for path, file in sorted(files.items()))


def _plots(job: Job, results: Results, files: dict[str, Built]) -> list[Picture]:
    """Draw what was measured, and add the pictures to `files`; one that cannot be drawn is told."""
    folder, lacking = job.paths.plots, dict[str, str]()
    drawings, names = pictures(results, folder.name)
    if not drawings:
        return []

    def work(_report: Report) -> None:
        lacking.update(draw_pictures(results, folder, job.settings.kept_apart))
        if lacking:
            raise BuildError("a plot could not be drawn")

    inputs = {"results": digest(to_json(results)), "files": names}
    paths = [job.paths.release / name for name in names]
    try:
        drawn = job.step("plots", inputs, paths, "drawing", work).files
    except BuildError:
        told = lacking_plots(lacking)
        job.lacks = (*job.lacks, *told)
        for line in told:
            job.workplace.narrator.say(line)
        drawings, names = pictures(results, folder.name, lacking)
        drawn = tuple(hashed(job.paths.release / name) for name in names)
    files |= dict(zip(names, drawn, strict=True))
    return drawings


def _files(job: Job, results: Results, recipes: Sequence[Recipe]) -> dict[str, Built]:
    """The model files, the importance matrix and results.json, by name."""
    files = {
        file.file: Built(
            path=str(job.paths.release / file.file), bytes=file.bytes, sha256=file.sha256
        )
        for row in results.tiers
        for file in row.files
    }
    if results.calibration is not None:
        matrix = results.calibration
        path = str(job.paths.release / matrix.file)
        files[matrix.file] = Built(path=path, bytes=matrix.bytes, sha256=matrix.sha256)
    files |= _recipes(job, recipes)
    sensed = job.paths.release / SENSITIVITY
    if results.fitted and sensed.is_file():
        files[SENSITIVITY] = hashed(sensed)
    for name, extra in job.plan.model.extras.items():
        if not name.startswith(PREDICTION):
            files[name] = _extra(job, name, extra)
    files[job.paths.results.name] = hashed(job.paths.results)
    return files


def told(
    folder: Path, results: Results, files: Mapping[str, Built], repo_id: str, name: str
) -> dict[str, Built]:
    """What programs read of the repository: LocalAI's gallery entries, Ollama's parameters.

    `name` is the model's, as files have it.
    """

    def part(start: str) -> SidePart | None:
        path = next((path for path in sorted(files) if path.startswith(start)), None)
        return SidePart(path=path, sha256=files[path].sha256) if path else None

    beside = SideParts(projector=part("mmproj"), drafter=part(PREDICTION))
    texts = {
        localai_gallery.NAME: gallery_text(results, repo_id, name=name, beside=beside),
        ollama_params.NAME: params_text(results.architecture),
        **_registered(results),
    }
    made = {}
    for path, text in texts.items():
        if text is None:
            continue
        (folder / path).parent.mkdir(exist_ok=True)
        keep_text(folder / path, text)
        made[path] = hashed(folder / path)
    return made


def _registered(results: Results) -> dict[str, str]:
    """Results of registered benchmarks, of the file that the card says to take."""
    first = to_take(results)
    row = next((row for row in results.tiers if first and row.name == first.name), None)
    return eval_results(row) if row else {}


def _fits(
    job: Job, results: Results, recipes: Sequence[Recipe], files: dict[str, Built]
) -> Fits | None:
    """What usual machines hold best, added to `files`; None where the settings leave it out."""
    if not job.settings.card.machines:
        return None
    seeing = [file.bytes for path, file in sorted(files.items()) if path.startswith("mmproj")]
    types = {recipe.tier: {a.tensor: a.type for a in recipe.assignments} for recipe in recipes}
    source = Path(job.plan.model.source.path)
    models = [
        NamedFile(name=row.name, path=source, types=types[row.name], file=row.file)
        for row in worth_taking(results)
    ]
    path = job.paths.release / FITS

    def work(report: Report) -> None:
        keep_text(path, to_json(usual_fits(job.settings, models, sum(seeing[:1]), report)))

    inputs = {
        "source": job.plan.model.source.sha256,
        "models": digest([[model.name, model.file, model.types] for model in models]),
        "projector": sum(seeing[:1]),
        "llama.cpp": results.tools.llama_cpp,
    }
    made = job.step("fits", inputs, [path], "placing on usual machines", work)
    files[FITS] = made.files[0]
    return from_json(Fits, path.read_text(encoding="utf-8"))


def _recipes(job: Job, recipes: Sequence[Recipe]) -> dict[str, Built]:
    """Each tier's recipe as `llama-quantize --tensor-type-file` reads it."""
    recipe_files, model = {}, job.plan.model
    for recipe in recipes:
        if recipe.plain or recipe.same_as is not None:
            continue
        path = job.paths.release / "recipes" / f"{recipe.tier}.txt"
        path.parent.mkdir(exist_ok=True)
        types = asked_types(recipe, model.architecture, model.tensors)
        lines = [f"^{name.replace('.', ESCAPED)}$={kind}\n" for name, kind in types.items()]
        keep_text(path, "".join(lines))
        recipe_files[f"recipes/{path.name}"] = hashed(path)
    return recipe_files


def _extra(job: Job, name: str, path: Path) -> Built:
    """A projector of the source, beside the tiers."""
    target = job.paths.release / name

    def work(_report: Report) -> None:
        copy(path, target, job.settings.reserve)

    inputs = {
        "source": job.plan.model.source.sha256,
        "path": inside(job.workplace.folders.root, path),
    }
    return job.step(f"copy {name}", inputs, [target], f"copying {name}", work).files[0]


def _note(path: str) -> str:
    if path.startswith("mmproj"):
        return "Vision or audio part, for --mmproj"
    if path.startswith(PREDICTION):
        return "Layers that predict tokens ahead, for --spec-type draft-mtp"
    if path.startswith("recipes/"):
        return "Recipe, for llama-quantize --tensor-type-file"
    return PLOTS if path.startswith("plots/") else NOTES.get(path, "")


def hashed(path: Path) -> Built:
    """A file that is here."""
    return Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))
