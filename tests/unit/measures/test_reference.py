import pytest

from bot.errors import CapacityError
from bot.measures.reference import (
    Free,
    Need,
    Preference,
    ReferenceChoice,
    choose,
    need,
    require_memory,
)

GB = 10**9


def chosen(
    preference: Preference = "auto", candidates: int = 9, disk: int = 100, memory: int = 100
) -> ReferenceChoice:
    """71 GB of log-probabilities, two models of 70 and 20 GB."""
    return choose(
        preference,
        candidates=candidates,
        disk=71 * GB,
        free_disk=disk * GB,
        both=Need(device=90 * GB, host=2 * GB),
        free=Free(host=memory * GB),
    )


def test_several_candidates_share_a_file_and_one_runs_beside() -> None:
    assert not chosen().beside
    assert chosen(candidates=1).beside
    assert "71.00 GB of log-probabilities on disk, for 9" in chosen().reason


def test_what_does_not_fit_decides() -> None:
    assert chosen(disk=70).beside
    assert not chosen(candidates=1, memory=91).beside
    assert chosen("beside").beside
    assert not chosen("file", candidates=1).beside


@pytest.mark.parametrize(
    ("preference", "disk", "memory", "message"),
    [
        ("auto", 70, 91, "70.00 GB of disk are free, and beside .* need|92.00 GB of memory"),
        ("file", 70, 100, "71.00 GB of log-probabilities, 70.00 GB of disk"),
        ("beside", 100, 91, "together need 92.00 GB of memory, 91.00 GB are free"),
        ("auto", -1, 91, "0.00 GB of disk"),
    ],
)
def test_both_shortages_are_named(
    preference: Preference, disk: int, memory: int, message: str
) -> None:
    with pytest.raises(CapacityError, match=message):
        chosen(preference, disk=disk, memory=memory)


def test_memory_of_a_gpu_and_of_its_host_are_counted_apart() -> None:
    needed = need(10 * GB, 248_320, 1024, lanes=2)
    assert needed.host == 2 * 4 * 248_320 * 1024
    assert needed.device > 11 * GB
    assert Free(host=3 * GB, device=16 * GB).holds(needed)
    assert not Free(host=3 * GB, device=10 * GB).holds(needed)
    assert not Free(host=12 * GB).holds(needed)
    with pytest.raises(CapacityError, match=r"a.gguf needs .* GB on the GPU and 2.03 GB beside it"):
        require_memory("a.gguf", needed, Free(host=1 * GB, device=16 * GB))
    require_memory("a.gguf", needed, Free(host=20 * GB))
