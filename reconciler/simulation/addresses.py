"""Where simulated nodes listen: loopback only, one address and port each."""

from __future__ import annotations

import errno
import random
import resource
import socket
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Final

from reconciler.errors import UsageError
from reconciler.ports.simulator import SocketAddress

BELOW_EPHEMERAL: Final = range(10_000, 32_000)
"""Ports that no operating system here gives to outgoing connections."""


def keep_loopback_address(node: str, address: SocketAddress) -> SocketAddress:
    """The same address.

    Raises:
        UsageError: it is not one that only this machine can reach.
    """
    try:
        local = address.host == "localhost" or ip_address(address.host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise UsageError(
            f"{node}: its address {address} is not on this machine, where simulated nodes have to be",
            remedy="give it an address in 127.0.0.0/8, ::1 or localhost in a copy of the fleet file",
        )
    return address


def make_address_error(node: str, address: SocketAddress, error: OSError) -> UsageError:
    """The error for an address that cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"{node}: {address} is already in use",
            remedy="stop what listens there, or give the node another port",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(
            f"{node}: this machine has no address {address.host}",
            remedy=f"on macOS: sudo ifconfig lo0 alias {address.host}",
        )
    return UsageError(f"{node}: cannot listen on {address}: {error.strerror or error}")


def find_free_addresses(count: int) -> list[SocketAddress]:
    """Addresses on 127.0.0.1 that nothing listens on, and no outgoing connection will take.

    Args:
        count: how many, all different.

    Raises:
        UsageError: there are not so many.
    """
    ports = list(BELOW_EPHEMERAL)
    start = random.SystemRandom().randrange(len(ports))
    found: list[SocketAddress] = []
    with ExitStack() as held:
        for port in (*ports[start:], *ports[:start]):
            if len(found) == count:
                return found
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:  # taken: the next one
                continue
            found.append(SocketAddress("127.0.0.1", port))
    raise UsageError(f"there are no {count} free ports on 127.0.0.1")


def raise_file_limit(needed: int) -> None:
    """Let this process have so many files and sockets open, as far as the system allows.

    Raises:
        UsageError: the hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in {-1, resource.RLIM_INFINITY} and hard < needed:
        raise UsageError(
            f"{needed} open files are needed, and the system allows {hard}",
            remedy="raise the limit (ulimit -Hn), or simulate fewer nodes",
        )
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
