"""Cards of other people's numbers, the seed's among them: every row, value, file and command."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.card.sheet import is_sheet, read_sheet, to_results, write_card
from bot.cli.main import cli
from bot.errors import SettingsError
from tests.evaluation import SHARED
from tests.unit.card.markdown import Page
from tests.unit.card.markdown import read as read_card

SEED = SHARED.parent / "seeds" / "000_35e74c57878daf62.txt"
RESULTS = SHARED / "apex" / "results" / "qwen36_35b"
GOLDEN = Path(__file__).resolve().parents[2] / "golden"
SHEET = """
repository: some-org/Model-APEX-GGUF
model:
  name: Model 30B-A3B
  repository: some-lab/Model-30B-A3B
  family: qwen3moe
  layers: 48
  experts: 128
  experts_active: 8
  parameters: 30_532_122_624
  parameters_active: 3_345_212_416
windows: {edge: 5, near: 5, attention_edge: 3}
llama_cpp: b8797
text: wikitext-2
tasks: {HellaSwag: 400}
results: ["results/*"]
rows:
  - {name: BF16, kind: reference, gib: 57, perplexity: 9.5}
  - {name: I-Mini, kind: tier, imatrix: true, from: [apex_i_mini, M-I-Mini], file: M-I-Mini.gguf}
  - {name: Q8_0, kind: baseline, gib: 30.3, from: [M-Q8_0], kld: {max: 2.5}}
"""


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """A sheet beside results of each kind."""
    results = tmp_path / "results"
    results.mkdir()
    values = {"size_gb": 13.3, "perplexity": 9.9, "ppl_error": 0.07, "hellaswag": 82.75}
    (results / "a.json").write_text(json.dumps({"model": "apex_i_mini", **values}))
    (results / "kl.txt").write_text("M-I-Mini 0.0999 9.21 3.08 0.0414\n")
    (results / "base.txt").write_text("M-Q8_0 9.52 75.75 0.0031 0.0012 2.56\n")
    path = tmp_path / "sheet.yaml"
    path.write_text(SHEET)
    return path


def _card(sheet: Path, folder: Path) -> tuple[str, Page]:
    readme = write_card(sheet, folder, None)["README.md"]
    text = Path(readme.path).read_text(encoding="utf-8")
    return text, read_card(text)


# ── any sheet ───────────────────────────────────────────────────────────────────────────────


def test_rows_are_filled_from_all_that_they_name(sheet: Path) -> None:
    results = to_results(read_sheet(sheet), sheet.parent)
    by_name = {row.name: row for row in results.imported}
    mini, plain = by_name["I-Mini"], by_name["Q8_0"]
    assert (mini.bytes, mini.perplexity, mini.perplexity_error) == (round(13.3 * 2**30), 9.9, 0.07)
    assert (mini.kld["mean"], mini.kld["median"]) == (0.0999, 0.0414)
    assert mini.intervals["HellaSwag"] == pytest.approx((0.787, 0.861), abs=1e-3)
    assert (plain.kld["max"], plain.kld["mean"]) == (2.5, 0.0031), "the sheet's own word first"
    assert "a.json, sha256" in mini.origin
    assert "kl.txt, sha256" in mini.origin


@pytest.mark.road
def test_the_card_of_a_sheet(sheet: Path, tmp_path: Path) -> None:
    text, page = _card(sheet, tmp_path / "out")
    assert [row[0] for row in page.tables[0]] == [
        "Model",
        "BF16 (reference)",
        "Q8_0",
        "APEX I-Mini",
    ]
    assert page.tables[0][3][2] == "9.900 ± 0.070"
    assert page.tables[0][3][-1] == "82.8% (78.7–86.1)"
    assert "this card only repeats them" in text
    assert "Provenance" not in text
    assert {path.name for path in (tmp_path / "out" / "plots").glob("size-vs-kld*")} == {
        "size-vs-kld.png",
        "size-vs-kld-dark.png",
        "size-vs-kld.svg",
    }


@pytest.mark.road
def test_the_command_writes_it_where_it_is_told(sheet: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["card", str(sheet), "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    written = json.loads(done.stdout)
    assert written["README.md"]["path"] == str(tmp_path / "out" / "README.md")
    assert all(Path(file["path"]).stat().st_size == file["bytes"] for file in written.values())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("layers: 48", "layers: many", r"model\.layers: .*; mend the sheet"),
        ("layers: 48", "layers: 48\n  shoes: 2", r"model\.shoes: "),
        ("rows:", "rows: [", "is not YAML"),
        ("[M-Q8_0]", "[M-Q9_0]", "Q8_0: no result is called M-Q9_0; known: "),
        ("results/*", "nothing/*", "nothing is at nothing"),
        ("kind: reference", "kind: baseline", "none has the kind reference"),
    ],
)
def test_what_is_wrong_with_a_sheet_is_said(
    sheet: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    sheet.write_text(SHEET.replace(old, new))
    with pytest.raises(SettingsError, match=message):
        write_card(sheet, tmp_path / "out", None)


def test_only_yaml_files_are_sheets(sheet: Path) -> None:
    assert is_sheet(str(sheet))
    assert not is_sheet("some-org/some.yaml")
    assert not is_sheet(str(sheet.with_name("model.gguf")))


# ── the seed's ──────────────────────────────────────────────────────────────────────────────

seeded = pytest.mark.skipif(
    not (SEED.is_file() and RESULTS.is_dir()), reason="the seed's card and results are not here"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    """The card of the seed's facts and the APEX project's own results."""
    folder = tmp_path_factory.mktemp("seed")
    shutil.copy(GOLDEN / "seed-sheet.yaml", folder / "sheet.yaml")
    (folder / "results").symlink_to(RESULTS)
    return _card(folder / "sheet.yaml", folder / "out")


def _seed() -> str:
    return SEED.read_text(encoding="utf-8")


def _table(text: str, head: str, end: str) -> list[list[str]]:
    """Rows of a table whose line breaks were lost: a cell with nothing stands between rows."""
    start = text.index(head)
    rows: list[list[str]] = [[]]
    for cell in text[start : text.index(end, start)].strip().strip("|").split("|"):
        if cell.strip():
            rows[-1].append(cell.strip().replace("**", ""))
        else:
            rows.append([])
    return [row for row in rows if row and not row[0].startswith("---")]


@pytest.mark.road
@seeded
def test_every_row_and_value_of_the_seed(made: tuple[str, Page]) -> None:
    seed = _table(_seed(), "| Model | Size", "![APEX")
    assert len(seed) == 15
    assert made[1].tables[0][0] == seed[0]
    assert {row[0]: row for row in made[1].tables[0][1:]} == {row[0]: row for row in seed[1:]}
    assert made[1].tables[0][1] == seed[1], "the reference first"
    order = [row[1] for row in made[1].tables[0][1:]]
    assert order == [row[1] for row in seed[1:]], "by size"


@seeded
def test_every_file_of_the_seed(made: tuple[str, Page]) -> None:
    seed = _table(_seed(), "| File | Profile", "## What is")
    assert len(seed) == 9
    assert made[1].tables[1][0] == seed[0]
    assert sorted(made[1].tables[1][1:]) == sorted(seed[1:])
    assert {row[0] for row in seed[1:]} <= set(made[1].links)


@seeded
def test_every_line_of_the_seeds_architecture(made: tuple[str, Page]) -> None:
    seed = _seed()
    part = seed[seed.index("## Architecture") : seed.index("## Run with LocalAI")]
    lines = [line.strip() for line in part.split(" - ")[1:]]
    assert len(lines) == 10
    ours = {bullet.replace("\\", "") for bullet in made[1].bullets}
    for line in lines:
        assert line.replace("**", "") in ours


@seeded
def test_every_command_of_the_seed(made: tuple[str, Page]) -> None:
    commands = re.findall(r"```bash (.*?) ```", _seed())
    assert commands == [commands[0]]
    ours = [line for _, content in made[1].fences for line in content.splitlines()]
    assert commands[0] in ours


@seeded
def test_every_tag_and_link_of_the_seed(made: tuple[str, Page]) -> None:
    seed = _seed()
    front = seed[: seed.index(" --- #")]
    tags = front[front.index("tags:") :].split(" - ")[1:]
    assert set(tags) <= set(made[1].front["tags"])
    assert made[1].front["license"] == "apache-2.0"
    assert made[1].front["base_model"] == "Qwen/Qwen3.6-35B-A3B"
    # llama.cpp moved to another owner since
    links = {
        link.replace("ggerganov", "ggml-org") for link in re.findall(r"\]\((http[^)]*)\)", seed)
    }
    assert len(links) == 5
    assert links <= set(made[1].links)


@seeded
def test_every_credit_of_the_seed(made: tuple[str, Page]) -> None:
    seed = _seed()
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", made[0])
    for credit in re.split(r"(?<=\.) (?=[A-Z])", seed[seed.index("## Credits") + 11 :].strip()):
        assert re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", credit) in plain
    assert "Brought to you by the LocalAI team" in plain


@seeded
def test_the_seeds_card_says_nothing_that_its_numbers_do_not_support(
    made: tuple[str, Page],
) -> None:
    """No error of a divergence is known there, 6.857 against 6.883 and 83.5% against 82.8% are
    within theirs, and nothing follows from a maximum of 4.53 or 14.14.
    """
    assert "### Highlights" not in made[0]
    assert "4.53" in made[0], "the table has it"
