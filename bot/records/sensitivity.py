"""How much each tensor of a model matters: sensitivity.json, with all that it depends on.

From it follow the types of a tier of any size, without another probe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.records.measured import Text


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What was measured with some tensors rounded in place and all others as they are.

    `mean` is their divergence in nats over the scored tokens of the text, `error` its standard
    error, `p999` its 99.9 % percentile, `chunks` the mean of each chunk.
    """

    types: Mapping[str, str]  # by tensor
    mean: float
    error: float
    p999: float
    chunks: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ProbeText:
    """What was read for a probe: chunks of the calibration texts, never of a text of results."""

    texts: tuple[Text, ...]
    chunks: tuple[int, ...]  # of each text
    context: int


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Probes of a model, and the error of each type in each tensor.

    `groups` are tensors that were rounded together; `rounding` is by tensor and type: squared error
    over squared size, each weighted by the importance matrix, on a sample of rows; `energy` the
    weighted squared size of a tensor, by which a group's divergence is divided among its tensors.
    """

    version: int = 1
    source_sha256: str
    matrix_sha256: str | None
    read: ProbeText
    llama_cpp: str
    groups: tuple[tuple[str, ...], ...]
    probes: tuple[Probe, ...]
    rounding: Mapping[str, Mapping[str, float]]
    energy: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A tier's types, chosen for a size: what was predicted of them, and what they gave.

    Divergences are mean KLD in nats on the probe text, rounded in place.
    """

    tier: str
    asked_bytes: int  # of the whole file, at most
    types: Mapping[str, str]  # by tensor
    predicted: float
    measured: float
    error: float  # standard error of `measured`
    gap: float  # of the solver, as a share of the best
    rounds: int  # solutions that were measured before this one
    like: str | None = None  # the tier by roles that is nearest in size
    like_types: Mapping[str, str] = field(default_factory=dict)  # of it, by tensor
    like_bytes: int | None = None  # of its file
    like_measured: float | None = None  # what its types gave on the same text
    by_roles: bool = False  # `types` are those of `like`, made to fit: better than any by probes
