"""Whatever a release does, it is decided with a reason and kept, and the next one is looked at."""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bot.clients.hub.hub import Hub
from bot.detect.inspection import look_at
from bot.detect.listed import Machine
from bot.errors import BotError, CapacityError, SourceError
from bot.foreign import DEEPEST, json_reply, json_rows, read_of
from bot.progress import Halted, Narrator
from bot.records.releases import Decision
from bot.settings.settings import load
from bot.store.ledger import Ledger
from bot.store.sightings import Sightings
from bot.watcher.assembly import Stopped
from bot.watcher.watcher import Watcher
from bot.workplace.workplace import Workplace
from tests.hand_clock import HandClock
from tests.hostile import HOSTILE, hidden
from tests.hostile_hub import MOE, Stranger, deep, hostile_hub, packed

LONG = b"9" * 5000
FILES = (
    "\ud800.safetensors",
    "a\u202eb.gguf",
    "a\0b",
    "x" * 10_000,
    "../../x",
    "",
    HOSTILE,
    "a/../b",
)
SIZES: tuple[object, ...] = (-1, "12", True, None, 10**30, [], "@inf", "@nan", "@long")
VALUES: tuple[object, ...] = (
    None,
    True,
    -1,
    10**30,
    1e308,
    "8",
    "x" * 100_000,
    HOSTILE,
    [],
    [[8]],
    {},
    {"a": []},
    "@nan",
    "@long",
)
RAW = {"inf": b"1e400", "nan": b"NaN", "long": LONG, "deep": deep(3000), "deeper": deep(100_000)}
KEYS = (
    "id",
    "sha",
    "createdAt",
    "lastModified",
    "gated",
    "disabled",
    "tags",
    "cardData",
    "siblings",
    "pipeline_tag",
)
CARD = ("license", "license_name", "license_link", "language", "base_model", "tags")
TIMES = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-13-45", "2026", "x" * 9999)


CONFIG = ("quantization_config", "text_config", "layer_types", "torch_dtype")


def _each(keys: Sequence[str], step: int) -> Iterator[tuple[str, int, object]]:
    """Keys with the number and the value that each is given."""
    for first, key in enumerate(keys):
        for n in range(first % step, len(VALUES), step):
            yield key, n, VALUES[n]


def _strangers(step: int) -> Iterator[Stranger]:
    """Releases that do everything but what one expects, and one as it should be behind them.

    Of the values of each key every `step`th, beginning with another one each.
    """

    def named(kind: str, n: int) -> str:
        return f"lab/{kind}-{n}"

    for n, name in enumerate(("@deep", "@deeper")):
        yield Stranger(name=named("deep-card", n), reply={"cardData": {"license": name}}, raw=RAW)
        yield Stranger(name=named("deep-row", n), row={"config": {"a": name}}, raw=RAW)
        yield Stranger(
            name=named("deep-config", n), files={"config.json": packed({"a": name}, **RAW)}
        )
        yield Stranger(
            name=named("deep-tags", n), row={"tags": name}, reply={"tags": name}, raw=RAW
        )
    for n, path in enumerate(FILES):
        yield Stranger(name=named("file", n), reply={"siblings": [{"rfilename": path, "size": 5}]})
        yield Stranger(name=named("file-too", n), files={path: b"x"})
    for n, size in enumerate(SIZES):
        siblings = [
            {"rfilename": "config.json", "size": size},
            {"rfilename": "a.safetensors", "lfs": {"size": size}},
        ]
        yield Stranger(name=named("size", n), reply={"siblings": siblings}, raw=RAW)
    for key, n, value in _each(KEYS, step):
        yield Stranger(name=named(f"reply-{key}", n), reply={key: value}, raw=RAW)
        if key != "id":
            yield Stranger(name=named(f"row-{key}", n), row={key: value}, raw=RAW)
    for key, n, value in _each(CARD, step):
        yield Stranger(name=named(f"card-{key}", n), reply={"cardData": {key: value}}, raw=RAW)
    for key, n, value in _each((*MOE, *CONFIG), step):
        config = packed({**MOE, key: value}, **RAW)
        yield Stranger(name=named(f"config-{key}", n), files={"config.json": config})
    for n, time in enumerate(TIMES):
        told = {"createdAt": time, "lastModified": time}
        yield Stranger(name=named("time", n), row=told, reply=told)
    many = [{"rfilename": f"f{i}.safetensors", "size": 1} for i in range(100_000)]
    yield Stranger(name="lab/many", reply={"siblings": many})
    for n, content in enumerate(
        (b"", b"[]", b"\xff", b"{", b'{"a": 1, "a": "\\ud800"}', b"x" * 5_000_000)
    ):
        yield Stranger(name=named("no-config", n), files={"config.json": content})
    yield GOOD


GOOD = Stranger(name="lab/as-it-should-be")


def _watcher(url: str, folder: Path, seen: list[Decision], clock: HandClock) -> Watcher:
    settings = load(None, watch={"page": 500, "limit": 500})
    return Watcher(
        Hub(url, None, pause=0.001, clock=clock), Ledger(folder / "l.sqlite"), settings, clock,
        holder="me", rested=0.0, machine=Machine, on_decision=seen.append,
    )  # fmt: skip


STEPS = [pytest.param(41, id="some"), pytest.param(1, id="all", marks=pytest.mark.long)]


@pytest.mark.road
@pytest.mark.parametrize("step", STEPS)
def test_every_release_is_decided_and_the_one_behind_is_found(tmp_path: Path, step: int) -> None:
    seen, clock, strangers = list[Decision](), HandClock(1_793_600_000.0), list(_strangers(step))
    with hostile_hub(strangers) as hub:
        made = _watcher(hub.url, tmp_path, seen, clock)
        made.created()
        clock.time += 7200
        made.again()  # what cannot be read is looked at once more
    kept = Sightings(Ledger(tmp_path / "l.sqlite"))
    lost = [one.name for one in strangers if not kept.history(one.name)]
    assert lost == []
    [good] = kept.history(GOOD.name)
    assert good.outcome == "eligible"
    outcomes = {name: kept.history(f"lab/{name}")[-1].outcome for name in ("deep-card-0", "many")}
    assert outcomes["deep-card-0"] == "unreadable"
    for decision in seen:
        assert decision.reason
        assert not hidden(decision.reason + decision.release.repo_id)
        assert "\n" not in decision.reason


def _said(workplace: Workplace, name: str) -> str:
    """What `bot inspect` would say in its reason or error."""
    try:
        return look_at(workplace, name, "main", Machine()).decision.reason
    except BotError as error:
        return str(error)


def test_a_release_that_turns_odd_ends_no_turn(tmp_path: Path) -> None:
    """Its own reply is none of a Hub's; those behind it are looked at again all the same."""
    strangers = [
        Stranger(name=f"lab/{name}", reply={"siblings": []}) for name in ("odd", "other", "third")
    ]
    with hostile_hub(strangers) as hub:
        seen, clock = list[Decision](), HandClock(1_793_600_000.0)
        made = _watcher(hub.url, tmp_path, seen, clock)
        made.created()
        strangers[0].row = {"id": 5}
        for one in strangers[1:]:
            one.row = one.reply = {"sha": one.name.encode().hex().ljust(40, "0")}
        clock.time += 50 * 3600
        assert made.again() == 3
        kept = Sightings(Ledger(tmp_path / "l.sqlite"))
        assert [kept.history(one.name)[-1].kind for one in strangers] == ["wait", "build", "build"]
        hub.strangers.clear()  # gone, as it seems
        clock.time += 50 * 3600
        made.again()
        assert kept.history("lab/odd")[-1].outcome == "gone"


@pytest.mark.road
@pytest.mark.parametrize("step", STEPS)
def test_a_release_that_is_named_is_an_error_of_one_line(tmp_path: Path, step: int) -> None:
    strangers = list(_strangers(step))
    with hostile_hub(strangers) as hub:
        settings = load(None, hub={"endpoint": hub.url}, workdir=str(tmp_path))
        workplace = Workplace(settings, Narrator(quiet=True), None)
        workplace.hub._pause = 0.001
        for one in strangers:
            said = _said(workplace, one.name)
            assert said
            assert not hidden(said)
            assert "\n" not in said


# ── what is of the release, and what of this machine ────────────────────────────────────────────


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"), RecursionError(), TypeError(), KeyError("k"), OverflowError(),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, HOSTILE), RuntimeError(HOSTILE), EOFError(),
        OSError(errno.ENAMETOOLONG, "File name too long"), ZeroDivisionError(),
        AttributeError(), AssertionError(),
    ],
)  # fmt: skip
def test_what_nobody_foresaw_is_of_the_release(error: Exception) -> None:
    with (
        pytest.raises(SourceError, match=f"^lab/x cannot be read \\({type(error).__name__}"),
        read_of("lab/x"),
    ):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left"), OSError(errno.EIO, "I/O"), ConnectionError(),
        PermissionError(13, "no"), KeyboardInterrupt(), SystemExit(3), GeneratorExit(),
        sqlite3.OperationalError("disk I/O"), Halted(), Stopped(), CapacityError("its own words"),
    ],
)  # fmt: skip
def test_what_is_of_this_machine_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, read_of("lab/x"):
        raise error
    assert caught.value is error


def test_memory_that_ran_out_is_of_the_day() -> None:
    with pytest.raises(CapacityError, match="takes more memory than there is"), read_of("lab/x"):
        raise MemoryError


def test_rows_lose_what_is_nested_too_deep_and_nothing_else() -> None:
    text = b'[{"id": "a", "x": %b, "y": "]}\\"[{"}, {"id": "b", "n": %b}]' % (deep(3000), LONG)
    first, second = json_rows(text, "rows")
    assert (first["id"], first["y"], second) == ("a", ']}"[{', {"id": "b", "n": float("inf")})
    inner = first["x"]
    for _ in range(DEEPEST - 3):
        [inner] = inner
    assert inner == [None]
    with pytest.raises(SourceError, match="nested deeper"):
        json_reply(text, "lab/x")
    assert json_reply(b'{"a": "\\ud800", "a": NaN}', "x") != json.loads("{}")
