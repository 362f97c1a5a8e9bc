"""The ways that this host has to nodes, as the one bundle that a pass works with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reconciler.host.host import Host
from reconciler.ports.transport import Transports
from reconciler.transports.command import CommandTransport
from reconciler.transports.http import HttpTransport


@asynccontextmanager
async def open_transports(host: Host | None = None) -> AsyncIterator[Transports]:
    """All ways of this host, open until the context ends.

    Args:
        host: in whose networks nodes must be, and which commands there are; None for one that allows all
            networks and has no command.
    """
    own = host or Host()
    async with HttpTransport(own) as http:
        yield Transports(http, CommandTransport(own))
