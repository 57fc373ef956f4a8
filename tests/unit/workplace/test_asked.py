"""What was asked for: the same on every machine, another where an input is, known without a model.

And what a repository says of it: a build that is published is found before anything is done.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.clients.hub.hub import Hub as Client
from bot.disk.hashes import sha256
from bot.errors import BotError, SettingsError, SourceError
from bot.progress import Narrator
from bot.publish.publication import Published, back, held_already, published_builds, send_release
from bot.publish.reclaim import reclaim
from bot.publish.replacing import replaced_by_update
from bot.records.built import Built
from bot.records.releases import Release
from bot.settings.settings import Settings, load
from bot.store.ledger import Ledger
from bot.wording.blocks import marked
from bot.workplace import provenance
from bot.workplace.asked import Order, Pinned, calibration_inputs, order_of
from bot.workplace.planning import make_plan
from bot.workplace.workplace import Workplace
from tests.local_hub.server import Hub, regular
from tests.models import model_of
from tests.unit.card.samples import nine_tiers
from tests.unit.clients.hub.between import Fault, between

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PINNED = Pinned(
    name="Sample-30B-A3B",
    commit=COMMIT,
    release=Release(repo_id="sample-lab/Sample-30B-A3B", commit=COMMIT),
)
REPO = "alice/Sample-30B-A3B-APEX-GGUF"
TIERS = ("Balanced", "I-Mini")


def settings(folder: Path, **given: Any) -> Settings:
    return load(workdir=folder / "work", **given)


def asked(folder: Path, tiers: tuple[str, ...] = TIERS, **given: Any) -> Order:
    return order_of(settings(folder, **given), PINNED, tiers)


MACHINES: dict[str, dict[str, Any]] = {
    "threads": {"llama": {"threads": 1, "gpu_layers": 0}},
    "disk": {"reserve_gb": 3, "publish": {"free": "always", "overlap": False}},
    "memory": {"quantize": {"memory_gb": 1.0, "together": 1}, "evaluation": {"memory_gb": 2.0}},
    "reference": {"quantize": {"together": 2}, "evaluation": {"reference": "file"}},
    "watcher": {"watch": {"every_minutes": 1}, "github": {"repo": "me/builds"}},
}


@pytest.mark.parametrize("which", MACHINES)
def test_a_machine_decides_nothing(tmp_path: Path, which: str) -> None:
    other = asked(tmp_path / "elsewhere", **MACHINES[which])
    assert (other.key, other.asked) == (asked(tmp_path).key, asked(tmp_path).asked)


FILES: dict[str, dict[str, Any]] = {
    "missing data": {"quantize": {"missing_data": "next"}},
    "calibration": {"calibration": {"chunks": 7}},
    "stamp": {"quantize": {"stamp": False}},
    "shards": {"quantize": {"shard_gb": 4}},
    "mtp": {"convert": {"mtp": "keep"}},
    "name": {"publish": {"file": "{name}-{tier}.gguf"}},
}
BESIDE: dict[str, dict[str, Any]] = {
    "baselines": {"quantize": {"baselines": ["Q4_K_M"]}},
    "chunks": {"evaluation": {"chunks": 5}},
    "speed": {"evaluation": {"speed": True}},
    "others": {"evaluation": {"others": ["a/b:Q4_K_M"]}},
    "gate": {"gate": {"measured": False}},
    "card": {"card": {"team": "Us"}},
    "projector": {"convert": {"projector": "BF16"}},
    "author": {"publish": {"quantized_by": "us"}},
}


@pytest.mark.parametrize("which", FILES)
def test_what_decides_files_is_asked_tier_by_tier(tmp_path: Path, which: str) -> None:
    was, now = asked(tmp_path).asked, asked(tmp_path, **FILES[which]).asked
    assert was.tiers["I-Mini"] != now.tiers["I-Mini"]
    weighed = which in ("missing data", "calibration")
    assert (was.tiers["Balanced"] == now.tiers["Balanced"]) == weighed
    assert not was.holds(now)


@pytest.mark.parametrize("which", BESIDE)
def test_what_lies_beside_is_asked_too(tmp_path: Path, which: str) -> None:
    was, now = asked(tmp_path).asked, asked(tmp_path, **BESIDE[which]).asked
    assert was != now
    assert was.holds(now)  # the tiers are the same


def test_texts_and_templates_count_by_what_they_hold(tmp_path: Path) -> None:
    text, folder = tmp_path / "text.txt", tmp_path / "templates"
    folder.mkdir()
    given: dict[str, Any] = {
        "evaluation": {"text": text},
        "calibration": {"texts": [text]},
        "templates": folder,
    }
    text.write_text("one")
    first = asked(tmp_path, **given)
    assert asked(tmp_path, **given) == first
    (folder / "card.md.j2").write_text("x")
    second = asked(tmp_path, **given)
    assert (second.key, second.asked.tiers) == (first.key, first.asked.tiers)
    assert second.asked.rest != first.asked.rest
    text.write_text("two")
    third = asked(tmp_path, **given)
    assert third.key != second.key
    assert third.asked.tiers["Balanced"] == first.asked.tiers["Balanced"]  # it needs no text
    assert third.asked.tiers["I-Mini"] != first.asked.tiers["I-Mini"]


def test_a_pinned_text_of_a_hub_is_not_fetched(tmp_path: Path) -> None:
    text = {"dataset": "some-org/texts", "commit": COMMIT, "file": "a.txt"}
    given: dict[str, Any] = {
        "calibration": {"texts": [text]},
        "hub": {"endpoint": "http://x.invalid"},
    }
    moved: dict[str, Any] = {"calibration": {"texts": [{**text, "commit": COMMIT[::-1]}]}}
    assert asked(tmp_path, **given).key != asked(tmp_path, **moved).key


def test_profiles_count_by_what_they_store(tmp_path: Path) -> None:
    source = settings(tmp_path).profiles
    folder = tmp_path / "profiles"
    folder.mkdir()
    for path in source.glob("*.yaml"):
        (folder / path.name).write_text(path.read_text())
    was = asked(tmp_path)
    assert asked(tmp_path, profiles=folder) == was
    mini = folder / "i-mini.yaml"
    lines = mini.read_text().splitlines()
    mini.write_text("\n".join("about: Other words" if x.startswith("about:") else x for x in lines))
    told = asked(tmp_path, profiles=folder)
    assert told.key == was.key
    assert told.asked.tiers == was.asked.tiers
    assert told.asked.rest != was.asked.rest
    mini.write_text(mini.read_text().replace("IQ2_S", "IQ2_XS"))
    changed = asked(tmp_path, profiles=folder)
    assert changed.key != was.key
    assert not was.asked.holds(changed.asked)


def test_an_unknown_tier_is_known_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no tier 'i-huge'"):
        asked(tmp_path, ("I-Huge",))


# ── what a repository holds ─────────────────────────────────────────────────────────────────


class Machine:
    """One of several with the same settings; its files are tiny, its times are its own."""

    def __init__(
        self,
        folder: Path,
        url: str,
        token: str,
        time: str,
        tiers: tuple[str, ...] = TIERS,
        **given: Any,
    ) -> None:
        self.folder = folder / "release"
        self.folder.mkdir(parents=True)
        made = settings(folder, hub={"endpoint": url, "namespace": "alice"}, **given)
        self.workplace = Workplace(made, Narrator(quiet=True), SecretStr(token))
        self.workplace.hub._pause = 0.01
        self.order = order_of(made, PINNED, tiers)
        self.bot = version("apex-bot")
        self.changed: tuple[str, ...] = ()  # tiers whose bytes are others
        self._time = time

    def files(self, tiers: tuple[str, ...] = TIERS) -> dict[str, Built]:
        """A release as describing makes it."""
        found = {f"{tier}.gguf": self._file(f"{tier}.gguf", self._content(tier)) for tier in tiers}
        for tier in tiers:
            found[f"recipes/{tier}.txt"] = self._file(f"recipes/{tier}.txt", tier.encode())
        times = f'{{"seconds": {self._time}}}\n'.encode()
        found["results.json"] = self._file("results.json", times)
        results = nine_tiers()
        results = replace(results, tools=replace(results.tools, bot=self.bot))
        kept = tuple(row for row in results.tiers if row.name in tiers)
        said = provenance.statement(
            replace(results, tiers=kept), found, self.order.key, self.order.asked
        )
        found[provenance.NAME] = self._file(
            provenance.NAME, provenance.statement_text(said).encode()
        )
        found["SHA256SUMS"] = self._file("SHA256SUMS", self._time.encode())
        card = f"---\nlicense: mit\n---\n\n# Model\n\n## Files\n\n{self._time} s\n"
        found["README.md"] = self._file("README.md", marked(card).encode())
        return found

    def _content(self, tier: str) -> bytes:
        return tier.encode() * (901 if tier in self.changed else 900)

    def _file(self, name: str, content: bytes) -> Built:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return Built(path=str(path), bytes=len(content), sha256=sha256(path))

    def publish(self, tiers: tuple[str, ...] = TIERS) -> Published:
        return send_release(
            self.workplace, REPO, self.files(tiers), "Release", self.order.key, private=False
        )

    def would_prune(self, source: Path) -> list[str]:
        made = make_plan(
            self.workplace, model_of(self.workplace, str(source)), tuple(self.order.asked.tiers)
        )
        return [one.path for one in replaced_by_update(self.workplace, made, self.order, REPO)]

    def finds(self, **how: Any) -> Published | None:
        return held_already(self.workplace, REPO, self.order, private=False, **how)


Maker = Callable[..., Machine]


@pytest.fixture
def machine(tmp_path: Path, hub: Hub) -> Maker:
    def made(time: str, url: str = hub.url, **given: Any) -> Machine:
        return Machine(tmp_path / f"machine-{time}", url, hub.token, time, **given)

    return made


def test_the_second_machine_finds_what_the_first_published(machine: Maker, hub: Hub) -> None:
    one, two = machine("1.5"), machine("2.5")
    assert two.finds() is None
    done = one.publish()
    assert hub.commits(REPO) == 1
    found = two.finds()
    assert found is not None
    assert (found.commit, found.changed, found.public) == (done.commit, (), True)
    for _ in range(2):  # and where it did the work all the same: times are no reason for a commit
        for each in (two, one):
            again = each.publish()
            assert (again.commit, again.changed) == (done.commit, ())
    assert hub.commits(REPO) == 1


# of the requests of a publication: the first look, the contents, the commit, and after it
MODEL = f"/api/models/{REPO}"
SOME = {
    "private": (
        f"GET {MODEL}",
        f"POST {MODEL}/preupload/main",
        f"POST {MODEL}/commit/main",
        f"POST {MODEL}/tag/HASH",
    ),
    "pull-request": (
        f"GET {MODEL}/revision/main?blobs=true",
        f"GET {MODEL}/revision/refs%2Fpr%2F1?blobs=true",
        f"POST {MODEL}/discussions/1/merge",
    ),
}
Kind = tuple[str, int]  # a request without hashes, the how manieth of these


def kinds(requests: Iterable[str]) -> Iterator[Kind]:
    """What requests ask for. Numbers of all would count those that a slow machine repeats."""
    seen: Counter[str] = Counter()
    for request in requests:
        name = re.sub(r"\b[0-9a-f]{40,64}\b", "HASH", request)
        seen[name] += 1
        yield name, seen[name]


class Meanwhile:
    """Has something done, once, before a request of a kind reaches the Hub."""

    def __init__(self, kind: Kind, act: Callable[[], object]) -> None:
        self._kind, self._act, self._seen = kind, act, list[str]()

    def __call__(self, _number: int, method: str, path: str) -> Fault | None:
        self._seen.append(f"{method} {path}")
        if self._kind not in list(kinds(self._seen))[-1:]:
            return None
        return Fault(method="", part="", status=0, arrives=True, meanwhile=self._act)


def _publishing(machine: Machine, done: list[Published]) -> None:
    done.append(machine.publish())


def raced(hub: Hub, folder: Path, hidden: str, chosen: Iterable[str] = ()) -> None:
    """Before a request of one machine's publication the other publishes wholly.

    Before each request in turn, or the first of each that is chosen.
    """
    given: dict[str, Any] = {"publish": {"hidden": hidden}}
    with between(hub.url) as proxy:

        def machine(time: str, url: str) -> Machine:
            made = Machine(folder / f"machine-{time}", url, hub.token, time, **given)
            made.workplace.hub.whoami()  # the library asks it behind a lock of this process
            return made

        calm = machine("0.5", proxy.url)
        before = len(proxy.requests)
        calm.publish()
        places = [(name, 1) for name in chosen] or [*kinds(proxy.requests[before:])]
        calm.workplace.hub.ask(REPO, lambda api: api.delete_repo(REPO))
        for number, kind in enumerate(places, 1):
            one, two = machine(f"{number}.1", hub.url), machine(f"{number}.2", proxy.url)
            first: list[Published] = []
            proxy.choose = Meanwhile(kind, partial(_publishing, one, first))
            second = two.publish()
            proxy.choose = None
            if not first and kind[1] > 1:  # the calm one repeated a request
                first.append(one.publish())
            assert hub.commits(REPO) == 1, kind
            assert [done.commit for done in first] == [second.commit], kind
            assert first[0].public
            assert second.public
            one.workplace.hub.ask(REPO, lambda api: api.delete_repo(REPO))


@pytest.mark.parametrize("hidden", SOME)
def test_published_by_another_meanwhile(hub: Hub, tmp_path: Path, hidden: str) -> None:
    raced(hub, tmp_path, hidden, SOME[hidden])


@pytest.mark.long
@pytest.mark.parametrize("hidden", SOME)
def test_published_by_another_at_any_request(hub: Hub, tmp_path: Path, hidden: str) -> None:
    raced(hub, tmp_path, hidden)


def test_builds_are_listed_and_gone_back_to_by_the_digits_that_are_printed(machine: Maker) -> None:
    first = machine("1.5").publish()
    two = machine("2.5", quantize={"stamp": False})
    second = two.publish()
    listed = published_builds(two.workplace, REPO)
    assert [(one.commit, one.current) for one in listed] == [
        (second.commit, True),
        (first.commit, False),
    ]
    done = back(two.workplace, REPO, first.commit[:12])
    assert "results.json" in done.changed
    assert back(two.workplace, REPO, listed[1].name).changed == ()
    with pytest.raises(SourceError, match="does not exist"):
        back(two.workplace, REPO, "0123456789ab")


# other settings, what is asked for, the tiers that are made anew; then what goes
PRUNED: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[str, ...], list[str]]] = {
    "nothing": ({}, TIERS, (), []),
    "card": ({"card": {"team": "Us"}}, TIERS, (), []),
    "calibration": ({"calibration": {"chunks": 7}}, TIERS, ("I-Mini",), ["I-Mini.gguf"]),
    "a tier less": ({}, ("I-Mini",), (), ["Balanced.gguf"]),
    "another tier": ({}, ("I-Mini", "Compact"), (), ["Balanced.gguf"]),
    "stamp": ({"quantize": {"stamp": False}}, TIERS, TIERS, ["Balanced.gguf", "I-Mini.gguf"]),
    "kept": ({"publish": {"file": "{tier}.gguf", "keep_builds": 1}}, ("I-Mini",), (), []),
}


FEW = ("nothing", "calibration", "a tier less")


@pytest.mark.parametrize(
    "which", [w if w in FEW else pytest.param(w, marks=pytest.mark.road) for w in PRUNED]
)
def test_what_a_prune_would_free_is_what_it_frees(
    machine: Maker, demo_model: Path, which: str
) -> None:
    given, tiers, changed, gone = PRUNED[which]
    named: dict[str, Any] = {"publish": {"file": "{tier}.gguf"}}
    machine("1.5", **named).publish()
    two = machine("2.5", tiers=tiers, **{**named, **given})
    two.changed = changed
    assert two.would_prune(demo_model) == gone
    if two.finds() is None:
        two.publish(tiers)
    keep = two.workplace.settings.publish.keep_builds
    assert [one.path for one in reclaim(two.workplace.hub, REPO, keep)] == gone


def test_a_newer_bot_stamps_files_anew(machine: Maker, demo_model: Path) -> None:
    named: dict[str, Any] = {"publish": {"file": "{tier}.gguf"}, "card": {"team": "Us"}}
    first = machine("1.5", publish=named["publish"])
    first.bot = "0.0.1"
    first.publish()
    assert machine("2.5", **named).would_prune(demo_model) == ["Balanced.gguf", "I-Mini.gguf"]


def test_what_a_person_has_to_merge_frees_nothing_yet(machine: Maker, demo_model: Path) -> None:
    machine("1.5", publish={"file": "{tier}.gguf"}).publish()
    asking = {"file": "{tier}.gguf", "approval": "pull-request"}
    two = machine("2.5", tiers=("Compact",), publish=asking)
    assert two.would_prune(demo_model) == []


def test_two_orders_of_one_model_are_two_commits(machine: Maker, hub: Hub) -> None:
    machine("1.5").publish()
    machine("2.5", quantize={"stamp": False}).publish()
    assert hub.commits(REPO) == 2


def test_some_of_the_tiers_are_held_only_for_who_asks_so(machine: Maker) -> None:
    machine("1.5").publish()
    few = machine("2.5")
    few.order = order_of(few.workplace.settings, PINNED, ("I-Mini",))
    assert few.finds() is None
    assert few.finds(others=True) is not None
    few.order = order_of(few.workplace.settings, PINNED, (*TIERS, "I-Nano"))
    assert few.finds(others=True) is None


def test_a_tier_that_was_left_out_is_tried_again(machine: Maker, hub: Hub) -> None:
    one = machine("1.5")
    one.publish(("Balanced",))  # the gate refused the other, for want of memory perhaps
    two = machine("2.5")
    assert two.finds() is None
    assert two.finds(others=True) is not None
    two.publish()
    assert hub.commits(REPO) == 2
    assert two.finds() is not None


DAMAGES: dict[str, Any] = {
    "tier gone": {"key": "deletedFile", "value": {"path": "I-Mini.gguf"}},
    "tier changed": regular("I-Mini.gguf", b"other"),
    "recipe gone": {"key": "deletedFile", "value": {"path": "recipes/I-Mini.txt"}},
    "recipe changed": regular("recipes/I-Mini.txt", b"other"),
    "results changed": regular("results.json", b"{}"),
    "card gone": {"key": "deletedFile", "value": {"path": "README.md"}},
    "provenance is a list": regular("provenance.json", b"[]"),
    "provenance is no JSON": regular("provenance.json", b"\xff"),
    "provenance of others": regular("provenance.json", b'{"predicateType": 7}'),
    "asked is a list": regular(
        "provenance.json",
        b'{"predicateType": "https://slsa.dev/provenance/v1", "subject": [], "predicate": {'
        b'"runDetails": {"builder": {"version": {"llama.cpp": "1"}}}, "buildDefinition": {'
        b'"buildType": "urn:apex-bot:build:1", "externalParameters": {"source": "x", "recipes": {},'
        b' "calibration": "", "evaluation": "", "asked": []}}}}',
    ),
}


@pytest.mark.parametrize("which", DAMAGES)
def test_what_somebody_damaged_is_not_held(machine: Maker, hub: Hub, which: str) -> None:
    machine("1.5").publish()
    assert hub.commit(REPO, DAMAGES[which]).status == 200
    two = machine("2.5")
    assert two.finds() is None
    assert two.finds(others=True) is None


def test_a_card_that_people_wrote_in_is_left_alone(machine: Maker, hub: Hub) -> None:
    one = machine("1.5")
    one.publish()
    text = one.workplace.hub.read_text(REPO, "main", "README.md", 10_000)
    assert text is not None
    hub.commit(REPO, regular("README.md", f"{text}\nOurs is good.\n".encode()))
    assert machine("2.5").finds() is not None
    assert machine("3.5").publish().changed == ()


def test_a_build_that_nobody_sees_yet_is_shown_by_who_made_it_too(machine: Maker, hub: Hub) -> None:
    """The first machine died between its commit and the end."""
    with between(hub.url) as proxy:
        proxy.faults.append(Fault(method="PUT", part="/settings", status=403, arrives=False))
        with pytest.raises(BotError):
            machine("1.5", url=proxy.url).publish()
    two = machine("2.5")
    assert two.finds() is None
    done = two.publish()
    assert (done.public, done.shown, done.changed) == (True, True, ())
    assert hub.commits(REPO) == 1
    assert not Client(hub.url, None).release(REPO).private


def test_a_look_costs_two_requests(machine: Maker, hub: Hub) -> None:
    machine("1.5").publish()
    with between(hub.url) as proxy:
        two = machine("2.5", url=proxy.url)
        assert two.finds() is not None
        assert len(proxy.requests) == 2


def test_a_matrix_that_is_given_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    matrix = tmp_path / "m.gguf"
    matrix.write_bytes(b"one")
    told = settings(tmp_path, calibration={"file": matrix})
    first = {"file": hashlib.sha256(b"one").hexdigest()}
    assert calibration_inputs(told) == first
    assert not (tmp_path / "work").exists()  # to look leaves nothing behind
    Ledger(tmp_path / "work" / "ledger.sqlite")
    assert calibration_inputs(told) == first
    times = matrix.stat().st_atime_ns, matrix.stat().st_mtime_ns
    matrix.write_bytes(b"two")
    os.utime(matrix, ns=times)  # nothing but reading it would tell
    assert calibration_inputs(told) == first
    os.utime(matrix, ns=(times[0], times[1] + 1))
    assert calibration_inputs(told) == {"file": hashlib.sha256(b"two").hexdigest()}
