"""Keeping loops alive whatever happens in them, and ending them all in good order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP, too: the terminal that the watch was started from is gone. Under `nohup` it stays ignored."""

FIRST, LONGEST = 1.0, 300.0
"""Seconds before a loop that broke down is begun again: at first, and at most."""

STEADY = 600.0
"""Seconds after which a loop that ran counts as sound: the next breakdown is its first one."""

CANCEL_SECONDS = 5.0
"""Seconds that loops which were cancelled have to close their connections and child processes."""

Loop: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Begins a loop, also after it broke down: what it has to remember is not in its coroutine."""

Report: TypeAlias = Callable[[str, BaseException, float], None]
"""Is told which loop broke down, with what, and after how many seconds it is begun again."""


class Supervision:
    """The tasks of one watch.

    Args:
        halt: called once, at the moment that `stop` is set.
        report: called for each breakdown of a loop.

    Attributes:
        stop: set once the watch is to end.
        hurry: set by a second signal.
    """

    def __init__(self, halt: Callable[[], None], report: Report) -> None:
        self._halt = halt
        self._report = report
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], str] = {}

    def spawn(self, loop: Loop, name: str) -> None:
        """Start a loop; should it break down, it is begun again after a pause, until the watch ends.

        This is the one place that no error passes: a commit, a node or a request that brings an error
        which nobody foresaw ends neither the watch nor, for good, its own loop.
        """
        task = asyncio.ensure_future(supervise_loop(loop, name, stop=self.stop, report=self._report))
        self._tasks[task] = name
        task.add_done_callback(self._forget)

    def running(self) -> tuple[str, ...]:
        """Names of the loops that have not ended, sorted."""
        return tuple(sorted(self._tasks.values()))

    @contextmanager
    def signals(self) -> Iterator[None]:
        """The first of `SIGNALS` ends the watch in good order, the next one sets `hurry`."""
        loop = asyncio.get_running_loop()
        handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in handled:
            loop.add_signal_handler(number, self.interrupt)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    def interrupt(self) -> None:
        """What a signal does."""
        if self.stop.is_set():
            self.hurry.set()
        else:
            self.stop.set()
            self._halt()

    async def drain(self, grace: float) -> bool:
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

    async def cancel(self) -> None:
        """Cancel what still runs and wait until it has noticed, for `CANCEL_SECONDS` seconds at most."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task)
        if not task.cancelled():
            task.exception()  # looked at, so that the event loop does not complain of it


async def supervise_loop(loop: Loop, name: str, *, stop: asyncio.Event, report: Report) -> None:
    """Run a loop until it ends by itself; begin it again, after a growing pause, where it breaks down."""
    now = asyncio.get_running_loop().time
    wait = FIRST
    while not stop.is_set():
        began = now()
        try:
            await contain_errors(loop())
        except Exception as error:  # noqa: BLE001  (whatever it is, the others go on, and this one again)
            if now() - began >= STEADY:
                wait = FIRST
            report(name, error, wait)
        else:
            return
        try:
            async with asyncio.timeout(wait):
                await stop.wait()
        except TimeoutError:
            wait = min(LONGEST, wait * 2)


class EscapedError(Exception):
    """What would have ended more than the code it came from: an exit, or a cancellation by nobody of ours."""


async def contain_errors(work: Coroutine[Any, Any, Any]) -> Any:
    """What `work` gives or raises, but never more than an `Exception`.

    `SystemExit` in a task ends the event loop, and a stray `CancelledError` looks like an end in good
    order; a real cancellation of the caller passes.

    Raises:
        Escaped: in place of those.
    """
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise EscapedError("a call was cancelled that nobody cancelled here") from error
    except (SystemExit, KeyboardInterrupt, BaseExceptionGroup) as error:
        if isinstance(error, ExceptionGroup):
            raise
        raise EscapedError(f"{type(error).__name__} in a loop") from error
