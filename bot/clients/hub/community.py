"""What people of a Hub see beside files: collections, and pull requests with their comments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import DiscussionComment, HfApi

from bot.clients.hub.hub import Hub


@dataclass(frozen=True, kw_only=True)
class HubPull:
    """A pull request as it stands."""

    number: int
    url: str
    status: Literal["open", "closed", "merged"]

    @property
    def ref(self) -> str:
        """The revision that its files are at."""
        return f"refs/pr/{self.number}"


class Community:
    """One Hub's collections and pull requests."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self, repo_id: str, title: str) -> str:
        """Have a repository in its owner's collection of that title, made where there is none.

        Returns the collection's slug. Done again it does nothing more.
        """
        owner = repo_id.split("/")[0]

        def find(api: HfApi) -> str:
            for collection in api.list_collections(owner=owner):
                if collection.title == title:
                    return collection.slug
            return api.create_collection(title, namespace=owner, exists_ok=True).slug

        def add(api: HfApi) -> None:
            api.add_collection_item(slug, repo_id, item_type="model", exists_ok=True)

        slug = self._hub.ask(f"the collection {title!r} of {owner}", find)
        self._hub.ask(f"the collection {slug}", add)
        return slug

    # ── pull requests ───────────────────────────────────────────────────────────────────────

    def pull(self, repo_id: str, mark: str) -> HubPull | None:
        """The newest pull request of the token's user whose title ends in `mark`, if any."""
        what = f"the pull requests of {repo_id}"
        user = self._hub.whoami()
        return self._hub.ask(what, lambda api: self._newest(api, repo_id, user, mark))

    def propose(
        self,
        repo_id: str,
        files: Mapping[str, Path],
        title: str,
        description: str,
        parent: str,
        mark: str,
        deletions: Sequence[str] = (),
    ) -> HubPull:
        """Open a pull request with local `files` as one commit after `parent`; sends as `commit`.

        `title` is followed by `mark`, by which the request is known again. After an unknown outcome
        it is looked for before it is opened once more. Raises what `Hub.commit` raises.
        """
        operations = self._hub.operations(repo_id, files, deletions)
        user, earlier = self._hub.whoami(), self.pull(repo_id, mark)

        def once(api: HfApi) -> HubPull:
            pull = self._newest(api, repo_id, user, mark)
            if pull is not None and pull != earlier:  # an attempt before was heard
                return pull
            api.create_commit(
                repo_id,
                operations,
                commit_message=f"{title} {mark}",
                commit_description=description or None,
                parent_commit=parent,
                create_pr=True,
            )
            pull = self._newest(api, repo_id, user, mark)
            if pull is None or pull == earlier:
                raise ConnectionError("the pull request is not listed")
            return pull

        return self._hub.ask(f"the pull request to {repo_id}", once)

    def merge(self, repo_id: str, pull: HubPull) -> None:
        """Merge a pull request of ours; one that is merged stays so.

        Raises PublishError where it cannot be merged any more.
        """

        def once(api: HfApi) -> None:
            # asked at each attempt: the one before may have been heard
            if api.get_discussion_details(repo_id, pull.number).status != "merged":
                api.merge_pull_request(repo_id, pull.number)

        self._hub.ask(f"the merge of {pull.number} into {repo_id}", once)

    def close(self, repo_id: str, pull: HubPull, why: str) -> None:
        """Close a pull request of ours and say why; one that is not open stays as it is."""

        def once(api: HfApi) -> None:
            if api.get_discussion_details(repo_id, pull.number).status in ("open", "draft"):
                api.change_discussion_status(repo_id, pull.number, "closed", comment=why)

        self._hub.ask(f"the pull request {pull.number} of {repo_id}", once)

    def comment(self, repo_id: str, pull: HubPull, text: str, mark: str) -> None:
        """Say `text`, which holds `mark`, on a pull request, unless a comment of ours has it."""
        user = self._hub.whoami()

        def once(api: HfApi) -> None:
            discussion = api.get_discussion_details(repo_id, pull.number)
            comments = [
                event for event in discussion.events if isinstance(event, DiscussionComment)
            ]
            if not any(event.author == user and mark in event.content for event in comments):
                api.comment_discussion(repo_id, pull.number, text)

        self._hub.ask(f"the pull request {pull.number} of {repo_id}", once)

    def _newest(self, api: HfApi, repo_id: str, user: str, mark: str) -> HubPull | None:
        pulls = api.get_repo_discussions(repo_id, author=user, discussion_type="pull_request")
        ours = [pull for pull in pulls if pull.author == user and str(pull.title).endswith(mark)]
        if not ours:
            return None
        last = max(ours, key=lambda pull: pull.num)
        # a draft can be merged, too
        status = last.status if last.status in ("closed", "merged") else "open"
        url = f"{self._hub.name}/{repo_id}/discussions/{last.num}"
        return HubPull(number=last.num, url=url, status=status)
