"""Runs a command where the kernel itself refuses namespaces, as it does in many containers.

    python -m tests.unit.apart.refusing KIND COMMAND ARGUMENT…

`seccomp`  a filter that answers as Docker's default profile does without CAP_SYS_ADMIN
           (moby/profiles, seccomp/default.json): EPERM for unshare, setns, mount and pivot_root and
           for clone with a flag of a namespace, ENOSYS for clone3, whose flags no filter can see
`mounts`   a filter that lets namespaces be made and nothing be mounted in them
`used-up`  a user namespace in which user.max_user_namespaces is 0 (namespaces(7))

The filter is classic BPF over struct seccomp_data: seccomp(2), linux/filter.h.
"""

from __future__ import annotations

import ctypes  # noqa: TID251 - the system's own prctl, not llama.cpp
import errno
import os
import platform
import struct
import sys
from pathlib import Path

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, EQUAL, ANY, RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
NUMBER, ARCH, FIRST = 0, 4, 16  # in struct seccomp_data: nr, arch, the low half of args[0]
NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
# audit architecture, and numbers of system calls: asm/unistd_64.h, asm-generic/unistd.h
MACHINES = {
    "x86_64": (0xC000003E, {"clone": 56, "unshare": 272, "setns": 308, "clone3": 435,
                            "mount": 165, "pivot_root": 155, "move_mount": 429}),
    "aarch64": (0xC00000B7, {"clone": 220, "unshare": 97, "setns": 268, "clone3": 435,
                             "mount": 40, "pivot_root": 41, "move_mount": 429}),
}  # fmt: skip
DENIED = {
    "seccomp": ("unshare", "setns", "mount", "pivot_root", "move_mount"),
    "mounts": ("mount", "pivot_root", "move_mount"),
}


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """A struct sock_filter."""
    return struct.pack("=HBBI", code, yes, no, value)


def rules(kind: str) -> bytes:
    """The filter of a kind."""
    arch, numbers = MACHINES[platform.machine()]
    code = op(LOAD, ARCH) + op(EQUAL, arch, yes=1) + op(RETURN, ALLOW) + op(LOAD, NUMBER)
    for name in DENIED[kind]:
        code += op(EQUAL, numbers[name], no=1) + op(RETURN, ERRNO | errno.EPERM)
    if kind == "seccomp":
        code += op(EQUAL, numbers["clone3"], no=1) + op(RETURN, ERRNO | errno.ENOSYS)
        code += op(EQUAL, numbers["clone"], no=3) + op(LOAD, FIRST)
        code += op(ANY, NAMESPACES, no=1) + op(RETURN, ERRNO | errno.EPERM)
    return code + op(RETURN, ALLOW)


def filtered(kind: str) -> None:
    """Put this process, and all it starts, under a filter."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = rules(kind)
    program = Program(len(code) // 8, code)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")


def used_up() -> None:
    """Be where no more user namespaces may be made."""
    if os.environ.get("USED_UP") != "in":
        again = [sys.executable, "-m", "tests.unit.apart.refusing", *sys.argv[1:]]
        inside = ["unshare", "--user", "--map-root-user", *again]
        os.execvpe(inside[0], inside, {**os.environ, "USED_UP": "in"})  # noqa: S606
    Path("/proc/sys/user/max_user_namespaces").write_text("0")


def main() -> None:
    """Be refused, then become the command."""
    kind, *command = sys.argv[1:]
    if kind == "used-up":
        used_up()
    else:
        filtered(kind)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
