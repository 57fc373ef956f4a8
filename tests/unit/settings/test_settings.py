"""The calibration mix in bot.yaml: both forms, and what is refused."""

import re
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.settings.configcheck import mistakes, settings_schema
from bot.settings.settings import load
from bot.settings.tokens import hub_token, token_origin

PINNED = {"dataset": "org/mix", "commit": "ab" * 20, "file": "chat.txt"}


def test_a_list_of_paths_and_a_mix_with_weights(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text(
        "calibration:\n  texts: [chat.txt, texts/code.txt]\n",
        encoding="utf-8",
    )
    first, second = load(file).calibration.texts
    assert (first.label, second.label) == ("chat.txt", "code.txt")
    assert (first.path, second.path) == (tmp_path / "chat.txt", tmp_path / "texts/code.txt")
    assert first.weight is None
    file.write_text(
        "calibration:\n"
        "  texts:\n"
        "  - {name: chat, path: a.txt, weight: 3, licence: MIT}\n"
        f"  - {{name: code, dataset: org/mix, commit: {'ab' * 20}, file: b/c.txt, weight: 1}}\n",
        encoding="utf-8",
    )
    first, second = load(file).calibration.texts
    assert (first.label, first.weight, first.licence) == ("chat", 3, "MIT")
    assert second.hub == ("org/mix", "ab" * 20, "b/c.txt")


WRONG: dict[str, tuple[list[object], str]] = {
    "nothing": ([], "at least 1"),
    "no place": ([{"name": "x"}], "either a path"),
    "two places": ([{**PINNED, "path": "a.txt"}], "either a path"),
    "no commit": ([{"dataset": "org/mix", "file": "a.txt"}], "either a path"),
    "a branch": ([{**PINNED, "commit": "main"}], "pattern"),
    "a weight for one only": ([{"path": "a", "weight": 1}, {"path": "b"}], "give all one"),
    "no weight": ([{"path": "a", "weight": 0}], "more than 0"),
    "twice the same name": (["a/x.txt", "b/x.txt"], "same name"),
    "a path as a name": ([{"path": "a", "name": "/home/me/a"}], "pattern"),
    "half a hash": ([{"path": "a", "sha256": "abc"}], "pattern"),
    "an unknown key": ([{"path": "a", "share": 1}], "no such key"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_mix_is_refused(name: str) -> None:
    texts, reason = WRONG[name]
    with pytest.raises(SettingsError, match=reason):
        load(calibration={"texts": texts})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("repo", "no-owner"),
        ("repo", "me/../other"),
        ("workflow", "../release.yml"),
        ("workflow", "release"),
        ("ref", "main; touch PWNED"),
        ("api_url", "ftp://github.example.com"),
        ("token", "ghp_secret"),
    ],
)
def test_a_wrong_github_section_is_named(key: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"github\.{key}"):
        load(None, github={key: value})
    assert load(None, github={"repo": "me/builds", "api_url": "https://x/api/v3/"}).github.api_url


def test_a_trusted_publisher_asks_nobody_for_approval(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("publish: {trusted_publisher: true, approval: pull-request}\n")
    with pytest.raises(SettingsError, match="known again by its author"):
        load(file)


def test_a_lent_token_does_not_read_what_travels_through_the_hub(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    jobs = "jobs: {travel: hub, staging: me-builds}"
    file.write_text(f"publish: {{trusted_publisher: true}}\n{jobs}\n")
    with pytest.raises(SettingsError, match=r"needs jobs\.travel: folder"):
        load(file)
    file.write_text(f"{jobs}\n")
    assert load(file).jobs.travel == "hub"


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
        "data.x.sha256: it is missing",
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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"- a\n", "holds no keys"),
        (b"just words\n", "holds no keys"),
        (b"a: [\n", "is not YAML"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a: !!python/object:os.system {}\n", "is not YAML"),
        (b"workdir: 2026-99-99\n", "is not YAML"),
    ],
)
def test_what_is_no_settings_file_is_said(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "bot.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=reason):
        load(file)


def test_a_byte_order_mark_and_an_empty_file_are_no_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_bytes(b"\xef\xbb\xbfreserve_gb: 7\n")
    assert load(file).reserve_gb == 7
    file.write_bytes(b"# nothing yet\n")
    assert load(file).reserve_gb == 1


def test_a_variable_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_EVALUATION__TASKS", "tasks.txt")
    monkeypatch.setenv("BOT_POLICY__RULES", "[")
    with pytest.raises(SettingsError, match="BOT_"):
        load(None)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("file", "{name}.gguf", "all tiers would be one file"),
        ("file", "{name}-{tier:.1}.gguf", "all tiers would be one file"),
        ("file", "{name}-{tier!r}-{label}.gguf", "only {name} and {tier} and {label}"),
        ("file", "{name}-{tier}", "ends in .gguf"),
        ("file", "{tier}/{name}.gguf", "holds no folder"),
        ("file", "{name}-{tier}}.gguf", "only {name}"),
        ("repository", "{name}-{tier}", "only {name}"),
        ("repository", "{}", "only {name}"),
    ],
)
def test_a_name_that_tiers_would_share_is_refused(key: str, value: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(reason)):
        load(None, publish={key: value})


def test_names_of_files_by_tier_or_label() -> None:
    for name in ("{name}-APEX-{label}.gguf", "{tier}.gguf", "{name}-APEX-{tier}.gguf"):
        assert load(None, publish={"file": name}).publish.file == name


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


def test_no_pattern_repeats_a_class_of_all_scripts() -> None:
    """Reading `\\w{1,96}` takes pydantic's engine 20 ms, at every start of the command."""
    patterns = re.findall(r'"pattern": "(.*)"', settings_schema())
    assert patterns
    assert not [one for one in patterns if re.search(r"\\w[^\]]*\]?\{", one)]
