"""Texts of the calibration mix: files here, and files of a Hub's dataset at a commit."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from bot.errors import SettingsError, SourceError
from bot.progress import Narrator
from bot.settings.making import CalibrationSource
from bot.settings.settings import load
from bot.workplace.texts import calibration_texts, read_text
from bot.workplace.workplace import Workplace

COMMIT = "ab" * 20
DATA = b"Guten Tag, good day, bonjour.\n" * 50
SHA = hashlib.sha256(DATA).hexdigest()


@contextmanager
def dataset_hub() -> Iterator[tuple[str, list[str]]]:
    """A Hub with one dataset file, and the requests it was sent."""
    requests: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            requests.append(f"{self.command} {self.path}")
            is_there = self.path == f"/datasets/org/mix/resolve/{COMMIT}/de/chat.txt"
            self.send_response(200 if is_there else 404)
            if not is_there:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{SHA}"')
            self.send_header("Content-Length", str(len(DATA) if is_there else 0))
            self.end_headers()
            if body and is_there:
                self.wfile.write(DATA)

        def log_message(self, *_args: object) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def workplace(
    folder: Path, source: Mapping[str, object], url: str = "http://127.0.0.1:9"
) -> Workplace:
    settings = load(workdir=folder / "work", hub={"endpoint": url}, calibration={"texts": [source]})
    return Workplace(settings, Narrator(quiet=True), None)


def only(workplace: Workplace) -> CalibrationSource:
    return workplace.settings.calibration.texts[0]


def test_a_text_of_a_dataset_is_fetched_once_and_described(tmp_path: Path) -> None:
    source = {"dataset": "org/mix", "commit": COMMIT, "file": "de/chat.txt", "licence": "CC0-1.0"}
    with dataset_hub() as (url, requests):
        at_work = workplace(tmp_path, source, url)
        (text,) = calibration_texts(at_work)
        assert read_text(at_work, only(at_work)) == DATA.decode().removesuffix("\n")
        assert len([request for request in requests if request.startswith("GET")]) == 1
    assert (text.name, text.sha256, text.licence) == ("chat.txt", SHA, "CC0-1.0")
    assert text.origin == f"org/mix at {COMMIT}, de/chat.txt"


def test_a_hash_in_the_settings_spares_the_fetch_until_the_text_is_needed(tmp_path: Path) -> None:
    named = {"dataset": "org/mix", "commit": COMMIT, "file": "de/chat.txt", "sha256": SHA}
    with dataset_hub() as (url, requests):
        at_work = workplace(tmp_path, named, url)
        assert calibration_texts(at_work)[0].sha256 == SHA
        assert requests == []
        assert read_text(at_work, only(at_work)) == DATA.decode().removesuffix("\n")


def test_another_content_than_named_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    path.write_bytes(DATA)
    at_work = workplace(tmp_path, {"path": str(path), "sha256": "0" * 64})
    with pytest.raises(SettingsError, match=f"has sha256 {SHA}, not 000"):
        read_text(at_work, only(at_work))


def test_a_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"chat\.txt does not exist"):
        calibration_texts(workplace(tmp_path, {"path": str(tmp_path / "chat.txt")}))
    with dataset_hub() as (url, _asked):
        missing = {"dataset": "org/mix", "commit": COMMIT, "file": "none.txt"}
        with pytest.raises(SourceError, match=r"none\.txt"):
            calibration_texts(workplace(tmp_path, missing, url))


def test_line_ends_stay_as_they_are_and_the_last_goes(tmp_path: Path) -> None:
    """As -f of llama-imatrix reads: what the text's sha256 is of is what the model sees."""
    path = tmp_path / "chat.txt"
    path.write_bytes(b"one\r\ntwo\rthree\n\n")
    workplace = Workplace(load(workdir=tmp_path / "work"), Narrator(quiet=True), None)
    assert read_text(workplace, CalibrationSource(path=path)) == "one\r\ntwo\rthree\n"


def test_a_text_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    path.write_bytes(b"\xff\xfe")
    at_work = workplace(tmp_path, {"path": str(path)})
    with pytest.raises(SettingsError, match="not UTF-8"):
        read_text(at_work, only(at_work))
