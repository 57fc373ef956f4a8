"""Numbers that others measured: the APEX project's result files and logs of llama-perplexity.

They are marked as imported wherever they stand: neither the text nor the machine is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bot.disk.hashes import sha256
from bot.errors import SettingsError
from bot.records.measured import Imported

LARGEST = 64 << 20  # bytes; a log of a long run has a line for each chunk
_KLD = {"mean": "kl_mean", "median": "kl_median", "p999": "kl_99_9", "max": "kl_max"}
_CHOICES = {
    "HellaSwag": "hellaswag",
    "Winogrande": "winogrande",
    "MMLU": "mmlu",
    "ARC-Challenge": "arc_challenge",
    "TruthfulQA": "truthfulqa",
}
_SPEED = {"pp512": "pp512_ts", "tg128": "tg128_ts"}
# columns after the name in the project's two tables, told apart by how many there are
_BASELINES = ("ppl", "HellaSwag", "mean", "median", "max")
_TIERS = ("mean", "max", "p999", "median")
_ROW = re.compile(r"^(\S+)((?: [\d.]+)+)$")
_LOG = {
    "mean": r"^Mean    KLD: +(-?[\d.]+) ± +([\d.]+)",
    "max": r"^Maximum KLD: +(-?[\d.]+)",
    "p999": r"^99\.9%   KLD: +(-?[\d.]+)",
    "p99": r"^99\.0%   KLD: +(-?[\d.]+)",
    "p95": r"^95\.0%   KLD: +(-?[\d.]+)",
    "p90": r"^90\.0%   KLD: +(-?[\d.]+)",
    "median": r"^Median  KLD: +(-?[\d.]+)",
}


def read_imported(path: Path) -> tuple[Imported, ...]:
    """The rows of a file. Raises SettingsError when it holds nothing that is known."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise SettingsError(f"{path} is no file of results; check evaluation.imported")
    origin = f"{path.name}, sha256 {sha256(path)}"
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".json":
        rows: tuple[Imported, ...] = (_json(path, text, origin),)
    else:
        rows = _table(text, origin) or _log(path.stem, text, origin)
    if not rows:
        raise SettingsError(
            f"{path} holds no results of the APEX project or of llama-perplexity; "
            "check evaluation.imported"
        )
    return rows


def _json(path: Path, text: str, origin: str) -> Imported:
    try:
        document: Any = json.loads(text)
        name = str(document["model"])[:200]
        size = _number(document, "size_gb")
        return Imported(
            name=name,
            origin=origin,
            bytes=None if size is None else round(size * (1 << 30)),  # its "GB" are GiB
            perplexity=_number(document, "perplexity"),
            perplexity_error=_number(document, "ppl_error"),
            kld=_named(document, _KLD),
            choices={name: share / 100 for name, share in _named(document, _CHOICES).items()},
            speed=_named(document, _SPEED),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SettingsError(
            f"{path} is no result file of the APEX project; check evaluation.imported"
        ) from error


def _number(document: Mapping[str, Any], key: str) -> float | None:
    value = document.get(key)
    return None if value is None else float(value)


def _named(document: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, float]:
    numbers = {name: _number(document, key) for name, key in keys.items()}
    return {name: value for name, value in numbers.items() if value is not None}


def _table(text: str, origin: str) -> tuple[Imported, ...]:
    lines = [line for line in text.splitlines() if line.strip()]
    matches = [_ROW.match(line) for line in lines]
    rows = [(m[1], [float(n) for n in m[2].split()]) for m in matches if m]
    if len(rows) < len(lines) or len({len(numbers) for _, numbers in rows}) != 1:
        return ()
    columns = {5: _BASELINES, 4: _TIERS}.get(len(rows[0][1]))
    if columns is None:
        return ()
    return tuple(
        _of_table(name, dict(zip(columns, numbers, strict=True)), origin) for name, numbers in rows
    )


def _of_table(name: str, values: dict[str, float], origin: str) -> Imported:
    ppl, share = values.pop("ppl", None), values.pop("HellaSwag", None)
    return Imported(
        name=name,
        origin=origin,
        perplexity=ppl,
        kld=values,
        choices={} if share is None else {"HellaSwag": share / 100},
    )


def _log(name: str, text: str, origin: str) -> tuple[Imported, ...]:
    kld: dict[str, float] = {}
    for key, pattern in _LOG.items():
        if match := re.search(pattern, text, re.MULTILINE):
            kld[key] = float(match[1])
            if key == "mean":
                kld["mean_error"] = float(match[2])
    ppl = re.search(r"PPL(?:\(Q\))?\s*[:=] *([\d.]+) (?:\+/-|±) +([\d.]+)", text)
    choices: dict[str, float] = {}
    tasks = re.findall(r"^\d+\t([\d.]+)%\t\[", text, re.MULTILINE)
    if tasks:
        choices["HellaSwag"] = float(tasks[-1]) / 100
    if match := re.search(r"Final Winogrande score\(\d+ tasks\): ([\d.]+)", text):
        choices["Winogrande"] = float(match[1]) / 100
    if match := re.search(r"^Final result: ([\d.]+) \+/-", text, re.MULTILINE):
        choices["multiple choice"] = float(match[1]) / 100
    if not (kld or ppl or choices):
        return ()
    return (
        Imported(
            name=name,
            origin=origin,
            perplexity=float(ppl[1]) if ppl else None,
            perplexity_error=float(ppl[2]) if ppl else None,
            kld=kld,
            choices=choices,
        ),
    )
