"""What can go stale: the README against the program."""

import re
from pathlib import Path

import pytest
import yaml

from bot import errors
from bot.cli.main import EPILOG, cli
from bot.plan.profiles import load_profiles
from bot.settings.settings import Settings, data_folder

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def test_every_command_is_in_the_table_and_no_other() -> None:
    rows = re.findall(r"^\| (`bot [^|]*)\|", README, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`bot ([a-z-]+(?: [a-z-]+)?)", row)}
    verbs = {name for name, verb in cli.commands.items() if not hasattr(verb, "commands")}
    groups = {name: verb for name, verb in cli.commands.items() if hasattr(verb, "commands")}
    nested = {f"{name} {verb}" for name, group in groups.items() for verb in group.commands}
    assert listed == verbs | nested


def test_exit_codes_are_those_of_the_errors() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type)]
    kinds = [kind for kind in kinds if "exit_code" in vars(kind)]  # others are of a kind of these
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.BotError)}
    assert len(codes) == len(kinds)
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert documented == codes | {0, 2, 129, 130, 143}
    assert {int(code) for code in re.findall(r"(?<!\S)(\d+)  ", EPILOG)} >= codes


def test_the_settings_of_the_readme_are_valid() -> None:
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "workdir" in b)
    Settings.model_validate(yaml.safe_load(block))


@pytest.mark.parametrize("profile", load_profiles(data_folder("profiles")), ids=lambda p: p.tier)
def test_the_profiles_of_the_readme(profile: object) -> None:
    tier = profile.tier  # type: ignore[attr-defined]  # a Profile, which pytest does not say
    experts = profile.experts  # type: ignore[attr-defined]
    line = next(line for line in README.splitlines() if re.match(rf"\| .*\b{tier}\b.* \| ", line))
    assert f"| {experts.edge}, {experts.near}, {experts.middle} |" in line


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (Path(__file__).resolve().parents[2] / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make ([a-z-]+)", README)) - {"it"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_lines_of_the_readme_fit_a_terminal() -> None:
    assert [line for line in README.splitlines() if len(line) > 100] == []
