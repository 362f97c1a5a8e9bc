"""Starting loops, noticing one that breaks down, and ending them all in good order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP, too: the terminal that the watch was started from is gone. Under `nohup` it stays ignored."""


class Supervision:
    """The tasks of one watch.

    Args:
        halt: called once, at the moment that `stop` is set.

    Attributes:
        stop: set once the watch is to end, by a signal or because a loop broke down.
        hurry: set by a second signal.
    """

    def __init__(self, halt: Callable[[], None]) -> None:
        self._halt = halt
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.broken: dict[str, BaseException] = {}
        self._tasks: dict[asyncio.Task[None], str] = {}

    def spawn(self, loop: Coroutine[Any, Any, None], name: str) -> None:
        """Start a loop; should it break down, the watch ends, for half a watch deceives."""
        task = asyncio.ensure_future(loop)
        self._tasks[task] = name
        task.add_done_callback(self._ended)

    def running(self) -> tuple[str, ...]:
        """Names of the loops that have not ended, sorted."""
        return tuple(sorted(self._tasks.values()))

    @contextmanager
    def signals(self) -> Iterator[None]:
        """The first of `SIGNALS` ends the watch in good order, the next one sets `hurry`."""
        loop = asyncio.get_running_loop()
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in heard:
            loop.add_signal_handler(number, self.interrupt)
        try:
            yield
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    def interrupt(self) -> None:
        """What a signal does."""
        if self.stop.is_set():
            self.hurry.set()
        else:
            self.end()

    def end(self) -> None:
        """Have the watch end in good order."""
        if not self.stop.is_set():
            self.stop.set()
            self._halt()

    async def drained(self, grace: float) -> bool:
        """Wait until every loop has ended, for `grace` seconds or until told to hurry; whether all have."""
        hurry = asyncio.ensure_future(self.hurry.wait())
        deadline = asyncio.get_running_loop().time() + grace
        try:
            while self._tasks and not hurry.done():
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    break
                await asyncio.wait({*self._tasks, hurry}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(0)  # the tasks' callbacks take them off the list
        finally:
            hurry.cancel()
        return not self._tasks

    async def abandon(self) -> None:
        """Cancel what still runs and wait until it has noticed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        name = self._tasks.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.broken[name] = error
            self.end()


def place_of(error: BaseException) -> str:
    """The file and line an error came from: enough to report it, and nothing that could quote a secret."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename.rpartition("site-packages/")[2] if trace else "?"
    return f"{file}:{trace.tb_lineno if trace else 0}"
