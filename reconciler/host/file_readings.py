"""Reads files of many nodes at once; a failed reading is an observation, never an absent file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from reconciler.core.file_state import FilePlace, FileState
from reconciler.core.observation import FileReading, Liveness, Present, Unauthorized, Unreachable
from reconciler.errors import NodeError, NodeUnauthorized, NodeUnreachable

MOST_READINGS: Final = 64
"""Files that one observation reads at the same time."""


async def read_files(
    read: Callable[[FilePlace], Awaitable[FileState]], places: Iterable[FilePlace]
) -> dict[str, dict[str, FileReading]]:
    """Node -> entry -> the reading of its file.

    Args:
        read: of the files transport.
        places: each once.
    """
    slots = asyncio.Semaphore(MOST_READINGS)

    async def read_one(place: FilePlace) -> FileReading:
        async with slots:
            try:
                return Present(await read(place))
            except NodeUnauthorized as error:
                return Unauthorized(error.reason)
            except NodeUnreachable as error:
                return Unreachable(error.reason, Liveness(error.sign))
            except NodeError as error:
                return Unreachable(error.reason, Liveness.ALIVE)

    wanted = tuple(places)
    found: dict[str, dict[str, FileReading]] = {}
    readings = await asyncio.gather(*map(read_one, wanted))
    for place, reading in zip(wanted, readings, strict=True):
        found.setdefault(place.node, {})[place.entry] = reading
    return found
