"""Restarts loops that crash, and stops all of them in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP means that the terminal of the watch has closed. Under `nohup` it stays ignored."""

FIRST, LONGEST = 1.0, 300.0
"""Seconds before a crashed loop restarts: first and longest wait."""

STEADY = 600.0
"""A loop that ran this many seconds counts as healthy: its next crash starts again with the first wait."""

CANCEL_SECONDS = 5.0
"""Seconds that cancelled loops have to close their connections and child processes."""

Loop: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Starts a loop, also after a crash: its state must not be in the coroutine."""

Report: TypeAlias = Callable[[str, BaseException, float], None]
"""Called with the name of the crashed loop, the error, and the seconds until the restart."""


class Supervision:
    """The tasks of one watch.

    Args:
        on_stop: called once, when `stop` is set.
        report: called for each crash of a loop.

    Attributes:
        stop: set when the watch must stop.
        force_stop: set by a second signal.
    """

    def __init__(self, on_stop: Callable[[], None], report: Report) -> None:
        self._on_stop = on_stop
        self._report = report
        self.stop = asyncio.Event()
        self.force_stop = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], str] = {}

    def spawn(self, loop: Loop, name: str) -> None:
        """Start a loop and restart it after each crash, until the watch stops."""
        # The one place that stops every error: an unexpected one, caused by a commit, a node or a request,
        # ends neither the watch nor its own loop for good.
        task = asyncio.ensure_future(supervise_loop(loop, name, stop=self.stop, report=self._report))
        self._tasks[task] = name
        task.add_done_callback(self._forget)

    def running(self) -> tuple[str, ...]:
        """Names of the running loops, sorted."""
        return tuple(sorted(self._tasks.values()))

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Handle `SIGNALS`: the first stops the watch in order, the next one sets `force_stop`."""
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
        """Handle one signal."""
        if self.stop.is_set():
            self.force_stop.set()
        else:
            self.stop.set()
            self._on_stop()

    async def drain(self, grace: float) -> bool:
        """Wait for the loops to end, for `grace` seconds or until `force_stop`; gives whether all have."""
        forced = asyncio.ensure_future(self.force_stop.wait())
        deadline = asyncio.get_running_loop().time() + grace
        try:
            while self._tasks and not forced.done():
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    break
                await asyncio.wait({*self._tasks, forced}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(0)  # lets the callbacks remove ended tasks
        finally:
            forced.cancel()
        return not self._tasks

    async def cancel(self) -> None:
        """Cancel running loops and wait for them, at most `CANCEL_SECONDS`."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task)
        if not task.cancelled():
            task.exception()  # retrieved, or the event loop would log it as never retrieved


async def supervise_loop(loop: Loop, name: str, *, stop: asyncio.Event, report: Report) -> None:
    """Run a loop until it returns; after each crash restart it with a growing pause."""
    now = asyncio.get_running_loop().time
    wait = FIRST
    while not stop.is_set():
        began = now()
        try:
            await contain_errors(loop())
        except Exception as error:  # noqa: BLE001  (whatever it is, the other loops continue)
            if now() - began >= STEADY:
                wait = FIRST
            report(name, error, wait)
        else:
            return
        if not await is_set_within(stop, wait):
            wait = min(LONGEST, wait * 2)


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, at most `seconds`; gives whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


class EscapedError(Exception):
    """An exit or an unrequested cancellation, which would have ended more than its own task."""


async def contain_errors(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of `work`; what it raises is always an `Exception`.

    Raises:
        EscapedError: `work` raised `SystemExit`, `KeyboardInterrupt` or a `CancelledError` that the caller
            did not request.
    """
    # `SystemExit` in a task ends the event loop, and a stray `CancelledError` looks like a normal end of the
    # loop: both would stop the watch silently. A real cancellation of the caller passes.
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise EscapedError("a call was cancelled without a request") from error
    except (SystemExit, KeyboardInterrupt, BaseExceptionGroup) as error:
        if isinstance(error, ExceptionGroup):
            raise
        raise EscapedError(f"{type(error).__name__} in a loop") from error
