"""`bot fit`: sizes as people write them, its cost before it begins, what it says of bad wishes."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bot.cli.fitting_sizes import FileSize
from bot.cli.main import cli
from bot.errors import SettingsError
from tests.split_gguf import shrink


@pytest.mark.parametrize(
    ("text", "gb"),
    [("15.5GB", 15.5), ("15.5", 15.5), ("2GiB", 2.147483648), ("500 MB", 0.5), ("1gb", 1.0)],
)
def test_sizes_are_read(text: str, gb: float) -> None:
    assert FileSize().convert(text, None, None) == pytest.approx(gb)


@pytest.mark.parametrize("text", ["", "big", "-1GB", "1TB1", "15,5GB", "1e3GB"])
def test_what_is_no_size_is_a_wrong_use(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size such as"):
        FileSize().convert(text, None, None)


def test_a_size_has_to_be_named(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    done = CliRunner().invoke(cli, ["fit", str(tmp_path / "model.gguf")])
    assert done.exit_code == 2
    assert "name a size: --size 15.5GB" in done.output


@pytest.mark.road
def test_the_cost_is_told_before_anything_is_made(demo_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "small.gguf"
    shrink(demo_model, model, layers=4, experts=3)
    config = tmp_path / "bot.yaml"
    config.write_text(f"workdir: {tmp_path / 'work'}\ndemo_texts: true\nfit: {{probes: 20}}\n")
    command = ["--config", str(config), "-q", "fit", str(model), "--bits", "4", "--dry-run"]
    done = CliRunner().invoke(cli, [*command, "--json"], catch_exceptions=False)
    cost = json.loads(done.stdout)
    assert cost["probes"] <= 20 < cost["tensors"]
    assert (cost["known"], cost["chunks"]) == (0, 8)
    assert cost["seconds"] > 0
    assert not [*(tmp_path / "work").rglob("*.gguf")]
    told = CliRunner().invoke(cli, command, catch_exceptions=False).stdout
    assert f"{cost['probes']} of groups of {cost['tensors']} tensors" in told
    with pytest.raises(SettingsError, match="the smallest types take"):
        CliRunner().invoke(
            cli, [*command[:5], "--size", "1MB", "--dry-run"], catch_exceptions=False
        )
