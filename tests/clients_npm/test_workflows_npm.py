"""GitHub's own parser and language service take every form of the workflow files that is made."""

from __future__ import annotations

from pathlib import Path

from tests.clients_npm.node import clients, run
from tests.workflow_forms import made

pytestmark = clients

JOBS = {
    "release.yml": ["prepare", "quantize", "describe", "publish", "report"],
    "release-single.yml": ["release"],
    "watch.yml": ["watch"],
}
BROKEN = """
on: push
jobs:
  one: {runs-on: x, needs: nobody, steps: [{run: "echo ${{ secret.x }}"}]}
"""


def test_githubs_own_code_finds_no_mistake_in_any_form_of_the_workflows(tmp_path: Path) -> None:
    forms = made(tmp_path)
    assert {name.partition("-")[2] for name in forms} == set(JOBS)
    given = [{"name": name, "content": text} for name, text in forms.items()]
    given.append({"name": "broken.yml", "content": BROKEN})
    found = run("workflows.mjs", given=given)
    broken = found.pop("broken.yml")["mistakes"]
    assert any("'secret'" in mistake for mistake in broken)
    assert any("'nobody'" in mistake for mistake in broken)
    for name, told in found.items():
        assert told["mistakes"] == [], name
        assert told["jobs"] == JOBS[name.partition("-")[2]]
