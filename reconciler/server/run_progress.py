"""How far a run has come, and the feed that tells those who look on that something has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Step

MOST_RUNNING = 20
"""Running steps that are named; all are counted."""


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far one run over one cluster has come.

    Args:
        planned: number of its steps.
        run: its id in the history.
        begun: when it began.
        is_over: whether it has ended.
        ended: state -> number of steps that ended so.
        running: ids of the steps that run now, with the time at which each began.
        wave: of the step that began last; 0 if all steps are one wave.
        soaks_until: end of the wait after a wave; None if it does not wait.
    """

    planned: int
    run: str = ""
    begun: datetime | None = None
    is_over: bool = False
    ended: Mapping[State, int] = field(default_factory=dict)
    running: Mapping[str, datetime] = field(default_factory=dict)
    wave: int = 0
    soaks_until: datetime | None = None

    def start_step(self, step: Step, at: datetime) -> RunProgress:
        """The progress with one step more that runs."""
        return replace(self, running={**self.running, step.id: at}, wave=step.wave, soaks_until=None)

    def end_step(self, outcome: Outcome) -> RunProgress:
        """The progress with one step more that has ended."""
        running = {name: at for name, at in self.running.items() if name != outcome.step.id}
        ended = {**self.ended, outcome.state: self.ended.get(outcome.state, 0) + 1}
        return replace(self, running=running, ended=ended)


class ChangeFeed:
    """Wakes those who look on when a cluster has changed; keeps no history, only the number of changes.

    A slow reader cannot make it grow: it holds the names of the clusters that have changed since it looked
    last, and nothing else.
    """

    def __init__(self) -> None:
        self._readers: set[ChangeReader] = set()
        self.number = 0

    @contextmanager
    def reading(self) -> Iterator[ChangeReader]:
        """A reader of the changes from now on."""
        reader = ChangeReader()
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    @property
    def readers(self) -> int:
        """How many look on."""
        return len(self._readers)

    def announce(self, cluster: str) -> None:
        """Tell that a cluster has changed; an empty name tells that the watch itself has."""
        self.number += 1
        for reader in self._readers:
            reader.add(cluster)


class ChangeReader:
    """One who looks on."""

    def __init__(self) -> None:
        self._changed: set[str] = set()
        self._news = asyncio.Event()

    def add(self, cluster: str) -> None:
        """Note a change."""
        self._changed.add(cluster)
        self._news.set()

    async def wait(self, seconds: float) -> frozenset[str]:
        """The clusters that have changed since the last call, once there are any; empty after the time."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return frozenset()
        changed, self._changed = frozenset(self._changed), set()
        self._news.clear()
        return changed
