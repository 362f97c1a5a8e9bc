"""TCP server of a simulated node that speaks no HTTP: takes bytes, applies faults, sends the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

from reconciler.core.endpoint import SocketAddress
from reconciler.ports.simulator import NodeRequest, NodeSession, Reply, RequestWay
from reconciler.simulation.faults import Fault, FaultKind
from reconciler.simulation.node_server import CLOSED, Listener, stop_listening

Converse: TypeAlias = Callable[[NodeSession, NodeRequest], tuple[Fault | None, Reply]]
"""Handles bytes of a connection; gives the fault that applies and the answer."""

_CHUNK: Final = 64 * 1024
_DROPS: Final = frozenset({FaultKind.CUT, FaultKind.RESET, FaultKind.LOST})
_DELAYS: Final = frozenset({FaultKind.SLOW, FaultKind.WORKS})


class StreamListener(Listener):
    """Listens for connections, each of which is one session.

    Args:
        open_session: begins a session with a peer.
        ask: gives the fault and the answer to bytes of a session.
        perform: gives the answer to bytes that the node worked on for some time.
    """

    def __init__(
        self,
        open_session: Callable[[str], NodeSession],
        ask: Converse,
        perform: Callable[[NodeSession, NodeRequest], Reply],
    ) -> None:
        self._open_session = open_session
        self._handle = ask
        self._perform = perform
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    async def open(self, address: SocketAddress) -> None:
        self._server = await asyncio.start_server(self._begin, address.host, address.port)

    @property
    def listening(self) -> bool:
        return self._server is not None

    async def close(self) -> None:
        if self._server is not None:
            stop_listening(self._server)
            self._server = None
        for conversation in tuple(self._conversations):
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.ensure_future(self._converse(reader, writer))
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        session = self._open_session(peer)
        try:
            while not session.is_over and (data := await reader.read(_CHUNK)):
                request = NodeRequest("", "", {}, data, peer, RequestWay.STREAM)
                fault, reply = self._handle(session, request)
                if not await self._answer(writer, session, request, fault, reply):
                    break
        except OSError:
            pass  # the caller is gone
        finally:
            writer.close()

    async def _answer(
        self,
        writer: asyncio.StreamWriter,
        session: NodeSession,
        request: NodeRequest,
        fault: Fault | None,
        reply: Reply,
    ) -> bool:
        """Send an answer under a fault; whether the connection goes on."""
        kind = fault.kind if fault else None
        if fault is not None and kind in _DELAYS:
            await asyncio.sleep(fault.argument)
            reply = self._perform(session, request) if kind is FaultKind.WORKS else reply
        if kind is FaultKind.SILENT:
            await asyncio.Event().wait()
        if kind in _DROPS or reply[0] == CLOSED:
            return False
        is_half = kind is FaultKind.HALF
        writer.write(reply[2][: len(reply[2]) // 2] if is_half else reply[2])
        await writer.drain()
        return not is_half
