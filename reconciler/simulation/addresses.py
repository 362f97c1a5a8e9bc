"""Addresses of simulated nodes: loopback only, one address and port for each node."""

from __future__ import annotations

import errno
import random
import resource
import socket
from contextlib import ExitStack
from typing import Final

from reconciler.core.endpoint import SocketAddress, is_loopback_host
from reconciler.errors import UsageError

BELOW_EPHEMERAL: Final = range(10_000, 32_000)
"""Ports below the range that operating systems use for outgoing connections."""

_SPARE_FILES: Final = 1024
"""Open files in addition to the listeners: connections and other files of the process."""

_LEAST_SPARE_FILES: Final = 128
"""With fewer, nodes would refuse the calls of one pass. Containers often allow 1,024 files in all."""


def keep_loopback_address(node: str, address: SocketAddress) -> SocketAddress:
    """The same address.

    Raises:
        UsageError: other machines could reach it.
    """
    if not is_loopback_host(address.host):
        raise UsageError(
            f"{node}: simulated nodes must have a loopback address, got {address}",
            remedy="use 127.0.0.0/8, ::1 or localhost in a copy of the fleet file",
        )
    return address


def make_address_error(node: str, address: SocketAddress, error: OSError) -> UsageError:
    """The error if a node cannot listen on its address."""
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"{node}: {address} is already in use",
            remedy="stop the process that listens there, or use another port",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(
            f"{node}: this machine has no address {address.host}",
            remedy=f"on macOS: sudo ifconfig lo0 alias {address.host}",
        )
    return UsageError(f"{node}: cannot listen on {address}: {error.strerror or error}")


def find_free_addresses(count: int) -> list[SocketAddress]:
    """Free addresses on 127.0.0.1, with ports that no outgoing connection takes.

    Args:
        count: how many, all different.

    Raises:
        UsageError: there are not enough.
    """
    ports = list(BELOW_EPHEMERAL)
    start = random.SystemRandom().randrange(len(ports))
    found: list[SocketAddress] = []
    with ExitStack() as held:
        for port in (*ports[start:], *ports[:start]):
            if len(found) == count:
                return found
            # All probes stay bound until the end, or the system could give one port twice.
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:  # taken: the next one
                continue
            found.append(SocketAddress("127.0.0.1", port))
    raise UsageError(f"there are fewer than {count} free ports on 127.0.0.1")


def raise_file_limit(listeners: int) -> None:
    """Raise the limit of open files and sockets of this process, if the system allows it.

    Args:
        listeners: sockets that are kept open. Connections and other files come in addition.

    Raises:
        UsageError: the hard limit is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_unlimited = hard in {-1, resource.RLIM_INFINITY}
    # Checked before the first listener: else a large fleet fails after half of its nodes are up.
    needed = listeners + _LEAST_SPARE_FILES
    if not is_unlimited and hard < needed:
        raise UsageError(
            f"{needed} open files are needed, the system allows {hard}",
            remedy="raise the limit (ulimit -Hn), or simulate fewer nodes",
        )
    wanted = listeners + _SPARE_FILES
    if not is_unlimited:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
