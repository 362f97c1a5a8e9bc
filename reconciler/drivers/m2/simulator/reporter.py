"""Reports that simulated M2 nodes send by themselves: heartbeats by their cron, feedbacks after a change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp
from cronsim import CronSim, CronSimError

from reconciler.core.timestamps import stamp
from reconciler.drivers.m2.simulator import M2World
from reconciler.drivers.m2.simulator.reports import Way, feedback, feedbacks, heartbeat, heartbeats
from reconciler.simulation.host import Simulation

TICK: Final = 0.1
"""Seconds between two looks at what is due."""


class Reporting:
    """Lets the nodes of a simulation report while it is entered; an asynchronous context manager.

    Only addresses of this machine are called. A report that is not taken is lost: the product's pages
    say of none that it is sent again.

    Args:
        simulation: whose nodes report.
        mute: names of nodes that report nothing, whatever their settings say; may be changed at any time.
    """

    def __init__(self, simulation: Simulation, mute: set[str] | None = None) -> None:
        self.mute = set() if mute is None else mute
        self._simulation = simulation
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._posts: set[asyncio.Task[None]] = set()
        self._shown: dict[str, int] = {}
        self._due: dict[tuple[str, str], datetime] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        self._shown = {name: reloads for name, reloads, _ in self._nodes()}
        self._task = asyncio.create_task(self._report())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [*self._posts, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _report(self) -> None:
        while True:
            now = datetime.now(UTC)
            for name, reloads, running in self._nodes():
                self._after_change(name, reloads, running, now)
                self._by_cron(name, running, now)
            await asyncio.sleep(TICK)

    def _nodes(self) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
        """Name, number of settings loaded, and setting in effect, of each node that is up."""
        for cluster in self._simulation.clusters:
            world = self._simulation.world(cluster)
            if not isinstance(world, M2World):
                continue
            for name in world.names:
                state = world.state(name)
                if state.up and state.running is not None:
                    yield name, state.reloads, state.running

    def _after_change(self, name: str, reloads: int, running: Mapping[str, Any], now: datetime) -> None:
        before = self._shown.get(name, 0)
        self._shown[name] = reloads
        way = feedbacks(running)
        if reloads != before and way is not None:
            self._send(name, way, feedback(name, self._host(name), running, stamp(now)))

    def _by_cron(self, name: str, running: Mapping[str, Any], now: datetime) -> None:
        way = heartbeats(running)
        if way is None or not way.schedule:
            return
        key = (name, way.schedule)
        if key not in self._due:
            self._due[key] = _next(way.schedule, now)
        if now >= self._due[key]:
            self._due[key] = _next(way.schedule, now)
            self._send(name, way, heartbeat(name, self._host(name), running, stamp(now)))

    def _host(self, name: str) -> str:
        return self._simulation.nodes[name].host

    def _send(self, name: str, way: Way, message: Mapping[str, Any]) -> None:
        if name in self.mute or not _here(way.url):
            return
        task = asyncio.create_task(self._post(way, message))
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)

    async def _post(self, way: Way, message: Mapping[str, Any]) -> None:
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(total=way.timeout)
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.post(way.url, json=message, timeout=timeout):
                pass


def _next(schedule: str, now: datetime) -> datetime:
    try:
        return next(CronSim(schedule, now))
    except (CronSimError, StopIteration):
        return datetime.max.replace(tzinfo=UTC)


def _here(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
