"""What every stage is given: settings, a ledger of finished steps, a Hub, and a narrator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from bot.disk.folders import Folders
from bot.progress import Narrator, Report
from bot.settings.settings import Settings
from bot.store.ledger import Finished, Ledger

if TYPE_CHECKING:  # the Hub's client takes longer to load than most questions to a ledger
    from bot.clients.hub.connection import Gate
    from bot.clients.hub.hub import Hub
    from bot.clock import Clock


class Workplace:
    """Settings, folders, ledger, Hub and narrator of one working folder.

    Ledger and Hub are made when they are first needed; `variable` names where the token is from.
    """

    def __init__(
        self,
        settings: Settings,
        narrator: Narrator,
        token: SecretStr | None,
        *,
        ledger: Ledger | None = None,
        variable: str = "HF_TOKEN",
    ) -> None:
        self.settings = settings
        self._ledger = ledger
        self.narrator = narrator
        self.folders = Folders(settings.workdir)
        self._token, self._variable = token, variable
        self._publishers: dict[str, Hub] = {}

    def beside(self, settings: Settings, ledger: Ledger) -> Workplace:
        """The same Hub and narrator, with other settings and a ledger of its own."""
        name = self._variable
        return Workplace(settings, self.narrator, self._token, ledger=ledger, variable=name)

    def with_settings(self, settings: Settings) -> Workplace:
        """All the same, Hubs and ledger too, with other settings."""
        _ = self.ledger, self.hub  # made once, for both
        other = copy(self)
        other.settings = settings
        return other

    def behind(self, hub: Hub) -> Workplace:
        """All the same, with another client of the Hub."""
        other = copy(self)
        other.__dict__["hub"] = hub
        return other

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger given, or the working folder's, made when first needed."""
        return self._ledger or Ledger(self.folders.ledger)

    @cached_property
    def hub(self) -> Hub:
        """The Hub of the settings, seen with the token."""
        from bot.clients.hub.hub import Hub

        return Hub(self.settings.hub.endpoint, self._token, variable=self._variable)

    def publisher(self, repo_id: str) -> Hub:
        """The Hub as it is written to: with the token, or with those lent for one repository.

        The same object for the same repository: it knows what was sent. Raises AccessError where
        settings want lent tokens and nobody lends any.
        """
        if not self.settings.publish.trusted_publisher:
            return self.hub
        if repo_id not in self._publishers:
            from bot.clients.hub.hub import Hub
            from bot.clients.hub.trusted import TrustedPublisher

            endpoint = self.settings.hub.endpoint
            self._publishers[repo_id] = Hub(endpoint, TrustedPublisher(endpoint, repo_id))
        return self._publishers[repo_id]

    def require_publisher(self) -> None:
        """Raise AccessError, before hours of work, where nothing could be published after them."""
        if self.settings.publish.trusted_publisher:
            from bot.clients.hub.trusted import require_offered

            require_offered()
        else:
            self.hub.whoami()

    def gated_hub(self, gate: Gate, clock: Clock) -> Hub:
        """The same Hub with somebody who lets its requests through one by one."""
        from bot.clients.hub.hub import Hub

        endpoint, name = self.settings.hub.endpoint, self._variable
        return Hub(endpoint, self._token, gate=gate, clock=clock, variable=name)

    def step(
        self,
        job: str,
        step: str,
        inputs: Mapping[str, Any],
        paths: Sequence[Path],
        title: str,
        work: Callable[[Report], Any],
        shape: Any = None,
    ) -> Finished:
        """Do a step unless the ledger knows it as done; record its JSON value and its files.

        A row with another number of files, or a value that is no `shape`, is damaged: done again.
        """
        done = self.ledger.finished(job, step, inputs, shape=shape)
        if done is not None and len(done.files) == len(paths):
            return done
        with self.narrator.work(title) as report:
            value = work(report)
            return self.ledger.record(job, step, inputs, paths, value)

    @property
    def has_token(self) -> bool:
        """Whether there is a token of the user's."""
        return self._token is not None
