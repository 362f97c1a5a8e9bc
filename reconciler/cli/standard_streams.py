"""Standard streams that are closed, or that take nothing any more."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO, cast


def release_streams() -> None:
    """What is still buffered must not fail at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def replace_closed_streams() -> None:
    """Put the null device in place of standard streams that were closed at the start.

    Otherwise the next file or socket that is opened gets their numbers, and what is meant for a person
    goes into it; and every `print` fails.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number is given out first: it is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or _null_device("r")
    sys.stdout = sys.stdout or _null_device("w")
    sys.stderr = sys.stderr or _null_device("w")


def _null_device(mode: str) -> TextIO:
    return cast("TextIO", Path(os.devnull).open(mode, encoding="utf-8"))  # stays open as long as the process
