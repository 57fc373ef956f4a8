"""A person's agreement: one pull request a build, known by author and title, merged or closed."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi  # noqa: TID251 - the Hub as people use it

from bot.errors import GateError
from bot.publish.approval import LONGEST, evaluation_comment, mark, pull_of
from bot.publish.publication import waits
from bot.wording.blocks import marked
from tests.local_hub.server import Hub
from tests.publishing import REPO, Machine, Maker


@pytest.fixture
def asking(machine: Maker) -> Machine:
    return machine("1.5", publish={"approval": "pull-request"})


def api(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)


def test_a_build_is_proposed_once_and_found_by_its_key(asking: Machine, hub: Hub) -> None:
    first = asking.publish()
    assert first.waiting is not None
    assert not first.public
    assert asking.publish().waiting == first.waiting
    [pull] = api(hub).get_repo_discussions(REPO)
    assert pull.title.endswith(f" {mark(asking.order.key)}")
    ours = pull_of(asking.workplace.hub, REPO, asking.order.key)
    assert ours is not None
    assert ours.url == first.waiting
    assert pull_of(asking.workplace.hub, REPO, "0" * 64) is None
    again = waits(asking.workplace, REPO, asking.order)
    assert again is not None
    assert again.waiting == first.waiting


def test_what_was_merged_is_compared_and_shown(asking: Machine, hub: Hub) -> None:
    asking.publish()
    api(hub).merge_pull_request(REPO, 1)
    assert waits(asking.workplace, REPO, asking.order) is None
    done = asking.publish()
    assert (done.waiting, done.public, done.shown, done.changed) == (None, True, True, ())


def test_what_was_closed_is_refused_until_somebody_opens_it_again(
    asking: Machine, hub: Hub
) -> None:
    waiting = asking.publish().waiting
    api(hub).change_discussion_status(REPO, 1, "closed")
    with pytest.raises(GateError, match="was closed without a merge"):
        asking.publish()
    with pytest.raises(GateError, match="was closed without a merge"):
        waits(asking.workplace, REPO, asking.order)
    api(hub).change_discussion_status(REPO, 1, "open")
    assert asking.publish().waiting == waiting


def test_with_a_build_on_a_pull_request_a_person_merges_into_what_was_never_private(
    machine: Maker, hub: Hub
) -> None:
    asking = machine("1.5", publish={"approval": "pull-request", "hidden": "pull-request"})
    waiting = asking.publish()
    assert waiting.waiting is not None
    assert waiting.public
    assert hub.commits(REPO) == 0
    api(hub).merge_pull_request(REPO, 1)
    done = asking.publish()
    assert (done.waiting, done.public, done.shown, done.changed) == (None, True, False, ())


def test_the_comment_has_benchmarks_and_verdict_and_no_pictures() -> None:
    card = (
        "---\nlicense: mit\n---\n\n# Model\n\nWords.\n\n## Benchmarks\n\n| tier | PPL |\n"
        "|---|---|\n| Mini | 7 |\n\n![plot](plots/a.png)\n\n## Licence\n\nMIT\n"
    )
    comment = evaluation_comment(marked(card), "Mini  good\n")
    assert "| Mini | 7 |" in comment
    assert "```text\nMini  good\n```" in comment
    for absent in ("plots/a.png", "Licence", "Words."):
        assert absent not in comment
    assert len(evaluation_comment(marked(card), "x" * 2 * LONGEST)) == LONGEST
