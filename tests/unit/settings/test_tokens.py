"""Where the Hub token comes from: the environment, a file, a login."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot import secrecy
from bot.errors import SettingsError
from bot.settings.tokens import hub_token, staging_token, token_origin

SECRET = "hf_plantedplantedplanted"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrecy, "_KEPT", set())


def test_the_token_of_a_login_is_used_where_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where huggingface_hub keeps it: HF_TOKEN_PATH, HF_HOME, XDG_CACHE_HOME, home."""
    assert hub_token() is None
    assert token_origin() == "HF_TOKEN"
    monkeypatch.delenv("HF_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME")
    places = {
        "": tmp_path / "home" / ".cache" / "huggingface" / "token",
        "XDG_CACHE_HOME": tmp_path / "cache" / "huggingface" / "token",
        "HF_HOME": tmp_path / "hf" / "token",
        "HF_TOKEN_PATH": tmp_path / "mine",
    }
    for variable, path in places.items():
        if variable:
            folder = {"XDG_CACHE_HOME": path.parent.parent, "HF_HOME": path.parent}
            monkeypatch.setenv(variable, str(folder.get(variable, path)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"hf_of_{path.name}_{variable}\n")
        token = hub_token()
        assert token is not None
        assert token.get_secret_value() == f"hf_of_{path.name}_{variable}"
        assert token_origin() == "the token of `hf auth login`"
    monkeypatch.setenv("HF_TOKEN", "hf_given")
    given = hub_token()
    assert given is not None
    assert (given.get_secret_value(), token_origin()) == ("hf_given", "HF_TOKEN")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert hub_token() is None


def test_a_token_of_a_file_that_only_its_owner_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    monkeypatch.setenv("HF_TOKEN_FILE", str(path))
    token = hub_token()
    assert token is not None
    assert token.get_secret_value() == SECRET
    assert SECRET in secrecy._KEPT
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        hub_token()
    monkeypatch.setenv("HF_TOKEN_FILE", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match="cannot be read"):
        hub_token()
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")
    found = hub_token()
    assert found is not None
    assert found.get_secret_value() == "hf_of_the_environment"


def test_the_staging_token_is_another_and_as_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    assert staging_token() is None
    monkeypatch.setenv("HF_STAGING_TOKEN", SECRET)
    token = staging_token()
    assert token is not None
    assert token.get_secret_value() == SECRET
    assert SECRET in secrecy._KEPT
    assert hub_token() is None
