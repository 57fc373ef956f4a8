"""A repository that is published again: one commit that says why, and nothing of others lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.errors import PublishError, SourceError
from bot.publish.update import CHANGES, Update, plan_update, rollback_files
from bot.publish.upload import open_private, publish_commit
from bot.records.built import Built
from bot.records.results import Results
from bot.settings.advisories import Advisory
from bot.wording.blocks import marked
from bot.workplace import provenance
from tests.local_hub.server import Hub, regular
from tests.unit.card.samples import nine_tiers

REPO = "alice/model-APEX-GGUF"
TODAY = "2026-11-23"


@pytest.fixture
def client(hub: Hub) -> Client:
    return Client(hub.url, SecretStr(hub.token), pause=0.01)


def release(folder: Path, results: Results, contents: dict[str, bytes]) -> dict[str, Built]:
    """A release as describing makes it: model files, results, provenance, card."""
    folder.mkdir()
    found = {}
    for name, content in {**contents, "results.json": b'{"tiers": []}\n'}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        found[name] = built(folder / name)
    said = provenance.statement(results, found, "0" * 64)
    (folder / provenance.NAME).write_text(provenance.statement_text(said))
    sums = " ".join(sorted(file.sha256[:8] for file in found.values()))
    card = f"---\nlicense: mit\n---\n\n# Model\n\n## Files\n\n{sums}\n\n## Credits\n\nx\n"
    (folder / "README.md").write_text(marked(card))
    return {name: built(folder / name) for name in (*found, provenance.NAME, "README.md")}


def built(path: Path) -> Built:
    return Built(path=str(path), bytes=path.stat().st_size, sha256=sha256(path))


@pytest.fixture
def first(tmp_path: Path) -> dict[str, Built]:
    contents = {"A.gguf": b"a" * 9000, "B.gguf": b"b" * 9000, "plots/kld.png": b"old"}
    return release(tmp_path / "first", nine_tiers(), contents)


@pytest.fixture
def second(tmp_path: Path) -> dict[str, Built]:
    results = nine_tiers()
    assert results.release is not None
    results = replace(
        results,
        release=replace(results.release, commit="f" * 40),
        tools=replace(results.tools, llama_cpp="b10000"),
    )
    contents = {"A.gguf": b"A" * 9000, "C.gguf": b"c" * 9000, "plots/kld.png": b"new"}
    return release(tmp_path / "second", results, contents)


def push(client: Client, files: dict[str, Built], folder: Path) -> Update:
    before = open_private(client, REPO)
    update = plan_update(client, before, files, "First", folder, TODAY)
    publish_commit(
        client, REPO, update.files, update.message,
        private=False, deletions=update.deletions, before=before,
    )  # fmt: skip
    return update


def text(client: Client, path: str) -> str | None:
    return client.read_text(REPO, client.head(REPO), path, 100_000)


def names(client: Client) -> set[str]:
    return {file.path for file in client.release(REPO).files} - {".gitattributes"}


def title(hub: Hub) -> tuple[str, str]:
    repo = hub.store.find(REPO)
    assert repo is not None
    commit = hub.store.commit(repo, "main")
    return commit.title, commit.message


def test_an_update_is_one_commit_that_says_why(
    hub: Hub,
    client: Client,
    first: dict[str, Built],
    second: dict[str, Built],
    tmp_path: Path,
) -> None:
    assert push(client, first, tmp_path / "m").message == "First"
    assert CHANGES not in names(client)
    update = push(client, second, tmp_path / "m")
    assert hub.commits(REPO) == 2
    assert update.deletions == ("B.gguf",)
    assert update.notes == ()
    assert names(client) == {*second, CHANGES}
    head, message = title(hub)
    assert head.startswith("Update: new source: sample-lab/Sample-30B-A3B@")
    for reason in ("new llama.cpp", "removed: B.gguf"):
        assert reason in message
    changes = text(client, CHANGES)
    assert changes is not None
    assert changes.startswith(f"# Changes\n\n## {TODAY}\n\n- new source: ")
    assert "- replaced: `A.gguf`" in changes
    assert "plots/" not in changes, "drawn anew each time"
    # the same again changes nothing
    push(client, second, tmp_path / "m")
    assert hub.commits(REPO) == 2


def test_what_people_added_stays(
    hub: Hub, client: Client, first: dict[str, Built], second: dict[str, Built], tmp_path: Path
) -> None:
    push(client, first, tmp_path / "m")
    card = text(client, "README.md")
    assert card is not None
    edited = card.replace("<!-- apex-bot: credits -->", "My tip\n\n<!-- apex-bot: credits -->")
    theirs = hub.commit(
        REPO, regular("README.md", edited.encode()), regular("presets/mine.json", b"{}")
    )
    assert theirs.status == 200, theirs.body
    push(client, second, tmp_path / "m")
    assert "presets/mine.json" in names(client)
    now = text(client, "README.md")
    assert now is not None
    assert "My tip" in now
    assert second["A.gguf"].sha256[:8] in now
    assert first["A.gguf"].sha256[:8] not in now


def test_a_card_of_somebody_elses_is_left_with_a_warning(
    hub: Hub, client: Client, first: dict[str, Built], tmp_path: Path
) -> None:
    hub.create("model-APEX-GGUF", private=True)
    hub.commit(REPO, regular("README.md", b"# Mine\n"))
    update = push(client, first, tmp_path / "m")
    assert "README.md" in update.notes[0]
    assert text(client, "README.md") == "# Mine\n"
    assert set(first) <= names(client)


def test_somebody_elses_file_of_the_same_name_stops(
    hub: Hub, client: Client, first: dict[str, Built], tmp_path: Path
) -> None:
    hub.create("model-APEX-GGUF", private=True)
    hub.commit(REPO, regular("results.json", b"[]\n"))
    with pytest.raises(PublishError, match=r"results\.json that is not the bot's"):
        push(client, first, tmp_path / "m")
    assert hub.commits(REPO) == 1


def test_a_file_that_somebody_replaced_is_not_removed(
    client: Client, first: dict[str, Built], second: dict[str, Built], tmp_path: Path
) -> None:
    push(client, first, tmp_path / "m")
    head = client.head(REPO)
    other = tmp_path / "other"
    other.write_bytes(b"?" * 9000)
    client.commit(REPO, {"B.gguf": other}, "mine", head)
    update = push(client, second, tmp_path / "m")
    assert update.deletions == ()
    assert "B.gguf" in update.notes[0]
    assert "B.gguf" in names(client)


def test_back_to_a_revision_and_forward_again(
    hub: Hub, client: Client, first: dict[str, Built], second: dict[str, Built], tmp_path: Path
) -> None:
    push(client, first, tmp_path / "m")
    client.tag(REPO, "build-1", client.head(REPO))
    then = client.release(REPO, "build-1")
    push(client, second, tmp_path / "m")
    hub.commit(REPO, regular("note.txt", b"of a person\n"))
    commit, changed = rollback_files(client, REPO, then.commit, tmp_path / "back", TODAY)
    assert commit == client.head(REPO)
    assert {"A.gguf", "B.gguf", "C.gguf"} <= set(changed)
    assert hub.commits(REPO) == 4
    assert title(hub)[0] == f"Back to {then.commit[:12]}"
    now = {f.path: (f.sha256, f.size) for f in client.release(REPO).files}
    for file in then.files:
        if file.path not in (".gitattributes", "README.md"):
            assert now[file.path] == (file.sha256, file.size)
    assert "C.gguf" not in now
    assert "note.txt" in now
    changes = text(client, CHANGES)
    assert changes is not None
    assert f"- back to what it was at {then.commit[:12]}" in changes
    assert "- new source" in changes
    assert rollback_files(client, REPO, "build-1", tmp_path / "back", TODAY) == (commit, ())
    client.tag(REPO, "build-1", commit)
    assert client.release(REPO, "build-1").commit == then.commit
    push(client, second, tmp_path / "m")
    assert "C.gguf" in names(client)
    with pytest.raises(SourceError, match="does not exist"):
        rollback_files(client, REPO, "0" * 40, tmp_path / "back", TODAY)


def test_a_provenance_that_is_none_is_not_believed() -> None:
    good = provenance.statement(nine_tiers(), {}, "0" * 64)
    assert provenance.parse_statement(good) is not None
    for spoilt in (
        None,
        {},
        {**good, "predicateType": "x"},
        {**good, "subject": [{}]},
        {**good, "predicate": []},
    ):
        assert provenance.parse_statement(spoilt) is None


@pytest.mark.parametrize("family", ["qwen3moe", "llama"])
def test_a_fault_that_is_gone_stands_in_the_changelog(
    family: str, client: Client, tmp_path: Path
) -> None:
    rope = Advisory(id="rope", before="0.3.36", families=("qwen3*",), wrong="no rotary factors")
    pushed = []
    for version in ("0.3.30", "0.3.36"):
        results = nine_tiers()
        tools = replace(results.tools, llama_cpp_python=version, llama_cpp=version)
        files = release(tmp_path / version, replace(results, tools=tools), {"A.gguf": b"a" * 9000})
        said = {"tools": {"llama_cpp_python": version}, "architecture": {"family": family}}
        path = Path(files["results.json"].path)
        path.write_text(json.dumps(said))
        files["results.json"] = built(path)
        before = open_private(client, REPO)
        update = plan_update(client, before, files, "First", tmp_path, TODAY, [rope])
        publish_commit(client, REPO, update.files, update.message, private=False, before=before)
        pushed.append(update)
    assert "mended" not in pushed[0].message
    changes = Path(pushed[1].files[CHANGES].path).read_text()
    assert ("- mended: no rotary factors\n" in changes) == (family == "qwen3moe")
