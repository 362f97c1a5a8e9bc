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
