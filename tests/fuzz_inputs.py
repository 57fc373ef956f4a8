"""What strangers wrote, damaged in ways that parsers do not expect, given to what reads it.

    python -m tests.fuzz_inputs KIND SEED COUNT    of KINDS, or all; large N 0: the Nth of `_large`

Real files and replies are changed where their structure is: values of other types and at edges,
names twice, nesting, cut ends, bytes that are no text, bombs. The outcome of each is a result or an
error of ours; anything else ends the process with a traceback, and more CPU time than `SECONDS`
with a signal. Says `ready` when everything is loaded, begins when a line comes, prints JSON, and
ends at the end of its input: whoever started it looks at its memory meanwhile.
"""

from __future__ import annotations

import copy
import gzip
import itertools
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

from pydantic import SecretStr

from bot.clients.bounds import REPLY
from bot.clients.files import shards
from bot.clients.github.github import GithubRepository
from bot.clients.github.github_client import connect, requests_left
from bot.clients.hub.changes import Writer
from bot.clients.hub.community import Community
from bot.clients.hub.hub import Hub
from bot.detect.inspection import look_at_folder
from bot.detect.listed import conclude, learn
from bot.errors import BotError
from bot.foreign import LARGEST_CONFIG, MOST_VALUES
from bot.jobs.claims import claimed_group, sealed
from bot.jobs.orders import LONGEST, Folder, Group, Prepared
from bot.lint import linted
from bot.lint.defects import defects_of
from bot.measures.journal import Journal, empty
from bot.progress import Narrator
from bot.records.coding import to_json
from bot.store.ledger import Work
from bot.tensors.weights import INDEX
from bot.wording import blocks
from bot.workplace import provenance
from bot.workplace.fetch import MANIFEST, Verified
from tests import fuzz_headers, headers
from tests.local_github.shapes import shaped
from tests.unit.card.samples import nine_tiers
from tests.unit.jobs.test_orders import prepared

SECONDS = 5.0  # of CPU for one case
COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOLDEN = Path(__file__).parent / "golden"
EDGES: tuple[Any, ...] = (
    *(0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.5, -0.0, 1e308, 1e-320),
    *(float("inf"), float("-inf"), float("nan")),
    *(True, False, None, "", " ", "\x00", "\x1b[2J", "‮", "\ud800", "😀" * 50, "../../x", "/x"),
    *([], {}, [[]], [None], {"": ""}, [[[[]]]], "x" * 5_000, ["x"] * 3_000, {"a": {"b": {"c": 1}}}),
)
Json = Any
Made = Callable[[], bytes]


class Dice(random.Random):
    """Chooses the damage."""

    def value(self, value: Json) -> Json:
        """A JSON value with one or a few places changed."""
        made = json.loads(json.dumps(value))
        for _ in range(self.choice([1, 1, 1, 2, 5])):
            made = self._changed(made)
        return made

    def _changed(self, value: Json) -> Json:
        deeper = isinstance(value, dict | list) and value and self.random() < 0.85
        if not deeper:
            return self._instead(value)
        if isinstance(value, list):
            at = self.randrange(len(value))
            match self.randrange(8):
                case 0:
                    del value[at]
                case 1:
                    value.extend(copy.deepcopy(value[:200]))
                case _:
                    value[at] = self._changed(value[at])
            return value
        key = self.choice(list(value))
        match self.randrange(8):
            case 0:
                del value[key]
            case 1:
                value[str(self.choice(EDGES))] = value[key]
            case _:
                value[key] = self._changed(value[key])
        return value

    def _instead(self, value: Json) -> Json:
        match self.randrange(6):
            case 0 if isinstance(value, int | float):
                return value * self.choice([-1, 2, 10**6, 0])
            case 1 if isinstance(value, str):
                return value + self.choice(["\n", "\x00", "`", "|", "<b>", "\u2028", "A" * 900])
            case 2:
                return [value]
            case 3:
                return {"of": value}
            case _:
                return copy.deepcopy(self.choice(EDGES))

    def text(self, value: Json) -> bytes:
        """JSON with a changed value, or damaged as text."""
        text = json.dumps(self.value(value), ensure_ascii=self.random() < 0.5)
        data = text.encode("utf-8", "surrogatepass")
        return self.damage(data) if self.random() < 0.3 else data

    def damage(self, data: bytes) -> bytes:
        """Text that is cut, repeated, of other letters, nested, or no text at all."""
        at = self.randrange(len(data) + 1)
        match self.randrange(10):
            case 0:
                return data[:at]
            case 1:
                return data[:at] + self.randbytes(4) + data[at:]
            case 2:
                return b"\xef\xbb\xbf" + data
            case 3:
                return data.decode("utf-8", "replace").encode("utf-16")
            case 4:
                return data[:at] + b"[" * self.choice([70, 300, 50_000]) + data[at:]
            case 5:
                return data.replace(b":", b':{"a":' * self.choice([1, 70]), 1)
            case 6:
                return data.replace(b"{", b'{"a":1,"a":2,', 3)
            case 7:
                return data[:at] + data[max(at - 50, 0) : at] * self.choice([2, 200]) + data[at:]
            case 8:
                return data[:at] + b"9" * self.choice([400, 5_000]) + data[at:]
            case _:
                return data[:at] + bytes([self.randrange(256)]) + data[at + 1 :]


# ── what reads it ───────────────────────────────────────────────────────────────────────────


class Inputs:
    """One case after another of each kind; `folder` is emptied by each."""

    def __init__(self, folder: Path, dice: Dice) -> None:
        self.folder, self.dice = folder, dice
        self.config, self.tensors = _checkpoint()
        self.results = json.loads(to_json(nine_tiers()))
        self.card = (GOLDEN / "card-nine-tiers.md").read_text(encoding="utf-8")
        self.server: Scripted | None = None
        self.bomb = gzip.compress(bytes(40 << 20), 1)

    def gguf(self) -> object:
        """A header, by all that reads one."""
        self._write("x.gguf", next(self._headers("gguf")))
        fuzz_headers.read_gguf(self.folder / "x.gguf")
        return None

    def safetensors(self) -> object:
        """A header."""
        self._write("x.safetensors", next(self._headers("safetensors")))
        fuzz_headers.read_safetensors(self.folder / "x.safetensors")
        return None

    def _headers(self, kind: str) -> Iterator[bytes]:
        yield from (data for data, _ in fuzz_headers.cases(kind, self.dice.getrandbits(40), 1))

    def config_of(self) -> object:
        """A checkpoint's config.json, as `bot inspect FOLDER` reads it."""
        self._write("config.json", self.dice.text(self.config))
        self._write("model.safetensors", headers.file(self.tensors, data=True))
        return look_at_folder(self.folder)

    def index(self) -> object:
        """A checkpoint's index."""
        names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
        half = dict(list(self.tensors.items())[::2]), dict(list(self.tensors.items())[1::2])
        for name, tensors in zip(names, half, strict=True):
            self._write(name, headers.file(tensors, data=True))
        weight_map = {t: name for name, tensors in zip(names, half, strict=True) for t in tensors}
        self._write("config.json", json.dumps(self.config).encode())
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        self._write(INDEX, self.dice.text(index))
        return look_at_folder(self.folder)

    def card_of(self) -> object:
        """A card and what lies beside it, as `bot lint FOLDER` and an update read them."""
        card = self.card.encode()
        for _ in range(self.dice.randint(1, 3)):
            card = self.dice.damage(card)
        self._write("README.md", card)
        self._write("results.json", self.dice.text(self.results))
        self._write("SHA256SUMS", self.dice.damage(f"{'0' * 64}  README.md\n".encode() * 3))
        self._write("x-Q8_0.gguf", next(self._headers("gguf")))
        found = linted.of_folder(self.folder, Narrator(quiet=True), hashes=False)
        text = card.decode("utf-8", "replace")
        return defects_of(found), blocks.merged_card(text, self.card), blocks.front_matter_of(text)

    def record(self) -> object:
        """What other machines left: plans, groups, provenances, journals, memories."""
        dice = self.dice
        match dice.randrange(5):
            case 0:
                folder = Folder(self.folder)
                self._write(folder.file(Prepared).name, dice.text(json.loads(to_json(prepared()))))
                return folder.read(Prepared)
            case 1:
                return self._group()
            case 2:
                said = {"predicateType": provenance.PREDICATE, **_said()}
                return provenance.parse_statement(dice.value(said))
            case 3:
                key = "ab" * 32
                journal = Journal(self.folder / "journal", key)
                journal.add(empty(3))
                data = (self.folder / "journal").read_bytes()
                self._write("journal", dice.damage(data) if dice.random() < 0.9 else data)
                return Journal(self.folder / "journal", key).values
            case _:
                self._write(MANIFEST, dice.text({"a": ["0" * 64, 1, 2]}))
                return Verified(self.folder)

    def _group(self) -> object:
        plan, folder = prepared(), Folder(self.folder)
        work = Work(job=plan.key, step="quantize I-Mini", inputs="0" * 64, value="{}", files=())
        group = sealed(Group(key=plan.key, tiers=("I-Mini",), work=(work,)), 1, "5" * 32)
        path = folder.file(Group, 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.dice.text(json.loads(to_json(group))))
        return claimed_group(folder, plan, 1, {1: "5" * 32}, ())

    def hub(self) -> object:
        """Replies of a Hub, to whatever it is asked."""
        url = self._served(self.dice.choice(HUB))
        hub = Hub(url, SecretStr("hf_" + "x" * 30), pause=0.0)
        asked: tuple[Callable[[], object], ...] = (
            lambda: hub.release("org/model"),
            lambda: [conclude(learn(hub, row)) for row in hub.page(3).rows],
            lambda: hub.card_data("org/model", COMMIT),
            lambda: hub.require_owner("org"),
            lambda: hub.read_json("org/model", COMMIT, "config.json"),
            lambda: Writer(hub).history("org/model", 5),
            lambda: Writer(hub).refs("org/model"),
            lambda: Writer(hub).stored("org/model"),
            lambda: Community(hub).pull("org/model", "[x]"),
            lambda: list(hub.newest(9, 3)),
        )
        return self.dice.choice(asked)()

    def github(self) -> object:
        """Replies of GitHub, to whatever it is asked."""
        url = self._served(self.dice.choice(GITHUB))
        client = connect("ghp_" + "x" * 30, url)
        found = GithubRepository(client, "org/repo")
        asked: tuple[Callable[[], object], ...] = (
            lambda: requests_left(client),
            lambda: found.runs("x.yml", 0.0),
            lambda: found.run(3),
            lambda: found.jobs(3),
            lambda: found.log(3),
            lambda: found.runners(),
            lambda: found.issues("x"),
            lambda: found.issue(3),
            lambda: found.editors(3),
            lambda: found.may_write("somebody"),
            lambda: found.start("x.yml", "main", {}),
        )
        return self.dice.choice(asked)()

    def _served(self, reply: Json) -> str:
        """The address of a server that answers so, whatever it is asked."""
        if self.server is None:
            self.server = Scripted()
            Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        dice = self.dice
        body = dice.text(reply)
        given = {"Content-Type": "application/json", "ETag": '"x"', "X-Repo-Commit": COMMIT}
        match dice.randrange(20):
            case 0:
                body, given["Content-Encoding"] = self.bomb, "gzip"
            case 1:
                body, given["Content-Encoding"] = dice.damage(gzip.compress(body)), "gzip"
            case 2:
                given["Content-Encoding"] = dice.choice(["br", "gzip, gzip", "x" * 999])
            case 3:
                given["Link"] = f'<{self.server.url}/next>; rel="next"'
            case 4:
                given["Link"] = str(dice.choice(["<", '<http://[>; rel="next"', ";" * 999, ">,<"]))
            case 5:
                given["Location"] = dice.choice(["/x", "http://[", "//", "x" * 9_000])
            case 6:
                given["Content-Length"] = str(len(body) + dice.choice([-1, 1, 10**12]))
            case 7:
                given["RateLimit"] = f'"api";r={dice.choice(["0", "9" * 5000])};t=0'
            case _:
                pass
        statuses = (*[200] * 12, 201, 204, 206, 301, 302, 304, 400, 401, 403, 404, 422, 451, 999)
        self.server.reply = dice.choice(statuses), given, body
        return self.server.url

    def _write(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)


KINDS: dict[str, Callable[[Inputs], object]] = {
    "gguf": Inputs.gguf,
    "safetensors": Inputs.safetensors,
    "config": Inputs.config_of,
    "index": Inputs.index,
    "card": Inputs.card_of,
    "record": Inputs.record,
    "hub": Inputs.hub,
    "github": Inputs.github,
}


class Scripted(ThreadingHTTPServer):
    """Gives the same answer to everybody."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked went away, as it may."""


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def _answer(self) -> None:
        status, given, body = self.server.reply
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | given).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, *_given: Any) -> None:
        """Says nothing."""


def _checkpoint() -> tuple[dict[str, Any], dict[str, tuple[str, headers.Shape]]]:
    """A small mixture: its config, and the shapes of its tensors."""
    config = headers.config("MixtralForCausalLM", "mixtral", 2, num_local_experts=headers.E)
    config |= {"num_experts_per_tok": 2, "intermediate_size": headers.FF, "rope_theta": 1e6}
    config |= {"num_attention_heads": 8, "num_key_value_heads": 2, "rms_norm_eps": 1e-5}
    config |= {"torch_dtype": "bfloat16", "eos_token_id": [1, 2], "rope_scaling": {"type": "yarn"}}
    shapes = headers.around()
    for number in range(2):
        layer = f"model.layers.{number}"
        shapes |= headers.attention(layer) | headers.norms(layer)
        shapes |= {f"{layer}.block_sparse_moe.gate.weight": (headers.E, headers.H)}
        shapes |= headers.experts(f"{layer}.block_sparse_moe")
    return config, {name: ("BF16", shape) for name, shape in shapes.items()}


def _said() -> dict[str, Any]:
    given = {"source": "org/model", "recipes": {"Mini": "0" * 64}, "calibration": "", "asked": {}}
    build = {"buildType": provenance.BUILD, "externalParameters": {**given, "evaluation": "e"}}
    run = {"builder": {"version": {"llama.cpp": "b1", "apex-bot": "1"}}}
    subject = [{"name": "x.gguf", "digest": {"sha256": "0" * 64}}]
    return {"subject": subject, "predicate": {"buildDefinition": build, "runDetails": run}}


_ROW = {
    "id": "org/model", "sha": COMMIT, "createdAt": "2026-11-02T10:15:30.000Z", "private": False,
    "lastModified": "2026-11-02T10:15:30.000Z", "gated": False, "tags": ["moe", "license:mit"],
    "config": {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}, "likes": 3,
    "siblings": [{"rfilename": "config.json", "size": 9, "blobId": COMMIT},
                 {"rfilename": "model.safetensors", "size": 9,
                  "lfs": {"sha256": "0" * 64, "size": 9}}],
    "cardData": {"license": "mit", "language": ["en"], "base_model": "org/base"},
}  # fmt: skip
HUB: tuple[Json, ...] = (
    _ROW,
    [_ROW, {**_ROW, "id": "org/other"}],
    {"name": "me", "type": "user", "orgs": [{"name": "org", "roleInOrg": "write"}]},
    {"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}],
     "tags": [], "converts": [], "pullRequests": []},
    [{"id": COMMIT, "title": "t", "message": "m", "date": "2026-11-02T10:15:30.000Z",
      "authors": [{"user": "me"}]}],
    {"discussions": [{"num": 1, "title": "t [x]", "status": "open", "isPullRequest": True,
                      "author": {"name": "me"}, "createdAt": "2026-11-02T10:15:30.000Z",
                      "repo": {"name": "org/model", "type": "model"}}], "count": 1},
    {"error": "GithubRepository not found"},
    {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2},
)  # fmt: skip
_TIME = "2026-11-02T10:15:30Z"
_RUN = shaped(
    "workflow-run", id=3, display_title="t", status="completed", conclusion="success",
    event="workflow_dispatch", created_at=_TIME, updated_at=_TIME, html_url="http://x/3",
)  # fmt: skip
_JOB = shaped("job", id=4, name="build", status="completed", created_at=_TIME, started_at=_TIME)
GITHUB: tuple[Json, ...] = (
    {"total_count": 1, "workflow_runs": [_RUN]},
    _RUN,
    {"total_count": 1, "jobs": [_JOB]},
    {"total_count": 1, "runners": [{"id": 1, "name": "r", "status": "online", "busy": False,
                                    "labels": [{"name": "gpu"}]}]},
    {"resources": {"core": {"limit": 5000, "remaining": 4999, "reset": 1}}, "rate": {}},
    {"data": {"viewer": {"login": "me"}, "repository": {"issue": {"userContentEdits": {
        "nodes": [{"editedAt": _TIME, "editor": {"login": "me"}}]}}}}},
    {"permission": "write", "user": {"login": "me"}},
    {"message": "Not Found", "documentation_url": "http://x", "errors": [{"code": "x"}]},
    [shaped("issue", number=3, title="t", body="b", state="open", created_at=_TIME,
            updated_at=_TIME)],
    {"workflow_run_id": 7},
)  # fmt: skip


# ── as large as may be ──────────────────────────────────────────────────────────────────────


def _large(folder: Path) -> Iterator[tuple[str, Callable[[], Callable[[], object]]]]:
    """Inputs at their bounds, or just beyond; each is made before it is read."""
    inputs = Inputs(folder, Dice(0))

    def config(data: Made) -> Callable[[], object]:
        (folder / "config.json").write_bytes(data())

        def read() -> object:
            return look_at_folder(folder / "config.json")

        return read

    def index(data: Made) -> Callable[[], object]:
        (folder / INDEX).write_bytes(data())
        return lambda: shards.local_index(folder)

    def reply(data: Made, **given: str) -> Callable[[], object]:
        url = inputs._served({})
        if inputs.server is None:
            raise TypeError("it was started")
        inputs.server.reply = 200, {"Content-Type": "application/json", **given}, data()
        return lambda: Hub(url, None, pause=0.0).release("org/model")

    def record(data: Made) -> Callable[[], object]:
        path = Folder(folder).file(Prepared)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data())
        return lambda: Folder(folder).read(Prepared)

    half, most = MOST_VALUES // 2 - 2, shards.MOST_TENSORS - 9
    size, values = REPLY.bytes or 0, (REPLY.values or 0) // 2 - 9
    made: tuple[tuple[str, Callable[..., Callable[[], object]], Made, dict[str, str]], ...] = (
        ("config of objects", config, lambda: b'{"a":[' + b'{"":0},' * half + b"1]}", {}),
        ("config of one text", config, lambda: _text(b'{"a":"', LARGEST_CONFIG, b'"}'), {}),
        ("config of lists", config, lambda: b'{"a":[' + b"[]," * (1 << 20) + b"1]}", {}),
        ("index of tensors", index, lambda: _index(most), {}),
        (
            *("index of one name", index),
            *(lambda: _text(b'{"weight_map":{"', shards.LONGEST_INDEX, b'":"a"}}'), {}),
        ),
        ("index of small names", index, lambda: _index(700_000), {}),
        ("reply of objects", reply, lambda: b"[" + b'{"":0},' * values + b"1]", {}),
        ("reply of one text", reply, lambda: _text(b'["', size - 20_000, b'"]'), {}),
        ("reply of lists", reply, lambda: b"[" + b"[]," * (size // 3 - 9_000) + b"1]", {}),
        (
            *("reply of zeros", reply, lambda: gzip.compress(bytes(1 << 28), 1)),
            {"Content-Encoding": "gzip"},
        ),
        (
            *("record of objects", record),
            *(lambda: b'{"order":[' + b'{"":0},' * (LONGEST // 7 - 9) + b"1]}", {}),
        ),
        ("record of one text", record, lambda: _text(b'{"order":"', LONGEST, b'"}'), {}),
    )
    for called, read_by, data, given in made:
        yield called, partial(read_by, data, **given)
    for kind, called, content in fuzz_headers.large_cases():
        read = fuzz_headers.read_gguf if kind == "gguf" else fuzz_headers.read_safetensors

        def header(
            read: Callable[[Path], None] = read, data: bytes = content
        ) -> Callable[[], object]:
            (folder / "x").write_bytes(data)
            return cast("Callable[[], object]", partial(read, folder / "x"))

        yield f"{kind} of {called}", header


def _text(before: bytes, size: int, after: bytes) -> bytes:
    """One text that fills `size` bytes, and takes four times as much for its one emoji."""
    face = "😀".encode()
    return before + face + b"x" * (size - len(before) - len(face) - len(after)) + after


def _index(count: int) -> bytes:
    pairs = b",".join(b'"model.layers.%d.w":"m-%05d"' % (n, n) for n in range(count))
    return b'{"weight_map":{' + pairs + b"}}"


# ── the program ─────────────────────────────────────────────────────────────────────────────


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """More CPU time kills the process (SIGPROF)."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def outcome(read: Callable[[], object]) -> str:
    """`read` or `refused`; anything else goes on."""
    try:
        read()
    except BotError as error:
        if not str(error) or "\n" in str(error):
            raise AssertionError("an error of more lines than one") from error
        return "refused"
    return "read"


def peak() -> int:
    """The most memory of this process so far, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


def run(kind: str, seed: int, count: int, folder: Path) -> dict[str, Any]:
    """All cases; how many had which outcome, the slowest, and what took the most memory."""
    found: Counter[str] = Counter()
    slowest, most, costly = 0.0, peak(), -1
    inputs = Inputs(folder, Dice(0))
    kinds = list(KINDS) if kind == "all" else [kind]
    for number, kind in itertools.product(range(count), kinds):
        inputs.dice.seed(seed * 1_000_003 + number)
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        began = time.process_time()
        try:
            with limited(SECONDS):
                found[outcome(partial(KINDS[kind], inputs))] += 1
        except BaseException as error:
            error.add_note(f"case {number} of {kind}, seed {seed}")
            raise
        slowest = max(slowest, time.process_time() - began)
        if peak() > most:
            most, costly = peak(), number
    return {**found, "slowest": round(slowest, 2), "costly": costly}


def main(kind: str, seed: int, count: int) -> None:
    """The program."""
    logging.disable()  # what others say of odd answers is no outcome
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        case: Callable[[], object] | None = None
        called = ""
        if kind == "large":
            called, make = next(itertools.islice(_large(folder), seed, None))
            case = make()
            del make
        else:
            run(kind, -1, 3, folder)
        print("ready", flush=True)  # noqa: T201 - a program of its own
        sys.stdin.readline()
        if case is not None:
            with limited(2 * SECONDS):
                print(json.dumps({outcome(case): 1, "name": called}), flush=True)  # noqa: T201
        else:
            print(json.dumps(run(kind, seed, count, folder)), flush=True)  # noqa: T201
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
