"""Keep secrets of the environment from other processes: what is needed is read once, then wiped.

Removing a variable from `os.environ` is not enough: `/proc/PID/environ` shows the memory that the process
was started with, to every process of the same user and to root. So its bytes are overwritten, and the
process is made not dumpable, which also keeps others of the same user from reading its memory. Starting
the program anew with a clean environment would do the first alone, and cost its start a second time.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

from reconciler.host.environment import NETWORK, TERMINAL, Environment, make_child_environment

_SET_DUMPABLE: Final = 4
"""PR_SET_DUMPABLE of prctl(2)."""

_SUDO: Final = "SUDO_UID"
"""Whose repositories count as the user's own under sudo, as git takes it."""


def seal_environment() -> Environment:
    """The environment as it was; in the process and in `/proc` only what libraries here read is left.

    To be called once, at the entry point, while there is one thread.
    """
    found = Environment(os.environ)
    kept = make_child_environment(found, *NETWORK, *TERMINAL, _SUDO)
    dropped = [name for name in found if name not in kept]
    _overwrite({os.fsencode(name) for name in dropped})
    for name in dropped:
        del os.environ[name]
    _forbid_dumps()
    return found


def _overwrite(names: set[bytes]) -> None:
    """Zeros in the place of the values, in the memory that the kernel shows of this process."""
    try:
        entries = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    except (OSError, ValueError):  # no such symbol: not a system with /proc/PID/environ either
        return
    index = 0
    while entry := entries[index]:
        name, equals, value = ctypes.string_at(entry).partition(b"=")
        if equals and name in names:
            ctypes.memset(entry + len(name) + 1, 0, len(value))
        index += 1


def _forbid_dumps() -> None:
    """No core file with secrets, and no reading of this process's memory by others of the same user."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
