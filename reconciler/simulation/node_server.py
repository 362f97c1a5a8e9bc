"""HTTP server of a simulated node: takes a request, applies its fault, sends the answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

from aiohttp import web

from reconciler.core.endpoint import SocketAddress
from reconciler.ports.simulator import NodeRequest, Reply
from reconciler.simulation.faults import Fault, FaultKind

Ask: TypeAlias = Callable[[NodeRequest], tuple[Fault | None, Reply]]
"""Handles a request; gives the fault that applies and the answer."""

Perform: TypeAlias = Callable[[NodeRequest], Reply]
"""Performs a request without faults and gives the answer."""

Settle: TypeAlias = Callable[[NodeRequest], Awaitable[None]]
"""Does what a request has made necessary, before its answer is sent."""

AT_ONCE: Final = 0.001
"""Seconds that open connections get at the end; 0 means no limit for aiohttp."""

CLOSED: Final = 0
"""The status that means no answer."""


async def _settle_nothing(request: NodeRequest) -> None:
    """Nothing is to do after most requests."""


class Listener(Protocol):
    """The listener of one node; closing it also drops its connections."""

    async def open(self, address: SocketAddress) -> None:
        """Listen.

        Raises:
            OSError: it cannot listen on the address.
        """

    @property
    def listening(self) -> bool:
        """Whether it accepts connections."""

    async def close(self) -> None:
        """Stop listening."""


def stop_listening(server: asyncio.Server) -> None:
    """Close a server so that its address can be used again at once."""
    for listening in server.sockets:
        # A program that another thread has just started shares the socket for a moment, and while any copy
        # of it listens, the address is in use.
        with contextlib.suppress(OSError):  # not every system can end the listening alone
            listening.shutdown(socket.SHUT_RDWR)
    server.close()


class NodeListener(Listener):
    """Listens for HTTP.

    Args:
        ask: gives the fault and the answer of a request.
        perform: performs a request that the node works on for some time.
        settle: is awaited between a request and its answer.
    """

    def __init__(self, ask: Ask, perform: Perform, settle: Settle = _settle_nothing) -> None:
        self._handle = ask
        self._perform = perform
        self._settle = settle
        self._working: set[asyncio.Task[Reply]] = set()
        self._web: web.Server | None = None
        self._server: asyncio.Server | None = None

    async def open(self, address: SocketAddress) -> None:
        # A handler ends with its connection: otherwise each silent fault would keep a task until the end.
        self._web = web.Server(self._answer, access_log=None, handler_cancellation=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._web, address.host, address.port)

    @property
    def address(self) -> SocketAddress | None:
        """Where it listens; None if it does not."""
        found = self._server.sockets[0].getsockname() if self._server is not None else None
        return SocketAddress(found[0], found[1]) if found else None

    @property
    def listening(self) -> bool:
        return self._server is not None

    async def close(self) -> None:
        if self._server is not None and self._web is not None:
            stop_listening(self._server)
            await self._web.shutdown(AT_ONCE)
            self._server = None
        for work in tuple(self._working):  # a node that goes down does not complete its work
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
        fault, reply = self._handle(asked)
        await self._settle(asked)
        kind = fault.kind if fault else None
        if kind in {FaultKind.CUT, FaultKind.RESET, FaultKind.LOST}:
            return _drop(request, reset=kind is FaultKind.RESET)
        if kind is FaultKind.SILENT:
            await asyncio.Event().wait()  # cancelled when the connection ends
        if kind is FaultKind.HALF:
            return await _send_half(request, reply)
        if fault is not None and kind is FaultKind.WORKS:
            # A task of its own: a caller that disconnects cancels this handler, but not the work.
            work = asyncio.ensure_future(self._work_for(asked, fault.argument))
            self._working.add(work)
            work.add_done_callback(self._working.discard)
            reply = await asyncio.shield(work)
        if fault is not None and kind is FaultKind.SLOW:
            await asyncio.sleep(fault.argument)
        status, headers, body = reply
        if status == CLOSED:
            return _drop(request)
        return web.Response(status=status, headers=headers, body=body)

    async def _work_for(self, asked: NodeRequest, seconds: float) -> Reply:
        await asyncio.sleep(seconds)
        reply = self._perform(asked)
        await self._settle(asked)
        return reply


async def _send_half(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    status, headers, body = reply
    response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return _drop(request)


def _drop(request: web.BaseRequest, *, reset: bool = False) -> web.StreamResponse:
    """Close the connection; the returned response is never sent."""
    transport = request.transport
    if transport is not None and reset:
        # SO_LINGER with 0 seconds makes the kernel send RST instead of FIN.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    elif transport is not None:
        transport.close()
    return web.Response()
