"""A file behind another header: every tensor bit for bit, at any instant of being stopped."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bot.clients.files.gguf import read_gguf
from bot.clients.files.ggufheader import read_header
from bot.disk import space
from bot.disk.writing import partial_of
from bot.errors import CapacityError, SourceError
from bot.refresh import metadata, rewriting
from bot.settings.sections import DEMO
from tests.split_gguf import shrink

MODEL = DEMO / "tiny-moe-Q8_0.gguf"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.gguf"
    shrink(MODEL, path, layers=1, experts=2)
    rewriting.rewrite(plan(path, "x" * 100), path, reserve=0, report=quiet)
    return path


def quiet(_done: int, _total: int) -> None:
    pass


def tensors(path: Path) -> dict[str, str]:
    """Each tensor's sha256, by gguf's own reader."""
    import gguf  # noqa: TID251 - the other opinion

    reader = gguf.GGUFReader(path)
    return {t.name: hashlib.sha256(t.data.tobytes()).hexdigest() for t in reader.tensors}


def plan(path: Path, template: str) -> rewriting.Rewriting:
    keys = read_header(path).keys
    return rewriting.planned(path, metadata.edited(keys, metadata.with_template(template)))


@pytest.mark.parametrize("length", [0, 10, 50_000])
def test_tensors_are_bit_for_bit_and_only_the_header_changes(
    small: Path, tmp_path: Path, length: int
) -> None:
    target, reports = tmp_path / "new.gguf", list[tuple[int, int]]()
    wanted = plan(small, "y" * length)
    made = rewriting.rewrite(
        wanted, target, reserve=0, report=lambda done, total: reports.append((done, total))
    )
    assert made.tensors == tensors(small) == tensors(target)
    assert made.file.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert made.file.bytes == target.stat().st_size == wanted.new_size
    offset = read_header(small).data_offset
    assert target.read_bytes()[offset + wanted.moved :] == small.read_bytes()[offset:]
    assert (wanted.moved == 0) == (length < 1_000)
    assert read_gguf(target).metadata["tokenizer.chat_template"] == "y" * length
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert not partial_of(target).exists()


def test_a_file_is_replaced_as_a_whole_and_a_link_leaves_what_it_leads_to(
    small: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(small)
    before = small.read_bytes()
    rewriting.rewrite(plan(link, "new"), link, reserve=0, report=quiet)
    assert small.read_bytes() == before
    assert not link.is_symlink()
    assert read_gguf(link).metadata["tokenizer.chat_template"] == "new"


@pytest.mark.parametrize("at", [0, 10, 40, 4_096, 200_000, 400_000, None])
@pytest.mark.parametrize("damage", [False, True])
def test_stopped_anywhere_it_goes_on_and_never_believes_what_was_left(
    small: Path, tmp_path: Path, at: int | None, damage: bool
) -> None:
    target, wanted = tmp_path / "new.gguf", plan(small, "new")
    rewriting.rewrite(wanted, target, reserve=0, report=quiet)
    whole = target.read_bytes()
    left = bytearray(whole[:at])
    if at is not None and at > 40:
        left[: len(wanted.head)] = wanted.mark.ljust(len(wanted.head), b"\0")[:at]
    if damage and len(left) > len(wanted.head):
        left[-1] ^= 1
    target.unlink()
    partial_of(target).write_bytes(left)
    made = rewriting.rewrite(wanted, target, reserve=0, report=quiet)
    assert target.read_bytes() == whole
    assert made.tensors == tensors(small)


def test_what_another_rewriting_left_is_not_gone_on_with(small: Path, tmp_path: Path) -> None:
    target, other = tmp_path / "new.gguf", plan(small, "other")
    partial_of(target).write_bytes(other.mark + bytes(500_000))
    rewriting.rewrite(plan(small, "new"), target, reserve=0, report=quiet)
    assert tensors(target) == tensors(small)


def test_a_file_that_does_not_fit_leaves_the_old_one(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "free_disk", lambda _folder: 100_000)
    with pytest.raises(CapacityError, match="free some"):
        rewriting.rewrite(plan(small, "new"), tmp_path / "new.gguf", reserve=0, report=quiet)
    assert not (tmp_path / "new.gguf").exists()


def test_a_damaged_file_is_refused(small: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(small.read_bytes()[:-100])
    with pytest.raises(SourceError, match="shorter than its header says"):
        rewriting.planned(cut, read_header(cut).keys)
