"""Limits a defect of this program to one node: it becomes an observation of that node."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Final, TypeVar

from reconciler.core.defect import describe_defect
from reconciler.core.observation import Liveness, Unreachable
from reconciler.errors import ReconcilerError

T = TypeVar("T")

LOG: Final = logging.getLogger("reconciler.defects")
"""Logger of the traces, at debug level."""

EXPECTED: Final = (ReconcilerError, MemoryError)
"""Errors that are raised as they are: those with their own messages, and lack of memory."""


async def capture_defects(node: str, reading: Awaitable[T]) -> T | Unreachable:
    """The result of reading a node; an unreachable node if an unexpected error occurs."""
    try:
        return await reading
    except EXPECTED:
        raise
    except Exception as error:  # noqa: BLE001  (whatever it is, the other nodes continue)
        return make_defect_observation(node, error)


def make_defect_observation(node: str, error: Exception) -> Unreachable:
    """The observation for a defect."""
    # ALIVE, not SILENT: an answer that crashes the parser proves that something runs there.
    words = describe_defect(error)
    LOG.debug("%s: %s", node, words, exc_info=error)
    return Unreachable(words, Liveness.ALIVE, defect=True)
