"""Results as a job would store them: a made-up 30B model, nine tiers, numbers of the right kind."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.card import card
from bot.card.rendering import CardOrder, whole_card
from bot.card.tables.cells import CardFile
from bot.plots import plots
from bot.plots.pictures import Picture, pictures
from bot.records.built import Shard
from bot.records.measured import Choices, Divergence, Perplexity, Row, Scores, Speed, Text, Tools
from bot.records.model import Architecture
from bot.records.recipes import Windows
from bot.records.releases import Release
from bot.records.results import CalibrationFacts, CalibrationText, EvaluationFacts, Results

PARAMETERS = 30_532_122_624
REPO = "someone/Sample-30B-A3B-APEX-GGUF"
PLOT = Picture(light="plots/size-vs-kld.png", dark="plots/size-vs-kld-dark.png", alt="Sizes | <x>")
ABOUT = {
    "I-Balanced": "All-round use where memory allows",
    "Balanced": "All-round use, no calibration text involved",
    "I-Quality": "Closest to the original for its size",
    "Quality": "As Quality with importance, but no calibration text involved",
    "I-Compact": "Graphics cards with 16 GB",
    "Compact": "Graphics cards with 16 GB, no calibration text involved",
    "I-Mini": "Graphics cards with 12 GB",
    "I-Nano": "Small machines",
    "I-Micro": "The least memory",
}


def sha(name: str) -> str:
    """A hash that looks like one."""
    return hashlib.sha256(name.encode()).hexdigest()


def divergence(mean: float, error: float, **changed: float) -> Divergence:
    """A divergence whose other values follow from its mean in proportion."""
    values = {
        "ppl_ratio": 1 + mean / 4,
        "ppl_ratio_error": error * 2,
        "mean": mean,
        "mean_error": error,
        "median": mean * 0.39,
        "p90": mean * 2.3,
        "p95": mean * 4.1,
        "p99": mean * 13,
        "p999": mean * 36,
        "max": mean * 400,
        "delta_p_mean": -mean / 30,
        "delta_p_mean_error": error / 30,
        "delta_p_rms": mean**0.5 / 3,
        "delta_p_rms_error": error,
        "same_top": 1 - mean**0.5 / 2.5,
        "same_top_error": 0.0006,
    }
    return Divergence(**{**values, **changed})


def row(
    name: str,
    size: int,
    measured: Divergence | None,
    *,
    correct: int = 330,
    same_as: str | None = None,
) -> Row:
    """A tier's row; its perplexity follows from the ratio to the reference's 6.7221."""
    ratio = measured.ppl_ratio if measured else 1.0
    share = correct / 400
    return Row(
        name=name,
        file=f"Sample-30B-A3B-APEX-{same_as or name}.gguf",
        bytes=size,
        sha256=sha(same_as or name),
        bits_per_weight=size * 8 / PARAMETERS,
        imatrix=name.startswith("I-"),
        scores=Scores(
            perplexity=Perplexity(value=6.7221 * ratio, error=0.0432 * ratio),
            divergence=measured,
            choices=(
                Choices(
                    name="HellaSwag",
                    tasks=400,
                    correct=correct,
                    low=share - 0.04,
                    high=share + 0.034,
                ),
            ),
        ),
        recipe=sha(f"recipe {same_as or name}"),
        same_as=same_as,
    )


def nine_tiers() -> Results:
    """Nine tiers whose sizes and divergences lie as those of a real 30B model do."""
    text = Text(name="wiki.test.raw", sha256=sha("wiki"), origin="WikiText-2, CC BY-SA")
    tasks = Text(name="hellaswag_val_full.txt", sha256=sha("tasks"), origin="HellaSwag, MIT")
    reference = replace(
        row("BF16", 61_095_824_512, None, correct=331),
        file="Sample-30B-A3B-BF16.gguf",
        recipe=None,
    )
    return Results(
        release=Release(
            repo_id="sample-lab/Sample-30B-A3B",
            commit=hashlib.sha1(b"commit", usedforsecurity=False).hexdigest(),
            pipeline_tag="text-generation",
            license="apache-2.0",
            license_link="https://huggingface.co/sample-lab/Sample-30B-A3B/blob/main/LICENSE",
            languages=("en", "zh", "no"),
        ),
        source_sha256=sha("BF16"),
        architecture=Architecture(
            family="qwen35moe",
            name="Sample 30B-A3B",
            layers=40,
            mtp_layers=0,
            dense_layers=0,
            experts=256,
            experts_active=8,
            shared_expert=True,
            parameters=PARAMETERS,
            parameters_active=3_345_212_416,
            attention=("linear", "linear", "linear", "full") * 10,
            context_length=262_144,
            vocabulary=248_320,
            embedding_length=2048,
            tied_embeddings=False,
            source_type="BF16",
        ),
        windows=Windows(edge=5, near=5, attention_edge=3),
        tools=Tools(
            bot="0.1.0",
            llama_cpp_python="0.3.36",
            llama_cpp="b9999 (0123abcd)",
            device="NVIDIA GB10",
            threads=8,
        ),
        evaluation=EvaluationFacts(
            text=text, context=512, chunks=580, scored_tokens=148_480, tasks=(tasks,)
        ),
        calibration=CalibrationFacts(
            texts=(
                CalibrationText(
                    name="chat.txt", sha256=sha("chat"), origin="written for the sample"
                ),
            ),
            context=512,
            chunks=200,
            file="imatrix.gguf_file",
            bytes=192_412_160,
            sha256=sha("imatrix"),
            unreached=("blk.3.ffn_up_exps.weight expert 5",),
        ),
        reference=reference,
        tiers=(
            row("Quality", 20_118_532_864, divergence(0.01553, 0.00016), correct=329),
            row("I-Quality", 20_118_533_120, divergence(0.01410, 0.00014, max=5.688), correct=330),
            row("Balanced", 22_410_332_544, divergence(0.01166, 0.00012), correct=332),
            row("I-Balanced", 22_410_332_800, divergence(0.01027, 0.00011, max=4.5325)),
            row("Compact", 15_602_117_888, divergence(0.06140, 0.00061), correct=333),
            row("I-Compact", 15_602_118_144, divergence(0.04513, 0.00047, max=8.755), correct=334),
            row("I-Mini", 12_733_220_096, divergence(0.09993, 0.00093), correct=331),
            row("I-Nano", 10_020_114_688, divergence(0.23110, 0.00170), correct=318),
            row("I-Micro", 8_911_203_328, divergence(0.41260, 0.00260), correct=305),
        ),
    )


def files(results: Results) -> list[CardFile]:
    """What the repository of `results` holds beside its card."""
    models = [
        CardFile(path=file.file, tier=r.name, bytes=file.bytes, sha256=file.sha256, note="")
        for r in results.tiers
        if r.same_as is None
        for file in r.files
    ]
    return [
        *models,
        CardFile(
            path="imatrix.gguf_file",
            tier=None,
            bytes=192_412_160,
            sha256=sha("imatrix"),
            note="Importance matrix of the I- tiers",
        ),
        CardFile(
            path="results.json",
            tier=None,
            bytes=18_204,
            sha256=sha("results"),
            note="Every measured value",
        ),
        CardFile(
            path="plots/size-vs-kld.png",
            tier=None,
            bytes=88_211,
            sha256=sha("plot"),
            note="Size against divergence",
        ),
        CardFile(
            path="SHA256SUMS",
            tier=None,
            bytes=1_312,
            sha256=sha("sums"),
            note="Hashes of all files",
        ),
    ]


def with_baselines() -> Results:
    """Nine tiers beside llama.cpp's own types."""
    plain = (
        row("Q8_0", 32_483_931_648, divergence(0.00412, 0.00004), correct=331),
        row("I-Q4_K_M", 18_556_685_824, divergence(0.01950, 0.00020), correct=328),
    )
    return replace(nine_tiers(), baselines=plain)


def with_speed() -> Results:
    """Baselines, and tokens per second of every row."""
    full = with_baselines()
    speeds = (
        Speed(name="pp512", mean=1900.0, spread=12.0, repetitions=5),
        Speed(name="tg128", mean=62.0, spread=0.4, repetitions=5),
    )

    def fast(timed: Row) -> Row:
        return replace(timed, scores=replace(timed.scores, speed=speeds))

    return replace(
        full,
        reference=fast(full.reference),
        tiers=tuple(map(fast, full.tiers)),
        baselines=tuple(map(fast, full.baselines)),
    )


def in_shards() -> Results:
    """Two tiers, the smaller in one file, the larger in three."""
    full = nine_tiers()
    large, small = full.tiers[2], full.tiers[6]
    stem = large.file.removesuffix(".gguf")
    sizes = (9_000_000_000, 9_000_000_000, large.bytes - 18_000_000_000)
    shards = tuple(
        Shard(file=f"{stem}-0000{n}-of-00003.gguf", bytes=size, sha256=sha(f"shard {n}"))
        for n, size in enumerate(sizes, 1)
    )
    return replace(full, tiers=(replace(large, file=shards[0].file, shards=shards), small))


def coinciding() -> Results:
    """A shallow model on which Quality is the same file as Balanced, with and without imatrix."""
    full = nine_tiers()
    plain, weighted = divergence(0.0117, 0.0001), divergence(0.0103, 0.0001)
    tiers = (
        row("Balanced", 5_100_000_000, plain),
        row("I-Balanced", 5_100_000_256, weighted),
        row("Quality", 5_100_000_000, plain, same_as="Balanced"),
        row("I-Quality", 5_100_000_256, weighted, same_as="I-Balanced"),
    )
    return replace(full, tiers=tiers)


def rendered(results: Results, **values: Any) -> str:
    """A card as the child makes it, made here; see CardOrder for what may be given."""
    for name in ("files", "plots"):
        values[name] = tuple(values.get(name, ()))
    order = CardOrder(results=results, **values)
    return whole_card(order, card.body(order))


def drawn(results: Results, folder: Path) -> tuple[list[Picture], list[Path]]:
    """The plots as the child makes them, made here."""
    assert plots.draw_plots(results, folder) == {}
    images, names = pictures(results, folder.name)
    return images, [folder.parent / name for name in names]


def readme(results: Results, **changed: Any) -> str:
    """A whole card, with files, a plot and a line for each tier."""
    values: dict[str, Any] = {
        "repo_id": REPO,
        "files": files(results),
        "about": ABOUT,
        "plots": [PLOT],
        "quantized_by": "someone",
    }
    return rendered(results, **{**values, **changed})
