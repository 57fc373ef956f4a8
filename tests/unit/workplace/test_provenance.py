"""provenance.json: written, read again, and compared with what a Hub has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.disk.hashes import git_blob_id, sha256
from bot.records.built import Built
from bot.records.releases import Release, RepoFile
from bot.workplace.provenance import (
    NAME,
    PREDICATE,
    STATEMENT,
    AskedFor,
    Provenance,
    is_whole,
    of_files,
    parse_statement,
    reasons,
    statement,
    statement_text,
)
from tests.unit.card.samples import nine_tiers

ASKED = AskedFor(tiers={"Balanced": "1" * 64}, rest="2" * 64)
RESULTS = nine_tiers()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Built]:
    return {
        name: built(tmp_path / name, content)
        for name, content in (("Balanced.gguf", b"weights"), ("README.md", b"# Card"))
    }


def built(path: Path, content: bytes) -> Built:
    path.write_bytes(content)
    return Built(path=str(path), bytes=len(content), sha256=sha256(path))


def made_of(files: dict[str, Built]) -> Provenance:
    provenance = parse_statement(statement(RESULTS, files, "key", ASKED))
    assert provenance is not None
    return provenance


def test_a_statement_is_in_toto_and_slsa(files: dict[str, Built]) -> None:
    document = statement(RESULTS, files, "key", ASKED)
    assert (document["_type"], document["predicateType"]) == (STATEMENT, PREDICATE)
    model, card = document["subject"]
    assert model == {"name": "Balanced.gguf", "digest": {"sha256": files["Balanced.gguf"].sha256}}
    assert card["digest"]["gitBlob"] == git_blob_id(Path(files["README.md"].path))
    defined = document["predicate"]["buildDefinition"]
    dependencies = defined["resolvedDependencies"]
    assert RESULTS.release is not None
    assert dependencies[0]["digest"] == {"gitCommit": RESULTS.release.commit}
    assert {"name": "source", "digest": {"sha256": RESULTS.source_sha256}} in dependencies
    assert dependencies[-1]["uri"].startswith("pkg:pypi/llama-cpp-python@")
    assert document["predicate"]["runDetails"]["metadata"] == {"invocationId": "key"}
    assert statement_text(document) == statement_text(statement(RESULTS, files, "key", ASKED))


def test_what_was_stated_is_read_again(files: dict[str, Built], tmp_path: Path) -> None:
    provenance = made_of(files)
    assert provenance.files == {name: file.sha256 for name, file in files.items()}
    assert set(provenance.blobs) == {"README.md"}
    assert provenance.recipes == {row.name: row.recipe for row in RESULTS.tiers if row.recipe}
    assert (provenance.asked, provenance.llama) == (ASKED, RESULTS.tools.llama_cpp)
    text = statement_text(statement(RESULTS, files, "key", ASKED)).encode()
    assert of_files({**files, NAME: built(tmp_path / NAME, text)}) == provenance
    assert of_files(files) is None


def changed(document: Any, *path: str | int, to: Any) -> Any:
    document = json.loads(json.dumps(document))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return document


PARAMETERS = ("predicate", "buildDefinition", "externalParameters")


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("predicateType",), "https://slsa.dev/provenance/v0.2"),
        (("predicate", "buildDefinition", "buildType"), "urn:other"),
        (("predicate",), None),
        (("subject",), [{"name": "x"}]),
        (("subject",), 7),
        (PARAMETERS, {}),
        ((*PARAMETERS, "recipes"), []),
        ((*PARAMETERS, "asked"), [1]),
    ],
)
def test_what_is_none_of_ours_says_nothing(
    files: dict[str, Built], path: tuple[str, ...], to: Any
) -> None:
    document = statement(RESULTS, files, "key", ASKED)
    assert parse_statement(changed(document, *path, to=to)) is None
    assert parse_statement(None) is None


def test_a_build_is_that_of_an_order_where_all_inputs_are_equal(files: dict[str, Built]) -> None:
    provenance = made_of(files)
    assert provenance.is_of(ASKED)
    assert not provenance.is_of(replace(ASKED, rest="3" * 64))
    assert not provenance.is_of(AskedFor())
    two = AskedFor(tiers={**ASKED.tiers, "Compact": "4" * 64}, rest=ASKED.rest)
    assert two.holds(ASKED)
    assert not ASKED.holds(two)
    assert not two.holds(AskedFor())
    assert not replace(provenance, recipes={}).is_of(ASKED)  # a tier was left out


def test_why_files_are_others_is_told(files: dict[str, Built]) -> None:
    old = made_of(files)
    first, *more = old.recipes
    new = replace(
        old,
        source="org/M@new\u202e",
        llama="b9999",
        calibration="x",
        evaluation="y",
        recipes={**{tier: old.recipes[tier] for tier in more[1:]}, first: "0" * 64, "New": "1"},
    )
    assert list(reasons(old, old)) == []
    source, llama, *rest = reasons(old, new)
    assert source.startswith("new source: ")
    assert "\u202e" not in source  # who wrote it may have meant harm
    assert llama.endswith("→ b9999")
    assert rest == [
        f"changed recipe: {first}",
        "new tiers: New",
        f"tiers no longer published: {more[0]}",
        "calibrated anew",
        "measured on another text",
    ]


def test_a_repository_is_whole_where_every_file_has_its_content(files: dict[str, Built]) -> None:
    provenance = made_of(files)
    listed = {
        "Balanced.gguf": {"sha256": files["Balanced.gguf"].sha256},
        "README.md": {"blob_id": provenance.blobs["README.md"]},
        **{name: {"blob_id": "0" * 40} for name in (NAME, "SHA256SUMS", "results.json")},
    }

    def whole(**files: dict[str, str]) -> bool:
        rows = tuple(RepoFile(path=path, size=1, **hashes) for path, hashes in files.items())
        return is_whole(Release(repo_id="a/b", commit="c" * 40, files=rows), provenance)

    assert whole(**listed)
    assert not whole(**{**listed, "Balanced.gguf": {"sha256": "0" * 64}})
    assert not whole(**{**listed, "README.md": {"blob_id": "0" * 40}})
    assert not whole(**{name: file for name, file in listed.items() if name != "SHA256SUMS"})
