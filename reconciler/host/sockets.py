"""TCP sockets: how to listen, and what the kernel knows of a connection."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Any


def listen_on(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens at an address, for IPv4 or IPv6 as the address says.

    Args:
        host: name or address; the first address of a name counts.
        port: 0 for one that the system chooses.
        backlog: connections that the kernel accepts before the program does.

    Raises:
        OSError: the address is in use, not on this machine, or not permitted.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(where)
        opened.listen(backlog)
    except OSError:
        opened.close()
        raise
    return opened


def count_unsent(opened: socket.socket | Any) -> int:
    """Bytes that were written to a socket and that the other end has not confirmed; 0 if it is closed."""
    if opened is None or opened.fileno() < 0:
        return 0
    return int(struct.unpack("i", fcntl.ioctl(opened.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])


def discard_unsent(opened: socket.socket | Any) -> None:
    """Let the kernel throw away what the other end has not confirmed once the socket is closed."""
    # Otherwise it would go on for minutes after the process has closed the socket, with the memory for it.
    if opened is not None and opened.fileno() >= 0:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
