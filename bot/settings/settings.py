"""bot.yaml and the environment, parsed once and strictly into one frozen Settings."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableError

from bot.errors import SettingsError
from bot.kit.lock import FILE, LockedFile, lock_key, read_lock
from bot.kit.presets import with_presets
from bot.rights import Access
from bot.settings.making import (
    CalibrationSettings,
    ConvertSettings,
    DataSettings,
    EvaluationSettings,
    FitSettings,
    LlamaSettings,
    QuantizeSettings,
    SourceSettings,
)
from bot.settings.mistakes import each_mistake
from bot.settings.places import placed
from bot.settings.policies import Policy
from bot.settings.running import GitHubSettings, JobsSettings, RunnerSettings, WatchSettings
from bot.settings.sections import Place, data_folder
from bot.settings.showing import CardSettings, GateSettings, HubSettings, PublishSettings


def _data_home() -> Path:
    """Where programs keep data (XDG base directory specification)."""
    home = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser()
    return home.absolute() / "apex-bot"


# where tokens go, what is executed and what that may reach: a file that merely lies in the current
# folder, which may be a stranger's, does not say it
CONVERTER = "convert_hf_to_gguf.py"  # of a checkout of llama.cpp
OWN = (
    "hub.endpoint",
    "github.api_url",
    "jobs.staging",
    "convert.python",
    "convert.llama_cpp",
    "llama.library",
    "llama.rpc",
    "llama.rpc_anywhere",
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

    file_values: ClassVar[Mapping[str, Any]] = {}  # by the file, its paths whole

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
    fit: FitSettings = FitSettings()
    demo_texts: bool = False  # calibrate and measure on the demo's few pages where none is named
    data: dict[str, DataSettings] = {}
    lock: Place | None = None  # what data sets were at first use; default: bot.lock beside bot.yaml
    data_from: Place | None = None  # offline: a folder with data sets' files, as ORG/NAME/FILE
    evaluation: EvaluationSettings = EvaluationSettings()
    source: SourceSettings = SourceSettings()
    convert: ConvertSettings = ConvertSettings()
    publish: PublishSettings = PublishSettings()
    gate: GateSettings = GateSettings()
    card: CardSettings = CardSettings()
    watch: WatchSettings = WatchSettings()
    jobs: JobsSettings = JobsSettings()
    github: GitHubSettings = GitHubSettings()
    runners: dict[str, RunnerSettings] = {}  # machines that `bot plan --time` reckons for, by name
    policy: Policy = Policy()

    @model_validator(mode="before")
    @classmethod
    def _whole_paths(cls, values: Any) -> Any:
        return _with_converter(placed(Settings, with_presets(values), Path.cwd()))

    @model_validator(mode="after")
    def _reckoned(self) -> Self:
        terms = (self.policy, *self.policy.rules)
        if any(one.max_hours for one in terms) and self.policy.runner not in self.runners:
            raise ValueError(
                "policy.max_hours needs policy.runner, the name of a machine of `runners`"
            )
        return self

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
    def lock_file(self) -> Path:
        """Where it stands what data sets were at their first use."""
        return self.lock or self.workdir / FILE

    def pinned(self, rows: Mapping[str, LockedFile]) -> Self:
        """The same with commits and hashes of the lock, where data sets say none themselves."""
        held = {name: _held(entry, rows) for name, entry in self.data.items()}
        return self.model_copy(update={"data": held})

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
        file_values = InitSettingsSource(settings_cls, init_kwargs=dict(cls.file_values))
        return (init_settings, env_settings, file_values)


def load(file: Path | None = None, **values: Any) -> Settings:
    """Settings from `file` and the environment.

    Without `file`: from the user's own one and, over it, bot.yaml of the current folder, which may
    not say what `OWN` lists. `values` are those of the command line, nested like the file; they
    win. Raises SettingsError naming every wrong key and what it should hold.
    """
    if file is not None and not file.is_file():
        raise SettingsError(f"settings file {file} does not exist; leave --config out or make it")
    here = Path("bot.yaml")
    files = [file] if file else [path for path in (own_file(), here) if path.is_file()]

    beside: list[dict[str, Any]] = [{"lock": path.absolute().parent / FILE} for path in files]

    class Loaded(Settings):
        file_values = _merged(
            beside[-1:] + [_allowed(path, by_name=path is file) for path in files]
        )

    try:
        loaded = Loaded(**values)
        return loaded.pinned(read_lock(loaded.lock_file))
    except ValidationError as error:
        name = " and ".join(map(str, files)) or "settings"
        check = "run `bot config check`" if files else "mend the environment or options"
        raise SettingsError(f"{name}: {mistakes_text(error)}; {check}") from error
    except UnreadableError as error:
        raise SettingsError(f"{_variable(error)}; write its value as JSON") from error


def _held(entry: DataSettings, rows: Mapping[str, LockedFile]) -> DataSettings:
    if entry.repository is None or entry.sha256 is not None:
        return entry
    row = rows.get(lock_key(entry.repository_type, entry.repository, str(entry.path)))
    if row is None or (entry.commit is not None and row.commit not in (None, entry.commit)):
        return entry
    return entry.model_copy(update={"commit": entry.commit or row.commit, "sha256": row.sha256})


def _with_converter(values: Any) -> Any:
    """The checkout in which a library was built is that of its converter, unless one is named."""
    llama, convert = (values.get(key) or {} for key in ("llama", "convert"))
    library = llama.get("library") if isinstance(llama, Mapping) else None
    if library is None or not isinstance(convert, Mapping) or convert.get("llama_cpp"):
        return values
    above = (folder for folder in Path(library).parents if (folder / CONVERTER).is_file())
    tree = next(above, None)
    return {**values, "convert": {**convert, "llama_cpp": tree}} if tree else values


def _allowed(file: Path, *, by_name: bool) -> dict[str, Any]:
    """What a file says. Raises SettingsError for what one that was found here may not say."""
    values = read_file(file)
    if by_name or file == own_file():
        return values
    keys = [key for key in OWN if _says(values, key.split("."))]
    if keys:
        raise SettingsError(
            f"{file} of the current folder sets {' and '.join(keys)}, which decides where tokens "
            f"go or what is executed; if it is yours, say --config {file} or BOT_CONFIG={file}, or "
            f"write that into {own_file()}"
        )
    return values


def _says(values: Any, key: Sequence[str]) -> bool:
    for part in key:
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return values is not None


def _merged(files: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sections of several files, key by key; later ones win."""
    merged: dict[str, Any] = {}
    for values in files:
        for key, value in values.items():
            both = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = _merged([merged[key], value]) if both else value
    return merged


def mistakes_text(error: ValidationError) -> str:
    """All that is wrong, key by key, in one line."""
    mistakes = ((".".join(map(str, place)), text) for place, text in each_mistake(error))
    return "; ".join(f"{key}: {text}" if key else text for key, text in mistakes)


def _variable(error: UnreadableError) -> str:
    """The environment variable that pydantic-settings speaks of: `field "x" from source "y"`."""
    field = re.search(r'"(\w+)"', str(error))
    return f"BOT_{field[1].upper()} cannot be read" if field else " ".join(str(error).split())


def read_file(file: Path) -> dict[str, Any]:
    """What stands in a settings file, relative paths made whole by its folder.

    Raises SettingsError for what is no file of YAML with keys.
    """
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read ({error}); name a settings file") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(f"{file} is not YAML: {reason}; run `bot config check`") from error
    if not isinstance(document or {}, dict):
        raise SettingsError(f"{file} holds no keys; write `key: value` lines, or empty it")
    named = {str(key): value for key, value in (document or {}).items()}
    placed_values: dict[str, Any] = placed(Settings, named, file.absolute().parent)
    return placed_values
