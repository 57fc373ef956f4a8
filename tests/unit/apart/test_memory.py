"""Free memory where a cgroup limits it: files as the kernel lays them out, in both versions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bot.apart.memory import free_memory

GB = 1 << 30


def machine(root: Path, files: dict[str, str]) -> Path:
    texts = {"proc/meminfo": f"MemTotal: {64 << 20} kB\nMemAvailable: {60 << 20} kB\n", **files}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def group(folder: str, most: int | str, used: int, **stat: int) -> dict[str, str]:
    lines = "".join(f"{name} {value}\n" for name, value in stat.items())
    return {
        f"{folder}/memory.max": f"{most}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": lines,
    }


def test_files_that_are_kept_in_memory_are_free(tmp_path: Path) -> None:
    stat = {"anon": 2 * GB, "inactive_file": 20 * GB, "active_file": 8 * GB}
    files = {"proc/self/cgroup": "0::/\n", **group("sys/fs/cgroup", 32 * GB, 31 * GB, **stat)}
    assert free_memory(machine(tmp_path, files)) == 29 * GB


def test_the_narrowest_group_above_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/a.slice/b.service\n",
        **group("sys/fs/cgroup/a.slice", 8 * GB, 3 * GB, inactive_file=GB),
        **group("sys/fs/cgroup/a.slice/b.service", "max", 3 * GB),
    }
    assert free_memory(machine(tmp_path, files)) == 6 * GB


def test_a_container_of_the_first_version_whose_path_is_the_hosts(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/memory"
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n",
        f"{folder}/memory.limit_in_bytes": f"{16 * GB}\n",
        f"{folder}/memory.usage_in_bytes": f"{15 * GB}\n",
        f"{folder}/memory.stat": f"inactive_file 1\ntotal_inactive_file {9 * GB}\n",
    }
    assert free_memory(machine(tmp_path, files)) == 10 * GB


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    assert free_memory(machine(tmp_path, {})) == 60 * GB
    none = {"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "x"}
    assert free_memory(machine(tmp_path, none)) == 60 * GB
    assert free_memory() > 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bound no memory")
def test_a_limit_of_the_process_counts() -> None:
    program = (
        "import resource\nfrom bot.apart.memory import free_memory\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 30))\nprint(free_memory())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == GB // 2
