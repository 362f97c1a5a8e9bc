"""How a request to a simulated node travels: over aiohttp, through a fault, to the node's world and back."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, TypeAlias

from aiohttp import web

from reconciler.ports.simulator import NodeRequest, Reply, SocketAddress
from reconciler.simulation.faults import Fault, FaultKind

Ask: TypeAlias = Callable[[NodeRequest], tuple[Fault | None, Reply]]
"""Given a request, the fault it meets and what the node would answer; what is done is done."""

Perform: TypeAlias = Callable[[NodeRequest], Reply]
"""Does what a request asks for, past all faults, and gives the answer."""

AT_ONCE: Final = 0.001
"""Seconds that open connections get at the end; aiohttp takes 0 for ever."""

CLOSED: Final = 0
"""The status that stands for no answer at all."""


class NodeListener:
    """One node's open door; closing it also drops the connections that came through.

    Args:
        ask: gives the fault a request meets and what the node answers to it.
        perform: does what a request asks for once the node has worked on it.
    """

    def __init__(self, ask: Ask, perform: Perform) -> None:
        self._ask = ask
        self._perform = perform
        self._working: set[asyncio.Task[Reply]] = set()
        self._web: web.Server | None = None
        self._server: asyncio.Server | None = None

    async def open(self, address: SocketAddress) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._web = web.Server(self._answer, access_log=None, handler_cancellation=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._web, address.host, address.port)

    @property
    def listening(self) -> bool:
        """Whether connections are taken."""
        return self._server is not None

    async def close(self) -> None:
        """Listen no more."""
        if self._server is not None and self._web is not None:
            self._server.close()
            await self._web.shutdown(AT_ONCE)
            self._server = None
        for work in tuple(self._working):  # a node that goes down does not end its work
            work.cancel()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        asked = NodeRequest(
            method=request.method,
            target=request.raw_path,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
            peer=request.remote or "",
        )
        fault, reply = self._ask(asked)
        kind = fault.kind if fault else None
        if kind in {FaultKind.CUT, FaultKind.RESET, FaultKind.LOST}:
            return _dropped(request, reset=kind is FaultKind.RESET)
        if kind is FaultKind.SILENT:
            await asyncio.Event().wait()  # the end of the connection cancels it
        if kind is FaultKind.HALF:
            return await _half(request, reply)
        if fault is not None and kind is FaultKind.WORKS:
            # in a task of its own: a caller that gives up ends this handler, and not the work
            work = asyncio.ensure_future(self._work(asked, fault.argument))
            self._working.add(work)
            work.add_done_callback(self._working.discard)
            reply = await asyncio.shield(work)
        if fault is not None and kind is FaultKind.SLOW:
            await asyncio.sleep(fault.argument)
        return _response(request, reply)

    async def _work(self, asked: NodeRequest, seconds: float) -> Reply:
        await asyncio.sleep(seconds)
        return self._perform(asked)


async def _half(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    status, headers, body = reply
    response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return _dropped(request)


def _response(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    status, headers, body = reply
    return _dropped(request) if status == CLOSED else web.Response(status=status, headers=headers, body=body)


def _dropped(request: web.BaseRequest, *, reset: bool = False) -> web.StreamResponse:
    """Close the connection; what is returned is never sent."""
    transport = request.transport
    if transport is not None and reset:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    elif transport is not None:
        transport.close()
    return web.Response()
