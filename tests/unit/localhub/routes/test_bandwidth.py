from pathlib import Path

from bot.localhub.routes.bandwidth import Bandwidth
from bot.localhub.server import RunningHub
from tests.local_hub.server import USER, Hub


def test_uploads_share_a_line() -> None:
    line = Bandwidth(100.0)
    assert line.delay(200, 10.0) == 2.0
    assert line.delay(100, 10.5) == 2.5  # behind the first
    assert line.delay(100, 50.0) == 1.0  # long after both
    assert Bandwidth(None).delay(10**12, 0.0) == 0.0


def test_a_limited_hub_takes_files_whole_and_no_xet(tmp_path: Path) -> None:
    running = RunningHub(tmp_path / "hub", bandwidth=50e6)
    token = running.store.add_user(USER)
    with running:
        hub = Hub(url=running.url, token=token, store=running.store)
        repo = hub.create("model")
        data = bytes(range(256)) * 4_000
        oid = hub.send(repo, data)
        assert hub.store.objects.path(oid).read_bytes() == data
        reply = hub.ask("GET", f"/api/models/{repo}/xet-write-token/main", token=token)
        assert reply.status == 404
