"""Sections on what a model is made into: runtime, matrix, files, numbers, source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from bot.settings.sections import DEMO, NAME, PACKAGE, DataPlace, Part, Place


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LlamaSettings(Part):
    """How llama.cpp runs on this machine."""

    threads: Annotated[int, Field(ge=1, le=1024)] = Field(default_factory=_usable_cores)
    gpu_layers: Annotated[int, Field(ge=-1)] = -1
    devices: tuple[str, ...] = ()
    # tokens that go through the model at once, as llama.cpp's -ub: what of a model has no room on
    # the devices is read anew for each
    micro_batch: Annotated[int, Field(ge=32, le=131072)] = 512
    # llama.cpp's RPC servers, HOST:PORT, whose devices are used before this machine's
    rpc: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}:[0-9]{1,5}$")], ...] = ()
    rpc_anywhere: bool = False  # servers outside of private networks, too
    patience_hours: Annotated[float, Field(gt=0)] = 2.0  # without a step forward at a file
    library: Place | None = (
        None  # a folder of libllama of your own build, in place of the binding's
    )


class QuantizeSettings(Part):
    """How tiers are made."""

    memory_gb: Annotated[float, Field(gt=0)] = 4.0  # bound on rows in work
    shard_gb: Annotated[float, Field(ge=0.001)] | None = 200.0  # None: one file, however large
    # of a tier's rounded weights, the largest share without calibration data
    missing_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    # of a model's own bytes, the smallest share that its smallest tier must save to be built
    least_saving: Annotated[float, Field(ge=0, lt=1)] = 0.1
    missing_data: Literal["refuse", "next"] = "refuse"  # or the next type that needs no imatrix
    # tiers made in one reading while `bot publish` measures others; None: all in one
    together: Annotated[int, Field(ge=1)] | None = 3
    kernels: bool = True  # our own quantizers, several times faster, where bytes are the same
    stamp: bool = True  # tier, recipe hash and bot version in each file's metadata
    baselines: tuple[str, ...] = ()  # llama.cpp's own file types to compare with: Q8_0, Q4_K_M

    @property
    def memory(self) -> int:
        """`memory_gb` in bytes."""
        return int(self.memory_gb * 1e9)

    @property
    def shard(self) -> int | None:
        """`shard_gb` in bytes."""
        return None if self.shard_gb is None else int(self.shard_gb * 1e9)


class CalibrationSource(Part):
    """A text of the calibration mix: here, of a dataset on the Hub, pinned, or a name in `data`."""

    name: Annotated[str, Field(pattern=r"^[\w .+-]+$", max_length=48)] | None = None
    path: Place | None = None
    data: Annotated[str, Field(min_length=1, max_length=100)] | None = None  # a name in `data`
    dataset: Annotated[str, Field(pattern=rf"^{NAME}{{1,96}}/{NAME}{{1,96}}$")] | None = None
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    file: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    weight: Annotated[float, Field(gt=0, le=1e6)] | None = None  # None: its length
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    licence: Annotated[str, Field(max_length=100)] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        named = [bool(part) for part in self.hub]
        elsewhere = [self.path is not None, self.data is not None, any(named)]
        if sum(elsewhere) != 1 or any(named) != all(named):
            raise ValueError(
                "a text has either a path, or a dataset with its commit and file, or a name in data"
            )
        if self.data is not None and (self.sha256 or self.licence):
            raise ValueError("hash and licence of a text of `data` stand there")
        return self

    @property
    def hub(self) -> tuple[str, str, str]:
        """Dataset, commit and file; empty for a file here, and for one of `data`."""
        return self.dataset or "", self.commit or "", self.file or ""

    @property
    def label(self) -> str:
        """What the text is called in files and on cards; never a path of this machine."""
        return self.name or self.data or Path(self.path or self.file or "").name


def _path_alone(value: Any) -> Any:
    return {"path": value} if isinstance(value, str | Path) else value


class CalibrationSettings(Part):
    """The importance matrix: texts, and how much of them; or a ready file."""

    preset: Literal["recommended"] | None = None  # a mix of texts that comes with the bot
    texts: Annotated[
        tuple[Annotated[CalibrationSource, BeforeValidator(_path_alone)], ...],
        Field(min_length=1, max_length=64),
    ] = (CalibrationSource(path=DEMO / "calibration.txt"),)
    name: Annotated[str, Field(max_length=100)] = ""  # of the set and its version, for cards
    context: Annotated[int, Field(ge=32, le=131072)] = 512
    chunks: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=32, le=131072)] = 2048  # tokens decoded together
    checkpoint: Annotated[int, Field(ge=1)] = 64  # chunks between notes of what was seen
    file: Place | None = None  # a ready importance matrix, GGUF or .dat, instead of all this

    @field_validator("texts")
    @classmethod
    def _alike(cls, value: tuple[CalibrationSource, ...]) -> tuple[CalibrationSource, ...]:
        if len({text.label for text in value}) < len(value):
            raise ValueError("two texts have the same name; give each its own")
        if len({text.weight is None for text in value}) > 1:
            raise ValueError("some texts have a weight and others none; give all one")
        return value


class FitSettings(Part):
    """How types are chosen for a tier that names a size."""

    # types allowed, all where none is named; `K`: K-quants alone, which old processors are fast at
    types: tuple[str, ...] = ()
    # the smallest type of a role, or of tensors by a pattern: {output: Q6_K, "blk.0.*": Q4_K}
    floors: dict[str, str] = {}
    chunks: Annotated[int, Field(ge=2, le=1000)] = 8  # of the calibration texts, for each probe
    context: Annotated[int, Field(ge=32, le=131072)] = 512
    # groups of tensors are made for these; 0: none, errors of types alone decide; or whole layers
    probes: Annotated[int, Field(ge=0, le=100_000)] | Literal["layers"] = 400
    rounds: Annotated[int, Field(ge=0, le=8)] = 2  # corrections by measurement, at most


class DataSettings(Part):
    """A text or a set of tasks that has a name: where it comes from, and which it is.

    A file of a repository may leave its commit and hash to bot.lock: those of its first use count.
    """

    kind: Literal["text", "conversations", "hellaswag", "winogrande", "multiple-choice"] = "text"
    label: str | None = None  # in tables; default: the name
    path: Place  # here, or in `repository`
    repository: str | None = None  # ORG/NAME on the Hub
    repository_type: Literal["dataset", "model"] = "dataset"
    commit: Annotated[str, Field(pattern="[0-9a-f]{40}")] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    licence: str
    count: Annotated[int, Field(ge=1)] | None = None  # tasks to draw; default: all
    member: Annotated[str, Field(max_length=400)] | None = None  # the file that is meant of a zip
    field: Annotated[str, Field(max_length=100)] | None = None  # of JSON records: where the text is
    half: Literal["even", "odd"] | None = None  # of the records: the other half is for another use
    where: dict[str, tuple[str, ...]] = {}  # only records with one of these values in a field

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if (self.repository is None) != (self.commit is None) and self.sha256 is not None:
            raise ValueError("a repository and its commit stand together")
        if self.repository is None and self.sha256 is None:
            raise ValueError(
                "sha256 is missing, which only a repository's file may leave to bot.lock"
            )
        if (self.half or self.where) and self.kind != "conversations" and self.field is None:
            raise ValueError("half and where choose among records: of conversations, or with field")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether the file is read as it lies, not unpacked or made of records first."""
        packed = self.member or self.field or str(self.path).endswith((".gz", ".zip"))
        return self.kind != "conversations" and not packed

    @property
    def reading(self) -> list[Any]:
        """What of a file is read, and how; empty where it is read as it lies."""
        where = sorted((name, list(values)) for name, values in self.where.items())
        return [] if self.is_plain else [self.kind, self.member, self.field, self.half, where]


class DomainSettings(Part):
    """What a divergence is measured on beside the text: conversations, code, other languages, …"""

    data: DataPlace  # a name in `data`, or a text here
    # tokens of a window; conversations begin windows, and are cut at their ends
    context: Annotated[int, Field(ge=32, le=131072)] = 512
    chunks: Annotated[int, Field(ge=1)] = 32


class BehaviourSettings(Part):
    """What files of models with a chat template are asked, to see how they behave."""

    measure: bool = True
    prompts: Place = PACKAGE / "behaviour" / "prompts.json"
    tokens: Annotated[int, Field(ge=16, le=32768)] = 256  # of an answer at most
    context: Annotated[int, Field(ge=256, le=1048576)] = 8192  # prompts and answers at once


class BenchmarkTask(Part):
    """A task, group or tag of lm-evaluation-harness, and how much of it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,79}$")]
    fewshot: Annotated[int, Field(ge=0, le=100)] | None = None  # None: as the task has it
    limit: Annotated[int, Field(ge=1)] | None = None  # documents of each task; None: all
    most_tokens: Annotated[int, Field(ge=1)] | None = None  # of a text; None: as the task has it


def _name_alone(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class BenchmarksSettings(Part):
    """Benchmarks of lm-evaluation-harness, which is installed as `apex-bot[lm-eval]`."""

    tasks: tuple[Annotated[BenchmarkTask, BeforeValidator(_name_alone)], ...] = ()
    folder: Place | None = None  # YAML files of your own tasks, and their data
    chat: bool = False  # questions in the model's own chat template
    context: Annotated[int, Field(ge=32, le=1 << 20)] = 4096  # tokens of a request at most
    memory: Annotated[int, Field(ge=32, le=1 << 24)] = 16384  # tokens decoded side by side
    parallel: Annotated[int, Field(ge=1, le=192)] = 16  # requests decoded side by side
    # data sets by their names on the Hub: where they lie in folders, and commits to take them at
    data: dict[str, Place] = {}
    commits: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]] = {}
    # whether what a model writes may be run (HumanEval), and functions beside your own tasks
    code: bool = False

    @field_validator("tasks", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.memory < self.context:
            raise ValueError("a request of `context` tokens does not fit into `memory`: raise it")
        if len({task.name for task in self.tasks}) < len(self.tasks):
            raise ValueError("a benchmark is named twice; name it once")
        return self


class EvaluationSettings(Part):
    """The texts and tasks that tiers are measured on, by path or by their name in `data`."""

    preset: Literal["seed", "recommended"] | None = None  # what comes with the bot to measure on
    text: DataPlace = DEMO / "evaluation.txt"
    context: Annotated[int, Field(ge=32, le=131072)] = 512
    chunks: Annotated[int, Field(ge=1)] | None = None
    # tokens between windows that overlap: more context for each scored token, for as many times
    # the work as windows overlap; compares only with numbers of the same stride
    stride: Annotated[int, Field(ge=1)] | None = None
    tasks: tuple[DataPlace, ...] = (DEMO / "tasks.txt",)
    task_count: Annotated[int, Field(ge=1)] = 400  # of each set that says nothing else
    # sets that the divergence is measured on one by one; conversations by the model's own template
    domains: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9 -]{0,23}$")], DomainSettings] = {}
    parallel: Annotated[int, Field(ge=4, le=256)] = 4  # answers decoded side by side, as the tool
    # where the reference's log-probabilities come from: a file, or a run beside each candidate
    reference: Literal["auto", "file", "beside"] = "auto"
    # minutes for all measures of a release: as many chunks and tasks as make errors least in them,
    # never more than are said here
    budget_minutes: Annotated[float, Field(gt=0, le=1e6)] | None = None
    overlap: bool = True  # work on logits during the next decode: a second context of memory
    memory_gb: Annotated[float, Field(gt=0)] | None = None  # None: what is free
    noise_chunks: Annotated[int, Field(ge=0)] = 8  # of the reference against itself; 0: none
    speed: bool = False
    drafts: bool = True  # of models with multi-token prediction layers: guesses kept, speed
    behaviour: BehaviourSettings = BehaviourSettings()
    repetitions: Annotated[int, Field(ge=1, le=100)] = 5
    benchmarks: BenchmarksSettings = BenchmarksSettings()
    others: tuple[str, ...] = ()  # ORG/REPOSITORY:PATTERN of other publishers
    imported: tuple[Place, ...] = ()  # results of the APEX project, logs of llama-perplexity

    @field_validator("tasks", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return () if value is None else (value,) if isinstance(value, (str, Path)) else value

    @model_validator(mode="after")
    def _beside_where_windows_overlap(self) -> Self:
        if self.stride is not None and self.reference == "file":
            raise ValueError(
                "overlapping windows run beside the reference, without a file of its "
                "log-probabilities: leave out stride, or reference: file"
            )
        return self


class SourceSettings(Part):
    """What a GGUF file of this machine does not tell of itself; a repository tells it all."""

    name: Annotated[str, Field(pattern=rf"^[A-Za-z0-9]{NAME}{{0,95}}$")] | None = None
    license: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]{0,63}$")] | None = None
    license_name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    license_link: Annotated[str, Field(pattern=r"^https?://\S{1,400}$")] | None = None
    base_model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")] | None = (
        None
    )

    @model_validator(mode="after")
    def _licence_first(self) -> Self:
        if self.license is None and (self.license_name or self.license_link):
            raise ValueError("a licence's name or link needs license, which may be `other`")
        if self.license == "other" and not self.license_name:
            raise ValueError("license: other needs a license_name")
        return self


class ConvertSettings(Part):
    """How a checkpoint becomes a GGUF file."""

    llama_cpp: Place | None = None  # a llama.cpp checkout instead of the installed toolchain
    python: Place | None = None  # its interpreter, which has torch and transformers
    # multi-token prediction layers: in a file beside the tiers, inside of each, or left out
    mtp: Literal["drop", "keep", "separate"] = "separate"
    projector: Literal["F16", "BF16", "none"] = "F16"  # type of mmproj.gguf; none leaves it out
    timeout_hours: Annotated[float, Field(gt=0)] = 12.0
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    isolation: Literal["best", "cell"] | None = None  # what `isolation` was called once
    shard_gb: Annotated[float, Field(ge=0.01)] | None = None  # None: one file, however large
