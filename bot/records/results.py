"""What a release was measured to be: results.json, and all that stands in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.records.built import Built
from bot.records.coding import UNITS
from bot.records.measured import Comparison, Imported, Noise, Row, Text, Tools
from bot.records.model import Architecture
from bot.records.recipes import Recipe, Windows
from bot.records.releases import Release
from bot.records.sensitivity import Fitted

RARE_TOKENS = 64  # of calibration: an expert that saw fewer has little to say about its weights


RESULTS_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class DomainFacts:
    """What the divergence of a domain was measured on."""

    name: str
    text: Text
    context: int
    chunks: int
    scored_tokens: int
    rendered: bool  # conversations, by the model's own chat template


@dataclass(frozen=True, kw_only=True)
class BudgetShare:
    """How much of a text, or of sets of tasks, a budget has room for."""

    setting: str  # that it stands for: evaluation.chunks
    measures: tuple[str, ...]
    taken: int  # chunks or tasks, of a set of tasks at most
    of: int  # all that there are
    seconds: float  # foreseen, of all files


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How minutes were shared among measures, so that the sum of all/taken is least.

    See docs/statistics.md.
    """

    minutes: float
    shares: tuple[BudgetShare, ...]
    rest_seconds: float  # foreseen, of measures that a budget does not shorten
    origin: str  # of what a unit takes: "measured", "tried", or both


@dataclass(frozen=True, kw_only=True)
class EvaluationFacts:
    """How the numbers were made; two results compare only where this is equal."""

    text: Text
    context: int
    chunks: int
    scored_tokens: int
    tasks: tuple[Text, ...] = ()
    stride: int | None = None  # tokens between windows; None: they do not overlap
    batch: int = 0  # tokens decoded at once
    noise: tuple[Noise, ...] = ()
    chat_template: bool = False  # whether the reference has one, as instruction-tuned models do
    domains: tuple[DomainFacts, ...] = ()
    budget: Budget | None = None  # where minutes decided how much was measured


@dataclass(frozen=True, kw_only=True)
class CalibrationText(Text):
    """A text of the calibration mix."""

    weight: float | None = None  # its share of chunks; None: by its length
    licence: str | None = None


@dataclass(frozen=True, kw_only=True)
class LayerCoverage:
    """How many tokens reached a layer's routed experts; of its matrices the fewest."""

    layer: int
    experts: int
    fewest: int  # tokens of the expert that saw fewest
    median: int
    unreached: tuple[int, ...] = ()  # experts without any
    rare: tuple[int, ...] = ()  # experts with too few to say much


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What a tier rounds without calibration data."""

    tier: str
    places: tuple[str, ...]  # "blk.3.ffn_up_exps.weight", or with " expert 5" one of its experts
    share: float  # of the weights of layers that the tier rounds


@dataclass(frozen=True, kw_only=True)
class CalibrationFacts:
    """How the importance matrix was made."""

    texts: tuple[CalibrationText, ...]
    context: int
    chunks: int
    file: str
    bytes: int
    sha256: str
    unreached: tuple[str, ...] = ()  # "blk.3.ffn_up_exps.weight expert 5" for experts with no data
    taken: tuple[int, ...] = ()  # chunks of each text
    given: tuple[str, ...] = ()  # datasets that a ready file names; then nothing was calibrated
    coverage: tuple[LayerCoverage, ...] = ()
    gaps: tuple[Gap, ...] = ()  # of each tier that lacks something
    raised: tuple[str, ...] = ()  # "I-Nano blk.3.ffn_up_exps.weight IQ2_XS Q2_K" for lack of data
    name: str = ""  # of the set, with its version: "v1.3 diverse dataset"


@dataclass(frozen=True, kw_only=True)
class TierFiles:
    """What quantizing made: a file for each distinct tier and baseline, and of what."""

    files: Mapping[str, Built]  # by tier; one in shards counts as one
    recipes: tuple[Recipe, ...]  # of all tiers, as they were built
    fitted: tuple[Fitted, ...] = ()  # how types were chosen of tiers that name a size


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A tier that is not published: it failed the gate, or there was nothing to make."""

    tier: str
    recipe: str | None  # hash
    reason: str
    made: bool = True  # False: it would have been as large as the source


@dataclass(frozen=True, kw_only=True)
class Refreshing:
    """Metadata that is newer than the numbers; tensors are bit for bit those that were measured."""

    measured_at: str  # the source's commit whose metadata the numbers were made with
    changed: tuple[str, ...]  # of the source's files since then
    latest: tuple[str, ...]  # of these, by the latest commit that headers were rewritten for


@dataclass(frozen=True, kw_only=True)
class Results:
    """results.json: the machine-readable truth that the card is rendered from."""

    version: int = field(default=RESULTS_VERSION)
    units: Mapping[str, str] = field(default_factory=lambda: dict(UNITS))
    release: Release | None  # None when the source is a file of the user's
    source_sha256: str
    architecture: Architecture
    windows: Windows
    tools: Tools
    evaluation: EvaluationFacts
    calibration: CalibrationFacts | None
    reference: Row
    tiers: tuple[Row, ...]
    baselines: tuple[Row, ...] = ()  # llama.cpp's own types, to compare with; not published
    others: tuple[Row, ...] = ()  # other publishers' files, measured here
    comparisons: tuple[Comparison, ...] = ()
    imported: tuple[Imported, ...] = ()
    left_out: tuple[LeftOut, ...] = ()  # by the gate, and for nothing to gain
    fitted: tuple[Fitted, ...] = ()  # how types were chosen of tiers that name a size
    # of a file of the user's: its licence, and as `repo_id` the model it was made of, or nothing
    origin: Release | None = None
    name: str | None = None  # what the user called a file of theirs, where the file says otherwise
    refreshed: Refreshing | None = None  # where headers were rewritten since it was measured


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `bot evaluate FILE...` measured: results without a job."""

    version: int = field(default=RESULTS_VERSION)
    units: Mapping[str, str] = field(default_factory=lambda: dict(UNITS))
    evaluation: EvaluationFacts | None  # None when neither perplexity nor divergence was asked for
    reference: Row | None
    files: tuple[Row, ...]
    comparisons: tuple[Comparison, ...] = ()
    imported: tuple[Imported, ...] = ()
