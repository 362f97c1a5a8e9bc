"""What simulated M2 nodes send by themselves: heartbeats by their cron, feedbacks after a change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim, CronSimError

from reconciler.core.timestamps import format_timestamp
from reconciler.drivers.m2.simulator import M2World
from reconciler.drivers.m2.simulator.reports import (
    ReportChannel,
    find_feedback_channel,
    find_heartbeat_channel,
    make_feedback,
    make_heartbeat,
)
from reconciler.ports.simulator import NodeMessage


class Reporter:
    """Knows what the nodes of a world have reported.

    Args:
        world: the nodes.
        hosts: node -> the host at which it listens.
    """

    def __init__(self, world: M2World, hosts: Mapping[str, str]) -> None:
        self._world = world
        self._hosts = hosts
        self._reloads: dict[str, int] | None = None
        self._due: dict[tuple[str, str], datetime] = {}

    def due(self, now: datetime) -> Iterator[NodeMessage]:
        """What is due; a change counts from the first time on that this is asked."""
        nodes = list(self._nodes())
        if self._reloads is None:
            self._reloads = {name: reloads for name, reloads, _ in nodes}
        for name, reloads, running in nodes:
            yield from self._after_change(self._reloads, name, reloads, running, now)
            yield from self._by_cron(name, running, now)

    def _nodes(self) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
        """Name, number of settings loaded, and setting in effect, of each node that is up."""
        for name in self._world.names:
            state = self._world.state(name)
            if state.up and state.running is not None:
                yield name, state.reloads, state.running

    def _after_change(
        self, shown: dict[str, int], name: str, reloads: int, running: Mapping[str, Any], now: datetime
    ) -> Iterator[NodeMessage]:
        before = shown.get(name, 0)
        shown[name] = reloads
        way = find_feedback_channel(running)
        if reloads != before and way is not None:
            yield _message(name, way, make_feedback(name, self._hosts[name], running, format_timestamp(now)))

    def _by_cron(self, name: str, running: Mapping[str, Any], now: datetime) -> Iterator[NodeMessage]:
        way = find_heartbeat_channel(running)
        if way is None or not way.schedule:
            return
        key = (name, way.schedule)
        if key not in self._due:
            self._due[key] = _next(way.schedule, now)
        if now >= self._due[key]:
            self._due[key] = _next(way.schedule, now)
            yield _message(name, way, make_heartbeat(name, self._hosts[name], running, format_timestamp(now)))


def _message(node: str, way: ReportChannel, content: Mapping[str, Any]) -> NodeMessage:
    return NodeMessage(node, way.url, content, way.timeout)


def _next(schedule: str, now: datetime) -> datetime:
    try:
        return next(CronSim(schedule, now))
    except (CronSimError, StopIteration):
        return datetime.max.replace(tzinfo=UTC)
