"""What a publication would meet at its end, told before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import AccessError, PublishError, SourceError
from bot.plan.models import Model, Plan
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
