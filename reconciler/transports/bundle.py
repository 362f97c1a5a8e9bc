"""The transports of this host, as the one bundle that a pass uses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reconciler.host.host import Host
from reconciler.ports.transport import Transports
from reconciler.transports.command import CommandTransport
from reconciler.transports.http import HttpTransport


@asynccontextmanager
async def open_transports(host: Host | None = None) -> AsyncIterator[Transports]:
    """All transports of this host, open until the context ends.

    Args:
        host: limits networks and defines commands; None for a host with all networks and no commands.
    """
    own = host or Host()
    async with HttpTransport(own) as http:
        yield Transports(http, CommandTransport(own))
