"""Lets the clusters of a run begin in their order: each after those that have to succeed before it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager


class ClusterQueue:
    """The clusters of one run that others wait for.

    Args:
        first: cluster -> clusters that have to succeed before it begins, each with what is to do there.
        running: the clusters that this run changes.
    """

    def __init__(self, first: Mapping[str, Mapping[str, str]], running: Collection[str]) -> None:
        self._first = first
        self._running = frozenset(running)
        self._ended = {name: asyncio.Event() for name in self._running}
        self._failed: dict[str, str] = {}

    async def wait(self, cluster: str) -> str:
        """Wait for the clusters before one; why it must not begin, empty if it may."""
        for earlier in self._first.get(cluster, {}):
            if earlier not in self._running:
                return f"{cluster} waits for {earlier}, which this run does not change"
            await self._ended[earlier].wait()
            if earlier in self._failed:
                why = f"{cluster} waits for {earlier}: {self._failed[earlier]}"
                self.fail(cluster, why)
                return why
        return ""

    def fail(self, cluster: str, why: str) -> None:
        """Note why a cluster is not as desired after its steps."""
        self._failed.setdefault(cluster, why)

    @contextmanager
    def performing(self, cluster: str) -> Iterator[None]:
        """The steps of a cluster; however they end, those after it go on."""
        try:
            yield
        except BaseException:
            self.fail(cluster, "its run ended with an error")
            raise
        finally:
            self._ended[cluster].set()
