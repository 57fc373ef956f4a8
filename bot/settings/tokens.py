"""Tokens of the environment, of a file, or of a login."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import SecretStr

from bot import secrecy
from bot.errors import SettingsError

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
