"""A net around one node: a defect that its answer brings out is an observation of that node alone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Final, TypeVar

from reconciler.core.defect import describe_defect
from reconciler.core.observation import Liveness, Unreachable
from reconciler.errors import ReconcilerError

T = TypeVar("T")

LOG: Final = logging.getLogger("reconciler.defects")
"""Takes the traces, at the level of debugging."""

EXPECTED: Final = (ReconcilerError, MemoryError)
"""What passes through the net: errors that are told in words of their own, and a full memory."""


async def capture_defects(node: str, reading: Awaitable[T]) -> T | Unreachable:
    """What a reading gives, or what is known of a node that the program cannot read.

    Args:
        node: its name, for the log.
        reading: asks it and reads its answers.
    """
    try:
        return await reading
    except EXPECTED:
        raise
    except Exception as error:  # noqa: BLE001  (whatever it is, the other nodes go on)
        return make_defect_observation(node, error)


def make_defect_observation(node: str, error: Exception) -> Unreachable:
    """The observation that stands for a defect; as something may be there, it never counts as silence."""
    words = describe_defect(error)
    LOG.debug("%s: %s", node, words, exc_info=error)
    return Unreachable(words, Liveness.ALIVE, defect=True)
