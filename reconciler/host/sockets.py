"""What the kernel knows of a socket."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Any


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
