"""llama.cpp's RPC servers: which settings name, and which a child reaches.

Both stand in the environment of a process, as `10.0.0.7:50052,10.0.0.8:50052`: of the bot's own
under `SERVERS`, which it hands on to children under `REACHED`. Only children connect: where a
server is not there, ggml ends the process.

Protocol and server (ggml/src/ggml-rpc, tools/rpc/README.md of llama.cpp) know neither encryption
nor passwords, and whoever reaches a server can crash it or read what it holds: so only machines of
a private network are taken, unless settings say otherwise.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence

from bot.errors import SettingsError, UnreachableError

SERVERS = "APEX_BOT_RPC_SERVERS"
REACHED = "LLAMA_RPC_SERVERS"
SOCKETS = "LLAMA_RPC_SOCKETS"  # a folder: in a child without a network, see relay.py
LAST = 65_535  # of all ports
FIRST = 50052  # of the ports that stand for servers in such a child


def named() -> tuple[str, ...]:
    """The servers that settings name, as ADDRESS:PORT."""
    return tuple(filter(None, os.environ.get(SERVERS, "").split(",")))


def reached() -> tuple[str, ...]:
    """In a child: the servers, as it reaches them."""
    return tuple(filter(None, os.environ.get(REACHED, "").split(",")))


def name(servers: Sequence[str], *, anywhere: bool) -> None:
    """Have this process use servers, and no others.

    Raises SettingsError for one of a public network unless `anywhere`, for one that is named twice,
    and for what is no port, UnreachableError for a host that nobody knows.
    """
    known: dict[str, str] = {}
    for server in servers:
        address = _numeric(server, anywhere=anywhere)
        if address in known:  # its second client would wait for the first one for ever
            raise SettingsError(
                f"{known[address]} and {server} of llama.rpc are one server, which takes one "
                "client at a time; name it once"
            )
        known[address] = server
    os.environ[SERVERS] = ",".join(known)


def parted(server: str) -> tuple[str, int]:
    """Host and port."""
    host, _, port = server.rpartition(":")
    return host, int(port)


def _numeric(server: str, *, anywhere: bool) -> str:
    host, port = parted(server)
    if not 0 < port <= LAST:
        raise SettingsError(f"{server} of llama.rpc has no port from 1 to {LAST}")
    try:
        found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise UnreachableError(f"nobody knows {host} of llama.rpc; mend it") from error
    address = str(found[0][4][0])
    if not anywhere and not ipaddress.ip_address(address).is_private:
        raise SettingsError(
            f"{server} of llama.rpc is {address}, which is no private network: the protocol has "
            "neither encryption nor passwords; use a tunnel, or set llama.rpc_anywhere: true"
        )
    return f"{address}:{port}"
