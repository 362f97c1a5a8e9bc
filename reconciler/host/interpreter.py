"""Settings of the Python interpreter for a command."""

from __future__ import annotations

import gc
import os

_COLLECTION = (50_000, 20, 20)
"""Thresholds of the garbage collection."""


def prepare_interpreter() -> None:
    """Prepare the interpreter of this process; before pydantic is imported."""
    # Plugins that other packages of the environment bring must not run in this program, nor be searched for.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Almost everything that a pass makes lives until its end: looking through it again takes a fifth of the
    # time of a plan, and finds nothing.
    gc.set_threshold(*_COLLECTION)
