"""What a publication would meet at its end, told before anything is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.errors import AccessError, PublishError, SourceError
from bot.plan.models import Model, Plan, Sketch
from bot.publish.upload import open_public
from bot.release.ahead import outlook, renamed, require_names
from bot.workplace.planning import make_plan
from tests.local_hub.server import Hub
from tests.models import model_of
from tests.publishing import REPO, Machine

TAKEN = (
    "given the repository alone, I-Mini.gguf is taken by LocalAI, Balanced.gguf is taken by "
    "llama.cpp; with publish.default_tier among the tiers all take that"
)


@pytest.fixture
def here(tmp_path: Path, hub: Hub) -> Machine:
    return Machine(tmp_path / "machine", hub.url, hub.token, "1.5", publish={"file": "{tier}.gguf"})


@pytest.fixture
def plan(here: Machine, demo_model: Path) -> Plan[Model]:
    model = model_of(here.workplace, str(demo_model))
    return make_plan(here.workplace, model, ("Balanced", "I-Mini"))


def test_a_new_repository_is_told_of(here: Machine, plan: Plan[Model]) -> None:
    assert [*outlook(here.workplace, plan, REPO)] == [
        f"{REPO} does not exist yet: it will be made, public once it is verified, with 2 tiers",
        TAKEN,
    ]


def test_files_of_people_stay_unless_one_has_a_name_of_ours(
    here: Machine, plan: Plan[Model], tmp_path: Path
) -> None:
    hub = here.workplace.publisher(REPO)
    (tmp_path / "words").write_text("words\n")
    before = open_public(hub, REPO)
    commit = hub.commit(REPO, {"notes.txt": tmp_path / "words"}, "Notes", parent=before.commit)
    [line, _taken] = outlook(here.workplace, plan, REPO)
    assert line.endswith("and none of the bot's: they stay")
    hub.commit(REPO, {"I-Mini.gguf": tmp_path / "words"}, "A file", parent=commit)
    with pytest.raises(PublishError, match=r"holds a I-Mini\.gguf that is not the bot's"):
        list(outlook(here.workplace, plan, REPO))


def test_an_update_is_told_with_its_reasons(here: Machine, plan: Plan[Model]) -> None:
    here.publish()
    [line, _taken] = outlook(here.workplace, plan, REPO)
    assert line.startswith(f"{REPO} will be updated: ")


def test_names_and_owners_are_looked_at_first(here: Machine) -> None:
    require_names(here.workplace, "lab/Model-30B", (), None)
    with pytest.raises(SourceError, match="is no OWNER/NAME"):
        require_names(here.workplace, "lab/Model-30B", (), "foo")
    with pytest.raises(AccessError, match="may not publish for nobody"):
        require_names(here.workplace, "lab/Model-30B", (), "nobody/x")


def test_a_label_in_a_name_is_told_of() -> None:
    assert [*renamed("lab/Model-30B")] == []
    [line] = renamed("lab/Model-30B-Q8_0")
    assert line.startswith("Model-30B-Q8_0 is called Model-30B: ")


def test_what_a_program_would_take_for_the_model_is_known_before(
    here: Machine, plan: Plan[Model], hub: Hub, tmp_path: Path
) -> None:
    """LocalAI takes the last file, where none is labelled as it wants."""
    beside = {"mmproj.gguf": tmp_path / "a", "mtp-x.gguf": tmp_path / "b"}
    parts = replace(plan, model=replace(plan.model, extras=beside))
    _new, left_out, _taken = outlook(here.workplace, parts, REPO)
    assert left_out.startswith("mtp-x.gguf will be left out: LocalAI, given the repository alone, ")
    named = Machine(tmp_path / "named", hub.url, hub.token, "1.5")
    labelled = make_plan(named.workplace, plan.model, ("Balanced", "I-Compact"))
    whole = replace(labelled, model=replace(labelled.model, extras=beside))
    assert len([*outlook(named.workplace, whole, REPO)]) == 1


def test_parts_of_a_checkpoint_are_counted_as_they_will_be(
    here: Machine, plan: Plan[Model]
) -> None:
    sketch = Sketch(
        name="M", release=None, tensors=plan.model.tensors, header_bytes=0,
        architecture=replace(plan.model.architecture, mtp_layers=1, vision=True),
    )  # fmt: skip
    separate = Plan(model=sketch, profiles=plan.profiles, recipes=plan.recipes)
    assert any("mtp-M.gguf" in line for line in outlook(here.workplace, separate, REPO))
    settings = here.workplace.settings
    convert = settings.convert.model_copy(update={"mtp": "drop"})
    here.workplace.settings = settings.model_copy(update={"convert": convert})
    assert not any("mtp-M.gguf" in line for line in outlook(here.workplace, separate, REPO))
