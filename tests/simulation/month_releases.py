"""Releases of a busy month: their sizes, when they come, and how long each keeps one machine."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal

Class = Literal["small", "middle", "large", "giant"]
CLASSES: tuple[Class, ...] = ("small", "middle", "large", "giant")

DAY, HOUR = 86_400.0, 3_600.0
DAYS = 30.0


@dataclass(frozen=True, kw_only=True)
class Published:
    """A mixture of experts as its maker publishes it; figures of its name, card or config."""

    name: str
    size: Class
    parameters: float  # 10^9
    active: float  # 10^9
    bits: float = 16.0  # of a weight as it is published
    times: int = 1  # so many releases of the month are like it: itself, and what is made of it

    @property
    def bytes(self) -> int:
        """Of the published weights: what a listing tells."""
        return int(self.parameters * 1e9 * self.bits / 8)

    @property
    def sixteen(self) -> float:
        """Bytes of its weights in 16 bits."""
        return self.parameters * 2e9


def _one(name: str, size: Class, parameters: float, active: float, times: int) -> Published:
    return Published(name=name, size=size, parameters=parameters, active=active, times=times)


def _fp8(name: str, size: Class, parameters: float, active: float, times: int) -> Published:
    return Published(
        name=name, size=size, parameters=parameters, active=active, times=times, bits=8
    )


# small: up to 50; middle: up to 150; large: up to 500; giant: more (10^9 parameters)
MONTH = (
    _one("granite-3.1-3b-a800m", "small", 3.3, 0.8, 4),
    _one("SmallThinker-4BA0.6B", "small", 4.3, 0.6, 3),
    _one("OLMoE-1B-7B", "small", 6.9, 1.3, 4),
    _one("DeepSeek-V2-Lite", "small", 15.7, 2.4, 4),
    Published(name="gpt-oss-20b", size="small", parameters=21, active=3.6, bits=4.9, times=3),
    _one("gemma-4-26B-A4B", "small", 26, 4, 4),
    _one("Qwen3-30B-A3B", "small", 30.5, 3.3, 7),
    _one("Qwen3.6-35B-A3B", "small", 35, 3, 7),
    _one("Kimi-Linear-48B-A3B", "small", 48, 3, 1),
    _one("Qwen3-Next-80B-A3B", "middle", 80, 3, 3),
    _one("Llama-4-Scout-17B-16E", "middle", 109, 17, 2),
    Published(name="gpt-oss-120b", size="middle", parameters=117, active=5.1, bits=4.2, times=2),
    _one("Qwen3.5-122B-A10B", "middle", 122, 10, 3),
    _fp8("MiniMax-M2.7", "large", 229, 10, 2),
    _one("Qwen3-235B-A22B", "large", 235, 22, 3),
    _one("Llama-4-Maverick-17B-128E", "large", 400, 17, 1),
    _one("MiniMax-M1-80k", "large", 456, 46, 1),
    _fp8("DeepSeek-V3.2", "giant", 685, 37, 3),
    _one("GLM-5.2", "giant", 744, 40, 2),
    _fp8("Kimi-K2", "giant", 1_026, 32, 1),
)  # sixty


@dataclass(frozen=True, kw_only=True)
class Box:
    """One machine. What is assumed of it is said; rates of the bot are of docs/speed.md."""

    line: float = 125e6  # bytes a second each way: 1 Gbit/s, assumed
    threads: int = 16  # assumed
    disk: float = 1e9  # bytes a second, reading and writing at once: assumed
    card: float = 80e9  # bytes of the card's memory
    memory: float = 512e9  # bytes of the machine's
    link: float = 25e9  # bytes a second to the card: PCIe 4.0 with 16 lanes, less its overhead
    swap: float = 5e9  # bytes a second of what the memory does not hold, read anew: one NVMe
    multiply: float = 100e12  # operations a second: a third of what an A100's card says


# type of the middle layers' experts: in so many of the nine tiers, ns a weight and thread
# (docs/speed.md, with importance), bits a weight (ggml-common.h)
MIDDLE_EXPERTS = {
    "Q5_K": (2, 20.7, 5.5),
    "IQ4_XS": (2, 7.9, 4.25),
    "Q3_K": (2, 7.1, 3.4375),
    "IQ2_S": (1, 55.6, 2.5625),
    "IQ2_XXS": (1, 62.4, 2.0625),
    "IQ1_M": (1, 25.3, 1.75),
}
TIERS = sum(times for times, _ns, _bits in MIDDLE_EXPERTS.values())
QUANTIZING = sum(times * ns for times, ns, _bits in MIDDLE_EXPERTS.values()) * 1e-9
TIER_BITS = sum(times * bits for times, _ns, bits in MIDDLE_EXPERTS.values())
CALIBRATED = 300_000  # tokens: assumed
MEASURED = 390_000  # tokens of a file: WikiText-2's test split, and 400 tasks of HellaSwag
BATCH = 2_048  # tokens decoded together
PASSES = 3  # tiers go through the lanes in so many groups


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """Seconds of a release on each lane of a box."""

    down: float
    cpu: float
    gpu: float
    up: float
    convert: float  # of cpu: what comes before the tiers
    reference: float  # of gpu: calibration, and the 16-bit model's numbers

    @property
    def seconds(self) -> float:
        """All of it: the source comes first, then groups of tiers follow each other on the rest."""
        rest = (self.cpu, self.gpu, self.up)
        return self.down + max(rest) + (sum(rest) - max(rest)) / PASSES

    @property
    def prepare(self) -> float:
        """The first job of release.yml."""
        return self.down + self.convert + self.reference

    @property
    def quantize(self) -> float:
        """One of its jobs that make and measure a group of tiers."""
        return (self.cpu - self.convert + self.gpu - self.reference) / PASSES


def lanes(sixteen: float, active: float, box: Box = Box()) -> Lanes:
    """How long a release of so many bytes in 16 bits and active parameters keeps a box busy."""
    weights, file = sixteen / 2, sixteen / 16 * TIER_BITS / TIERS
    convert = 2 * sixteen / box.disk  # written, and read again for its hash
    reference = (CALIBRATED + MEASURED) * _token(sixteen, active, box)
    return Lanes(
        down=sixteen / box.line,
        cpu=convert + weights * QUANTIZING / box.threads,
        gpu=reference + TIERS * MEASURED * _token(file, active, box),
        up=file * TIERS / box.line,
        convert=convert,
        reference=reference,
    )


def _token(size: float, active: float, box: Box) -> float:
    """Seconds of a token, of a batch that has what of a file does not fit into the card."""
    beyond = max(size - box.card, 0.0)
    fetched = beyond / box.link + max(beyond - box.memory, 0.0) / box.swap
    return fetched / BATCH + 2 * active / box.multiply


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A release, when it is queued and what it takes."""

    repo: str
    size: Class
    bytes: int
    at: float  # seconds since the month began
    seconds: float


def month(seed: int, *, slower: float = 1.0, box: Box = Box()) -> tuple[Arrival, ...]:
    """Sixty releases in the order of their coming, every second one on a day of many.

    Eight days of the month have four of them within six hours; the others come at any time. A box
    that is `slower` takes so many times as long for each.
    """
    draw = random.Random(seed)  # noqa: S311 - a simulation
    kinds = [kind for kind in MONTH for _ in range(kind.times)]
    draw.shuffle(kinds)
    days = [draw.uniform(0, DAYS - 1) * DAY for _ in range(8)]
    together = [day + draw.uniform(0, 6 * HOUR) for day in days for _ in range(4)]
    alone = [draw.uniform(0, DAYS) * DAY for _ in kinds[len(together) :]]
    arrivals = []
    for number, (kind, at) in enumerate(zip(kinds, together + alone, strict=True)):
        seconds = lanes(kind.sixteen, kind.active * 1e9, box).seconds * slower
        arrivals.append(
            Arrival(
                repo=f"org{number}/{kind.name}", size=kind.size, bytes=kind.bytes, at=at,
                seconds=seconds,
            )
        )  # fmt: skip
    return tuple(sorted(arrivals, key=lambda arrival: arrival.at))


def months(seed: int, count: int, *, slower: float = 1.0) -> tuple[Arrival, ...]:
    """Different months, one after another."""
    return tuple(
        replace(arrival, at=arrival.at + number * DAYS * DAY, repo=f"{arrival.repo}-{number}")
        for number in range(count)
        for arrival in month(seed * 100 + number, slower=slower)
    )
