"""What people read of a refreshed release."""

from __future__ import annotations

from dataclasses import replace

from bot.cli.text.refreshed import release_text
from bot.refresh.metadata import KeyChange
from bot.release.refreshing import RefreshedRelease

DONE = RefreshedRelease(
    repo_id="me/M-GGUF",
    url="http://hub/me/M-GGUF",
    source="lab/M@" + "b" * 40,
    before="a" * 40,
    texts=("chat_template.jinja",),
    keys=(KeyChange(key="tokenizer.chat_template", was=None, now="99 letters"),),
    tensors={"M-APEX-I-Mini.gguf": "c" * 64},
    commit="d" * 40,
    changed=("M-APEX-I-Mini.gguf",),
)


def test_what_changed_and_what_stayed_is_told() -> None:
    lines = release_text(DONE).splitlines()
    assert lines[1].split() == ["tokenizer.chat_template", "-", "99", "letters"]
    assert lines[3:] == [
        "changed in the source: chat_template.jinja",
        "its metadata was of aaaaaaaaaaaa, numbers stay as they are",
        "M-APEX-I-Mini.gguf: every tensor is what it was (cccccccccccc)",
        f"http://hub/me/M-GGUF, commit {'d' * 40}",
    ]


def test_what_was_not_sent_is_not_told_as_if() -> None:
    rehearsed = replace(DONE, commit=None, tensors={}, changed=())
    assert release_text(rehearsed).endswith("nothing was written or sent")
    waiting = replace(DONE, waiting="http://hub/me/M-GGUF/discussions/1")
    assert "merge http://hub/me/M-GGUF/discussions/1" in release_text(waiting)
    same = replace(DONE, texts=(), keys=())
    assert release_text(same) == f"{DONE.url} has the metadata of {DONE.source} already"
