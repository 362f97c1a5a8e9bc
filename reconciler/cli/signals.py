"""A signal during an apply: the first asks to stop between steps, the second leaves at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconciler.host.aio import taking_softly


@contextmanager
def stopping(told: Callable[[], None]) -> Iterator[asyncio.Event]:
    """An event that the first signal sets; `told` is called then, to tell the person.

    Afterwards, and at the end, signals do again what they did before: within `host.aio.run` only.
    """
    stop = asyncio.Event()

    def first() -> None:
        stop.set()
        told()

    with taking_softly(first):
        yield stop
