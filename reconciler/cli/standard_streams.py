"""Standard streams that are closed at the start, or whose reader goes away."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO, cast


def release_streams() -> None:
    """Send what is still buffered to the null device, so that the interpreter's flush at exit cannot fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def replace_closed_streams() -> None:
    """Open the null device for each standard stream that was closed at the start."""
    # Otherwise the next file or socket gets number 0, 1 or 2, and text for a person is written into it:
    # into the store, or to a node.
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # open() returns the lowest free number, which is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or _null_device("r")
    sys.stdout = sys.stdout or _null_device("w")
    sys.stderr = sys.stderr or _null_device("w")


def _null_device(mode: str) -> TextIO:
    return cast("TextIO", Path(os.devnull).open(mode, encoding="utf-8"))  # stays open as long as the process
