"""Where probes say little, the tier by roles is what a fit must beat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields

import numpy as np
import pytest

from bot.fitting.fitter import Measures, Target, TypeFitter, stored_bytes
from bot.fitting.sixteen import StoredTensor
from bot.records.measured import Divergence
from bot.records.sensitivity import Fitted, ProbeText, Sensitivity

ERRORS = {"Q2_K": 0.09, "Q3_K": 0.03, "Q4_K": 0.008, "Q6_K": 0.0006, "Q8_0": 0.00004}
NAMES = tuple(f"blk.{n}.ffn_up.weight" for n in range(8))
LENGTH, ROWS = 256, 64


def tensor(name: str) -> StoredTensor:
    data = np.zeros(0, np.uint8)
    return StoredTensor(name=name, kind="BF16", length=LENGTH, rows=ROWS, matrices=1, data=data)


class FakeProber:
    """A model whose divergence is a sum by tensor that is known beforehand."""

    def __init__(self, truth: Mapping[str, float]) -> None:
        self._truth, self._types = truth, dict[str, str]()

    @contextmanager
    def rounded(self, types: Mapping[str, str]) -> Iterator[None]:
        self._types = dict(types)
        yield
        self._types = {}

    def divergence(self) -> tuple[Divergence, tuple[float, ...]]:
        mean = sum(self._truth[name] * ERRORS.get(kind, 0.0) for name, kind in self._types.items())
        chunks = tuple(mean * share for share in (0.9, 1.0, 1.1))
        numbers = dict.fromkeys((each.name for each in fields(Divergence)), 0.0)
        return Divergence(**numbers | {"mean": mean}), chunks


def fitted(truth: Mapping[str, float], room: int, like: Mapping[str, str], probed: bool) -> Fitted:
    """A tier of eight tensors whose probes, if any, tell the truth and whose energies lie."""
    tensors = {name: tensor(name) for name in NAMES}
    groups = tuple((name,) for name in NAMES) if probed else ()
    found = Sensitivity(
        source_sha256="0" * 64,
        matrix_sha256=None,
        read=ProbeText(texts=(), chunks=(3,), context=64),
        llama_cpp="b1",
        groups=groups,
        probes=(),
        rounding=dict.fromkeys(NAMES, ERRORS),
        energy={name: float(n + 1) for n, name in enumerate(NAMES)},  # the last seem to matter
    )
    measures = Measures(FakeProber(truth), (), lambda _: None, lambda: None)  # type: ignore[arg-type]
    fitter = TypeFitter(measures, tensors, dict.fromkeys(NAMES, tuple(ERRORS)), groups, found)
    fitter.sense()
    target = Target(
        tier="Fit-X", room=room, asked_bytes=room, like="X", like_types=like, like_bytes=room
    )
    return fitter.fit(target, 0)


FIRST_MATTER = {name: 2.0 ** (2 - n) for n, name in enumerate(NAMES)}
BY_ROLES = {name: "Q6_K" if n < 2 else "Q3_K" for n, name in enumerate(NAMES)}


def size(types: Mapping[str, str]) -> int:
    return sum(stored_bytes(tensor(name), kind) for name, kind in types.items())


def test_without_probes_the_tier_by_roles_is_taken_where_it_is_better() -> None:
    fit = fitted(FIRST_MATTER, size(BY_ROLES), BY_ROLES, probed=False)
    assert fit.by_roles
    assert dict(fit.types) == BY_ROLES
    assert fit.measured == fit.like_measured


def test_with_probes_the_choice_beats_it() -> None:
    fit = fitted(FIRST_MATTER, size(BY_ROLES), BY_ROLES, probed=True)
    assert not fit.by_roles
    assert fit.like_measured is not None
    assert fit.measured < fit.like_measured


@pytest.mark.parametrize("beside", [-3000, -200, 200, 5000])
def test_it_is_made_to_fit(beside: int) -> None:
    room = size(BY_ROLES) + beside
    fit = fitted(FIRST_MATTER, room, BY_ROLES, probed=False)
    assert fit.by_roles
    assert size(fit.types) <= room
    changed = {name for name in NAMES if fit.types[name] != BY_ROLES[name]}
    smaller = {n for n in changed if size({n: fit.types[n]}) < size({n: BY_ROLES[n]})}
    if beside > 0:
        assert not smaller
    else:
        assert smaller
        assert len(changed) <= 3
