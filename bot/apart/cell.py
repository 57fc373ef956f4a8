"""A root of its own for a command that reads strangers' files: util-linux and the kernel do it.

In user, mount, process, network and IPC namespaces of its own the command sees the system's
programs and the folders that it is given, and nothing else of this machine: no home folder, no
sockets of agents, no other process, no network. Without capabilities it cannot leave.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# of /etc: where libraries lie and what root is called, no more
WORDS = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "nsswitch.conf")
DEVICES = ("null", "zero", "full", "random", "urandom")
NEEDED = ("unshare", "setpriv", "mount", "umount", "pivot_root", "mkdir", "ln", "readlink")
# mount(2) keeps the flags that a mount of the outer namespace has: they are named, too
READ_ONLY = ("ro,nosuid,nodev", "ro,nosuid,nodev,noexec", "ro,nosuid,nodev,noatime",
             "ro,nosuid,nodev,relatime", "ro")  # fmt: skip

# SIOCSIFFLAGS with IFF_UP and IFF_RUNNING (netdevice(7)): a new network has its loopback down
LOOPBACK = (
    "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, "
    'struct.pack("16sH14x", b"lo", 0x41))'
)
SCRIPT = r"""
set -eu
root=$1 place=$2 path=$PATH
shift 2
PATH=/usr/sbin:/usr/bin:/sbin:/bin
ulimit -c 0
mount --make-rprivate /
mount -t tmpfs -o mode=755,size=16m cell "$root"
seen() { # ro|rw PATH
    [ -e "$2" ] || return 0
    if [ -d "$2" ]; then mkdir -p "$root$2"
    elif [ ! -e "$root$2" ]; then mkdir -p "$root${2%/*}"; : > "$root$2"; fi
    mount --rbind "$2" "$root$2"
    [ "$1" = ro ] || return 0
    for flags in READ_ONLY; do
        mount -o "remount,bind,$flags" "$root$2" 2>/dev/null && return 0
    done
    echo "cell: $2 cannot be made read-only" >&2
    exit 97
}
for name in SYSTEM; do
    if [ -L "$name" ]; then ln -s "$(readlink "$name")" "$root$name"; else seen ro "$name"; fi
done
for name in WORDS; do seen ro "/etc/$name"; done
mkdir -p "$root/etc"
echo "root:x:0:0:nobody:/:/bin/false" > "$root/etc/passwd"
for name in DEVICES; do seen rw "/dev/$name"; done
mkdir -p "$root/dev/shm" "$root/tmp" "$root/proc" "$root/.old"
mount -t tmpfs -o mode=1777,size=256m,nosuid,nodev cell "$root/dev/shm"
mount -t tmpfs -o mode=1777,size=256m,nosuid,nodev cell "$root/tmp"
up=
while [ "$1" != -- ]; do
    if [ "$1" = up ]; then up=$2; else seen "$1" "$2"; fi
    shift 2
done
shift
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
pivot_root "$root" "$root/.old"
cd /
umount -l /.old
mount -o remount,ro,mode=755,size=16m / 2>/dev/null || :
cd "$place"
[ -z "$up" ] || "$up" -I -S -c 'LOOPBACK'
setpriv=$(command -v setpriv)
PATH=$path
exec "$setpriv" --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
"""


@cache
def script() -> str:
    """The shell script that builds the cell, with its lists written in."""
    lists = {"READ_ONLY": READ_ONLY, "SYSTEM": SYSTEM, "WORDS": WORDS, "DEVICES": DEVICES}
    text = SCRIPT
    for name, words in lists.items():
        text = text.replace(f"in {name};", f"in {' '.join(words)};")
    return text.replace("LOOPBACK", LOOPBACK)


@cache
def cell_here() -> bool:
    """Whether this system lets us make cells: a trial that ends in a program of the cell."""
    if not all(map(which, NEEDED)):
        return False
    with TemporaryDirectory() as folder:
        root = Path(folder) / "cell"
        root.mkdir()
        tried = command(["/bin/true"], root=root, place=Path("/"), reads=(), writes=())
        try:
            done = subprocess.run(tried, capture_output=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


def command(
    words: Sequence[str],
    *,
    root: Path,
    place: Path,
    reads: Iterable[Path],
    writes: Iterable[Path],
    loopback: Path | None = None,
) -> list[str]:
    """The command line that runs `words` in a cell, in the folder `place`.

    `root` is an empty folder of ours, which stays empty. `reads` and `writes` are the folders, or
    files, that the cell shows under their own names; the root of the system is none of them, as
    what lies above an interpreter may be. `loopback`: a Python that lets the cell reach itself.
    """
    modes = {**dict.fromkeys(reads, "ro"), **dict.fromkeys(writes, "rw")}
    below = sorted((path for path in modes if path.parent != path), key=str)
    lists = [word for path in below for word in (modes[path], str(path))]
    lists += ["up", str(loopback)] if loopback is not None else []
    return [
        *(str(which("unshare")), "--user", "--map-root-user", "--net", "--mount", "--ipc", "--uts"),
        *("--pid", "--fork", "--kill-child", str(which("sh")), "-c", script(), "cell"),
        *(str(root), str(place), *lists, "--", *words),
    ]
