"""Multi-token prediction layers in a file of their own, quantized once for all tiers.

llama.cpp finds `mtp-NAME.gguf` beside a model by itself. It is made by the rules of the largest
tier: what a wrong guess costs is time, and of guesses a larger file has the most right.
"""

from __future__ import annotations

from pathlib import Path

from bot.clients.files.gguf import read_gguf
from bot.plan.profiles import NEED_IMATRIX, Profile
from bot.plan.recipe import file_type, make_recipe
from bot.progress import Report
from bot.quantize.passes import onepass
from bot.quantize.passes.layout import OutputSpec
from bot.quantize.tier_files import kernels_of
from bot.records.built import Built
from bot.records.coding import digest
from bot.resolvers.llamacpp import PREDICTION
from bot.resolvers.programs import takes_alone
from bot.workplace.job import Job

ANYWHERE = "owner/name"  # which file a program takes does not depend on it
UNWEIGHED = "Q4_K"  # for a type that needs an importance matrix: none has data of these layers


def prediction_file(job: Job) -> Built | None:
    """The file, made where it is not there yet; None where the model has none, or it is left out.

    It is left out, with a line, where a program that is given the repository alone would take it
    for the model. Raises as `onepass.quantize_all`.
    """
    name = prediction_name(job)
    if name is None:
        return None
    recipes = [recipe for recipe in job.plan.recipes if not recipe.plain]
    files = [job.file_of(recipe).name for recipe in recipes]
    program = takes_alone(ANYWHERE, [*files, name], name)
    if program is not None:
        job.workplace.narrator.say(
            f"{name} is left out: {program}, given the repository alone, would take it for the "
            "model; have publish.default_tier among the tiers"
        )
        return None
    return _made(job, name)


def prediction_name(job: Job) -> str | None:
    """What it is called; None where the model's layers are not in a file of their own."""
    return next((name for name in job.plan.model.extras if name.startswith(PREDICTION)), None)


def _made(job: Job, name: str) -> Built:
    source, target = job.plan.model.extras[name], job.paths.release / name
    sizes = {recipe.tier: recipe.tensor_bytes for recipe in job.plan.recipes}
    profile = max(job.plan.profiles, key=lambda p: sizes.get(p.tier, 0))
    types = _types(job, profile, source)

    def work(report: Report) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        onepass.quantize_all(
            source,
            [
                OutputSpec(
                    target=target, file_type=file_type(profile.base), types=types, weights=None
                )
            ],
            threads=job.settings.llama.threads,
            memory=job.settings.quantize.memory,
            progress=report,
            kernels=kernels_of(job.workplace),
        )

    inputs = {"source": job.plan.model.source.sha256, "types": digest(types)}
    return job.step("prediction", inputs, [target], f"quantizing {name}", work).files[0]


def _types(job: Job, profile: Profile, source: Path) -> dict[str, str]:
    model = job.plan.model.architecture
    recipe = make_recipe(profile, model, read_gguf(source).tensors)
    return {a.tensor: UNWEIGHED if a.type in NEED_IMATRIX else a.type for a in recipe.assignments}
