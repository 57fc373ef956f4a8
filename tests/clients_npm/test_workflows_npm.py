"""GitHub's own parser and language service take every form of the workflow files that is made."""

from __future__ import annotations

from collections.abc import Iterator

from bot.dispatch.install import propose, wanted
from bot.settings import data_folder
from tests.clients_npm.node import clients, run

pytestmark = clients

JOBS = {
    "release.yml": ["prepare", "quantize", "publish", "report"],
    "release-single.yml": ["release"],
    "watch.yml": ["watch"],
}
BROKEN = """
on: push
jobs:
  one: {runs-on: x, needs: nobody, steps: [{run: "echo ${{ secret.x }}"}]}
"""
LENT = "# id-token: write"  # a comment that APEX-BOT.md has people uncomment


def forms() -> Iterator[tuple[str, str]]:
    """Each workflow file as it is installed, renewed over a changed one, and with lent tokens."""
    for single in (False, True):
        new = wanted(data_folder("workflows"), single=single)
        first = propose({}, new, upgrade=False).files
        old = {
            path: text.replace("gpu]", "cuda, big]") if path.endswith(".yml") else text
            for path, text in first.items()
        }
        changed = {path: f"{text}# ours\n" for path, text in new.items()}
        renewed = propose(old, changed, upgrade=True).files
        for files in (first, renewed):
            for path, text in files.items():
                if path.endswith(".yml") and path.startswith(".github/"):
                    yield path.rpartition("/")[2], text
                    yield path.rpartition("/")[2], text.replace(LENT, LENT.removeprefix("# "))


def test_githubs_own_code_finds_no_mistake_in_any_form_of_the_workflows() -> None:
    made = list(forms())
    assert {name for name, _ in made} == set(JOBS)
    assert any("cuda, big]" in text for _, text in made)
    given = [{"name": f"{n}-{name}", "content": text} for n, (name, text) in enumerate(made)]
    given.append({"name": "broken.yml", "content": BROKEN})
    found = run("workflows.mjs", given=given)
    broken = found.pop("broken.yml")["mistakes"]
    assert any("'secret'" in mistake for mistake in broken)
    assert any("'nobody'" in mistake for mistake in broken)
    for name, told in found.items():
        assert told["mistakes"] == [], name
        assert told["jobs"] == JOBS[name.partition("-")[2]]
