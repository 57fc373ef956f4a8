"""What people of a Hub see beside files: collections, and pull requests with their comments."""

from __future__ import annotations

from huggingface_hub import HfApi

from bot.clients.hub import Hub


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
            for found in api.list_collections(owner=owner):
                if found.title == title:
                    return found.slug
            return api.create_collection(title, namespace=owner, exists_ok=True).slug

        def add(api: HfApi) -> None:
            api.add_collection_item(slug, repo_id, item_type="model", exists_ok=True)

        slug = self._hub.ask(f"the collection {title!r} of {owner}", find)
        self._hub.ask(f"the collection {slug}", add)
        return slug
