"""Every mistake of a settings file in words of this program, and no secret among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.settings.configcheck import mistakes
from bot.settings.settings import load

MISTAKES = """\
workdri: /x
reserve_gb: much
llama: {threads: 0, gpu_layers: 1.5, devices: CUDA0}
quantize: {missing_data: fast, stamp: perhaps, shard_gb: -1}
hub: [endpoint]
publish: {collection: ""}
data: {x: {path: a, licence: MIT}}
github: {repo: nobody}
"""


def test_every_mistake_is_named_in_our_words(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text(MISTAKES)
    with pytest.raises(SettingsError) as raised:
        load(file)
    said = str(raised.value)
    assert said.startswith(f"{file}: ")
    assert said.endswith("; run `bot config check`")
    assert "\n" not in said
    for expected in (
        "workdri: there is no such key",
        "reserve_gb: a number is right, not 'much'",
        "llama.threads: at least 1 is right, not 0",
        "llama.gpu_layers: a whole number is right, not 1.5",
        "llama.devices: a list is right, not 'CUDA0'",
        "quantize.missing_data: 'refuse' or 'next' is right, not 'fast'",
        "quantize.stamp: true or false is right, not 'perhaps'",
        "quantize.shard_gb: at least 0.001 is right, not -1",
        "hub: keys with values is right, not a list of 1",
        "publish.collection: at least 1 letters are right, not ''",
        "data.x: sha256 is missing",
        "github.repo: it does not fit the pattern",
    ):
        assert expected in said, expected
    assert "Input should" not in said
    assert [f"{m.key}: {m.text}" in said for m in mistakes(file)] == [True] * 12


def test_a_token_in_the_wrong_place_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("github: {repo: ghp_0123456789abcdef}\n")
    with pytest.raises(SettingsError, match=r"github\.repo: .*not \*\*\*") as raised:
        load(file)
    assert "0123456789" not in str(raised.value)


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text(f"reserve_gb: {'m' * 100}\nllama: {{threads: [1, 2]}}\n")
    with pytest.raises(SettingsError) as raised:
        load(file)
    assert f"not '{'m' * 59}…;" in str(raised.value)
    assert "a whole number is right, not a list of 2" in str(raised.value)
