"""Settings of the Python interpreter for a command."""

from __future__ import annotations

import atexit
import gc
import os

_COLLECTION = (200_000, 5, 20)
"""Thresholds of the garbage collection: more objects than a dry run over a thousand nodes makes."""

_LONG_COLLECTION = (50_000, 20, 20)
"""Thresholds in a process that runs pass after pass."""


def prepare_interpreter() -> None:
    """Prepare the interpreter of this process; before pydantic is imported."""
    # Plugins that other packages of the environment bring must not run in this program, nor be searched for.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Almost everything that a pass makes lives until its end: looking through it again takes a fifth of the
    # time of a plan, and finds nothing.
    gc.set_threshold(*_COLLECTION)
    # The interpreter looks through all of it twice more when it ends, just before the system takes the memory
    # back: a twentieth of a short command. What `atexit` and `finally` clean up is cleaned up as before.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def prepare_long_run() -> None:
    """Prepare a process that runs pass after pass, after `prepare_interpreter`."""
    # What a pass leaves behind refers to itself, and waits for a collection: with the thresholds of a short
    # command, a watch over 300 nodes holds 70 MB of it.
    gc.set_threshold(*_LONG_COLLECTION)
