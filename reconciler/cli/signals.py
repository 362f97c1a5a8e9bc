"""A signal during an apply: the first asks to stop between steps, the second leaves at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconciler.host.aio import defer_first_signal


@contextmanager
def catch_stop_signal(told: Callable[[], None]) -> Iterator[asyncio.Event]:
    """An event that the first signal sets; `told` is called then, to tell the person.

    Afterwards, and at the end, signals do again what they did before: within `host.aio.run_until_signal`
    only.
    """
    stop = asyncio.Event()

    def first() -> None:
        stop.set()
        told()

    with defer_first_signal(first):
        yield stop
