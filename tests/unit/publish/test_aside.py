"""A build through a pull request of its own: main shows it whole, verified, or not at all."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi  # noqa: TID251 - another's side
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.errors import BotError, PublishError
from bot.publish.approval import mark
from bot.publish.aside import publish_aside
from bot.publish.held import Differs
from bot.publish.update import Update
from bot.publish.upload import Pushed, open_public
from bot.records.built import Built
from tests.local_hub.server import Hub, regular
from tests.unit.clients.hub.between import Between, Fault
from tests.unit.publish import test_faults

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
quick, scene, fixtures = test_faults.quick, test_faults.scene, test_faults.fixtures
Scene = tuple[Hub, Between, Client]
Files = dict[str, Built]

REPO = "alice/model-APEX-GGUF"
KEY = "ab" * 32
AT = ("500", "500 after it was done", "cut before", "cut after it was done", "quota exceeded")


def aside(client: Client, repo_id: str, files: Files, *, key: str = KEY) -> Pushed:
    update = Update(files=files, deletions=(), message="Release\n\nwhy", notes=())
    before = open_public(client, repo_id)
    return publish_aside(client, before, update, key, private=False)[0]


def pulls(hub: Hub, repo_id: str) -> list[tuple[str, str]]:
    """Title and status, the oldest first."""
    found = HfApi(endpoint=hub.url, token=hub.token).get_repo_discussions(repo_id)
    return [(one.title, one.status) for one in reversed(list(found))]


def test_it_is_never_private_and_main_gets_one_commit(
    scene: Scene, fixtures: tuple[Files, Files]
) -> None:
    hub, proxy, client = scene
    done = aside(client, REPO, fixtures[0])
    assert done.changed[-1] == "README.md"
    assert test_faults._seen(hub.url, REPO) == test_faults._hashes(fixtures[0])
    assert hub.commits(REPO) == 1
    assert pulls(hub, REPO) == [(f"Release {mark(KEY)}", "merged")]
    assert proxy.count("PUT", "/settings") == 0
    assert aside(client, REPO, fixtures[0]).changed == ()
    aside(client, REPO, fixtures[1], key="cd" * 32)
    assert test_faults._seen(hub.url, REPO) == test_faults._hashes(fixtures[1])
    assert hub.commits(REPO) == 2


@pytest.mark.road
def test_some_requests_in_turn(scene: Scene, fixtures: tuple[Files, Files]) -> None:
    _in_turn(scene, fixtures, "500 after it was done", step=5)


@pytest.mark.long
@pytest.mark.parametrize("kind", AT)
def test_each_request_in_turn(scene: Scene, fixtures: tuple[Files, Files], kind: str) -> None:
    _in_turn(scene, fixtures, kind, step=1)


def _in_turn(scene: Scene, fixtures: tuple[Files, Files], kind: str, *, step: int) -> None:
    hub, proxy, client = scene
    aside(client, "alice/count", fixtures[0])
    whole, fault = len(proxy.requests), test_faults.KINDS[kind]
    for place in range(0, whole, step):
        repo_id, case = f"alice/case-{place}", f"{kind}, request {place} of {whole}"
        proxy.requests.clear()
        proxy.delivered.clear()

        def choose(number: int, _method: str, _path: str, place: int = place) -> Fault | None:
            hit = number == place or (fault.on and number > place)
            return fault.fault if hit else None

        proxy.choose = choose
        error = tried(lambda repo_id=repo_id: aside(client, repo_id, fixtures[0]))  # type: ignore[misc]
        proxy.choose = None
        seen = test_faults._seen(hub.url, repo_id)
        empty: dict[str, int] = {}
        assert seen in (None, empty, test_faults._hashes(fixtures[0])), case
        assert (error is None) <= (seen == test_faults._hashes(fixtures[0])), case
        assert (hub.commits(repo_id) or 0) <= 1, case
        aside(client, repo_id, fixtures[0])
        assert test_faults._seen(hub.url, repo_id) == test_faults._hashes(fixtures[0]), case
        assert hub.commits(repo_id) == 1, case
        assert [status for _, status in pulls(hub, repo_id)] == ["merged"], case


def tried(call: Callable[[], object]) -> BotError | None:
    try:
        call()
    except BotError as error:
        return error
    return None


def test_another_content_than_the_measured_is_never_on_main(
    scene: Scene, fixtures: tuple[Files, Files], tmp_path: Path
) -> None:
    hub, _proxy, client = scene
    aside(client, REPO, fixtures[0])
    spoilt = tmp_path / "b.gguf"
    spoilt.write_bytes(random.Random(1).randbytes(fixtures[1]["b.gguf"].bytes))  # noqa: S311
    files = {**fixtures[1], "b.gguf": replace(fixtures[1]["b.gguf"], path=str(spoilt))}
    with pytest.raises(Differs, match=r"b\.gguf"):
        aside(client, REPO, files, key="cd" * 32)
    assert test_faults._seen(hub.url, REPO) == test_faults._hashes(fixtures[0])
    assert hub.commits(REPO) == 1  # main never had it
    assert [status for _, status in pulls(hub, REPO)] == ["merged", "closed"]
    aside(client, REPO, fixtures[1], key="cd" * 32)
    assert test_faults._seen(hub.url, REPO) == test_faults._hashes(fixtures[1])
    assert hub.commits(REPO) == 2


def test_a_pull_request_of_a_stopped_run(
    scene: Scene, fixtures: tuple[Files, Files], tmp_path: Path
) -> None:
    """With the same files it is merged; with others it is closed and made again."""
    hub, proxy, client = scene
    proxy.faults = [Fault(method="POST", part="/merge", status=503, arrives=False, times=9)]
    assert tried(lambda: aside(client, REPO, fixtures[0])) is not None
    proxy.faults = []
    assert [status for _, status in pulls(hub, REPO)] == ["open"]
    card = tmp_path / "README.md"
    card.write_text("# Another\n")
    built = Built(path=str(card), bytes=card.stat().st_size, sha256=sha256(card))
    aside(client, REPO, {**fixtures[0], "README.md": built})
    assert [status for _, status in pulls(hub, REPO)] == ["closed", "merged"]
    assert hub.commits(REPO) == 1


def test_somebody_elses_commit_is_not_overwritten(
    scene: Scene, fixtures: tuple[Files, Files]
) -> None:
    hub, proxy, client = scene

    def meanwhile() -> None:
        assert hub.commit(REPO, regular("note.txt", b"hello\n")).status == 200

    proxy.faults = [
        Fault(method="POST", part="/commit/", status=0, arrives=True, meanwhile=meanwhile)
    ]
    with pytest.raises(PublishError, match="changed by somebody else meanwhile"):
        aside(client, REPO, fixtures[0])
    assert hub.commits(REPO) == 1  # theirs
    aside(client, REPO, fixtures[0])
    assert hub.commits(REPO) == 2
    held = {file.path for file in Client(hub.url, SecretStr(hub.token)).release(REPO).files}
    assert {"note.txt", *fixtures[0]} <= held
