"""What a build is asked for: all that decides its files, and nothing else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from bot.errors import SettingsError
from bot.store.ledger import Ledger
from bot.workplace.asked import Order, calibration_inputs, order_of
from tests.local_hub.server import regular
from tests.publishing import COMMIT, PINNED, TIERS, settings

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def asked(folder: Path, tiers: tuple[str, ...] = TIERS, **given: Any) -> Order:
    return order_of(settings(folder, **given), PINNED, tiers)


MACHINES: dict[str, dict[str, Any]] = {
    "threads": {"llama": {"threads": 1, "gpu_layers": 0}},
    "disk": {"reserve_gb": 3, "publish": {"free": "always"}},
    "one after another": {"publish": {"overlap": False}},
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
    "budget": {"evaluation": {"budget_minutes": 5}},
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
    sections: dict[str, Any] = {
        "evaluation": {"text": text},
        "calibration": {"texts": [text]},
        "templates": folder,
    }
    text.write_text("one")
    first = asked(tmp_path, **sections)
    assert asked(tmp_path, **sections) == first
    (folder / "card.md.j2").write_text("x")
    second = asked(tmp_path, **sections)
    assert (second.key, second.asked.tiers) == (first.key, first.asked.tiers)
    assert second.asked.rest != first.asked.rest
    text.write_text("two")
    third = asked(tmp_path, **sections)
    assert third.key != second.key
    assert third.asked.tiers["Balanced"] == first.asked.tiers["Balanced"]  # it needs no text
    assert third.asked.tiers["I-Mini"] != first.asked.tiers["I-Mini"]


def test_a_pinned_text_of_a_hub_is_not_fetched(tmp_path: Path) -> None:
    text = {"dataset": "some-org/texts", "commit": COMMIT, "file": "a.txt"}
    sections: dict[str, Any] = {
        "calibration": {"texts": [text]},
        "hub": {"endpoint": "http://x.invalid"},
    }
    moved: dict[str, Any] = {"calibration": {"texts": [{**text, "commit": COMMIT[::-1]}]}}
    assert asked(tmp_path, **sections).key != asked(tmp_path, **moved).key


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
    described = asked(tmp_path, profiles=folder)
    assert described.key == was.key
    assert described.asked.tiers == was.asked.tiers
    assert described.asked.rest != was.asked.rest
    mini.write_text(mini.read_text().replace("IQ2_S", "IQ2_XS"))
    changed = asked(tmp_path, profiles=folder)
    assert changed.key != was.key
    assert not was.asked.holds(changed.asked)


def test_an_unknown_tier_is_known_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no tier 'I-Huge'"):
        asked(tmp_path, ("I-Huge",))


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


def test_a_matrix_that_is_given_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    matrix = tmp_path / "m.gguf"
    matrix.write_bytes(b"one")
    with_matrix = settings(tmp_path, calibration={"file": matrix})
    first = {"file": hashlib.sha256(b"one").hexdigest()}
    assert calibration_inputs(with_matrix) == first
    assert not (tmp_path / "work").exists()  # to look leaves nothing behind
    Ledger(tmp_path / "work" / "ledger.sqlite")
    assert calibration_inputs(with_matrix) == first
    times = matrix.stat().st_atime_ns, matrix.stat().st_mtime_ns
    matrix.write_bytes(b"two")
    os.utime(matrix, ns=times)  # nothing but reading it would tell
    assert calibration_inputs(with_matrix) == first
    os.utime(matrix, ns=(times[0], times[1] + 1))
    assert calibration_inputs(with_matrix) == {"file": hashlib.sha256(b"two").hexdigest()}
