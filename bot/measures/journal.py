"""What a pass has measured so far, token by token, kept on disk group after group.

The file: `APEXSCOR`, 32 bytes of the digest of all that decides the values, then a record for each
group: count u32, crc32 u32, `count` values of `TOKEN`. A record that is not whole is not there.
"""

from __future__ import annotations

import os
import zlib
from base64 import b64decode, b64encode
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAGIC = b"APEXSCOR"
TOKEN = np.dtype(
    [
        ("nll", "<f4"),  # -ln p of the true token
        ("nll_base", "<f4"),  # the same of the reference
        ("kld", "<f8"),  # nats
        ("delta_p", "<f4"),  # p(candidate) - p(reference) of the true token
        ("same_top", "?"),
    ]
)
Values = NDArray[np.void]  # of dtype TOKEN


def empty(count: int) -> Values:
    """Room for `count` tokens."""
    return np.zeros(count, TOKEN)


def coded(values: Values) -> str:
    """A group's values as text, on their way between processes."""
    return b64encode(values.tobytes()).decode()


def values_of(text: str) -> Values:
    """The values that `coded` gave as text. Raises ValueError for anything else."""
    return np.frombuffer(b64decode(text, validate=True), TOKEN)


class Journal:
    """The finished groups of a pass; whoever opens it again with the same key goes on there."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self._head = MAGIC + bytes.fromhex(key)
        self.groups, size = _read(path, self._head)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not size:
            path.write_bytes(self._head)
        else:
            os.truncate(path, size)

    def add(self, values: Values) -> None:
        """Keep the next group."""
        data = values.tobytes()
        record = np.array([len(values), zlib.crc32(data)], np.uint32).tobytes() + data
        with self.path.open("ab") as file:
            file.write(record)
        self.groups.append(values)

    def keep(self, groups: int) -> None:
        """Keep so many groups, none to start anew: what the others rest on is gone."""
        del self.groups[groups:]
        size = sum(8 + values.nbytes for values in self.groups)
        os.truncate(self.path, len(self._head) + size)

    @property
    def values(self) -> Values:
        """All tokens so far, in the order of the text."""
        return np.concatenate(self.groups) if self.groups else empty(0)

    @property
    def coded(self) -> list[str]:
        """All groups so far, each as text."""
        return [coded(group) for group in self.groups]


class Passing(Journal):
    """Of a pass that nobody goes on with: its groups are kept as long as it takes."""

    def __init__(self) -> None:
        self.groups = []

    def add(self, values: Values) -> None:
        """Keep the next group."""
        self.groups.append(values)

    def keep(self, groups: int) -> None:
        """Keep so many groups."""
        del self.groups[groups:]


def _read(path: Path, head: bytes) -> tuple[list[Values], int]:
    """Whole groups under `head`, and the bytes they take with it; 0 where the head is another."""
    data = path.read_bytes() if path.is_file() else b""
    if not data.startswith(head):
        return [], 0
    groups: list[Values] = []
    place = len(head)
    while len(data) >= place + 8:
        count, crc = (int(n) for n in np.frombuffer(data, np.uint32, 2, place))
        body = data[place + 8 : place + 8 + count * TOKEN.itemsize]
        if len(body) != count * TOKEN.itemsize or zlib.crc32(body) != crc:
            break
        groups.append(np.frombuffer(body, TOKEN))
        place += 8 + len(body)
    return groups, place
