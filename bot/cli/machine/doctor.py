"""Is this machine ready: one finding for each thing that a release needs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from bot import rights, secrecy
from bot.errors import AccessError, BotError, BuildError, CapacityError
from bot.records.findings import Finding
from bot.settings.sections import DEMO
from bot.settings.settings import Settings, load
from bot.settings.tokens import hub_token, staging_token, token_origin

if TYPE_CHECKING:
    from bot.clients.github.github_replies import Runner

PACKAGES = ("apex-bot", "huggingface_hub", "hf-xet", "llama-cpp-python", "gguf", "github3.py")
SINGLE = "release-single.yml"  # one machine does all of it
SMALL = DEMO / "tiny-moe-Q8_0.gguf"
VERIFY = (sys.executable, "-m", "bot", "-q", "verify", str(SMALL))


def examine(config: Path | None) -> Iterator[Finding]:
    """Look at everything, one thing after another; a broken one never hides the next."""
    yield Finding(name="python", good=sys.version_info >= (3, 11), text=sys.version.split()[0])
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    yield Finding(name="packages", good=True, text=packages)
    yield _ask("llama.cpp", _llama)
    yield _ask("decoding", lambda: decoding(VERIFY))
    try:
        settings = load(config)
    except BotError as error:
        yield Finding(name="settings", good=False, text=str(error))
        return
    yield Finding(name="settings", good=True, text=f"workdir {settings.workdir}")
    yield _ask("profiles", lambda: _profiles(settings))
    yield Finding(name="kernels", good=True, text=_kernels(settings))
    if settings.llama.rpc:
        yield _ask("rpc", lambda: _servers(settings))
    yield _ask("needs", lambda: _needs(settings))
    yield _ask("disk", lambda: _disk(settings))
    yield _ask("workdir", lambda: _workdir(settings))
    yield _converter(settings)
    yield _ask("hub", lambda: _hub(settings))
    yield _hub_token(settings)
    yield _publishing(settings)
    if settings.jobs.travel == "hub":
        yield _staging(settings)
    yield _github(settings)


def _ask(name: str, question: Callable[[], str]) -> Finding:
    try:
        return Finding(name=name, good=True, text=question())
    except BotError as error:
        return Finding(name=name, good=False, text=str(error))


def _llama() -> str:
    from bot.clients.llama import library

    devices = (
        f"{d.name} ({d.description}, {d.memory_total / 1e9:.0f} GB)" for d in library.devices()
    )
    return f"{library.library_version()}; devices: {', '.join(devices)}"


def _servers(settings: Settings) -> str:
    """What llama.cpp's RPC servers offer. Raises UnreachableError where one is not there."""
    from bot.workplace.children import devices_of

    found = (d for d in devices_of(settings) if d.name.startswith("RPC"))
    told = ", ".join(f"{d.name} with {d.memory_free / 1e9:.1f} GB free" for d in found)
    return f"{', '.join(settings.llama.rpc)}: {told}; no encryption, no passwords"


def decoding(command: Sequence[str]) -> str:
    """Whether llama.cpp can run a quantized model, tried where a crash takes nobody along.

    Raises BuildError when it cannot. The known cause is told of at `WITHOUT_AMX`.
    """
    from bot.apart.library_trial import WITHOUT_AMX

    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode < 0:
        raise BuildError(
            f"llama.cpp crashes ({signal.Signals(-run.returncode).name}) when it decodes; compile "
            f"it again: CFLAGS='{WITHOUT_AMX}' CXXFLAGS='{WITHOUT_AMX}' pip install "
            "--force-reinstall --no-deps --no-cache-dir llama-cpp-python"
        )
    if run.returncode:
        raise BuildError(run.stderr.strip().splitlines()[-1] if run.stderr else run.stdout)
    return "a quantized model loads and writes"


def _profiles(settings: Settings) -> str:
    from bot.plan.profiles import load_profiles

    return ", ".join(profile.tier for profile in load_profiles(settings.profiles))


def _kernels(settings: Settings) -> str:
    """How each type is quantized, types of one way together."""
    from bot.disk.folders import Folders
    from bot.kernels.choice import Kernels, form

    folder = Folders(settings.workdir).kernels if settings.quantize.kernels else None
    ways: dict[str, list[str]] = {}
    for kind, way in Kernels(folder=folder).reasons().items():
        ways.setdefault(way, []).append(kind)
    told = (f"{', '.join(kinds)}: {way}" for way, kinds in ways.items())
    return f"{form()}; {'; '.join(told)}"


def _needs(settings: Settings) -> str:
    from bot.progress import Narrator
    from bot.release import needs
    from bot.workplace.workplace import Workplace

    variable = token_origin()
    needs.require_all(Workplace(settings, Narrator(quiet=True), hub_token(), variable=variable))
    return "texts, tasks, templates and all else that settings name is there"


def _disk(settings: Settings) -> str:
    from bot.disk.space import free_disk, require_free

    require_free(settings.workdir, 0, settings.reserve)
    return f"{free_disk(settings.workdir) / 1e9:.1f} GB free in {settings.workdir}"


def _workdir(settings: Settings) -> str:
    """Who may look into it: it holds what is not published yet, and what journals say of it."""
    folder, access = settings.workdir, settings.workdir_access
    if folder.is_dir() and rights.is_open(folder, access):
        others = "others than its group" if access == "group" else "others"
        raise AccessError(
            f"{others} may look into {folder}: run `chmod -R {'o' if access == 'group' else 'go'}"
            f"-rwx {folder}`, or set workdir_access: group where several users share it"
        )
    return f"{folder} is open to its {access} alone"


def _converter(settings: Settings) -> Finding:
    """Whether safetensors can be converted; a 16-bit GGUF needs no converter."""
    from bot.disk.folders import Folders
    from bot.toolchain import toolchain

    root = Folders(settings.workdir).toolchain
    configured = settings.convert.llama_cpp is not None or settings.convert.python is not None
    if not configured and toolchain.installed(root) is None:
        text = "not installed; models in safetensors need it: `bot toolchain install` (1.2 GB)"
        return Finding(name="converter", good=None, text=text)

    def ask() -> str:
        chain = toolchain.chosen_toolchain(settings.convert, root)
        models, _projectors = toolchain.supported(chain)
        return f"{chain.version} knows {len(models)} architectures"

    return _ask("converter", ask)


def _hub(settings: Settings) -> str:
    from bot.clients.hub.hub import Hub
    from bot.errors import UnreachableError

    trouble = Hub(settings.hub.endpoint, None).ping()
    if trouble is not None:
        raise UnreachableError(trouble)
    return f"{settings.hub.endpoint} answers"


def _hub_token(settings: Settings) -> Finding:
    from bot.clients.hub.hub import Hub

    token = hub_token()
    if token is None:
        text = "HF_TOKEN is not set, nobody ran `hf auth login`; publishing needs a token to write"
        if settings.publish.trusted_publisher:
            text = "HF_TOKEN is not set; gated models need one that may read"
        return Finding(name="hub token", good=None, text=text)
    name = token_origin()
    hub = Hub(settings.hub.endpoint, token, variable=name)
    return _ask("hub token", lambda: f"{name} belongs to {hub.whoami()}")


def _staging(settings: Settings) -> Finding:
    """The token that files travel with from job to job; a machine that only watches needs none."""
    from bot.clients.hub.hub import Hub

    token, owner = staging_token(), settings.jobs.staging
    if token is None:
        text = f"HF_STAGING_TOKEN is not set; jobs need one that may write to {owner} alone"
        return Finding(name="staging", good=None, text=text)
    hub = Hub(settings.hub.endpoint, token, variable="HF_STAGING_TOKEN")
    return _ask("staging", lambda: f"files travel through {owner}, as {hub.whoami()}")


def _publishing(settings: Settings) -> Finding:
    """Which kind of token a publication would use here."""
    from bot.clients.hub import trusted

    repo_id = secrecy.value(trusted.RESOURCE)
    if not settings.publish.trusted_publisher:
        text = "with HF_TOKEN"
        if repo_id or trusted.is_offered():
            text += "; for tokens that the Hub lends to this job set publish.trusted_publisher"
        return Finding(name="publishing", good=None, text=text)
    if not trusted.is_offered():
        text = "with tokens that the Hub lends to jobs of GitHub Actions; this is none"
        return Finding(name="publishing", good=None, text=text)
    text = f"with tokens that the Hub lends for {repo_id or 'one repository'}; HF_TOKEN only reads"

    def ask() -> str:
        if repo_id:  # else only a publication knows
            trusted.TrustedPublisher(settings.hub.endpoint, repo_id).token()
        return text

    return _ask("publishing", ask)


def _github(settings: Settings) -> Finding:
    """GitHub is needed by those who dispatch to it; without a token it is only mentioned."""
    from bot.clients.github import github_client

    address = settings.github.api_url or github_client.api_url()

    def ask() -> str:
        requests_left = github_client.requests_left(
            github_client.connect(github_client.token(), address)
        )
        runners = (
            f"; {_runners(settings)}" if settings.github.repo and github_client.token() else ""
        )
        return f"{address} answers, {requests_left} requests left this hour{runners}"

    finding = _ask("github", ask)
    if github_client.token() is not None:
        return finding
    text = f"{finding.text}; GITHUB_TOKEN is not set, dispatching to GitHub needs it"
    return Finding(name="github", good=None, text=text)


def _runners(settings: Settings) -> str:
    """Whether the workflow is there, and runners that take its jobs."""
    from bot.actions.on_github import builds_repository

    repository = builds_repository(settings.github)
    repository.runs(settings.github.workflow, 0.0, limit=1)
    try:
        runners = repository.runners()
    except AccessError:
        return f"{repository.name} has {settings.github.workflow}; its runners may not be listed"
    labels_by_key = {"github.labels": settings.github.labels}
    if settings.github.workflow != SINGLE:
        labels_by_key["github.publish_labels"] = settings.github.publish_labels
    text = "; ".join(_online(key, labels, runners) for key, labels in labels_by_key.items())
    both = [runner.name for runner in runners if all(map(runner.takes, labels_by_key.values()))]
    if both and len(labels_by_key) > 1:
        text += (
            f"; {both[0]} opens strangers' models and publishes: give `publish` to another machine"
        )
    return f"{repository.name}: {text}"


def _online(key: str, labels: tuple[str, ...], runners: Sequence[Runner]) -> str:
    """How many runners take jobs with these labels. Raises CapacityError where none is online."""
    able_runners = [runner for runner in runners if runner.takes(labels)]
    online = sum(runner.online for runner in able_runners)
    text = f"{online} of {len(able_runners)} runners with the labels {', '.join(labels)} are online"
    if online == 0:
        raise CapacityError(f"{text}; start one, or correct {key}")
    return text
