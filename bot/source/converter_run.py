"""A run of llama.cpp's converter in a subprocess, and what its last words mean."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bot.apart import sandbox
from bot.apart.sandbox import Limits
from bot.apart.worker import ChildTerms
from bot.errors import BuildError, CapacityError, RefusedError, SourceError
from bot.foreign import last_lines
from bot.source import staging
from bot.source.checkpoint import CheckpointFolder
from bot.toolchain.toolchain import Toolchain

Progress = Callable[[int, int], None]  # bytes written, bytes expected
Mtp = Literal["drop", "keep", "separate"]

_ERROR = re.compile(r"^(?:[\w.]*(?:Error|Exception|Interrupt)\b.*|ERROR:[\w-]+:.*)$")
_DAY = Limits(seconds=24 * 3600)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to convert; see ConvertSettings."""

    mtp: Mtp = "drop"
    projector: Literal["F16", "BF16", "none"] = "F16"
    shard: int | None = None  # bytes a file may have
    threads: int = 1
    reserve: int = 0  # bytes that must stay free on the disk
    limits: Limits = field(default=_DAY)
    terms: ChildTerms = field(default_factory=ChildTerms)  # of what else opens the files


@dataclass(frozen=True)
class ConverterRun:
    """Arguments that all runs of the converter for one checkpoint share."""

    checkpoint: CheckpointFolder
    toolchain: Toolchain
    options: Options
    work: Path
    staged: Path
    name: str
    log: Path


def layer_flags(checkpoint: CheckpointFolder, mtp: Mtp, *, switch: bool) -> tuple[str, ...]:
    """Flags about multi-token prediction layers, where the family's converter takes any.

    --no-nextn is given to every such family: without it the converter asserts for a finetune that
    lost its layers, and promises them in metadata where only the config has them.
    """
    kept = checkpoint.has_mtp and mtp == "keep"
    return ("--no-nextn",) if switch and not kept else ()


def run_converter(
    job: ConverterRun,
    name: str,
    flags: Sequence[str],
    expected: int = 0,
    report: Progress | None = None,
) -> list[Path]:
    """Run the converter once; the files it wrote, in order."""
    out = job.work / f"out-{name}"
    out.mkdir()
    python, home = job.toolchain.python, job.work / "home"
    command = (
        # -E and -s: no PYTHON* variable and no user site; the script's folder alone is importable
        *(str(python.absolute()), "-E", "-s", str(job.toolchain.converter)),
        *(str(job.staged), "--outfile", str(out / name), "--model-name", job.name),
        *("--metadata", str(job.work / "metadata.json"), *flags),
    )

    def watch() -> None:
        if report is not None:
            written = sum(path.stat().st_size for path in out.iterdir())
            report(min(written, expected), expected)

    code = sandbox.run_apart(
        command,
        home=home,
        env=sandbox.environment(python.absolute(), home),
        log=job.log,
        limits=job.options.limits,
        watch=watch,
        reads=_readable(job),
        writes=(job.work.resolve(),),
        isolation_setting=job.options.terms.isolation,
    )
    files = sorted(out.glob("*.gguf"))
    if code or not files:
        raise _failure(job, code)
    return [sandbox.require_made(file, job.name) for file in files]


def _readable(job: ConverterRun) -> tuple[Path, ...]:
    """Folders that the converter may read: its own, its interpreter's, and the checkpoint's.

    A file of the checkpoint may be a link into a cache, an interpreter one into the system's.
    """
    python, folder = job.toolchain.python.absolute(), job.checkpoint.folder.resolve()
    blobs = {path.resolve().parent for path in folder.iterdir() if path.is_symlink()}
    places = (
        *(job.toolchain.tree.resolve(), python.parent.parent, python.resolve().parent.parent),
        *(folder, *blobs),
    )
    return tuple(path for path in dict.fromkeys(places) if not path.is_relative_to("/usr"))


def _failure(job: ConverterRun, code: int) -> BuildError | CapacityError | SourceError:
    """The error for an exit code, with the reason in the converter's log."""
    lines = last_lines(job.log)
    telling = [line for line in lines if _ERROR.match(line)] or [line for line in lines if line]
    reason = " ".join(telling[-1].split())[:300] if telling else "it said nothing"
    if code == -9:
        return CapacityError(f"the converter was killed, likely for memory; its log is {job.log}")
    if any("No space left on device" in line for line in lines[-50:]):
        return CapacityError(f"the disk is full; free some and run again, the log is {job.log}")
    if staging.names_code(job.checkpoint):
        return SourceError(
            f"the tokenizer wants code of its own repository, which apex-bot never runs "
            f"({reason}); convert it yourself and name the GGUF, the log is {job.log}"
        )
    kind = BuildError if code < 0 or is_of_this_machine(reason) else RefusedError
    return kind(f"the converter failed: {reason}; its whole log is {job.log}")


def is_of_this_machine(reason: str) -> bool:
    """Whether the converter's exception is of its surroundings, not of the checkpoint."""
    name = reason.partition(":")[0].rpartition(".")[2].strip()
    exception = getattr(builtins, name, None)
    return isinstance(exception, type) and issubclass(
        exception, OSError | MemoryError | ImportError | KeyboardInterrupt | SystemError
    )
