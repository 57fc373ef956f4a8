"""Every request of a publication hit by every fault: the Hub shows a whole release, or none.

After each case the same publication is run again without faults: it ends published, in one commit.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.errors import (
    AccessError,
    BotError,
    CapacityError,
    PublishError,
    SourceError,
    UnreachableError,
)
from bot.publish.upload import publish_commit
from bot.records.built import Built
from tests.local_hub.server import Hub, regular, running_hub
from tests.unit.clients.hub.between import Between, Fault, between

# huggingface_hub's own way to send a part of a file
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "alice/model-APEX-GGUF"
SEED = 20_261_123
QUOTA = b'{"error": "Private repository storage limit reached"}'
FULL = b'{"error": "No space left on the disk"}'
LIMIT = {"RateLimit": '"api";r=0;t=0', "Retry-After": "0"}
Files = dict[str, Built]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A fault of one request, or of all from one on."""

    fault: Fault
    says: str  # what a message must tell of it
    on: bool = False  # all later requests too
    heals: bool = False  # it is only slow
    conflict: bool = False  # somebody else commits just before


BROKEN = r"failed on|did not answer|did not take the commit"


def _fault(status: int | None, *, arrives: bool = False, **more: Any) -> Fault:
    return Fault(method="", part="", status=status, arrives=arrives, **more)


KINDS = {
    "429": Kind(fault=_fault(429, headers=LIMIT), says="limits our requests"),
    "500": Kind(fault=_fault(500), says=BROKEN),
    "500 after it was done": Kind(fault=_fault(500, arrives=True), says=BROKEN),
    "504 after it was done": Kind(fault=_fault(504, arrives=True), says=BROKEN),
    "cut before": Kind(fault=_fault(None), says=BROKEN),
    "cut after it was done": Kind(fault=_fault(None, arrives=True), says=BROKEN),
    "slow": Kind(fault=_fault(0, arrives=True, delay=0.3), says=BROKEN),
    "slow reads": Kind(fault=_fault(0, arrives=True, drops=0.02), says=BROKEN, on=True, heals=True),
    "conflict": Kind(
        fault=_fault(0, arrives=True), says="changed by somebody else meanwhile", conflict=True
    ),
    "token expired": Kind(
        fault=_fault(401, body=b'{"error": "expired"}'),
        says="401 .*expired.* HF_TOKEN is not accepted",
        on=True,
    ),
    "quota exceeded": Kind(
        fault=_fault(403, body=QUOTA), says="no room .*storage limit reached", on=True
    ),
    "disk of the Hub full": Kind(
        fault=_fault(507, body=FULL), says=f"no room .*No space left|{BROKEN}"
    ),
}


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Files]:
    """A small release and a later one: one file replaced, one added, one as it was."""
    folder = tmp_path_factory.mktemp("release")
    seeded = random.Random(SEED)  # noqa: S311 - contents, not secrets
    first = {
        "a.gguf": seeded.randbytes(90_000),  # sent in parts
        "b.gguf": seeded.randbytes(20_000),
        "results.json": b'{"version": 1}\n',
        "README.md": b"---\nlicense: mit\n---\n# One\n",
    }
    second = {
        **first,
        "b.gguf": seeded.randbytes(20_000),
        "c.gguf": seeded.randbytes(10_000),
        "README.md": b"---\nlicense: mit\n---\n# Two\n",
    }
    return _built(folder / "1", first), _built(folder / "2", second)


def _built(folder: Path, contents: Mapping[str, bytes]) -> Files:
    folder.mkdir()
    files = {}
    for name, content in contents.items():
        path = folder / name
        path.write_bytes(content)
        files[name] = Built(path=str(path), bytes=len(content), sha256=sha256(path))
    return files


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files over HTTP, where the proxy sees them; short rests of the library."""
    rest = time.sleep
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(time, "sleep", lambda seconds: rest(min(seconds, 0.02)))


@pytest.fixture
def scene(quick: None, tmp_path: Path) -> Iterator[tuple[Hub, Between, Client]]:
    del quick
    with running_hub(tmp_path / "hub", part_bytes=40_000) as hub, between(hub.url) as proxy:
        yield hub, proxy, Client(proxy.url, SecretStr(hub.token), pause=0.01, timeout=5.0)


@pytest.mark.road
def test_the_matrix_sampled(
    scene: tuple[Hub, Between, Client], fixtures: tuple[Files, Files]
) -> None:
    seeded = random.Random(SEED)  # noqa: S311 - a choice of cases
    _run(scene, fixtures, seeded.sample(_cases(), 24))


@pytest.mark.long
def test_the_matrix(scene: tuple[Hub, Between, Client], fixtures: tuple[Files, Files]) -> None:
    cases = _cases()
    assert len(cases) >= 200
    _run(scene, fixtures, cases)


def _cases() -> list[tuple[str, bool, str]]:
    """Fault, whether the repository is public already, which request: a fraction of all."""
    places = [f"{i}/12" for i in range(12)]
    return [(kind, public, at) for kind in KINDS for public in (False, True) for at in places]


def _run(
    scene: tuple[Hub, Between, Client],
    fixtures: tuple[Files, Files],
    cases: list[tuple[str, bool, str]],
) -> None:
    hub, proxy, client = scene
    counts = {public: _requests(hub, proxy, client, fixtures, public) for public in (False, True)}
    for number, (kind, public, at) in enumerate(cases):
        part, whole = map(int, at.split("/"))
        # twelve places spread over all requests, each hit by one fault or another
        place = min((part * counts[public] + number % whole) // whole, counts[public] - 1)
        case = f"{kind}, {'public' if public else 'new'}, request {place} of {counts[public]}"
        repo_id = f"alice/case-{number}"
        _one(scene, fixtures, repo_id, KINDS[kind], place, public=public, case=case)


def _requests(
    hub: Hub, proxy: Between, client: Client, fixtures: tuple[Files, Files], public: bool
) -> int:
    repo_id = f"alice/count-{public}"
    _prepare(client, fixtures, repo_id, public)
    proxy.requests.clear()
    publish_commit(client, repo_id, fixtures[public], "Release", private=False)
    assert hub.commits(repo_id) == 1 + public
    return len(proxy.requests)


def _prepare(client: Client, fixtures: tuple[Files, Files], repo_id: str, public: bool) -> None:
    if public:
        publish_commit(client, repo_id, fixtures[0], "Release", private=False)


def _one(
    scene: tuple[Hub, Between, Client],
    fixtures: tuple[Files, Files],
    repo_id: str,
    kind: Kind,
    place: int,
    *,
    public: bool,
    case: str,
) -> None:
    hub, proxy, client = scene
    proxy.choose = None
    _prepare(client, fixtures, repo_id, public)
    wanted, theirs, hit = fixtures[public], list[bool](), list[str]()

    def meanwhile() -> None:
        if hub.store.find(repo_id):
            theirs.append(hub.commit(repo_id, regular("note.txt", b"hello\n")).status == 200)

    def choose(number: int, method: str, path: str) -> Fault | None:
        if number != place and not (kind.on and number > place):
            return None
        hit.append(f"{method} {path}")
        return replace(kind.fault, meanwhile=meanwhile if kind.conflict else None)

    proxy.requests.clear()
    proxy.delivered.clear()
    proxy.choose = choose
    error = _tried(lambda: publish_commit(client, repo_id, wanted, "Release", private=False))
    proxy.choose = None
    assert hit, case
    if error is not None:
        said = str(error)
        assert "\n" not in said, case
        assert ";" in said, f"{case}: {said}"
        assert hub.token not in said, case
        assert re.search(kind.says, said), f"{case}: {said}"
    else:
        assert kind.heals or not kind.on or place == len(proxy.requests), case
    seen = _seen(hub.url, repo_id)
    assert seen in (
        [None, _hashes(wanted)] if not public else [_hashes(fixtures[0]), _hashes(wanted)]
    ), f"{case}: {error}"
    assert error is not None or seen == _hashes(wanted), case
    assert (hub.commits(repo_id) or 0) <= 1 + public + sum(theirs), case

    publish_commit(client, repo_id, wanted, "Release", private=False)
    assert _seen(hub.url, repo_id) == _hashes(wanted), case
    assert hub.commits(repo_id) == 1 + public + sum(theirs), case
    sent = Counter(line.partition("&expires")[0] for line in proxy.delivered if "PUT /lfs" in line)
    again = [line.partition("?")[0].split()[1] for line, times in sent.items() if times > 1]
    assert all(any(line in one for one in hit) for line in again), f"{case}: {again}"


def _tried(call: Callable[[], object]) -> BotError | None:
    try:
        call()
    except (
        AccessError,
        CapacityError,
        PublishError,
        SourceError,
        UnreachableError,
    ) as error:
        return error
    return None


def _hashes(files: Files) -> dict[str, int]:
    return {name: file.bytes for name, file in files.items()} | {
        file.sha256: file.bytes for file in files.values() if file.path.endswith(".gguf")
    }


def _seen(url: str, repo_id: str) -> dict[str, int] | None:
    """What everybody sees of a repository, names and large contents; None where nothing."""
    try:
        release = Client(url, None, pause=0.01).release(repo_id)
    except (SourceError, AccessError):
        return None
    files = [f for f in release.files if f.path not in (".gitattributes", "note.txt")]
    return {f.path: f.size for f in files} | {f.sha256: f.size for f in files if f.sha256}


@pytest.mark.parametrize("public", [False, True])
def test_another_content_than_the_measured_is_never_left_visible(
    scene: tuple[Hub, Between, Client],
    fixtures: tuple[Files, Files],
    tmp_path: Path,
    public: bool,
) -> None:
    hub, _proxy, client = scene
    _prepare(client, fixtures, REPO, public)
    spoilt = tmp_path / "b.gguf"
    spoilt.write_bytes(b"?" * fixtures[1]["b.gguf"].bytes)
    files = {**fixtures[1], "b.gguf": replace(fixtures[1]["b.gguf"], path=str(spoilt))}
    with pytest.raises(PublishError, match=r"b\.gguf"):
        publish_commit(client, REPO, files, "Release", private=False)
    assert _seen(hub.url, REPO) == (_hashes(fixtures[0]) if public else None)
    publish_commit(client, REPO, fixtures[1], "Release", private=False)
    assert _seen(hub.url, REPO) == _hashes(fixtures[1])
