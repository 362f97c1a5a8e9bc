"""The transports of this host, as the one bundle that a pass uses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from reconciler.host.file_limit import extend_file_limit
from reconciler.host.host import Host
from reconciler.ports.transport import Transports
from reconciler.transports.command import CommandTransport
from reconciler.transports.http import MOST_KEPT, HttpTransport
from reconciler.transports.machines.host_machines import HostMachines

_FILES: Final = 65_536
"""Open files that a host with many nodes should allow."""


@asynccontextmanager
async def open_transports(host: Host | None = None) -> AsyncIterator[Transports]:
    """All transports of this host, open until the context ends.

    Args:
        host: limits networks and defines commands; None for a host with all networks and no commands.
    """
    own = host or Host()
    # A quarter of the file descriptors at most: passes over other clusters need some at the same time.
    async with HttpTransport(own, keep=min(MOST_KEPT, extend_file_limit(_FILES) // 4)) as http:
        yield Transports(http, CommandTransport(own, HostMachines(own)))
