"""Sends the reports of simulated nodes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp

from reconciler.ports.simulator import NodeMessage
from reconciler.simulation.node_host import Simulation

TICK: Final = 0.1
"""Seconds between two checks for due reports."""


class ReportSender:
    """Sends the reports of a simulation's nodes; an asynchronous context manager.

    Args:
        simulation: whose nodes report.
        mute: names of nodes that send nothing, whatever their settings; may be changed at any time.
    """

    # A failed report is lost: no product documents that it sends one again.

    def __init__(self, simulation: Simulation, mute: set[str] | None = None) -> None:
        self.mute = set() if mute is None else mute
        self._simulation = simulation
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._posts: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        self._simulation.due(datetime.now(UTC))  # sets the start: only later changes are reported
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
            for message in self._simulation.due(datetime.now(UTC)):
                # Only this machine: a simulation must not report to the real sink of a copied fleet file.
                if message.node not in self.mute and _is_loopback(message.url):
                    task = asyncio.create_task(self._post(message))
                    self._posts.add(task)
                    task.add_done_callback(self._posts.discard)
            await asyncio.sleep(TICK)

    async def _post(self, message: NodeMessage) -> None:
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(total=message.timeout)
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.post(message.url, json=message.content, timeout=timeout):
                pass


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
