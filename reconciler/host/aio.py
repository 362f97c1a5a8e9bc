"""Asynchronous work: run until a signal, cancelled when a run is asked to stop, gathered without losses.

`asyncio.run` handles Ctrl-C only: SIGTERM and SIGHUP would leave child processes behind. When it ends it also
waits, for up to five minutes, for threads that cannot be interrupted, such as a lookup of a host name.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end the program; one that was ignored at the start, as under `nohup`, stays ignored."""

THREADS: Final = 32
"""Blocking calls at the same time; further ones wait."""


class Interrupted(KeyboardInterrupt):
    """A signal, `number`, asked the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class _Signals:
    """The effect of signals on one run: the first may be deferred, the next cancels, the last aborts."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self.soft: Callable[[], None] | None = None
        self.received = 0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Handle one signal."""
        # The interpreter calls this between any two instructions, also while the event loop is blocked. That
        # is why this is not `loop.add_signal_handler`, whose handler would run only once the loop continues.
        loop = self._task.get_loop()
        if self.soft is not None:
            soft, self.soft = self.soft, None
            loop.call_soon_threadsafe(soft)
        elif not self.received:
            self.received = number
            loop.call_soon_threadsafe(self._task.cancel)
        else:  # cancelling has no effect: abort; the journal has every step that was sent
            raise Interrupted(number)


_SIGNALS: ContextVar[_Signals] = ContextVar("signals")


def run_until_signal(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. A signal cancels it; its child processes have ended when this returns.

    Raises:
        Interrupted: a signal asked the program to end.
    """
    kept: list[T] = []

    async def main() -> None:
        # Not returned: asyncio makes a `repr` of the result of the main task, and plans are long.
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        loop.set_default_executor(_DaemonThreads())
        signals = _Signals(task)
        token = _SIGNALS.set(signals)
        try:
            with _handle_signals(signals):
                kept.append(await work)
        except asyncio.CancelledError:
            if signals.received:
                raise Interrupted(signals.received) from None
            raise
        finally:
            _SIGNALS.reset(token)

    asyncio.run(main())
    return kept[0]


@contextmanager
def _handle_signals(signals: _Signals) -> Iterator[None]:
    # Python allows signal handlers in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signals)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def defer_first_signal(soft: Callable[[], None]) -> Iterator[None]:
    """Call `soft` at the first signal instead of cancelling; the next signal cancels.

    Has an effect only within `run_until_signal`.
    """
    signals = _SIGNALS.get(None)
    if signals is None:
        yield
        return
    before, signals.soft = signals.soft, soft
    try:
        yield
    finally:
        signals.soft = before


async def gather_all(jobs: Iterable[Awaitable[T]]) -> list[T]:
    """All results in the order of the jobs. Waits for every job, then raises the first failure."""
    # `asyncio.gather` alone would raise at once, and the other jobs would go on unobserved.
    results = await asyncio.gather(*jobs, return_exceptions=True)
    good: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        good.append(result)
    return good


async def run_unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None if `stop` is set before it has ended.

    Only for work that may be cancelled anywhere: it reads, or it waits. It has ended when this returns, so
    that its connections and child processes are gone.

    Args:
        stop: the request to end the run.
        work: not started if `stop` is set.
    """
    if stop.is_set():
        work.close()
        return None
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # retrieved, or the event loop would log it as never retrieved


class _DaemonThreads(ThreadPoolExecutor):
    """Threads that delay the end of neither the event loop nor the interpreter."""

    def __init__(self) -> None:
        super().__init__(max_workers=THREADS)
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in one of the threads."""
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001  (it belongs to whoever waits for the future)
                future.set_exception(error)
            else:
                future.set_result(result)

        self._jobs.put(job)
        # The semaphore counts idle threads: start another only if there is none.
        if not self._idle.acquire(blocking=False) and self._started < THREADS:
            self._started += 1
            threading.Thread(target=self._work, name=f"call-{self._started}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Does nothing: the threads end with the process."""

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            self._idle.release()
