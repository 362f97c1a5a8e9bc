"""Tunnels through a machine: a local socket, whose bytes an SSH connection passes on to a node."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

from reconciler.transports.machines.machine import MachineError, MachineUnreachable
from reconciler.transports.machines.ssh_connect import SshDestination
from reconciler.transports.machines.ssh_errors import explain_tunnel_error
from reconciler.transports.machines.ssh_pool import SshPool

if TYPE_CHECKING:
    import asyncssh

MOST_TUNNELS: Final = 512
"""Tunnels at once through one bastion; a further one waits. MaxSessions of sshd does not count them, but each
is an open file of its process there, which may have 1,024 by default."""

_CHUNK: Final = 64 * 1024

_LINGER: Final = 2.0
"""Seconds that a node gets to close its side when the call is over: one that never does keeps no place."""


class SshTunnels:
    """Opens tunnels and keeps them running.

    Args:
        pool: has the connections to the machines.
    """

    def __init__(self, pool: SshPool) -> None:
        self._pool = pool
        self._room: defaultdict[SshDestination, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MOST_TUNNELS)
        )
        self._running: set[asyncio.Task[None]] = set()

    async def open(
        self, destination: SshDestination, jumps: tuple[SshDestination, ...], host: str, port: int
    ) -> socket.socket:
        """A socket to a node through a machine; the tunnel ends when either side closes.

        Raises:
            MachineError: there is no connection to the machine, or none from there to the node.
        """
        import asyncssh  # noqa: PLC0415  (heavy: loaded with the first connection)

        place, seconds = destination.place, destination.way.timeouts.connect
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._room[destination])
            try:
                kept = await stack.enter_async_context(self._pool.use(destination, jumps))
            except MachineError as error:
                # Nothing of it is about the node, which nobody has asked.
                raise MachineUnreachable(f"no way to it: {error}", remedy=error.remedy) from error
            connection = await kept.opening
            try:
                async with asyncio.timeout(seconds):
                    far = await connection.open_connection(host, port)
            except (asyncssh.Error, OSError, TimeoutError) as error:
                raise explain_tunnel_error(error, place, destination.name, seconds) from error
            near, far_end = socket.socketpair()
            try:
                far_end.setblocking(False)
                streams = await asyncio.open_connection(sock=far_end)
            except BaseException:
                near.close()
                far_end.close()
                raise
            near.setblocking(False)
            task = asyncio.create_task(_run_tunnel(stack.pop_all(), streams, far))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return near

    async def aclose(self) -> None:
        """End every tunnel."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)


async def _run_tunnel(
    use: AsyncExitStack,
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    far: tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]],
) -> None:
    """Pass bytes on in both directions until both sides, or one that breaks, have ended."""
    async with use:
        pumps = [
            asyncio.create_task(_pump(near[0], far[1])),
            asyncio.create_task(_pump(far[0], near[1])),
        ]
        try:
            # The node's end decides: what it sent before has to arrive, and nothing follows. A caller only
            # ends its side when it has closed.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([pumps[1]], timeout=_LINGER)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for writer in (near[1], far[1]):
                with suppress(OSError):
                    writer.close()


async def _pump(source: Any, sink: Any) -> None:
    import asyncssh  # noqa: PLC0415

    with suppress(OSError, asyncssh.Error):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
