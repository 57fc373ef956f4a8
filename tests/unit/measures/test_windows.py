"""Texts as they are read, and cut into windows."""

from pathlib import Path

import pytest

from bot.clients.llama.session import Session
from bot.errors import SettingsError
from bot.measures.logits import Ints
from bot.measures.tasks import read_tasks
from bot.measures.windows import cut, read_evaluation_text


def test_a_text_shorter_than_two_chunks_is_refused(demo_model: Path) -> None:
    with (
        Session(demo_model, n_ctx=32, threads=1) as session,
        pytest.raises(SettingsError, match="less than two chunks of 128"),
    ):
        cut(session, "short", context=128)


def test_a_text_is_read_as_the_tool_reads_it(tmp_path: Path, demo_model: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"one\r\ntwo \xc3\xa4\n\n")
    text = read_evaluation_text(path)
    assert text.encode("utf-8") == b"one\r\ntwo \xc3\xa4\n"
    with Session(demo_model, n_ctx=32, threads=1) as session:
        assert session.tokenize(text)


@pytest.mark.parametrize(
    ("data", "at"),
    [
        ("plain words".encode("utf-16"), 0),  # begins with a byte order mark
        ("plain words".encode("utf-16-le"), 1),  # zero bytes apart this is UTF-8
        ("plain words".encode("utf-16-be"), 0),
        ("plain words".encode("utf-32-le"), 1),
        ("schöne Wörter".encode("latin-1"), 3),
        ("白い紙".encode("shift-jis"), 0),
        ("白い紙".encode("gb18030"), 0),
    ],
)
def test_a_text_that_is_not_utf8_is_refused(tmp_path: Path, data: bytes, at: int) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match=rf"text\.txt is not UTF-8 at byte {at}; convert it"):
        read_evaluation_text(path)
    with pytest.raises(SettingsError, match="is not UTF-8"):
        read_tasks(path, "hellaswag", None)


def test_strided_windows_score_their_last_tokens(demo_model: Path, demo_text: str) -> None:
    with Session(demo_model, n_ctx=32, threads=1) as session:
        tokens = session.tokenize(demo_text)
        windows = cut(session, demo_text, context=96, stride=32, limit=5)
        with pytest.raises(SettingsError, match=r"lower evaluation\.stride"):
            cut(session, demo_text, context=96, stride=96)
    assert windows.tokens[2].tolist() == tokens[64 : 64 + 96]
    assert (windows.first, windows.scored) == (63, 32)
    targets: Ints = windows.targets(0)
    assert targets[:32].tolist() == tokens[64:96]
    assert targets[32:64].tolist() == tokens[96:128]  # each token once
