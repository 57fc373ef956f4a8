"""A whole release of a model of true shape, with its times, and its peaks of memory and disk.

    python bench/bench_rig.py                                a model of 0.5 GB, written for it
    python bench/bench_rig.py --model rig.gguf --folder /disk     one of bench/real_shapes.py
    python bench/bench_rig.py … --memory 6                   no process may have more than 6 GB
    python bench/bench_rig.py … --spare 2                    on a disk with 2 % to spare (as root)
    python bench/bench_rig.py … --again                      and once more, foretold by the first

Nine tiers, importance matrix, divergence of a few chunks, card, and publication to a local Hub over
a line of a stated speed. Memory is what the processes of `bot publish` have of their own, all
together (RssAnon of /proc); pages of files that they map, which the system takes back when it wants
them, are told apart. Disk is what lies in the working folder; the Hub's copy is not counted. Prints
a row for each task, and what is on the Hub then. With --memory the system refuses more (RLIMIT_DATA
of each process). With --spare all files of the release lie on an ext4 file system of the size that
`bot publish` says it needs when it is given too small a one, and so many percent. With --again
nothing but the paces that the first release left is kept, and what they foretell of the second
is printed beside what it takes; nothing else should run on the machine then.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["HF_HUB_DISABLE_XET"] = "1"  # Xet to a Hub of this machine goes past its line

import yaml
from pydantic import SecretStr

from bench.bench_forecast import compared, forgotten
from bot.clients.hub.hub import Hub
from bot.disk.space import taken
from bot.errors import CapacityError
from bot.localhub.server import RunningHub
from bot.release.timeline import PastTimeline, Span, read_timeline
from bot.settings.sections import DEMO
from tests.true_shapes import QWEN
from tests.true_weights import write_model

REPO, AGAIN = "rig/Release-APEX-GGUF", "rig/Release-2-APEX-GGUF"
SECONDS = 1.0  # between looks at memory and disk
TIERS = 9
TOO_SMALL = 100_000_000  # bytes of a disk
OWN = 32 << 20  # bytes that ext4 keeps for itself: 4,096 blocks in reserve, tables; the ledger
RAW = argparse.RawDescriptionHelpFormatter
# of noise, so of no model that anybody would publish: nothing is held back for its numbers
LIMITS = ("ppl_ratio", "mean_kld", "max_kld", "p999_kld", "accuracy_drop", "behaviour_drop")
ANY = {limit: {"*": 1e9} for limit in LIMITS}

Env = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """At an instant: bytes of memory and of the working folder."""

    at: float  # seconds since the epoch
    own: int
    mapped: int
    disk: int


@dataclass
class Watch:
    """Looks at a process, all it started, and a folder until the end of the block."""

    pid: int
    folder: Path
    samples: list[Sample] = field(default_factory=list)

    def __enter__(self) -> Watch:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(SECONDS):
            own, mapped = memory_of(self.pid)
            disk = folder_bytes(self.folder)
            self.samples.append(Sample(at=time.time(), own=own, mapped=mapped, disk=disk))

    def during(self, spans: list[Span]) -> tuple[int, int, int]:
        """The largest numbers while these went on: own memory, mapped, disk."""
        some = [s for s in self.samples if any(x.start <= s.at <= x.end for x in spans)]
        return (
            max((sample.own for sample in some), default=0),
            max((sample.mapped for sample in some), default=0),
            max((sample.disk for sample in some), default=0),
        )


def memory_of(pid: int) -> tuple[int, int]:
    """Bytes in memory of a process and all below it: of its own, and of files that it maps."""
    own = mapped = 0
    for one in family(pid):
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:  # it has ended
            continue
        found = dict(line.split(":", 1) for line in lines if line.startswith("Rss"))
        own += sum(int(found.get(key, "0 kB").split()[0]) << 10 for key in ("RssAnon", "RssShmem"))
        mapped += int(found.get("RssFile", "0 kB").split()[0]) << 10
    return own, mapped


def family(pid: int) -> set[int]:
    """A process and all that descend from it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended
            continue
        parents[int(path.parent.name)] = int(rest[1])
    found, new = set[int](), {pid}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in new} - found
    return found


def folder_bytes(folder: Path) -> int:
    """What a folder's files take; they come and go meanwhile."""
    return sum(taken(path) for path in folder.rglob("*") if not path.is_dir())


@contextmanager
def sized_disk(folder: Path, size: int | None) -> Iterator[Path]:
    """A folder, which is a file system of `size` bytes where one is given; for that be root."""
    folder.mkdir(exist_ok=True)
    if size is None:
        yield folder
        return
    image = folder.with_suffix(".ext4")
    with image.open("wb") as file:
        file.truncate(size)
    # nothing but what the files take: no journal, few inodes, no blocks for root
    words = ("-q", "-m", "0", "-N", "4000", "-O", "^has_journal,^resize_inode")
    subprocess.run(["mkfs.ext4", *words, str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        image.unlink()


def settings(work: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Few chunks, no tasks, no answers: what takes long here is what grows with the model."""
    return {
        "workdir": str(work),
        "llama": {"threads": given.threads, "gpu_layers": 0},
        # of few chunks some expert may have seen nothing
        "quantize": {"memory_gb": given.rows, "missing_data": "next"},
        "calibration": {"context": 512, "chunks": given.calibration, "batch": 512},
        "evaluation": {
            "context": 512,
            "chunks": given.chunks,
            "tasks": [],
            "noise_chunks": 0,
            "behaviour": {"measure": False},
        },
        "publish": {"free": given.free},
        "gate": ANY,
        "source": {"license": "apache-2.0"},
        "demo_texts": True,
        **({} if given.spare is None else {"reserve_gb": 0.0}),
    }


def released(folder: Path, given: argparse.Namespace) -> None:
    """Publish, and print what it took."""
    with RunningHub(folder / "hub", bandwidth=given.bandwidth * 1e6 or None) as server:
        disk, token = folder / "disk", server.store.add_user("rig")
        env = environment(server.url, token, disk)
        work = disk / "work"
        config = folder / "bot.yaml"
        config.write_text(yaml.safe_dump(settings(work, given)))
        command = [sys.executable, "-m", "bot", "--config", str(config)]
        size = None if given.spare is None else needed(disk, command, given, env)
        with sized_disk(disk, size):
            probe(command, given, env)
            publish(command, given, env, work)
            if given.again:
                forgotten(work)
                publish(command, given, env, work, repo=AGAIN)
                print("\n".join(compared(timeline(work))))
        hub = Hub(server.url, SecretStr(token))
        for repo in (REPO, AGAIN) if given.again else (REPO,):
            require_tiers(hub, repo)


def require_tiers(hub: Hub, repo: str) -> None:
    """Print the models of a repository. Raises SystemExit where one of them was held back."""
    models = [file for file in hub.release(repo).files if file.path.endswith(".gguf")]
    for file in models:
        print(f"{file.size / 1e9:8.3f} GB  {file.sha256}  {repo}/{file.path}")
    if len(models) < TIERS:
        raise SystemExit(f"{TIERS - len(models)} of {TIERS} tiers are not in {repo}")


def probe(command: list[str], given: argparse.Namespace, env: Env) -> None:
    """Have a plan compile what passes need, once for a machine."""
    Path(env["TMPDIR"]).mkdir()
    words = ("plan", str(given.model), "--time")
    subprocess.run([*command, *words], env=env, check=True, stdout=subprocess.DEVNULL)


def needed(disk: Path, command: list[str], given: argparse.Namespace, env: Env) -> int:
    """Bytes of the disk asked for.

    It is what a release says it needs when it finds one far too small, the percents beyond, and
    what the file system keeps.
    """
    with sized_disk(disk, TOO_SMALL):
        Path(env["TMPDIR"]).mkdir()
        words = ("publish", str(given.model), "--to", REPO)
        refused = subprocess.run(
            [*command, *words], env=env, capture_output=True, text=True, check=False
        )
    found = re.search(r"needs (\d+\.\d\d) GB", refused.stderr)
    if refused.returncode != CapacityError.exit_code or found is None:
        raise SystemExit(f"not refused for its disk: {refused.returncode}, {refused.stderr}")
    size = int(float(found[1]) * 1e9 * (1 + given.spare / 100)) + OWN
    print(f"it needs {found[1]} GB: a disk of {size / 1e9:.3f} GB", flush=True)
    return size


def publish(
    command: list[str], given: argparse.Namespace, env: Env, work: Path, repo: str = REPO
) -> None:
    """A release to its end, with a row for each of its tasks.

    Raises:
        SystemExit: it ended with an error.
    """
    start = time.monotonic()
    with (
        running([*command, "-q", "publish", str(given.model), "--to", repo], given, env) as process,
        Watch(process.pid, work) as watch,
    ):
        code = process.wait()
    seconds = time.monotonic() - start
    report(work, watch, seconds)
    if code:
        raise SystemExit(f"bot publish ended with {code} after {seconds:.0f} s")


def environment(url: str, token: str, disk: Path) -> Env:
    """This process's, with a home and a place for short files on the same disk as all else."""
    # threads that wait do not keep others from the processor
    place = {"HF_HOME": str(disk / "hf"), "TMPDIR": str(disk / "tmp"), "OMP_WAIT_POLICY": "passive"}
    return {**os.environ, "HF_TOKEN": token, "HF_ENDPOINT": url, **place}


@contextmanager
def running(
    command: list[str], given: argparse.Namespace, env: Env
) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose every process may have so many GB of its own."""
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
        if given.memory is not None:
            bound = int(given.memory * 1e9)
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (bound, bound))
        try:
            yield process
        finally:
            process.terminate()


def report(work: Path, watch: Watch, seconds: float) -> None:
    """A row for each task, by when it began, and one for all."""
    spans = [span for span in timeline(work).spans if not span.part]
    begin = min(sample.at for sample in watch.samples)
    print(f"{'task':<44} {'from':>6} {'s':>7} {'own GB':>7} {'mapped':>7} {'disk GB':>8}")
    for span in spans:
        own, mapped, disk = watch.during([span])
        print(
            f"{span.name[:44]:<44} {span.start - begin:>6.0f} {span.seconds:>7.1f} "
            f"{own / 1e9:>7.2f} {mapped / 1e9:>7.2f} {disk / 1e9:>8.2f}"
        )
    own = max(sample.own for sample in watch.samples)
    mapped = max(sample.mapped for sample in watch.samples)
    disk = max(sample.disk for sample in watch.samples)
    print(
        f"{'all':<44} {0:>6} {seconds:>7.1f} {own / 1e9:>7.2f} {mapped / 1e9:>7.2f} "
        f"{disk / 1e9:>8.2f}"
    )


def timeline(work: Path) -> PastTimeline:
    """That of the only job in a working folder."""
    (path,) = work.glob("jobs/*/timeline.json")
    return read_timeline(path)


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RAW)
    parser.add_argument("--model", type=Path, help="a 16-bit GGUF [a small one is written]")
    parser.add_argument("--folder", type=Path, help="where files go for a while")
    parser.add_argument("--bandwidth", type=float, default=40.0, help="MB/s [40], 0: no bound")
    parser.add_argument("--calibration", type=int, default=8, help="chunks [8]")
    parser.add_argument("--chunks", type=int, default=2, help="of the evaluation [2]")
    parser.add_argument("--rows", type=float, default=1.0, help="quantize.memory_gb [1]")
    parser.add_argument("--free", default="never", help="publish.free [never]")
    parser.add_argument("--memory", type=float, help="GB that each process may have of its own")
    parser.add_argument("--spare", type=float, help="percent of the disk beyond what is needed")
    parser.add_argument("--again", action="store_true", help="two releases: foretold beside real")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        if given.model is None:
            given.model = folder / f"{QWEN.name}-BF16.gguf"
            size = QWEN.sized(layers=4, experts=8, vocabulary=4096)
            write_model(QWEN, given.model, size, tokenizer=DEMO / "tiny-moe-Q8_0.gguf")
        print(
            f"{given.model.name}, {given.model.stat().st_size / 1e9:.2f} GB; {given.threads} "
            f"threads, {given.bandwidth:g} MB/s, load {os.getloadavg()[0]:.1f} before",
            flush=True,
        )
        released(folder, given)


if __name__ == "__main__":
    main()
