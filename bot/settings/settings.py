"""bot.yaml and the environment, parsed once and strictly into one frozen Settings.

    # bot.yaml — everything is optional
    workdir: /data/apex-bot
    hub:
      endpoint: https://huggingface.co
      namespace: my-name            # where repositories are made; default: the token's user
    llama:
      threads: 8                    # default: the cores this process may use
      gpu_layers: -1                # -1: all layers where the build has a GPU; 0: none
      devices: [CUDA0]              # default: all that llama.cpp finds
    quantize:
      engine: one-pass              # or llama: llama.cpp's own function, one tier after another
      memory_gb: 4
    calibration:
      texts: [texts/chat.txt, texts/code.txt]   # or {name, path, weight, …} each, see README
    evaluation:
      text: texts/wiki.test.raw
      tasks: texts/hellaswag_val_full.txt

Every key can be given as an environment variable: BOT_LLAMA__THREADS=8. Relative paths start at the
folder of bot.yaml; those of the environment and the command line at the current one. Tokens come
from the environment (HF_TOKEN, HF_STAGING_TOKEN, GITHUB_TOKEN; or HF_TOKEN_FILE, the path of a
file) or, for the Hub, from `hf auth login`; never from bot.yaml.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableError

from bot import secrecy
from bot.errors import SettingsError
from bot.rights import Access
from bot.settings.mistakes import each
from bot.settings.places import Named, at_home, placed
from bot.settings.policies import Policy

PACKAGE = Path(__file__).resolve().parents[1]
DEMO = PACKAGE / "demo"
# a letter of a name on the Hub or GitHub. Not \w: of all scripts, a hundred times over, it takes
# pydantic's regular expressions half a second to be read, at every start of the bot
NAME = "[A-Za-z0-9_.-]"


def data_folder(name: Literal["card_templates", "profiles", "workflows"]) -> Path:
    """A data folder of the project: beside the package in a checkout, inside it when installed."""
    installed = PACKAGE / "data" / name
    return installed if installed.is_dir() else PACKAGE.parent / name


def _data_names(root: Mapping[str, Any]) -> Collection[str]:
    named = root.get("data")
    return named if isinstance(named, Mapping) else ()


Place = Annotated[Path, AfterValidator(at_home)]
DataPlace = Annotated[Path, Named(_data_names), AfterValidator(at_home)]  # or a name in `data`


class Part(BaseModel):
    """A section of bot.yaml: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HubSettings(Part):
    """Which Hub, and where on it."""

    endpoint: str = Field(
        default_factory=lambda: os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    )
    namespace: str | None = None

    @field_validator("endpoint")
    @classmethod
    def _http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("an endpoint starts with http:// or https://")
        return value.rstrip("/")


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LlamaSettings(Part):
    """How llama.cpp runs on this machine."""

    threads: Annotated[int, Field(ge=1, le=1024)] = Field(default_factory=_usable_cores)
    gpu_layers: Annotated[int, Field(ge=-1)] = -1
    devices: tuple[str, ...] = ()
    patience_hours: Annotated[float, Field(gt=0)] = 2.0  # without a step forward at a file


class QuantizeSettings(Part):
    """How tiers are made; both engines write the same bytes."""

    engine: Literal["one-pass", "llama"] = "one-pass"
    memory_gb: Annotated[float, Field(gt=0)] = 4.0  # bound on rows in work
    shard_gb: Annotated[float, Field(ge=0.001)] | None = 48.0  # None: one file, however large
    # of a tier's rounded weights, the largest share without calibration data
    missing_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    missing_data: Literal["refuse", "next"] = "refuse"  # or the next type that needs no imatrix
    # tiers made in one reading while `bot publish` measures others; None: all in one
    together: Annotated[int, Field(ge=1)] | None = 3
    stamp: bool = True  # tier, recipe hash and bot version in each file's metadata
    baselines: tuple[str, ...] = ()  # llama.cpp's own file types to compare with: Q8_0, Q4_K_M

    @property
    def memory(self) -> int:
        """`memory_gb` in bytes."""
        return int(self.memory_gb * 1e9)

    @property
    def shard(self) -> int | None:
        """`shard_gb` in bytes; llama.cpp's own function always writes one file."""
        if self.shard_gb is None or self.engine == "llama":
            return None
        return int(self.shard_gb * 1e9)


class CalibrationSource(Part):
    """A text of the calibration mix: a file here, or one of a dataset on the Hub, pinned."""

    name: Annotated[str, Field(pattern=r"^[\w .+-]+$", max_length=48)] | None = None
    path: Place | None = None
    dataset: Annotated[str, Field(pattern=rf"^{NAME}{{1,96}}/{NAME}{{1,96}}$")] | None = None
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    file: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    weight: Annotated[float, Field(gt=0, le=1e6)] | None = None  # None: its length
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    licence: Annotated[str, Field(max_length=100)] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        named = [bool(part) for part in self.hub]
        if not (all(named) if self.path is None else not any(named)):
            raise ValueError("a text has either a path, or a dataset with its commit and file")
        return self

    @property
    def hub(self) -> tuple[str, str, str]:
        """Dataset, commit and file; empty for a file here."""
        return self.dataset or "", self.commit or "", self.file or ""

    @property
    def label(self) -> str:
        """What the text is called in files and on cards; never a path of this machine."""
        return self.name or Path(self.path or self.file or "").name


def _path_alone(value: Any) -> Any:
    return {"path": value} if isinstance(value, str | Path) else value


class CalibrationSettings(Part):
    """The importance matrix: texts, and how much of them; or a ready file."""

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


class DataSettings(Part):
    """A text or a set of tasks that has a name: where it comes from, and which it is."""

    kind: Literal["text", "hellaswag", "winogrande", "multiple-choice"] = "text"
    label: str | None = None  # in tables; default: the name
    path: Place  # here, or in `repository`
    repository: str | None = None  # ORG/NAME on the Hub
    repository_type: Literal["dataset", "model"] = "dataset"
    commit: Annotated[str, Field(pattern="[0-9a-f]{40}")] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    licence: str
    count: Annotated[int, Field(ge=1)] | None = None  # tasks to draw; default: all

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if (self.repository is None) != (self.commit is None):
            raise ValueError("a repository and its commit stand together")
        return self


class EvaluationSettings(Part):
    """The texts and tasks that tiers are measured on, by path or by their name in `data`."""

    text: DataPlace = DEMO / "evaluation.txt"
    context: Annotated[int, Field(ge=32, le=131072)] = 512
    chunks: Annotated[int, Field(ge=1)] | None = None
    stride: Annotated[int, Field(ge=1)] | None = None  # overlapping windows; needs "beside"
    tasks: tuple[DataPlace, ...] = (DEMO / "tasks.txt",)
    task_count: Annotated[int, Field(ge=1)] = 400  # of each set that says nothing else
    parallel: Annotated[int, Field(ge=4, le=256)] = 4  # answers decoded side by side, as the tool
    reference: Literal["auto", "file", "beside"] = "auto"
    overlap: bool = True  # work on logits during the next decode: a second context of memory
    memory_gb: Annotated[float, Field(gt=0)] | None = None  # None: what is free
    noise_chunks: Annotated[int, Field(ge=0)] = 8  # of the reference against itself; 0: none
    speed: bool = False
    repetitions: Annotated[int, Field(ge=1, le=100)] = 5
    others: tuple[str, ...] = ()  # ORG/REPOSITORY:PATTERN of other publishers
    imported: tuple[Place, ...] = ()  # results of the APEX project, logs of llama-perplexity

    @field_validator("tasks", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return () if value is None else (value,) if isinstance(value, (str, Path)) else value


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
    mtp: Literal["drop", "keep", "separate"] = "drop"  # multi-token prediction layers
    projector: Literal["F16", "BF16", "none"] = "F16"  # type of mmproj.gguf; none leaves it out
    timeout_hours: Annotated[float, Field(gt=0)] = 12.0
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    isolation: Literal["best", "cell"] | None = None  # what `isolation` was called once
    shard_gb: Annotated[float, Field(ge=0.01)] | None = None  # None: one file, however large


def _template(value: str, known: Collection[str]) -> str:
    """Raise ValueError unless nothing but these stand in braces, each whole."""
    left = re.sub("|".join(rf"{{{name}}}" for name in known), "", value)
    if "{" in left or "}" in left:
        names = " and ".join(f"{{{name}}}" for name in known)
        raise ValueError(f"only {names} can stand in braces here")
    return value


class PublishSettings(Part):
    """Names on the Hub, and how a release gets there."""

    repository: str = "{name}-APEX-GGUF"
    file: str = "{name}-APEX-{tier}.gguf"
    private: bool = False
    hidden: Literal["private", "pull-request"] = "private"  # where a build is until verified
    overlap: bool = True  # make, measure and send side by side; else one after another
    free: Literal["never", "short", "always"] = "never"  # remove files sent; short: the disk is
    approval: Literal["none", "pull-request"] = "none"  # a person merges before it is shown
    trusted_publisher: bool = False  # in GitHub Actions: the Hub lends tokens, HF_TOKEN only reads
    collection: Annotated[str, Field(min_length=1, max_length=60)] | None = None  # of the owner
    prune: bool = False  # give back the Hub's storage of files that updates replaced
    keep_builds: Annotated[int, Field(ge=0)] = 0  # earlier ones that pruning leaves for a rollback
    quantized_by: str | None = None

    @field_validator("repository")
    @classmethod
    def _one_for_all(cls, value: str) -> str:
        return _template(value, ("name",))

    @field_validator("file")
    @classmethod
    def _one_for_each(cls, value: str) -> str:
        if not {"{tier}", "{label}"} & set(re.findall(r"{\w*}", value)):
            raise ValueError("without {tier} or {label} all tiers would be one file; add one")
        if not value.endswith(".gguf") or "/" in value:
            raise ValueError("a file's name ends in .gguf and holds no folder")
        return _template(value, ("name", "tier", "label"))

    @property
    def made_private(self) -> bool:
        """Whether a new repository is private, if only until it is verified."""
        return self.private or self.hidden == "private"

    @model_validator(mode="after")
    def _known_author(self) -> Self:
        if self.trusted_publisher and "pull-request" in (self.approval, self.hidden):
            raise ValueError(
                "a pull request is known again by its author, and a trusted publisher is no user; "
                "leave approval and hidden as they are, or publish with HF_TOKEN"
            )
        return self


class GateSettings(Part):
    """What a tier must be worth, and a release allowed, to be published.

    Limits go by tier: the first pattern that fits counts. A value counts as above its limit when
    it exceeds it by two standard errors.
    """

    failing: Literal["leave-out", "stop"] = "leave-out"  # what a failing tier does to the release
    ppl_ratio: dict[str, float] = {"*-Nano": 1.5, "*-Micro": 2.0, "*": 1.2}
    mean_kld: dict[str, float] = {"*-Nano": 0.8, "*-Micro": 1.2, "*": 0.4}  # nats per token
    max_kld: dict[str, float] = {"*": 30.0}
    accuracy_drop: dict[str, float] = {"*-Nano": 0.1, "*-Micro": 0.15, "*": 0.05}  # fraction
    measured: bool = True  # a tier without a divergence fails
    card: bool = True  # stop when `bot lint` would find errors in what is to be published
    newest: bool = True  # stop when the source has other weights by now
    licences: tuple[str, ...] = ()  # as the Hub names them; empty: all that let us hand on
    unlicensed: Literal["publish", "stop"] = "stop"


class CardSettings(Part):
    """What a card shows, and how."""

    sizes: Literal["GB", "GiB rounded up"] = "GB"  # the first is how the Hub shows them
    errors: Literal["inline", "footnote"] = "inline"
    columns: tuple[Literal["bits", "p999", "same_top", "speed"], ...] = ()  # beside the usual ones
    context: Annotated[int, Field(ge=1)] = 8192  # tokens of KV cache that a choice counts with
    memory_gb: tuple[Annotated[int, Field(ge=1)], ...] = (8, 12, 16, 24, 32, 48, 80)
    tags: tuple[Annotated[str, Field(max_length=64)], ...] = ()  # beside ours
    team: str | None = None  # whom the card thanks first, and their address
    team_url: str | None = None


class Budget(Part):
    """Requests in any five minutes, of all watchers on one ledger together.

    The Hub allows 500 and 3,000 without a token, 1,000 and 5,000 with a free one.
    """

    api: Annotated[int, Field(ge=10)] = 400  # listings and repositories
    resolvers: Annotated[int, Field(ge=10)] = 2000  # files


Told = Literal[
    "asked", "queued", "started", "stalled", "goes_on", "published", "failed", "gave_up",
    "caught_up",
]  # fmt: skip


class WatchSettings(Part):
    """Where the watcher looks, how often, and whom it tells."""

    limit: Annotated[int, Field(ge=1, le=10_000)] = 500  # models of the very first look
    page: Annotated[int, Field(ge=1, le=500)] = 100
    owners: tuple[str, ...] = ()  # only these are listed; empty: everybody
    follow: tuple[str, ...] = ()  # owners whose changes are followed too, not only new models
    every_minutes: Annotated[float, Field(ge=0.1)] = 10.0
    trending_minutes: Annotated[float, Field(ge=1)] = 60.0
    overlap_minutes: Annotated[float, Field(ge=0)] = 60.0  # read again at every look
    sweep_days: Annotated[float, Field(ge=0)] = 30.0  # read again once a day: private → public
    budget: Budget = Budget()
    build: bool = False  # build here what is queued; otherwise the queue only grows
    tell: tuple[Told, ...] = ("asked", "stalled", "published", "gave_up", "caught_up")
    link: str | None = None  # address of the status page, for notifications
    # decisions, events and folders of runs older than this are removed; null: kept for ever
    keep_days: Annotated[float, Field(ge=2)] | None = 180.0


class JobsSettings(Part):
    """A release spread over several jobs of a workflow: see workflows/."""

    tiers: Annotated[int, Field(ge=1, le=64)] = 3  # of one job
    policy: Annotated[str, Field(pattern=r"^(all|any|min:[1-9]\d?)$")] = "all"  # complete tiers
    require_gpu: bool = False  # end at once on a machine where llama.cpp finds none
    keep: bool = False  # leave the files in workdir once all of a release is published
    # how files get from job to job: in a workdir that all share, or through a Hub
    travel: Literal["folder", "hub"] = "folder"
    # owner of the private repositories that they travel through, one for each order
    staging: Annotated[str, Field(pattern=rf"^[A-Za-z0-9]{NAME}{{0,95}}$")] | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.travel == "hub" and self.staging is None:
            raise ValueError("travel: hub needs staging, the owner of the repositories between")
        return self


class GitHubSettings(Part):
    """The repository whose workflows build releases, and how its runs are followed."""

    repo: Annotated[str, Field(pattern=rf"^[A-Za-z0-9]{NAME}{{0,38}}/{NAME}{{1,100}}$")] | None = (
        None
    )
    api_url: str | None = None  # default: GITHUB_API_URL, else github.com's
    workflow: Annotated[str, Field(pattern=rf"^{NAME}{{1,100}}\.ya?ml$")] = "release.yml"
    ref: Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]{1,200}$")] = "main"  # branch
    event: Literal["workflow_dispatch", "repository_dispatch"] = "workflow_dispatch"
    labels: tuple[str, ...] = ("self-hosted", "gpu")  # of the runners that open models
    publish_labels: tuple[str, ...] = ("self-hosted", "publish")  # of the one that publishes
    queued_minutes: Annotated[float, Field(gt=0)] = 30.0  # then a waiting job is explained
    poll_seconds: Annotated[float, Field(ge=0.01)] = 30.0  # between looks at a run
    timeout_seconds: Annotated[float, Field(gt=0)] = 30.0  # for an answer
    dashboard: bool = True  # keep an issue that shows the queue and takes commands

    @field_validator("api_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("an API address starts with http:// or https://")
        return value.rstrip("/") if value else None


def _data_home() -> Path:
    """Where programs keep data (XDG base directory specification)."""
    home = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser()
    return home.absolute() / "apex-bot"


# where tokens go, what is executed and what that may reach: a file that merely lies in the current
# folder, which may be a stranger's, does not say it
OWN = (
    "hub.endpoint",
    "github.api_url",
    "jobs.staging",
    "convert.python",
    "convert.llama_cpp",
    "templates",
    "isolation",
    "convert.isolation",
)


def own_file() -> Path:
    """The user's own settings (XDG base directory specification)."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return home.absolute() / "apex-bot" / "bot.yaml"


class Settings(BaseSettings):
    """The whole of bot.yaml. Build one with `load`."""

    told: ClassVar[Mapping[str, Any]] = {}  # by the file, its paths whole

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="BOT_", env_nested_delimiter="__"
    )

    workdir: Place = Field(default_factory=_data_home)
    workdir_access: Access = "owner"  # group: machines whose users share one folder
    reserve_gb: Annotated[float, Field(ge=0)] = 1.0  # disk that a job must leave free
    # of processes that open strangers' files; cell: go on with no less, offline, none: no more
    isolation: Literal["best", "cell", "offline", "none"] | None = None
    profiles: Place = Field(default_factory=lambda: data_folder("profiles"))
    templates: Place | None = None  # a folder whose blocks replace those of card_templates
    hub: HubSettings = HubSettings()
    llama: LlamaSettings = LlamaSettings()
    quantize: QuantizeSettings = QuantizeSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    demo_texts: bool = False  # calibrate and measure on the demo's few pages where none is named
    data: dict[str, DataSettings] = {}
    evaluation: EvaluationSettings = EvaluationSettings()
    source: SourceSettings = SourceSettings()
    convert: ConvertSettings = ConvertSettings()
    publish: PublishSettings = PublishSettings()
    gate: GateSettings = GateSettings()
    card: CardSettings = CardSettings()
    watch: WatchSettings = WatchSettings()
    jobs: JobsSettings = JobsSettings()
    github: GitHubSettings = GitHubSettings()
    policy: Policy = Policy()

    @model_validator(mode="before")
    @classmethod
    def _whole_paths(cls, given: Any) -> Any:
        return placed(Settings, given, Path.cwd())

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if self.publish.trusted_publisher and self.jobs.travel == "hub":
            raise ValueError(
                "a lent token reads no private repository: publish.trusted_publisher needs "
                "jobs.travel: folder, or publish with HF_TOKEN"
            )
        return self

    @property
    def reserve(self) -> int:
        """`reserve_gb` in bytes."""
        return int(self.reserve_gb * 1e9)

    @property
    def kept_apart(self) -> Literal["best", "cell", "offline", "none"]:
        """The isolation of processes that open strangers' files."""
        return self.isolation or self.convert.isolation or "best"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line over environment over file; no .env and no secrets folder."""
        del dotenv_settings, file_secret_settings
        told = InitSettingsSource(settings_cls, init_kwargs=dict(cls.told))
        return (init_settings, env_settings, told)


def load(file: Path | None = None, **given: Any) -> Settings:
    """Settings from `file` and the environment.

    Without `file`: from the user's own one and, over it, bot.yaml of the current folder, which may
    not say what `OWN` lists. `given` are values of the command line, nested like the file; they
    win. Raises SettingsError naming every wrong key and what it should hold.
    """
    if file is not None and not file.is_file():
        raise SettingsError(f"settings file {file} does not exist; leave --config out or make it")
    here = Path("bot.yaml")
    files = [file] if file else [found for found in (own_file(), here) if found.is_file()]

    class Loaded(Settings):
        told = _merged([_allowed(found, by_name=found is file) for found in files])

    try:
        return Loaded(**given)
    except ValidationError as error:
        name = " and ".join(map(str, files)) or "settings"
        check = "run `bot config check`" if files else "mend the environment or options"
        raise SettingsError(f"{name}: {all_said(error)}; {check}") from error
    except UnreadableError as error:
        raise SettingsError(f"{_variable(error)}; write its value as JSON") from error


def _allowed(file: Path, *, by_name: bool) -> dict[str, Any]:
    """What a file says. Raises SettingsError for what one that was found here may not say."""
    told = read_file(file)
    if by_name or file == own_file():
        return told
    said = [key for key in OWN if _says(told, key.split("."))]
    if said:
        raise SettingsError(
            f"{file} of the current folder sets {' and '.join(said)}, which decides where tokens "
            f"go or what is executed; if it is yours, say --config {file} or BOT_CONFIG={file}, or "
            f"write that into {own_file()}"
        )
    return told


def _says(told: Any, key: Sequence[str]) -> bool:
    for part in key:
        if not isinstance(told, dict) or part not in told:
            return False
        told = told[part]
    return told is not None


def _merged(files: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sections of several files, key by key; later ones win."""
    found: dict[str, Any] = {}
    for told in files:
        for key, value in told.items():
            both = isinstance(value, dict) and isinstance(found.get(key), dict)
            found[key] = _merged([found[key], value]) if both else value
    return found


def all_said(error: ValidationError) -> str:
    """All that is wrong, key by key, in one line."""
    told = ((".".join(map(str, place)), text) for place, text in each(error))
    return "; ".join(f"{key}: {text}" if key else text for key, text in told)


def _variable(error: UnreadableError) -> str:
    """The environment variable that pydantic-settings speaks of: `field "x" from source "y"`."""
    field = re.search(r'"(\w+)"', str(error))
    return f"BOT_{field[1].upper()} cannot be read" if field else " ".join(str(error).split())


def read_file(file: Path) -> dict[str, Any]:
    """What stands in a settings file, relative paths made whole by its folder.

    Raises SettingsError for what is no file of YAML with keys.
    """
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read ({error}); name a settings file") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(f"{file} is not YAML: {reason}; run `bot config check`") from error
    if not isinstance(given or {}, dict):
        raise SettingsError(f"{file} holds no keys; write `key: value` lines, or empty it")
    named = {str(key): value for key, value in (given or {}).items()}
    placed_values: dict[str, Any] = placed(Settings, named, file.absolute().parent)
    return placed_values


LOGIN = "the token of `hf auth login`"


def hub_token() -> SecretStr | None:
    """The Hub token: HF_TOKEN, what stands in the file that HF_TOKEN_FILE names, or a login's.

    Its value never enters Settings, logs or JSON. Raises SettingsError for a file that cannot be
    read, or that others than its owner may read.
    """
    value, named = secrecy.value("HF_TOKEN"), secrecy.value("HF_TOKEN_FILE")
    if not value and named:
        value = _secret_of(Path(named))
    value = value or _of_login()
    secrecy.keep(value)
    return SecretStr(value) if value else None


def token_origin() -> str:
    """Where `hub_token` comes from, for messages; the variable to set where there is none."""
    if secrecy.value("HF_TOKEN") or not (named := secrecy.value("HF_TOKEN_FILE")):
        return "HF_TOKEN" if secrecy.value("HF_TOKEN") or not _of_login() else LOGIN
    return f"HF_TOKEN_FILE ({named})"


def _of_login() -> str:
    """What `hf auth login` left, where huggingface_hub keeps it (constants.py, HF_TOKEN_PATH)."""
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in ("1", "ON", "YES", "TRUE"):
        return ""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    path = Path(os.path.expandvars(os.environ.get("HF_TOKEN_PATH") or f"{home}/token"))
    try:
        with path.expanduser().open(encoding="ascii") as file:
            return file.read(1000).strip()
    except (OSError, UnicodeDecodeError, RuntimeError):  # nobody logged in
        return ""


def staging_token() -> SecretStr | None:
    """HF_STAGING_TOKEN, which may write to the repositories that files travel through."""
    value = secrecy.value("HF_STAGING_TOKEN")
    secrecy.keep(value)
    return SecretStr(value) if value else None


def _secret_of(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise SettingsError(f"others may read {path}; run `chmod 600 {path}`")
            return file.read(1000).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"HF_TOKEN_FILE names {path}, which cannot be read; mend it") from error
