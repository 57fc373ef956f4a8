"""What every stage is given: a ledger that knows its steps, and Hubs seen with a token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.errors import AccessError, SettingsError
from bot.progress import Narrator, Report
from bot.secrecy import RUNNER
from bot.settings.settings import load
from bot.store.ledger import Ledger
from bot.workplace.workplace import Workplace
from tests.local_hub.server import Hub
from tests.models import workplace_in

INPUTS = {"source": "a" * 64}


class Work:
    """Writes a file, and counts how often."""

    def __init__(self, workplace: Workplace, path: Path) -> None:
        self._workplace, self._path = workplace, path
        self.calls = 0

    def step(self, inputs: dict[str, Any] = INPUTS, shape: Any = None) -> Any:
        def work(_report: Report) -> int:
            self.calls += 1
            self._path.write_bytes(b"made")
            return self.calls

        paths, title = [self._path], "making a file"
        return self._workplace.step("job", "make", inputs, paths, title, work, shape)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(workplace_in(tmp_path), tmp_path / "file")


def test_a_step_is_done_once(work: Work) -> None:
    done = work.step()
    assert (done.value, done.files[0].bytes) == (1, 4)
    assert work.step() == done
    assert work.calls == 1


def test_another_input_a_lost_file_or_a_damaged_value_do_it_again(
    work: Work, tmp_path: Path
) -> None:
    work.step()
    work.step({"source": "b" * 64})
    assert work.calls == 2
    (tmp_path / "file").unlink()
    work.step({"source": "b" * 64})
    assert work.calls == 3
    work.step({"source": "b" * 64}, shape=int)
    assert work.calls == 3
    work.step({"source": "b" * 64}, shape=str)
    assert work.calls == 4


def test_a_step_that_fails_is_not_done(tmp_path: Path) -> None:
    workplace = workplace_in(tmp_path)

    def fail(_report: Report) -> None:
        raise SettingsError("it cannot be done")

    with pytest.raises(SettingsError, match="cannot be done"):
        workplace.step("job", "make", INPUTS, [], "making nothing", fail)
    assert workplace.ledger.finished("job", "make", INPUTS) is None


def test_a_workplace_beside_has_settings_and_a_ledger_of_its_own(tmp_path: Path) -> None:
    workplace = Workplace(load(workdir=tmp_path / "work"), Narrator(quiet=True), SecretStr("hf_x"))
    ledger = Ledger(tmp_path / "other.sqlite")
    other = workplace.beside(load(workdir=tmp_path / "other"), ledger)
    assert other.ledger is ledger
    assert other.narrator is workplace.narrator
    assert other.folders.root == tmp_path / "other"
    assert other.has_token
    assert not (tmp_path / "work").exists()  # a ledger is made when it is needed


def test_no_token_is_no_token(tmp_path: Path, hub: Hub) -> None:
    without = workplace_in(tmp_path, hub={"endpoint": hub.url})
    assert not without.has_token
    with pytest.raises(AccessError):
        without.require_publisher()
    settings = load(workdir=tmp_path / "work", hub={"endpoint": hub.url})
    workplace = Workplace(settings, Narrator(quiet=True), SecretStr(hub.token))
    workplace.require_publisher()
    assert workplace.hub.whoami() == "alice"
    assert workplace.publisher("alice/x") is workplace.hub


def test_a_trusted_publisher_writes_with_lent_tokens_one_hub_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace = workplace_in(
        tmp_path, hub={"namespace": "lab"}, publish={"trusted_publisher": True}
    )
    with pytest.raises(AccessError, match="no job of GitHub Actions"):
        workplace.publisher("lab/one")
    with pytest.raises(AccessError, match="no job of GitHub Actions"):
        workplace.require_publisher()
    for name in RUNNER:
        monkeypatch.setenv(name, "http://127.0.0.1:9/ids-of-this-test")
    workplace.require_publisher()
    first = workplace.publisher("lab/one")
    assert first is not workplace.hub
    assert workplace.publisher("lab/one") is first
    assert workplace.publisher("lab/other") is not first
