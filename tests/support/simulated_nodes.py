"""Fleets in memory against real HTTP servers: simulated nodes, and servers that are something else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from reconciler.core.fleet_matching import FleetIdentity, normalise_source
from reconciler.core.outcome import RunReport
from reconciler.core.plan import Revision
from reconciler.desired.fleet import Fleet, load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import GuardRefusal
from reconciler.planning.plan_pass import PlanResult, run_plan_pass
from reconciler.ports.source import Snapshot
from reconciler.rollout.apply_pass import run_apply_pass
from reconciler.store.factory import open_store
from reconciler.transports.bundle import open_transports
from support.memory_files import json_files


def setting(version: str = "1", **more: Any) -> dict[str, Any]:
    """A whole setting that lets this host in."""
    return {
        "meta": {"version": version},
        "env": {
            "management": {
                "api": {"allowList": [{"role": "admin", "addr": "127.0.0.0/8"}]},
                "roles": [
                    {
                        "name": "admin",
                        "permissions": {"enableSetting": True, "enableGet": True, "enableMetric": True},
                    }
                ],
            }
        },
        **more,
    }


def m2_cluster(name: str, nodes: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """An M2 cluster of nodes at addresses, which fails fast."""
    listed = [{"name": node, "address": address} for node, address in nodes.items()]
    timeouts = {"connect": 0.5, "read": 1, "settle": 0.5}
    return {"name": name, "kind": "m2", "setting": "s.json", "nodes": listed, "timeouts": timeouts, **more}


def sora_cluster(name: str, nodes: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """A Sora cluster of nodes at API addresses, which fails fast."""
    listed = [{"name": node, "api": api} for node, api in nodes.items()]
    timeouts = {"connect": 0.5, "read": 1, "settle": 0.5}
    return {"name": name, "kind": "sora", "nodes": listed, "timeouts": timeouts, **more}


@dataclass
class Host:
    """One management host: a store, and runs over fleets."""

    folder: Path
    ways: Callable[[], Any] = open_transports
    _number: int = field(default=0, init=False)

    def fleet(self, source: str, *clusters: Mapping[str, Any], **files: Any) -> Fleet:
        """A fleet read from a source; `s.json` is a setting unless it is given."""
        self._number += 1
        revision = Revision(source, f"{self._number:040x}", f"r{self._number}")
        named = {name.replace("_", "."): value for name, value in files.items()}
        whole = {"fleet.json": {"clusters": list(clusters)}, "s.json": setting(), **named}
        return load_fleet(Snapshot(revision, json_files(whole)), DRIVERS)

    async def look(self, fleet: Fleet, **more: Any) -> PlanResult:
        """What a pass finds out."""
        with open_store(self.folder) as store:
            async with self.ways() as transports:
                own = await store.enter_fleet(FleetIdentity(normalise_source(fleet.revision.source)))
                return await run_plan_pass(
                    fleet, drivers=DRIVERS, transports=transports, recalled=await own.read_memory(), **more
                )

    async def run(self, fleet: Fleet) -> dict[str, str]:
        """Node -> how its step ended; empty where a guard refused."""
        seen = await self.look(fleet)
        with open_store(self.folder) as store:
            async with self.ways() as transports:
                try:
                    own = await store.enter_fleet(FleetIdentity(normalise_source(fleet.revision.source)))
                    report = await run_apply_pass(seen, drivers=DRIVERS, transports=transports, journal=own)
                except GuardRefusal:
                    return {}
        return {outcome.step.node: outcome.state.value for outcome in report.outcomes}


async def apply_fleet(folder: Path, fleet: Fleet, **more: Any) -> RunReport:
    """A pass over simulated nodes; no guard may have an objection."""
    with open_store(folder) as store:
        async with open_transports() as transports:
            seen = await run_plan_pass(
                fleet, drivers=DRIVERS, transports=transports, recalled=await store.read_memory()
            )
            assert not seen.violations
            return await run_apply_pass(seen, drivers=DRIVERS, transports=transports, journal=store, **more)


@dataclass
class Stranger:
    """A server that is no node: it answers everything alike, and keeps what it was sent.

    Args:
        keep: the path at which it shows what it was sent last, where it is more than a stranger.
    """

    url: str = ""
    keep: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def address(self) -> str:
        """`host:port`."""
        return self.url.removeprefix("http://")

    @property
    def sent(self) -> list[bytes]:
        """Bodies that were sent here."""
        return [body for body in self.bodies if body]


@asynccontextmanager
async def stranger(
    status: int = 404,
    body: bytes | str = b"404 page not found\n",
    content_type: str = "text/plain",
    paths: Mapping[str, tuple[int, str, bytes]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Stranger]:
    """A server on loopback; `paths` says what single paths answer: status, type and body."""
    found = Stranger()
    data = body.encode() if isinstance(body, str) else body

    async def answer(request: web.Request) -> web.Response:
        found.asked.append((request.method, request.path))
        found.bodies.append(await request.read())
        code, kind, content = (paths or {}).get(request.path, (status, content_type, data))
        if found.keep and found.sent and (request.path == found.keep or found.bodies[-1]):
            code, kind, content = 200, "application/json", found.sent[-1]
        return web.Response(
            status=code, body=content, headers={**(headers or {}), **({"Content-Type": kind} if kind else {})}
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        await runner.cleanup()
