"""Ctrl-C and SIGTERM during an apply: the first asks to stop between steps, the second leaves at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping(told: Callable[[], None]) -> Iterator[asyncio.Event]:
    """An event that the first signal sets; `told` is called then, to tell the person.

    Afterwards, and at the end, signals do again what they did before: within a running event loop only.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def first() -> None:
        stop.set()
        give_back()
        told()

    def give_back() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, first)
    try:
        yield stop
    finally:
        give_back()
