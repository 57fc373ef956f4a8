"""One job: a plan on its way to files, numbers and a card; every step is skipped once done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bot.ledger import Finished
from bot.pipeline.models import Pipeline, Plan
from bot.plan.recipe import asked_types, file_type
from bot.progress import Report
from bot.records import (
    Built,
    CalibrationFacts,
    EvaluationFacts,
    Recipe,
    Results,
    Row,
    Scores,
    Text,
    Tools,
    digest,
    dump,
    load,
    to_json,
)
from bot.settings import DEMO
from bot.workspace import require_free, sha256, write_text, writing

METRICS_VERSION = 1  # raised when a change of ours changes a number
SEQUENCES = 4  # endings of a task that are decoded side by side


class Job:
    """The job of a plan. Hold `paths.locked()` while working on it."""

    def __init__(self, pipeline: Pipeline, plan: Plan) -> None:
        self.pipeline, self.plan = pipeline, plan
        self.settings = pipeline.settings
        source = plan.model.source
        self.key = digest(
            [
                source.repo_id or plan.model.name,
                source.commit,
                [recipe.hash for recipe in plan.recipes],
                self.tools.llama_cpp_python,
                self._calibration,
                self._evaluation,
            ]
        )
        self.paths = pipeline.workspace.job(plan.model.name, self.key)

    @cached_property
    def tools(self) -> Tools:
        """Versions and device that the numbers depend on."""
        from bot.clients.llama import library

        llama = self.settings.llama
        used = library.used_devices(llama.devices, gpu=llama.gpu_layers != 0)
        return Tools(
            bot=version("apex-bot"),
            llama_cpp_python=library.package_version(),
            llama_cpp=library.library_version(),
            device=", ".join(f"{d.name} ({d.description})" for d in used),
            threads=llama.threads,
        )

    @cached_property
    def _calibration(self) -> dict[str, Any] | None:
        """All that decides the importance matrix but the model."""
        if not self.plan.needs_imatrix:
            return None
        wanted = self.settings.calibration
        texts = [dump(_text(path)) for path in wanted.texts]
        return {"texts": texts, "context": wanted.context, "chunks": wanted.chunks}

    @cached_property
    def _evaluation(self) -> dict[str, Any]:
        """All that decides the numbers but the files and the machine."""
        wanted = self.settings.evaluation
        return {
            "version": METRICS_VERSION,
            "text": dump(_text(wanted.text)),
            "context": wanted.context,
            "chunks": wanted.chunks,
            "tasks": dump(_text(wanted.tasks)) if wanted.tasks else None,
            "task_count": wanted.task_count,
        }

    def _step(
        self,
        step: str,
        inputs: Mapping[str, Any],
        paths: Sequence[Path],
        title: str,
        work: Callable[[Report], Any],
    ) -> Finished:
        return self.pipeline.step(self.key, step, inputs, paths, title, work)

    def file_of(self, recipe: Recipe) -> Path:
        """Where a tier's file lies; a coinciding tier's file is the one that was built."""
        tier = recipe.same_as or recipe.tier
        name = self.settings.publish.file.format(name=self.plan.model.name, tier=tier)
        return self.paths.release / name

    def require_room(self) -> None:
        """Raise CapacityError unless everything still to be made fits on the disk."""
        missing = [r for r in self.plan.distinct if not self.file_of(r).is_file()]
        needed = sum(self.plan.predicted(recipe) for recipe in missing)
        if missing:
            needed += self.reference_guess()
        require_free(self.paths.folder, needed, self.settings.reserve)

    def reference_guess(self) -> int:
        """Bytes for the reference's log-probabilities; a token is taken to be three bytes."""
        from bot.evaluate.perplexity import base_bytes

        wanted = self.settings.evaluation
        chunks = wanted.text.stat().st_size // (3 * wanted.context) + 1
        vocabulary = self.plan.model.architecture.vocabulary
        return base_bytes(vocabulary, wanted.context, min(chunks, wanted.chunks or chunks))

    # ── build ───────────────────────────────────────────────────────────────────────────────

    def calibrate(self) -> Built | None:
        """The importance matrix, if a tier wants one."""
        from bot.build import imatrix

        if self._calibration is None:
            return None
        wanted, llama = self.settings.calibration, self.settings.llama

        def work(report: Report) -> None:
            with writing(self.paths.imatrix) as partial:
                imatrix.calibrate(
                    Path(self.plan.model.source.path),
                    partial,
                    text="\n".join(path.read_text(encoding="utf-8") for path in wanted.texts),
                    datasets=[path.name for path in wanted.texts],
                    context=wanted.context,
                    chunks=wanted.chunks,
                    threads=llama.threads,
                    gpu_layers=llama.gpu_layers,
                    devices=llama.devices,
                    progress=report,
                )

        inputs = {**self._calibration, "source": self.plan.model.source.sha256}
        return self._step("imatrix", inputs, [self.paths.imatrix], "calibrating", work).files[0]

    def quantize(self) -> dict[str, Built]:
        """A file for each distinct tier, by tier."""
        matrix = self.calibrate()
        return {recipe.tier: self._quantize(recipe, matrix) for recipe in self.plan.distinct}

    def _quantize(self, recipe: Recipe, matrix: Built | None) -> Built:
        from bot.build import imatrix, quantize

        target, model = self.file_of(recipe), self.plan.model
        used = matrix if recipe.imatrix else None

        def work(_report: Report) -> None:
            with writing(target) as partial:
                quantize.quantize(
                    Path(model.source.path),
                    partial,
                    file_type=file_type(recipe.base),
                    types=asked_types(recipe, model.architecture, model.header.tensors),
                    imatrix=imatrix.read(Path(used.path)) if used else None,
                    threads=self.settings.llama.threads,
                )

        inputs = {
            "recipe": recipe.hash,
            "source": self.plan.model.source.sha256,
            "imatrix": used.sha256 if used else None,
            "file": target.name,
        }
        title = f"quantizing {recipe.tier}"
        return self._step(f"quantize {recipe.tier}", inputs, [target], title, work).files[0]

    # ── evaluate ────────────────────────────────────────────────────────────────────────────

    def evaluate(self) -> Results:
        """Every distinct tier measured against the reference; the outcome is results.json."""
        built = self.quantize()
        reference, chunks = self._reference(built)
        scores = {tier: self._measure(tier, file) for tier, file in built.items()}
        results = self._results(built, reference, scores, chunks)
        _keep(self.paths.results, to_json(results))
        return results

    def _inputs(self, file: str) -> dict[str, Any]:
        return {
            **self._evaluation,
            "file": file,
            "reference": self.plan.model.source.sha256,
            "device": self.tools.device,
            "threads": self.tools.threads,
        }

    def _reference(self, built: Mapping[str, Built]) -> tuple[Scores, int]:
        """Scores of the reference and the chunks they rest on.

        Its log-probabilities are only made again when a tier still has to be compared with them.
        """
        known = self.pipeline.ledger.finished
        inputs = self._inputs(self.plan.model.source.sha256)
        done = known(self.key, "reference", inputs, files_too=False)
        if done is None or any(
            known(self.key, f"divergence {tier}", self._inputs(file.sha256)) is None
            for tier, file in built.items()
        ):
            done = self._step(
                "reference",
                inputs,
                [self.paths.reference],
                "measuring the reference",
                self._measure_reference,
            )
        choices = self._choices("reference", Path(self.plan.model.source.path), inputs)
        scores = {"perplexity": done.value["perplexity"], "choices": choices}
        return load(Scores, scores), done.value["chunks"]

    def _measure_reference(self, report: Report) -> Any:
        from bot.evaluate import perplexity

        wanted = self.settings.evaluation
        source = Path(self.plan.model.source.path)
        with self._session(source) as session, writing(self.paths.reference) as partial:
            text = wanted.text.read_text(encoding="utf-8")
            chunks = session.chunks(text, wanted.context, wanted.chunks)
            size = perplexity.base_bytes(session.vocabulary, wanted.context, len(chunks))
            require_free(self.paths.folder, size, self.settings.reserve)
            value = perplexity.measure_reference(
                session, chunks, partial, threads=self.tools.threads, progress=report
            )
        return {"perplexity": dump(value), "chunks": len(chunks)}

    def _measure(self, tier: str, file: Built) -> Scores:
        from bot.evaluate import divergence, perplexity

        inputs = self._inputs(file.sha256)

        def work(report: Report) -> Any:
            base = perplexity.open_base(self.paths.reference)
            with self._session(Path(file.path)) as session:
                ppl, kld = divergence.measure(
                    session, base, threads=self.tools.threads, progress=report
                )
            return {"perplexity": dump(ppl), "divergence": dump(kld)}

        done = self._step(f"divergence {tier}", inputs, [], f"measuring {tier}", work)
        choices = self._choices(tier, Path(file.path), inputs)
        return load(Scores, {**done.value, "choices": choices})

    def _choices(self, name: str, path: Path, inputs: Mapping[str, Any]) -> Any:
        from bot.evaluate import choices

        wanted = self.settings.evaluation.tasks
        if wanted is None:
            return []

        def work(report: Report) -> Any:
            count = self.settings.evaluation.task_count
            tasks = choices.draw(choices.read_tasks(wanted), count)
            label = "HellaSwag" if "hellaswag" in wanted.name.lower() else "Endings"
            with self._session(path) as session:
                found, _ = choices.hellaswag(session, tasks, name=label, progress=report)
            return [dump(found)]

        return self._step(f"choices {name}", inputs, [], f"asking {name}", work).value

    def _session(self, path: Path) -> Any:
        from bot.clients.llama.session import Session

        llama = self.settings.llama
        return Session(
            path,
            n_ctx=SEQUENCES * self.settings.evaluation.context,
            threads=llama.threads,
            gpu_layers=llama.gpu_layers,
            devices=llama.devices,
            sequences=SEQUENCES,
        )

    def _results(
        self,
        built: Mapping[str, Built],
        reference: Scores,
        scores: Mapping[str, Scores],
        chunks: int,
    ) -> Results:
        model = self.plan.model
        source = Built(path=model.source.path, bytes=model.source.bytes, sha256=model.source.sha256)
        recipes = self.plan.recipes
        return Results(
            release=model.release,
            source_sha256=model.source.sha256,
            architecture=model.architecture,
            windows=recipes[0].windows,
            tools=self.tools,
            evaluation=self._evaluation_facts(chunks),
            calibration=self._calibration_facts(),
            reference=self._row(model.architecture.source_type, source, reference, None),
            tiers=tuple(
                self._row(r.tier, built[r.same_as or r.tier], scores[r.same_as or r.tier], r)
                for r in recipes
            ),
        )

    def _row(self, name: str, file: Built, scores: Scores, recipe: Recipe | None) -> Row:
        return Row(
            name=name,
            file=Path(file.path).name,
            bytes=file.bytes,
            sha256=file.sha256,
            bits_per_weight=file.bytes * 8 / self.plan.model.parameters,
            imatrix=recipe.imatrix if recipe else False,
            scores=scores,
            recipe=recipe.hash if recipe else None,
            same_as=recipe.same_as if recipe else None,
        )

    def _evaluation_facts(self, chunks: int) -> EvaluationFacts:
        from bot.evaluate.perplexity import scored_per_chunk

        wanted = self.settings.evaluation
        return EvaluationFacts(
            text=_text(wanted.text),
            context=wanted.context,
            chunks=chunks,
            scored_tokens=chunks * scored_per_chunk(wanted.context),
            tasks=_text(wanted.tasks) if wanted.tasks else None,
        )

    def _calibration_facts(self) -> CalibrationFacts | None:
        from bot.build import imatrix

        file = self.calibrate()
        if file is None:
            return None
        matrix = imatrix.read(Path(file.path))
        return CalibrationFacts(
            texts=tuple(_text(path) for path in self.settings.calibration.texts),
            context=self.settings.calibration.context,
            chunks=matrix.chunks,
            file=Path(file.path).name,
            bytes=file.bytes,
            sha256=file.sha256,
            unreached=matrix.unreached(),
        )

    # ── present ─────────────────────────────────────────────────────────────────────────────

    def card(self, repo_id: str) -> dict[str, Built]:
        """Everything that is published, by its path in the repository; the card is made last."""
        from bot.present.card import CardFile, render_card
        from bot.present.plots import plot_size_kld

        results = self.evaluate()
        files = self._files(results)
        if results.tiers:
            plot = self._step(
                "plot",
                {"results": digest(to_json(results))},
                [self.paths.plot],
                "drawing",
                lambda _report: plot_size_kld(results, self.paths.plot),
            )
            files[self.paths.plot.name] = plot.files[0]
        tiers = {row.file: row.name for row in results.tiers if row.same_as is None}
        listed = [
            CardFile(
                path=path,
                tier=tiers.get(path),
                bytes=file.bytes,
                sha256=file.sha256,
                note=NOTES.get(path, ""),
            )
            for path, file in files.items()
        ]
        card = render_card(
            results,
            repo_id=repo_id,
            files=listed,
            about={profile.tier: profile.about for profile in self.plan.profiles},
            plot=self.paths.plot.name,
            templates=self.settings.templates,
            quantized_by=self.settings.publish.quantized_by or repo_id.split("/")[0],
        )
        _keep(self.paths.card, card)
        return {**files, self.paths.card.name: _hashed(self.paths.card)}

    def _files(self, results: Results) -> dict[str, Built]:
        """The model files, the importance matrix and results.json, by name."""
        found = {
            row.file: Built(
                path=str(self.paths.release / row.file), bytes=row.bytes, sha256=row.sha256
            )
            for row in results.tiers
        }
        if results.calibration is not None:
            matrix = results.calibration
            path = str(self.paths.release / matrix.file)
            found[matrix.file] = Built(path=path, bytes=matrix.bytes, sha256=matrix.sha256)
        found[self.paths.results.name] = _hashed(self.paths.results)
        return found


NOTES = {
    "imatrix.gguf": "Importance matrix that the I- tiers were made with",
    "results.json": "Every measured value of this card, for machines",
    "size-vs-kld.png": "Size against divergence",
}


def _hashed(path: Path) -> Built:
    return Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))


def _keep(path: Path, text: str) -> None:
    """Write a text unless it is there already, so that its time only changes with its content."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _text(path: Path) -> Text:
    own = DEMO in path.resolve().parents
    origin = "comes with apex-bot, see bot/demo/ORIGIN.md" if own else "given by the publisher"
    return Text(name=path.name, sha256=sha256(path), origin=origin)
