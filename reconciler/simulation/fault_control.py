"""The control endpoint: faults for a running simulation, over HTTP.

    GET    /nodes    every node: name, cluster, kind, address, up, pending faults, number of requests
    POST   /faults   {"node": …, "fault": …, "argument": …, "count": …, "on": …}; only the first two are
                     required; "node" may also name a cluster
    DELETE /faults   removes all pending faults; a killed node stays down
    GET    /calls    what nodes have sent by themselves: number, statuses and durations by purpose, and
                     sentences about answers of the central server that are not as the product documents them

Answers are JSON; errors have status 400 and {"error": …}.
"""

from __future__ import annotations

from typing import Any, Self

import orjson
from aiohttp import web

from reconciler.core.endpoint import SocketAddress
from reconciler.errors import UsageError
from reconciler.simulation.addresses import keep_loopback_address, make_address_error
from reconciler.simulation.call_sender import CallSender
from reconciler.simulation.node_host import Simulation


class FaultControl:
    """The endpoint of one simulation; an asynchronous context manager.

    Args:
        simulation: to control.
        address: where it listens; must be loopback.
        sender: of the calls that nodes make by themselves; None if none does.
    """

    def __init__(
        self, simulation: Simulation, address: SocketAddress, sender: CallSender | None = None
    ) -> None:
        self._simulation = simulation
        self._sender = sender
        self._address = keep_loopback_address("the control endpoint", address)
        application = web.Application()
        application.router.add_get("/nodes", self._nodes)
        application.router.add_post("/faults", self._fault)
        application.router.add_delete("/faults", self._clear)
        application.router.add_get("/calls", self._calls)
        self._runner = web.AppRunner(application, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, *self._address).start()
        except OSError as error:
            await self._runner.cleanup()
            raise make_address_error("the control endpoint", self._address, error) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _nodes(self, _: web.Request) -> web.Response:
        return _json(self._simulation.describe())

    async def _fault(self, request: web.Request) -> web.Response:
        try:
            asked = orjson.loads(await request.read())
            await self._simulation.fault(
                asked["node"],
                asked["fault"],
                asked.get("argument"),
                count=asked.get("count"),
                on=asked.get("on"),
            )
        except UsageError as error:
            return _json({"error": f"{error.message}. {error.remedy}".rstrip(". ")}, status=400)
        # The body is foreign input: a wrong type at any place of it is an answer 400, not a crash.
        except (ValueError, TypeError, KeyError, AttributeError):
            return _json({"error": "the body must be a JSON object with `node` and `fault`"}, status=400)
        return _json(self._simulation.describe())

    async def _calls(self, _: web.Request) -> web.Response:
        statistics = self._sender.statistics if self._sender else {}
        return _json(
            {
                "calls": {purpose: one.describe() for purpose, one in sorted(statistics.items())},
                "complaints": self._simulation.list_complaints(),
            }
        )

    async def _clear(self, _: web.Request) -> web.Response:
        self._simulation.clear()
        return _json(self._simulation.describe())


def _json(value: Any, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
