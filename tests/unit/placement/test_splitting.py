"""Which experts stay in main memory: against every choice there is, asked of llama.cpp itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path

import pytest

from bot.apart.worker import away
from bot.clients.llama.placing import Asked, Placed
from bot.placement.machines import Machine
from bot.placement.onpaper import OnPaper, put_on_paper
from bot.placement.splitting import Places, fewest
from bot.settings.settings import load
from bot.workplace.children import room_for
from bot.workplace.loaded import placed
from tests.split_gguf import shrink

MIB = 1 << 20


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, demo_candidate: Path) -> OnPaper:
    """The demo model's first four layers, on paper."""
    folder = tmp_path_factory.mktemp("small")
    shrink(demo_candidate, folder / "small.gguf", layers=4, experts=6)
    return put_on_paper(folder / "small.gguf", folder / "paper.gguf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, demo_candidate: Path) -> OnPaper:
    return put_on_paper(demo_candidate, tmp_path_factory.mktemp("whole") / "paper.gguf")


def asking(paper: OnPaper, folder: Path) -> Callable[[Asked], Placed]:
    settings = load(None, workdir=folder)
    return lambda asked: away(placed, room_for(settings, paper.path))(paper.path, asked)


def places_of(paper: OnPaper, folder: Path, **setup: object) -> Places:
    asked = Asked(cards=0, n_ctx=4096, **setup)  # type: ignore[arg-type]
    return Places(asking(paper, folder), paper.layers, asked)


def machine(*cards: float) -> Machine:
    """Cards of so many MiB, nothing of which stays free, and as much main memory as is wanted."""
    sizes = tuple(int(card * MIB) for card in cards)
    return Machine(cards=sizes, memory=1 << 40, spare=0, spare_memory=0)


def brute(places: Places, layers: int, where: Machine) -> int | None:
    """Fewest bytes of experts in main memory over all sets of layers and all divisions."""
    numbers = list(places.experts())
    counts = range(len(numbers) + 1)
    sets = [chosen for count in counts for chosen in combinations(numbers, count)]
    divisions: list[tuple[int, ...]] = [()]
    if len(where.cards) == 2:
        divisions = [(first, layers + 1 - first) for first in range(1, layers + 1)]
    best: int | None = None
    for chosen, parts in product(sets, divisions):
        moved = sum(places.experts()[layer] for layer in chosen)
        if best is not None and moved >= best:
            continue
        if places.split(where, parts=parts, in_memory=chosen).fits(where):
            best = moved
    return best


def required(places: Places, where: Machine, layers: int) -> None:
    split = places.best(where)
    assert split is not None
    assert split.fits(where)
    assert split.moved == brute(places, layers, where)


def test_experts_move_as_few_as_can(small: OnPaper, tmp_path: Path) -> None:
    places = places_of(small, tmp_path)
    whole = places.split(machine(1000)).cards[0] / MIB
    for less in (0.5, 2.2):
        required(places, machine(whole - less), 4)


def test_layers_stay_whole_in_memory_where_no_expert_is_left(
    small: OnPaper, tmp_path: Path
) -> None:
    places = places_of(small, tmp_path)
    experts = tuple(places.experts())
    least = places.split(machine(1000), in_memory=experts).cards[0] / MIB
    split = places.best(machine(least - 2))
    assert split is not None
    assert split.asked.in_memory == experts
    assert 0 < split.asked.layers < 5
    assert split.fits(machine(least - 2))


def test_without_a_card_all_is_in_memory(small: OnPaper, tmp_path: Path) -> None:
    places = places_of(small, tmp_path)
    split = places.best(machine())
    assert split is not None
    assert split.memory > sum(places.inventory().weights.values())
    assert places.best(Machine(cards=(), memory=MIB, spare_memory=0)) is None


@pytest.mark.long
@pytest.mark.parametrize("less", [0.5, 1.7, 2.4, 3.6, 4.9, 6.1, 7.2, 8.4])
def test_one_card_of_the_whole_model(whole: OnPaper, tmp_path: Path, less: float) -> None:
    places = places_of(whole, tmp_path)
    required(places, machine(places.split(machine(1000)).cards[0] / MIB - less), 8)


@pytest.mark.long
@pytest.mark.parametrize(("first", "second"), [(24, 24), (22, 24), (21, 22)])
def test_two_cards(small: OnPaper, tmp_path: Path, first: float, second: float) -> None:
    places = places_of(small, tmp_path)
    sizes = places.split(machine(1000, 1000), parts=(2, 3)).cards
    scale = sum(sizes) / MIB / 48
    required(places, machine(first * scale, second * scale), 4)


@pytest.mark.parametrize("least", [0, 1, 7, 30, 31, 100, 153, 154])
def test_fewest_is_what_trying_all_finds(least: int) -> None:
    available = {10: 3, 7: 2, 30: 1, 20: 4}
    sums = {
        sum(size * count for size, count in zip(available, counts, strict=True))
        for counts in product(*(range(count + 1) for count in available.values()))
    }
    best = min((total for total in sums if total >= least), default=None)
    chosen = fewest(available, least)
    if best is None:
        assert chosen is None
        return
    assert chosen is not None
    assert sum(size * count for size, count in chosen.items()) == best
    assert all(count <= available[size] for size, count in chosen.items())
