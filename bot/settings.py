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
      texts: [texts/chat.txt, texts/code.txt]
    evaluation:
      text: texts/wiki.test.raw
      tasks: texts/hellaswag_val_full.txt

Every key can be given as an environment variable: BOT_LLAMA__THREADS=8. Tokens come from the
environment alone (HF_TOKEN, GITHUB_TOKEN), never from the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from bot.errors import SettingsError

PACKAGE = Path(__file__).resolve().parent
DEMO = PACKAGE / "demo"


def data_folder(name: Literal["card_templates", "profiles", "workflows"]) -> Path:
    """A data folder of the project: beside the package in a checkout, inside it when installed."""
    installed = PACKAGE / "data" / name
    return installed if installed.is_dir() else PACKAGE.parent / name


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


class QuantizeSettings(Part):
    """How tiers are made; the bytes are the same either way."""

    engine: Literal["one-pass", "llama"] = "one-pass"
    memory_gb: Annotated[float, Field(gt=0)] = 4.0  # bound on rows in work

    @property
    def memory(self) -> int:
        """`memory_gb` in bytes."""
        return int(self.memory_gb * 1e9)


class CalibrationSettings(Part):
    """The importance matrix: texts, and how much of them."""

    texts: tuple[Path, ...] = (DEMO / "calibration.txt",)
    context: Annotated[int, Field(ge=32, le=131072)] = 512
    chunks: Annotated[int, Field(ge=1)] | None = None


class DataSettings(Part):
    """A text or a set of tasks that has a name: where it comes from, and which it is."""

    kind: Literal["text", "hellaswag", "winogrande", "multiple-choice"] = "text"
    label: str | None = None  # in tables; default: the name
    path: Path  # here, or in `repository`
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

    text: Path = DEMO / "evaluation.txt"
    context: Annotated[int, Field(ge=32, le=131072)] = 512
    chunks: Annotated[int, Field(ge=1)] | None = None
    stride: Annotated[int, Field(ge=1)] | None = None  # overlapping windows; needs "beside"
    tasks: tuple[Path, ...] = (DEMO / "tasks.txt",)
    task_count: Annotated[int, Field(ge=1)] = 400  # of each set that says nothing else
    parallel: Annotated[int, Field(ge=4, le=256)] = 4  # answers decoded side by side, as the tool
    reference: Literal["auto", "file", "beside"] = "auto"
    overlap: bool | None = None  # work on logits during the next decode; None: where a GPU decodes
    memory_gb: Annotated[float, Field(gt=0)] | None = None  # None: what is free
    noise_chunks: Annotated[int, Field(ge=0)] = 8  # of the reference against itself; 0: none
    speed: bool = False
    repetitions: Annotated[int, Field(ge=1, le=100)] = 5
    others: tuple[str, ...] = ()  # ORG/REPOSITORY:PATTERN of other publishers
    imported: tuple[Path, ...] = ()  # results of the APEX project, logs of llama-perplexity

    @field_validator("tasks", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return () if value is None else (value,) if isinstance(value, (str, Path)) else value


class ConvertSettings(Part):
    """How a checkpoint becomes a GGUF file."""

    llama_cpp: Path | None = None  # a llama.cpp checkout instead of the installed toolchain
    python: Path | None = None  # its interpreter, which has torch and transformers
    mtp: Literal["drop", "keep", "separate"] = "drop"  # multi-token prediction layers
    projector: Literal["F16", "BF16"] = "F16"  # type of mmproj.gguf
    timeout_hours: Annotated[float, Field(gt=0)] = 12.0
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    shard_gb: Annotated[float, Field(ge=0.01)] | None = None  # None: one file, however large


class PublishSettings(Part):
    """Names on the Hub."""

    repository: str = "{name}-APEX-GGUF"
    file: str = "{name}-APEX-{tier}.gguf"
    private: bool = False
    quantized_by: str | None = None

    @field_validator("repository", "file")
    @classmethod
    def _template(cls, value: str) -> str:
        try:
            value.format(name="x", tier="y")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError("only {name} and {tier} can stand in a name") from error
        return value


class WatchSettings(Part):
    """What the watcher looks at."""

    limit: Annotated[int, Field(ge=1, le=10_000)] = 500
    page: Annotated[int, Field(ge=1, le=500)] = 100
    owners: tuple[str, ...] = ()  # empty: everybody


class Settings(BaseSettings):
    """The whole of bot.yaml. Build one with `load`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="BOT_", env_nested_delimiter="__"
    )

    workdir: Path = Field(
        default_factory=lambda: (
            Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser() / "apex-bot"
        )
    )
    reserve_gb: Annotated[float, Field(ge=0)] = 1.0  # disk that a job must leave free
    profiles: Path = Field(default_factory=lambda: data_folder("profiles"))
    templates: Path | None = None  # a folder whose blocks replace those of card_templates
    hub: HubSettings = HubSettings()
    llama: LlamaSettings = LlamaSettings()
    quantize: QuantizeSettings = QuantizeSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    data: dict[str, DataSettings] = {}
    evaluation: EvaluationSettings = EvaluationSettings()
    convert: ConvertSettings = ConvertSettings()
    publish: PublishSettings = PublishSettings()
    watch: WatchSettings = WatchSettings()

    @property
    def reserve(self) -> int:
        """`reserve_gb` in bytes."""
        return int(self.reserve_gb * 1e9)

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
        return (init_settings, env_settings, YamlConfigSettingsSource(settings_cls))


def load(file: Path | None = None, **given: Any) -> Settings:
    """Settings from `file` (default: bot.yaml here, if there is one) and the environment.

    `given` are values of the command line, nested like the file; they win.
    Raises SettingsError naming the key, what it holds and what it should.
    """
    import yaml

    if file is not None and not file.is_file():
        raise SettingsError(f"settings file {file} does not exist; leave --config out or make it")
    found = file or Path("bot.yaml")

    class Loaded(Settings):
        model_config = SettingsConfigDict(yaml_file=found)

    try:
        return Loaded(**given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{found}: {key}: {first['msg']}; run `bot doctor`") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{found} is not YAML: {' '.join(str(error).split())}") from error


def hub_token() -> SecretStr | None:
    """The Hub token of the environment; its value never enters Settings, logs or JSON."""
    value = os.environ.get("HF_TOKEN", "").strip()
    return SecretStr(value) if value else None
