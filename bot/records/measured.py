"""Values that were measured of a file, and how files compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bot.records.built import Shard

KLD = "kld"  # name of the divergence among comparisons
ON_DOMAIN = f"{KLD} on "  # what names of divergences on domains begin with
UNTESTED = "none"  # what a comparison's test begins with where there was too little for one


BENCHMARK = "benchmark "  # what names of measures by lm-evaluation-harness begin with


PPL = "ppl"  # and of the negative log-likelihood, whose mean's exponential is the perplexity


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
class Text:
    """A text or task file that numbers rest on."""

    name: str
    sha256: str
    origin: str  # where it comes from, one line


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
class DomainDivergence:
    """The divergence on one named set: conversations, code, tool calls, a long context, …"""

    name: str
    divergence: Divergence


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
class BenchmarkScore:
    """A number of lm-evaluation-harness, as it counts it, with its own standard error."""

    task: str  # the harness's name, of a task or of a group
    metric: str  # "acc", "exact_match", …
    filter: str  # how an answer was taken out of a text; "none" where it was not
    value: float
    error: float | None
    higher_is_better: bool | None
    documents: int
    version: str  # of the task's definition
    fewshot: int | None  # examples before each question
    right: str = ""  # "1" or "0" for each document, where the metric is that

    @property
    def measure(self) -> str:
        """What comparisons call it: `gsm8k exact_match, strict-match`."""
        filtered = "" if self.filter == "none" else f", {self.filter}"
        return f"{self.task} {self.metric}{filtered}"


@dataclass(frozen=True, kw_only=True)
class BenchmarkData:
    """A data set that a benchmark took, and the commit that settings say its folder is at.

    `registered` is what the data set's own eval.yaml calls its task, where the Hub may list it as
    a benchmark.
    """

    name: str
    commit: str | None = None
    registered: str | None = None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A task, group or tag of lm-evaluation-harness, by its name, and all that it found."""

    name: str
    harness: str  # its version
    fewshot: int | None  # as asked for; None: as the task has it
    limit: int | None  # documents of each task at most
    chat: bool  # whether the model's chat template was applied
    most_tokens: int | None  # of a text, where the task allowed more
    requests: int
    data: tuple[BenchmarkData, ...]
    scores: tuple[BenchmarkScore, ...]

    @property
    def measure(self) -> str:
        """What its run is called."""
        return f"{BENCHMARK}{self.name}"


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Tokens per second as llama-bench defines them; `spread` is the runs' standard deviation."""

    name: str  # "pp512", "tg128"
    mean: float
    spread: float
    repetitions: int


@dataclass(frozen=True, kw_only=True)
class DraftPlace:
    """Of guesses at one place of their draft: how many there were, and how many were kept."""

    offered: int
    kept: int
    low: float  # 95 % Wilson interval of the share
    high: float


@dataclass(frozen=True, kw_only=True)
class Drafts:
    """Text written with multi-token prediction, `guesses` tokens at a time, and without.

    `rate` and `rate_without` are tokens per second. Of `texts` texts `same_texts` were equal.
    """

    guesses: int
    drafts: int
    offered: int  # tokens guessed
    kept: int  # of them
    places: tuple[DraftPlace, ...]
    rate: float
    rate_without: float
    texts: int
    same_texts: int


@dataclass(frozen=True, kw_only=True)
class Habit:
    """One thing that answers are looked at for, over all prompts in their order."""

    name: str  # ends, goes on, calls, finds, closes: see docs/behaviour.md
    answers: str  # of each prompt "1" for a good answer, "0" for a bad one, "-" where not judged

    @property
    def judged(self) -> int:
        """Answers that were looked at for this."""
        return len(self.answers) - self.answers.count("-")

    @property
    def good(self) -> int:
        """Good ones of them."""
        return self.answers.count("1")


@dataclass(frozen=True, kw_only=True)
class MemoryEdit:
    """A conversation went on after its middle was changed: llama.cpp's memory and a fresh run.

    `worst` is the largest KL divergence of a next token, in nats; None where the library refused,
    or gave no numbers.
    """

    kept: int  # tokens before the change
    tokens: int  # after it, each compared
    dropped: bool  # whether the memory could drop its end; else all was decoded again
    worst: float | None


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a file answered to prompts in its own chat template, greedily."""

    limit: int  # tokens of an answer at most
    prompts: tuple[str, ...]  # of each rendered prompt the sha256's beginning; "" where none came
    form: str  # of tool calls, by the template; "" where it is none that is known
    habits: tuple[Habit, ...]
    edits: tuple[MemoryEdit, ...] = ()

    def habit(self, name: str) -> Habit | None:
        """A habit by its name."""
        return next((habit for habit in self.habits if habit.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a measure came about: on what, by which program, on which machine, how long.

    Without the hash of its data no measure can be stored; speed has none, its tokens are random.
    """

    # perplexity, divergence, `divergence on DOMAIN`, speed, drafts, behaviour, `benchmark NAME`, or
    # a set of tasks by its name
    measure: str
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
class ChunkInterval:
    """A 95 % interval over chunks, which allows for tokens of one that depend on each other."""

    of: str  # "ppl", "kld" for the mean KLD, or ppl_ratio, delta_p_mean, delta_p_rms, same_top
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Everything measured of one file. The reference has no divergence."""

    perplexity: Perplexity | None = None
    divergence: Divergence | None = None
    domains: tuple[DomainDivergence, ...] = ()  # in the order of the settings
    choices: tuple[Choices, ...] = ()
    speed: tuple[Speed, ...] = ()
    drafts: tuple[Drafts, ...] = ()  # of a model with multi-token prediction layers
    behaviour: Behaviour | None = None  # of a file with a chat template
    intervals: tuple[ChunkInterval, ...] = ()  # where as many chunks were measured as it takes
    benchmarks: tuple[Benchmark, ...] = ()  # of lm-evaluation-harness
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

    measure: str  # "kld", "kld on DOMAIN", "ppl", or the name of a set of tasks
    one: str  # names of rows
    other: str
    difference: float
    p: float  # of this comparison alone
    differs: bool  # whether it can be said at the 95 % level, of all comparisons together
    test: str
    low: float | None = None  # 95 % interval of the difference, where the test gives one
    high: float | None = None
    adjusted: float | None = None  # p, corrected for all comparisons that were made beside it

    @property
    def is_tested(self) -> bool:
        """Whether there was enough to test: else nothing can be claimed, whatever the numbers."""
        return not self.test.startswith(UNTESTED)


def supported_claim(
    comparisons: Iterable[Comparison], measure: str, one: str, other: str
) -> bool | None:
    """Whether `one` is better than `other`: None where the tests cannot tell or were not made.

    Better is less KLD or perplexity, or more right answers.
    """
    for comparison in comparisons:
        if comparison.measure != measure or {comparison.one, comparison.other} != {one, other}:
            continue
        if not comparison.differs:
            return None
        more = (comparison.difference > 0) == (comparison.one == one)
        return more != (measure in (KLD, PPL) or measure.startswith(ON_DOMAIN))
    return None


def best(comparisons: Iterable[Comparison], measure: str, names: Sequence[str]) -> str | None:
    """The one of `names` that is better than each of the others; None where that is not sure."""
    all_comparisons = list(comparisons)
    for name in names:
        rivals = [other for other in names if other != name]
        if rivals and all(
            supported_claim(all_comparisons, measure, name, other) for other in rivals
        ):
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
