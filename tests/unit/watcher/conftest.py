"""For tests of watchers: a Hub whose time goes by hand."""

from tests.unit.watcher.world import world

__all__ = ["world"]
