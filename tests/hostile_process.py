"""A process that turned hostile: what it tries, and what each isolation lets it reach."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bot.apart.sandbox import Isolation

# leaves what it reached in `reached`
TRIES = r"""
import json, os, signal, socket, sys
home, agent, abstract, port, parent, victim = sys.argv[1:7]
reached = {}

def attempt(name):
    def run(act):
        try:
            reached[name] = bool(act())
        except (OSError, PermissionError):
            reached[name] = False
    return run

def unix(address):
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        return True

attempt("the user's files")(lambda: open(home + "/.ssh/id_ed25519").read())
attempt("writing to the user's files")(lambda: open(home + "/.bashrc", "a").write("evil"))
attempt("a socket of an agent")(lambda: unix(agent))
attempt("an abstract socket")(lambda: unix("\0" + abstract))
attempt("the network")(lambda: socket.create_connection(("127.0.0.1", int(port)), 5))
attempt("another process's environment")(
    lambda: b"HF_TOKEN" in open(f"/proc/{parent}/environ", "rb").read())
attempt("another process's memory")(lambda: open(f"/proc/{parent}/mem", "rb"))
attempt("what other processes run")(lambda: open(f"/proc/{parent}/cmdline").read())
attempt("signals to another process")(lambda: os.kill(int(victim), signal.SIGTERM) or True)
attempt("the system's files")(lambda: open("/etc/hostname").read())
attempt("mounting")(lambda: os.system("mount -t tmpfs x /tmp 2>/dev/null") == 0)
attempt("its own folder")(lambda: open("made", "w").write("x"))
"""
TOLD = f"{TRIES}\nprint(json.dumps(reached))"
# what a child reaches, by isolation; root is not stopped by what a kernel shows to root alone
OWN = {"its own folder"}
FILES = {"the user's files", "writing to the user's files", "the system's files"}
LINES = {"a socket of an agent", "what other processes run", "signals to another process"}
REACHES: dict[Isolation, set[str]] = {
    "cell": OWN,
    "offline": OWN | FILES | LINES,
    "none": OWN | FILES | LINES | {"an abstract socket", "the network"},
}
# these depend on who runs the bot: a bot that is not root is closed to its own user (secrecy.py)
ROOTS = {"another process's environment", "another process's memory", "mounting"}
LEVELS: tuple[Isolation, ...] = ("none", "offline", "cell")


@contextmanager
def a_user(folder: Path) -> Iterator[tuple[str, ...]]:
    """A home folder, an agent's socket, a service, and a process of the user's; as arguments."""
    home = folder / "user"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519").write_text("secret")
    (home / ".bashrc").write_text("mine\n")
    agent, abstract = str(folder / "agent"), f"apex-bot-test-{os.getpid()}"
    with ExitStack() as open_:
        for address in (agent, f"\0{abstract}"):
            line = open_.enter_context(socket.socket(socket.AF_UNIX))
            line.bind(address)
            line.listen()
        server = open_.enter_context(socket.create_server(("127.0.0.1", 0)))
        sleeper = [sys.executable, "-c", "import time; time.sleep(300)"]
        victim = open_.enter_context(subprocess.Popen(sleeper, env={"HF_TOKEN": "hf_victim"}))
        pid = str(victim.pid)
        yield str(home), agent, abstract, str(server.getsockname()[1]), pid, pid
        victim.kill()
