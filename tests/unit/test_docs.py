"""What can go stale: the README against the program."""

import re
import shlex
from collections import Counter
from pathlib import Path

import click
import pytest
import yaml

from bot import errors
from bot.cli.main import EPILOG, cli
from bot.plan.profiles import load_profiles
from bot.settings.keys import keys_table
from bot.settings.sections import data_folder
from bot.settings.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
ALL = {"README": README, **PAGES}


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
    page = PAGES["exit-codes"]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert documented == codes | {0, 2, 129, 130, 143}
    assert {int(code) for code in re.findall(r"(?<!\S)(\d+)  ", EPILOG)} >= codes


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", ALL)
def test_settings_that_a_page_shows_are_valid(name: str) -> None:
    for block in blocks(ALL[name], "yaml"):
        settings = yaml.safe_load(block)
        if settings.keys() <= Settings.model_fields.keys():
            Settings.model_validate(settings)


def test_the_page_of_settings_shows_every_section() -> None:
    (block,) = (b for b in blocks(PAGES["settings"], "yaml") if "workdir" in b)
    elsewhere = {"gate", "github", "templates"}  # on pages of their own
    assert yaml.safe_load(block).keys() | elsewhere == Settings.model_fields.keys()


def test_the_page_of_settings_lists_every_key_as_it_is() -> None:
    assert PAGES["settings"].endswith(f"\n\n{keys_table()}\n"), "bot config schema --table"


@pytest.mark.parametrize("name", ALL)
def test_commands_that_a_page_shows_exist_with_their_options(name: str) -> None:
    for block in blocks(ALL[name], "sh"):
        for line in block.splitlines():
            for command in re.findall(
                r"\bbot ((?:[^#|&;$()`]|(?<=\S)#)+)", line.partition("  #")[0]
            ):
                known(shlex.split(command))


def known(words: list[str]) -> None:
    """Fail for a verb or an option that the program has not."""
    command: click.Command = cli
    options = {name for option in cli.params for name in option.opts}
    for word in words:
        if isinstance(command, click.Group) and not word.startswith("-"):
            subcommand = command.commands.get(word)
            assert subcommand is not None, f"bot {' '.join(words)}"
            command = subcommand
            options |= {name for option in command.params for name in option.opts}
        elif word.startswith("--"):
            assert word.partition("=")[0] in {*options, "--help"}, f"bot {' '.join(words)}: {word}"


@pytest.mark.parametrize("profile", load_profiles(data_folder("profiles")), ids=lambda p: p.tier)
def test_the_page_of_profiles(profile: object) -> None:
    tier = profile.tier  # type: ignore[attr-defined]  # a Profile, which pytest does not say
    experts = profile.experts  # type: ignore[attr-defined]
    page = PAGES["profiles"].splitlines()
    line = next(line for line in page if re.match(rf"\| .*\b{tier}\b.* \| ", line))
    assert f"| {experts.edge}, {experts.near}, {experts.middle} |" in line


@pytest.mark.parametrize("name", ALL)
def test_make_targets_of_a_page_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for block in blocks(ALL[name], "sh"):
        for target in re.findall(r"\bmake ([a-z-]+)", block):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", ALL)
def test_links_of_a_page_lead_somewhere(name: str) -> None:
    base = ROOT if name == "README" else ROOT / "docs"
    for link in re.findall(r"\]\(([^)#]+)\)", ALL[name]):
        assert "://" in link or (base / link).exists(), link


def test_every_page_is_named_by_the_readme() -> None:
    assert {name for name in PAGES if f"(docs/{name}.md)" not in README} == set()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 250


# ── the rooms ───────────────────────────────────────────────────────────────────────────────


def test_every_room_is_on_the_page_of_developing_and_no_other() -> None:
    folders = {path.parent.name for path in (ROOT / "bot").glob("*/__init__.py")}
    assert set(re.findall(r"^├── ([a-z]+)/", PAGES["developing"], re.MULTILINE)) == folders


def test_modules_that_the_page_names_exist() -> None:
    named = set(re.findall(r"\b(?:[a-z_]+/)+[a-z_]+\.py\b", PAGES["developing"]))
    assert len(named) > 30
    assert [name for name in sorted(named) if not (ROOT / "bot" / name).exists()
            and not (ROOT / name).exists()] == []  # fmt: skip


def test_the_road_is_short_enough_to_be_walked() -> None:
    walk = re.findall(r"^[a-z_]+/[a-z_/]+\.py ", PAGES["developing"], re.MULTILINE)
    assert 15 < len(walk) <= 25


def test_rooms_have_twelve_modules_at_most_and_no_name_stands_twice() -> None:
    modules = [path for path in (ROOT / "bot").rglob("*.py") if path.name != "__init__.py"]
    assert max(Counter(path.parent for path in modules).values()) <= 12
    assert [stem for stem, times in Counter(p.stem for p in modules).items() if times > 1] == []


def test_lines_of_the_readme_fit_a_terminal() -> None:
    assert [line for line in README.splitlines() if len(line) > 100] == []
