"""The command line of a cell, and what a program in one sees."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bot.apart import cell


def command(
    root: Path, *words: str, reads: tuple[Path, ...], writes: tuple[Path, ...]
) -> list[str]:
    root.mkdir(exist_ok=True)
    return cell.command(words, root=root, place=Path("/"), reads=reads, writes=writes)


def test_folders_are_shown_outer_ones_first_and_writing_wins(tmp_path: Path) -> None:
    inner, outer = tmp_path / "a/b", tmp_path / "a"
    line = command(tmp_path / "cell", "/bin/true", reads=(inner, outer, Path("/")), writes=(inner,))
    arguments = line[line.index("cell") + 1 :]
    assert arguments == [
        *(str(tmp_path / "cell"), "/"),
        *("ro", str(outer), "rw", str(inner)),
        *("--", "/bin/true"),
    ]
    assert "--net" in line


def test_the_script_has_its_lists_written_in() -> None:
    script = cell.script()
    for words in (cell.SYSTEM, cell.WORDS, cell.DEVICES, cell.READ_ONLY):
        assert f"in {' '.join(words)};" in script
    assert "in SYSTEM;" not in script


@pytest.mark.skipif(not cell.cell_here(), reason="this system lets no process make cells")
def test_a_program_sees_what_it_is_given_alone(tmp_path: Path) -> None:
    readable, target, hidden = tmp_path / "given", tmp_path / "target", tmp_path / "hidden"
    for folder in (readable, target, hidden):
        folder.mkdir()
        (folder / "file").write_text(folder.name)
    script = (
        f"cat {readable}/file; cat {hidden}/file 2>/dev/null; ls {tmp_path} | tr '\\n' ' '; "
        f"echo x 2>/dev/null > {readable}/file || echo refused; echo made > {target}/file; "
        "ls /home /root 2>/dev/null | wc -l"
    )
    line = command(tmp_path / "cell", "/bin/sh", "-c", script, reads=(readable,), writes=(target,))
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "givengiven target refused\n0\n"
    assert (readable / "file").read_text() == "given"
    assert (target / "file").read_text() == "made\n"
    assert not list((tmp_path / "cell").iterdir())
