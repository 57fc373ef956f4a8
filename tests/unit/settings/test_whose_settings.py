"""A bot.yaml that merely lies in the current folder says no word on tokens and programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from bot.clients.git import Shelf
from bot.clients.github.github_client import connect
from bot.clients.hub.hub import Hub
from bot.clients.hub.trusted import ADDRESS, PASSWORD, TrustedPublisher
from bot.clients.wire import require_private
from bot.errors import AccessError, SettingsError
from bot.settings.settings import OWN, load, own_file
from bot.watcher import notify
from tests.local_hub.runner import running_runner

VALUES: dict[str, Any] = {
    "hub.endpoint": "https://evil.example",
    "github.api_url": "https://evil.example",
    "jobs.staging": "evil",
    "convert.python": "./python",
    "convert.llama_cpp": "./llama.cpp",
    "llama.library": "./libraries",
    "llama.rpc": ["10.0.0.7:50052"],
    "llama.rpc_anywhere": True,
    "templates": "./templates",
    "isolation": "none",
    "convert.isolation": "best",
}


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    found: dict[str, Any] = value
    return found


@pytest.mark.parametrize("key", OWN)
def test_a_folders_own_settings_decide_neither_tokens_nor_programs(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    file = folder / "bot.yaml"
    file.write_text(yaml.safe_dump(nested(key, VALUES[key])))
    monkeypatch.chdir(folder)
    with pytest.raises(SettingsError, match=f"of the current folder sets {key}"):
        load()
    load(file)  # named by the user
    file.unlink()
    own_file().parent.mkdir(parents=True)
    own_file().write_text(yaml.safe_dump(nested(key, VALUES[key])))
    file.write_text("reserve_gb: 2\n")
    found = load()
    told: Any = found
    for part in key.split("."):
        told = getattr(told, part)
    assert told is not None
    assert found.reserve_gb == 2


def test_what_a_model_is_made_into_may_stand_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own_file().parent.mkdir(parents=True)
    own_file().write_text("quantize: {stamp: false}\nhub: {namespace: me}\n")
    Path("bot.yaml").write_text("quantize: {baselines: [Q8_0]}\nhub: {namespace: lab}\n")
    found = load()
    assert found.quantize.stamp is False
    assert found.quantize.baselines == ("Q8_0",)
    assert found.hub.namespace == "lab"


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://huggingface.co", True),
        ("http://127.0.0.1:8000", True),
        ("http://127.1.2.3", True),
        ("http://[::1]:80", True),
        ("http://localhost:1", True),
        ("http://huggingface.co", False),
        ("http://10.0.0.1", False),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://127.0.0.1@evil.example", False),
        ("ftp://127.0.0.1", False),
        ("//127.0.0.1", False),
    ],
)
def test_a_secret_goes_through_tls_or_stays_on_this_machine(url: str, good: bool) -> None:
    if good:
        require_private(url, "HF_TOKEN")
        Hub(url, SecretStr("hf_x"))
        connect("ghp_x", url)
        return
    with pytest.raises(AccessError, match="could read it; use https"):
        require_private(url, "HF_TOKEN")
    with pytest.raises(AccessError):
        Hub(url, SecretStr("hf_x"))
    with pytest.raises(AccessError):
        connect("ghp_x", url)


@pytest.mark.parametrize("url", ["http://huggingface.co", "http://127.0.0.1@evil.example"])
def test_so_does_every_other_secret(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of git, of a runner that vouches for its job, and of the Hub that lends tokens for that."""
    with pytest.raises(AccessError, match="GITHUB_TOKEN is not sent"):
        Shelf(f"{url}/me/builds.git", "state", "ghp_x")
    Shelf(f"{url}/me/builds.git", "state", None)
    monkeypatch.setenv("BOT_NOTIFY_URL", f"{url}/services/x")
    with pytest.raises(AccessError, match="BOT_NOTIFY_URL is not sent"):
        notify.address()
    monkeypatch.setenv(ADDRESS, f"{url}/token?job=1")
    monkeypatch.setenv(PASSWORD, "runner-password")
    with pytest.raises(AccessError, match=f"{PASSWORD} is not sent"):
        TrustedPublisher("https://huggingface.co", "me/model").token()
    with running_runner() as runner:
        for name, value in runner.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(AccessError, match="the id token of this job is not sent"):
            TrustedPublisher(url, "me/model").token()
