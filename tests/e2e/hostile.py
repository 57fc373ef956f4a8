"""What a job that opens strangers' models may try when it has turned hostile.

It holds the token that files travel with, its own seal, and every record. Each variation is a name
and what is done to the place where the files lie; `TAKEN` says what has to come of it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bot.jobs import claims
from bot.jobs.orders import LONGEST, Group, parse_record
from bot.records.coding import to_json

KEY = "-----BEGIN PRIVATE KEY-----\nnobody may read this\n"
SECRET = "sources/me--secret/0123456789ab/model.gguf"  # of a working folder, not of this release


@dataclass(kw_only=True)
class Attack(ABC):
    """The place where files lie between the jobs, as the hostile job of group `mine` sees it."""

    release: str
    seals: Mapping[int, str]  # those it holds
    mine: int = 1
    other: int = 2  # a group that is not its own

    @abstractmethod
    def text(self, record: str) -> bytes:
        """A record as its job wrote it."""

    @abstractmethod
    def put(self, path: str, content: bytes) -> None:
        """Write a file there, as whoever holds the token can."""

    def named(self, record: str) -> str:
        return f"orders/{self.release}/{record}.json"

    def data(self, record: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text(record))
        return found

    def write(self, record: str, content: bytes) -> None:
        self.put(self.named(record), content)

    @property
    def own(self) -> dict[str, Any]:
        return self.data(f"group-{self.mine}")

    @property
    def theirs(self) -> dict[str, Any]:
        return self.data(f"group-{self.other}")

    def group(
        self, data: dict[str, Any], number: int | None = None, seal: int | None = None
    ) -> None:
        """A group's record, its own where no number is given, under a seal that this job has."""
        number, seal = number or self.mine, seal or self.mine
        text = json.dumps(data).encode()
        read = parse_record(Group, text)
        if read is not None:
            text = to_json(claims.sealed(read, number, self.seals[seal])).encode()
        self.write(f"group-{number}", text)


Change = Callable[[Attack], None]


def change(name: str, *path: Any, to: Callable[[Attack, Any], Any]) -> tuple[str, Change]:
    """One value of its own record, another one."""

    def act(attack: Attack) -> None:
        data = attack.own
        at: Any = data
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = to(attack, at[path[-1]])
        attack.group(data)

    return name, act


def work_of(data: dict[str, Any], kind: str) -> dict[str, Any]:
    """The work of a kind, such as `quantize`."""
    found: dict[str, Any] = next(w for w in data["work"] if w["step"].startswith(kind))
    return found


def file_of(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = work_of(data, "quantize ")["files"][0]
    return found


def file(name: str, **values: Any) -> tuple[str, Change]:
    """The file it claims to have made, another one."""

    def act(attack: Attack) -> None:
        data = attack.own
        file_of(data).update({key: v(attack) if callable(v) else v for key, v in values.items()})
        attack.group(data)

    return name, act


def number(name: str, alter: Callable[[dict[str, Any]], Any]) -> tuple[str, Change]:
    """The value of a measure, another one; `alter` changes it or returns what stands for it."""

    def act(attack: Attack) -> None:
        data = attack.own
        work = work_of(data, "divergence ")
        value = json.loads(work["value"])
        other = alter(value)
        work["value"] = json.dumps(value) if other is None else other
        attack.group(data)

    return name, act


def more(name: str, work: Callable[[Attack], dict[str, Any]]) -> tuple[str, Change]:
    """Work beside its own."""

    def act(attack: Attack) -> None:
        data = attack.own
        data["work"].append(work(attack))
        attack.group(data)

    return name, act


def another(attack: Attack, kind: str) -> dict[str, Any]:
    """Work of the other group, with other numbers."""
    work = work_of(attack.theirs, kind)
    return {**work, "value": work["value"].replace("1", "9")}


def before(attack: Attack, kind: str) -> dict[str, Any]:
    """Work of `prepare`, changed."""
    work = work_of(attack.data("prepared"), kind)
    return {**work, "value": work["value"].replace("1", "9")}


def path_of(attack: Attack) -> str:
    return str(file_of(attack.own)["path"])


def raw(name: str, content: bytes) -> tuple[str, Change]:
    return name, lambda attack: attack.write(f"group-{attack.mine}", content)


def sealed_by_none(attack: Attack) -> None:
    attack.write(f"group-{attack.mine}", json.dumps({**attack.own, "seal": ""}).encode())


def sealed_by_another(attack: Attack) -> None:
    seal = next(number for number in attack.seals if number != attack.mine)
    attack.group(attack.own, seal=seal)


# its own record: its group is left out and named, unless the record is none at all
OWN = [
    change("another plan's key", "key", to=lambda _a, _v: "0" * 64),
    change("another's tier", "tiers", to=lambda a, v: [*v, *a.theirs["tiers"]]),
    change("only another's tier", "tiers", to=lambda a, _v: a.theirs["tiers"]),
    change("a tier nobody ordered", "tiers", to=lambda _a, v: [*v, "I-Nano"]),
    change("a step twice", "work", to=lambda _a, works: [*works, works[0]]),
    change("inputs that are no hash", "work", 0, "inputs", to=lambda _a, _v: "x"),
    change("work of another job", "work", 0, "job", to=lambda _a, _v: "0" * 64),
    more("another's measure", lambda a: another(a, "divergence")),
    more("another's file", lambda a: another(a, "quantize")),
    more("another's look at a file", lambda a: another(a, "check")),
    more("the reference's numbers", lambda a: before(a, "perplexity")),
    more("the importance matrix", lambda a: before(a, "hash")),
    more("another step", lambda a: {**another(a, "quantize"), "step": "imatrix"}),
    more("the card's plots", lambda a: {**another(a, "quantize"), "step": "plots"}),
    more("noise", lambda a: {
        **another(a, "divergence"), "step": "noise 0123456789ab " + "0" * 16}),
    file("a path upwards", path="../../../etc/passwd"),
    file("a path of the system", path="/etc/passwd"),
    file("a path of a home folder", path="~/.ssh/id_ed25519"),
    file("a path out of its job", path=lambda a: path_of(a).replace("/release/", "/../")),
    file("another release's file", path=SECRET),
    file("the ledger", path="ledger.sqlite"),
    file("an order's ledger", path="orders/x/prepare.sqlite"),
    file("a file of the job beside the release", path=lambda a: path_of(a).replace("release/", "")),
    file("a path with a newline", path=lambda a: path_of(a) + "\n::add-mask::x"),
    file("a path with a terminal's sequence", path=lambda a: path_of(a) + "\x1b[2J"),
    file("a path with a backslash", path="jobs\\x"),
    file("a path that is too long", path=lambda a: path_of(a) + "x" * 400),
    file("an empty path", path=""),
    file("a hash that is none", sha256="0" * 63),
    file("no bytes", bytes=0),
    file("less than no bytes", bytes=-1),
    file("more bytes than there are", bytes=1 << 60),
    file("the source's hash", sha256=lambda a: a.data("prepared")["needs"]["model"][0]["sha256"]),
    number("NaN", lambda v: json.dumps(v).replace(json.dumps(v["run"]["seconds"]), "NaN")),
    number("infinity", lambda v: v["value"]["divergence"].update(mean=float("inf"))),
    number("words for a number", lambda v: v["value"]["divergence"].update(mean="low")),
    number("no numbers", lambda v: v.update(value={})),
    number("more values", lambda v: v["value"].update(more=1)),
    number("chunks that are none", lambda v: v["value"].update(chunks="x")),
    number("nested too deep", lambda _v: "[" * 100_000),
    number("no JSON", lambda _v: "{"),
    number("another machine", lambda v: v["run"]["tools"].update(device="TPU")),
    number("another text", lambda v: v["run"]["data"].update(name="[x](http://evil.example)")),
    number("another measure", lambda v: v["run"].update(measure="perplexity")),
    number("another model", lambda v: v["run"].update(model="0" * 64)),
    number("no run", lambda v: v.update(run=None)),
    ("no seal", sealed_by_none),
    ("another's seal", sealed_by_another),
    ("the other group's record", lambda a: a.write(
        f"group-{a.mine}", a.text(f"group-{a.other}"))),
]  # fmt: skip
NONE = [  # no record of this version: the tiers are not complete
    raw("nothing", b""),
    raw("no JSON at all", b"\x00\xff"),
    raw("a list", b"[]"),
    raw("nested", b"[" * 200_000),
    raw("another kind of record", b'{"key": 1}'),
    raw("more than a record has", b"[" + b" " * LONGEST + b"]"),
    file("bytes that are a word", bytes="many"),
    file("a time that is a word", changed="now"),
]
# the other group's record, whose seal the hostile job does not have
OTHER = [
    ("numbers of another", lambda a: a.write(
        f"group-{a.other}", a.text(f"group-{a.other}").replace(b"0.0", b"0.9"))),
    ("sealed by its own", lambda a: a.group(a.theirs, number=a.other, seal=a.mine)),
    ("its own as another's", lambda a: a.write(
        f"group-{a.other}", a.text(f"group-{a.mine}"))),
    ("nothing in its place", lambda a: a.write(f"group-{a.other}", b"")),
    ("too much in its place", lambda a: a.write(f"group-{a.other}", b" " * (LONGEST + 1))),
]  # fmt: skip
# what nobody looks at
IGNORED = [
    ("a publication", lambda a: a.write("published", b'{"url": "http://evil.example"}')),
    ("what shall be published", lambda a: a.write("described", json.dumps(
        {"key": a.own["key"], "repo_id": "mallory/x", "tiers": [], "files": {}}).encode())),
    ("a ledger", lambda a: a.put(f"orders/{a.release}/publish.sqlite", b"x")),
    ("what is known", lambda a: a.put(f"orders/{a.release}/known", b"0" * 64)),
    ("a sixty-fifth group", lambda a: a.write("group-65", b"{}")),
]  # fmt: skip
# another plan, of which nobody believes anything
PLANS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "logits elsewhere": lambda _p: {"logits": "measures/../../../home/key"},
    "another order": lambda _p: {
        "order": {"model": "me/x", "revision": "x", "tiers": [], "delivery": "x"}
    },
    "other groups": lambda p: {"groups": [[tier for group in p["groups"] for tier in group]]},
    "another key": lambda _p: {"key": "0" * 64},
    "nothing to need": lambda _p: {"needs": {}},
    "a key as a projector": lambda p: {
        "local": {**p["local"], "extras": {"mmproj.gguf": "../home/key"}}
    },
}


def replan(name: str) -> Change:
    """A plan with that changed."""

    def act(attack: Attack) -> None:
        data = attack.data("prepared")
        attack.write("prepared", json.dumps({**data, **PLANS[name](data)}).encode())

    return act
