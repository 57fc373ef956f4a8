"""What stages hand each other: frozen records, with JSON in and out.

Shapes are in llama.cpp's order: the first number is the length of a row (`ne[0]`), experts are
the last dimension. Sizes are bytes unless a name says otherwise.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import PurePath
from typing import Any, Literal, TypeVar

from bot import patterns
from bot.legible import legible, legible_json

T = TypeVar("T")

SCHEMA = "https://json-schema.org/draft/2020-12/schema"

RARE_TOKENS = 64  # of calibration: an expert that saw fewer has little to say about its weights
RESULTS_VERSION = 2
INTEGER = re.compile(r"[IU]\d+|BOOL")  # types of ggml and safetensors that hold no weights
KLD = "kld"  # name of the divergence among comparisons
PPL = "ppl"  # and of the negative log-likelihood, whose mean's exponential is the perplexity

# of each value in results.json; the errors of a value have its unit
UNITS = {
    "perplexity": "exp of nats per token; error: one standard error",
    "divergence.mean, median, p90, p95, p99, p999, max": "nats per token",
    "divergence.mean_error": "nats per token, one standard error",
    "divergence.ppl_ratio": "1, relative to the reference; error: one standard error",
    "divergence.delta_p_mean, delta_p_rms, same_top": "fraction; error: one standard error",
    "choices.low, high": "fraction, 95 % Wilson interval",
    "speed.mean, spread": "tokens per second; spread: standard deviation of the runs",
    "noise.mean, max": "nats per token",
    "comparisons.difference, low, high": "kld, ppl: nats per token; tasks: fraction",
    "runs.seconds": "s",
    "runs.batch": "tokens",
    "bytes": "bytes",
    "bits_per_weight": "bits",
}


def dump(record: Any) -> Any:
    """A record as plain JSON values."""
    from pydantic import TypeAdapter

    return TypeAdapter(type(record)).dump_python(record, mode="json")


def load(kind: type[T], data: Any) -> T:
    """The record that `dump` took apart. Raises pydantic.ValidationError on anything else."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_python(data)


def to_json(record: Any) -> str:
    """A record as indented JSON with a final newline; floats keep every digit."""
    return legible_json(dump(record), indent=2) + "\n"


def from_json(kind: type[T], text: str | bytes) -> T:
    """Parse JSON that `to_json` wrote. Raises pydantic.ValidationError on anything else."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_json(text)


def schema(kind: type) -> str:
    """The JSON schema (2020-12) of a record as `to_json` writes it, with what docstrings say."""
    from pydantic import TypeAdapter

    made = TypeAdapter(kind).json_schema(mode="serialization")
    return json.dumps({"$schema": SCHEMA} | made, indent=2, ensure_ascii=False) + "\n"


def digest(value: Any) -> str:
    """sha256 (hex) of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


# ── a release on a Hub ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class RepoFile:
    """One file of a repository at a commit. `sha256` is known for LFS files only."""

    path: str
    size: int
    sha256: str | None = None
    blob_id: str | None = None  # git's hash: of the content, or of an LFS file's pointer
    stored: str | None = None  # how its header says that weights are stored: BF16, Q4_K, I32, …


@dataclass(frozen=True, kw_only=True)
class Release:
    """A model repository at one commit, as far as a listing and its files tell."""

    repo_id: str
    commit: str
    created_at: str | None = None  # ISO 8601, UTC
    last_modified: str | None = None  # ISO 8601, UTC
    private: bool = False
    gated: bool = False
    tags: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    license: str | None = None  # the first that its card names
    licenses: tuple[str, ...] = ()  # all of them, where it names several
    license_name: str | None = None
    license_link: str | None = None
    languages: tuple[str, ...] = ()
    files: tuple[RepoFile, ...] = ()


# What a release was found to be. Detection ends in one of the first ten; the next two say that
# there was none: the release is not one to look at, or its files could not be read. The others
# are of eligible releases: what the policy and the past say of them.
Outcome = Literal[
    "eligible",
    "not_moe",
    "dense_sibling",
    "already_quantized",
    "adapter",
    "not_a_text_decoder",
    "gated_no_access",
    "unsupported_converter",
    "too_large",
    "no_weights_yet",
    "not_watched",
    "unreadable",
    "gone",
    "not_wanted",
    "unpopular",
    "settling",
    "awaiting_approval",
    "ignored",
    "done_before",
]


@dataclass(frozen=True, kw_only=True)
class _Reasoned:
    """What was decided about a release and why, in words that may hold a stranger's."""

    release: Release
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", legible(self.reason))


@dataclass(frozen=True, kw_only=True)
class Build(_Reasoned):
    """The release shall be built."""

    outcome: Outcome = "eligible"


@dataclass(frozen=True, kw_only=True)
class Skip(_Reasoned):
    """The release shall not be built, and not be looked at again at this commit."""

    outcome: Outcome = "not_watched"


@dataclass(frozen=True, kw_only=True)
class Wait(_Reasoned):
    """The release may be built later: something is missing that can still arrive."""

    outcome: Outcome = "unreadable"
    until: float | None = None  # POSIX seconds; None where nobody knows


@dataclass(frozen=True, kw_only=True)
class Ask(_Reasoned):
    """The release shall be built when a person says so."""

    outcome: Outcome = "awaiting_approval"


Decision = Build | Skip | Wait | Ask


# ── a model ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor of a model file."""

    name: str
    shape: tuple[int, ...]  # ne[0] (row length) first
    type: str  # ggml's name, upper case: BF16, F32, Q6_K, …
    bytes: int

    @property
    def parameters(self) -> int:
        """Number of weights: none where integers route, as DeepSeek-V4's tables do."""
        return 0 if INTEGER.fullmatch(self.type) else prod(self.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeaderTensor:
    """One tensor as the header of a safetensors file names it."""

    name: str
    dtype: str  # safetensors' name: BF16, F8_E4M3, …
    shape: tuple[int, ...]  # torch's order: the length of a row comes last
    bytes: int
    file: str


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a model is made of, counted from its own file."""

    family: str  # general.architecture, such as qwen35moe
    name: str  # general.name, such as Qwen3.6-35B-A3B
    layers: int  # main layers, without MTP
    mtp_layers: int
    dense_layers: int  # layers whose feed-forward has no experts
    experts: int
    experts_active: int
    shared_expert: bool
    parameters: int
    parameters_active: int
    attention: tuple[str, ...]  # a word per main layer: full, linear, sliding, sparse, chunked
    context_length: int
    vocabulary: int
    embedding_length: int
    tied_embeddings: bool
    source_type: str  # type of most weights: BF16, F16
    # what a checkpoint tells and a GGUF does not
    shared_experts: int = 0
    dense_leading_layers: int = 0
    vision: bool = False
    audio: bool = False
    parameters_other: int = 0  # of vision and audio parts, not among `parameters`
    source_precision: str = ""  # as published: BF16, F16, F32, FP8, MXFP4, NVFP4, INT4, INT8
    base_model: str | None = None
    base_relation: str | None = None  # finetune, quantized, adapter, merge
    lacks: tuple[str, ...] = ()  # parts that could not be converted: `without its …: reason`
    # what a GGUF tells and a checkpoint does not: numbers in the KV cache for a token of context,
    # in layers that see all of it, and in layers that see the last `cache_window` tokens
    cache_values: int = 0
    cache_window_values: int = 0
    cache_window: int = 0

    @property
    def attention_pattern(self) -> str:
        """`full attention every 4th layer, linear otherwise`."""
        return patterns.attention(self.attention)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The 16-bit model a job starts from, pinned."""

    repo_id: str | None  # None when the source is a file of the user's
    commit: str  # commit sha, or the file's sha256
    path: str  # path of the GGUF on this machine
    bytes: int
    sha256: str


# ── a plan ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How many layers at each end count as edge and near, after scaling to the model's depth."""

    edge: int
    near: int
    attention_edge: int


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The type one tensor gets in one tier, and why."""

    tensor: str
    role: str
    band: str  # edge, near, middle; "-" outside the layers
    type: str  # what will be stored, after llama.cpp's fallbacks
    bytes: int  # tensor data of that type


def content_hash(types: Mapping[str, str], *, imatrix: bool) -> str:
    """Hash of the types by tensor, in any order, and of whether they were weighed."""
    return digest([imatrix, sorted(types.items())])


def recipe_hash(base: str, content: str) -> str:
    """Hash of all that decides a file."""
    return digest([base, content])


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A type for every tensor of one model in one tier."""

    tier: str
    base: str  # llama.cpp's file type: written as general.file_type
    imatrix: bool
    windows: Windows
    assignments: tuple[Assignment, ...]
    same_as: str | None = None  # the tier that stores the very same tensors and is built instead
    plain: bool = False  # llama.cpp's own choice for its file type `base`: only to compare with

    @cached_property
    def content(self) -> str:
        """Hash of what is stored: equal for tiers that coincide."""
        return content_hash({a.tensor: a.type for a in self.assignments}, imatrix=self.imatrix)

    @cached_property
    def hash(self) -> str:
        """Hash of all that decides the file: content and base type."""
        return recipe_hash(self.base, self.content)

    @property
    def tensor_bytes(self) -> int:
        """Tensor data without padding and metadata."""
        return sum(a.bytes for a in self.assignments)


# ── built files and their scores ────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of the files of a model in several."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Built:
    """One file that exists on disk, hashed, or a model in shards.

    Of shards `path` is the first, which llama.cpp loads them by, `bytes` is the sum and `sha256`
    the digest of theirs.
    """

    path: str
    bytes: int
    sha256: str
    shards: tuple[Shard, ...] = ()

    @property
    def files(self) -> tuple[Built, ...]:
        """Each file on its own."""
        if not self.shards:
            return (self,)
        folder = PurePath(self.path)
        return tuple(
            Built(path=str(folder.with_name(s.file)), bytes=s.bytes, sha256=s.sha256)
            for s in self.shards
        )


def together(files: Sequence[Built]) -> Built:
    """The files of one model as one: a single file as it is, shards in their order."""
    if len(files) == 1:
        return files[0]
    return Built(
        path=files[0].path,
        bytes=sum(file.bytes for file in files),
        sha256=digest([file.sha256 for file in files]),
        shards=tuple(
            Shard(file=PurePath(f.path).name, bytes=f.bytes, sha256=f.sha256) for f in files
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Perplexity:
    """exp of the mean negative log-likelihood; `error` is one standard error."""

    value: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """A candidate against its reference over the same scored tokens; KLD in nats.

    Errors are one standard error. Names follow llama-perplexity's output.
    """

    ppl_ratio: float
    ppl_ratio_error: float
    mean: float
    mean_error: float
    median: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float
    delta_p_mean: float  # fraction, not percent
    delta_p_mean_error: float
    delta_p_rms: float
    delta_p_rms_error: float
    same_top: float  # fraction of tokens with the same most likely token
    same_top_error: float


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A multiple-choice measure: share of right answers with its 95 % Wilson interval."""

    name: str  # "HellaSwag"
    tasks: int
    correct: int
    low: float  # fraction
    high: float
    answers: str = ""  # "1" for a right answer, "0" for a wrong one, in the order asked

    @property
    def accuracy(self) -> float:
        """Fraction answered rightly."""
        return self.correct / self.tasks


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Tokens per second as llama-bench defines them; `spread` is the runs' standard deviation."""

    name: str  # "pp512", "tg128"
    mean: float
    spread: float
    repetitions: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a measure came about: on what, by which program, on which machine, how long.

    Without the hash of its data no measure can be stored; speed has none, its tokens are random.
    """

    measure: str  # perplexity, divergence, speed, or the name of a set of tasks
    data: Text | None
    model: str  # sha256
    reference: str | None  # sha256 of the file that a divergence is from
    beside: bool  # whether the reference ran beside the candidate, without a file
    context: int
    stride: int | None
    batch: int  # tokens decoded at once
    tools: Tools
    seconds: float
    finished: str  # ISO 8601, UTC

    def __post_init__(self) -> None:
        if self.measure != "speed" and self.data is None:
            raise ValueError(f"{self.measure} without the hash of its data cannot be stored")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Everything measured of one file. The reference has no divergence."""

    perplexity: Perplexity | None = None
    divergence: Divergence | None = None
    choices: tuple[Choices, ...] = ()
    speed: tuple[Speed, ...] = ()
    runs: tuple[Run, ...] = ()  # one for each measure


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file of the benchmark table."""

    name: str  # tier, or the reference's type such as BF16
    file: str
    bytes: int
    sha256: str
    bits_per_weight: float
    imatrix: bool
    scores: Scores
    recipe: str | None = None  # recipe hash
    same_as: str | None = None  # coinciding tier: this row's file is that tier's file
    publisher: str | None = None  # REPOSITORY@COMMIT where the file is somebody else's
    shards: tuple[Shard, ...] = ()  # where the model is in several files, `file` being the first

    @property
    def files(self) -> tuple[Shard, ...]:
        """Each file of the model."""
        return self.shards or (Shard(file=self.file, bytes=self.bytes, sha256=self.sha256),)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The reference against itself: what a mean KLD below this says nothing about."""

    batch: int  # tokens decoded at once; the reference's own log-probabilities had `batch` of Run
    sequences: int  # chunks among them
    chunks: int
    mean: float  # nats
    max: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Whether two files differ, by a test that pairs what both answered.

    `difference` is one's value minus the other's: nats for KLD, nats for PPL (the logarithm of the
    ratio of perplexities), a fraction for accuracies.
    """

    measure: str  # "kld", "ppl", or the name of a set of tasks
    one: str  # names of rows
    other: str
    difference: float
    p: float  # of this comparison alone
    differs: bool  # whether it can be said at the 95 % level, of all comparisons together
    test: str
    low: float | None = None  # 95 % interval of the difference, where the test gives one
    high: float | None = None
    adjusted: float | None = None  # p, corrected for all comparisons that were made beside it


def supported(found: Iterable[Comparison], measure: str, one: str, other: str) -> bool | None:
    """Whether `one` is better than `other`: None where the tests cannot tell or were not made.

    Better is less KLD or perplexity, or more right answers.
    """
    for comparison in found:
        if comparison.measure != measure or {comparison.one, comparison.other} != {one, other}:
            continue
        if not comparison.differs:
            return None
        more = (comparison.difference > 0) == (comparison.one == one)
        return more != (measure in (KLD, PPL))
    return None


def best(found: Iterable[Comparison], measure: str, names: Sequence[str]) -> str | None:
    """The one of `names` that is better than each of the others; None where that is not sure."""
    listed = list(found)
    for name in names:
        others = [other for other in names if other != name]
        if others and all(supported(listed, measure, name, other) for other in others):
            return name
    return None


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Numbers that somebody else measured: never to be mixed with ours unmarked."""

    name: str
    origin: str  # the file they come from, and its sha256
    bytes: int | None = None  # as told, often rounded to 0.1 GB
    perplexity: float | None = None
    perplexity_error: float | None = None
    kld: Mapping[str, float] = field(default_factory=dict)  # mean, mean_error, median, p999, max, …
    choices: Mapping[str, float] = field(default_factory=dict)  # fraction right, by task
    speed: Mapping[str, float] = field(default_factory=dict)  # tokens per second: pp512, tg128
    # of a card whose every row was measured elsewhere: what the row is; else it stands apart
    kind: Literal["", "reference", "tier", "baseline"] = ""
    imatrix: bool = False
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # of choices, 95 %


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text or task file that numbers rest on."""

    name: str
    sha256: str
    origin: str  # where it comes from, one line


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
class Tools:
    """What the numbers were made with."""

    bot: str
    llama_cpp_python: str
    llama_cpp: str  # system info line is not portable; this is the library's build
    device: str
    threads: int
    build: str = ""  # what llama.cpp was compiled with and for


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A tier that was built and is not published."""

    tier: str
    recipe: str | None  # hash
    reason: str


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
    left_out: tuple[LeftOut, ...] = ()  # by the gate
    # of a file of the user's: its licence, and as `repo_id` the model it was made of, or nothing
    origin: Release | None = None
    name: str | None = None  # what the user called a file of theirs, where the file says otherwise


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
