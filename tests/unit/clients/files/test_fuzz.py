"""Seeded headers as no honest maker writes them; see tests/fuzz_headers.py for what must hold."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


def fuzz(kind: str, seed: int, count: int) -> dict[str, int]:
    """Read `count` headers in a process of their own, which fails for what must not be."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_headers", kind, str(seed), str(count)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


@pytest.mark.road
@pytest.mark.parametrize("kind", ["gguf", "safetensors"])
def test_2500_headers_are_refused_or_read(kind: str) -> None:
    counts = fuzz(kind, 9, 2_500)
    assert counts["refused"] > 1_500
    assert counts["read"] > 100  # the maker of cases makes whole ones, too
    assert sum(counts.values()) == 2_500


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["gguf", "safetensors"])
def test_50000_headers_are_refused_or_read(kind: str, seed: int) -> None:
    assert sum(fuzz(kind, 100 + seed, 5_000).values()) == 5_000


@pytest.mark.long
def test_headers_as_large_as_may_be() -> None:
    counts = fuzz("large", 0, 0)
    assert counts["read"] >= 3
    assert counts["refused"] >= 6
