"""The transports of this host, as the one bundle that a pass uses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from reconciler.host.file_limit import extend_file_limit
from reconciler.host.host import Host
from reconciler.ports.transport import Transports
from reconciler.transports.command import CommandTransport
from reconciler.transports.connection_pool import ConnectionPool
from reconciler.transports.files import FileTransport
from reconciler.transports.http import HttpTransport
from reconciler.transports.machines.host_machines import HostMachines
from reconciler.transports.streams import StreamTransport

_FILES: Final = 65_536
"""Open files that a host with many nodes should allow."""


MOST_KEPT: Final = 4096
"""Highest number of connections that are kept open for later readings, one for each node."""


def make_pool() -> ConnectionPool:
    """A pool for the connections of a whole process, which its owner closes."""
    # A quarter of the file descriptors at most: calls, files and callers need some at the same time.
    return ConnectionPool(min(MOST_KEPT, extend_file_limit(_FILES) // 4))


@asynccontextmanager
async def open_transports(
    host: Host | None = None, *, pool: ConnectionPool | None = None, machines: HostMachines | None = None
) -> AsyncIterator[Transports]:
    """All transports of this host, open until the context ends.

    Args:
        host: limits networks and defines commands; None for a host with all networks and no commands.
        pool: keeps connections for later transports; None for connections that end with these ones.
        machines: of this host, with their SSH connections; None for connections that end with these ones.
    """
    own, kept = host or Host(), pool or make_pool()
    found = machines or HostMachines(own)
    try:
        async with HttpTransport(own, pool=kept, tunnels=found) as http:
            yield Transports(
                http,
                CommandTransport(own, found),
                files=FileTransport(own, found),
                streams=StreamTransport(own, tunnels=found),
            )
    finally:
        if machines is None:
            await found.aclose()
        if pool is None:
            await kept.aclose()
