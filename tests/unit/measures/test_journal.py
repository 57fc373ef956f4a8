from pathlib import Path

import numpy as np
import pytest

from bot.measures.journal import Journal, empty

KEY, OTHER = "ab" * 32, "cd" * 32


def group(seed: int, count: int = 7) -> np.ndarray:
    values = empty(count)
    values["kld"] = np.random.default_rng(seed).random(count)
    values["same_top"] = values["kld"] > 0.5
    return values


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "tokens"
    first = Journal(path, KEY)
    first.add(group(1))
    first.add(group(2, 3))
    again = Journal(path, KEY)
    assert np.array_equal(again.values, np.concatenate([group(1), group(2, 3)]))
    again.keep(1)
    again.add(group(3))
    assert np.array_equal(Journal(path, KEY).values, np.concatenate([group(1), group(3)]))


@pytest.mark.parametrize("cut", [1, 8, 100, 200])
def test_a_record_that_is_not_whole_is_not_there(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "tokens"
    journal = Journal(path, KEY)
    journal.add(group(1))
    size = path.stat().st_size
    journal.add(group(2, 20))
    data = path.read_bytes()
    path.write_bytes(data[: size + cut])
    assert len(Journal(path, KEY).groups) == 1
    assert path.stat().st_size == size  # and what is added next is whole


def test_a_damaged_record_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    Journal(path, KEY).add(group(1))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert Journal(path, KEY).groups == []


def test_another_key_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    Journal(path, KEY).add(group(1))
    assert Journal(path, OTHER).groups == []
    assert Journal(path, KEY).groups == []
