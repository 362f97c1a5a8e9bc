"""A clock that skips waiting: settle and soak times of a trial take no real time."""

from __future__ import annotations

import asyncio
import inspect
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, cast

from reconciler.host.clock import utc_now
from reconciler.ports.transport import Transports

T = TypeVar("T")

SAME_PROCESS: Final = 0.003
"""Real seconds within which data that this process sends to itself arrives over loopback."""

PACE: Final = 0.02
"""Seconds of the trial's clock that a call takes."""

_TICK: Final = timedelta(milliseconds=1)


class _SkippingSelector(selectors.DefaultSelector):
    """Waits for descriptors; if none can become ready, it advances the time at once.

    Args:
        patience: real seconds to wait for calls in flight; None: as long as their timeouts are.
    """

    def __init__(self, patience: float | None) -> None:
        super().__init__()
        self.now = 0.0
        self.calls = 0
        self._patience = patience

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, sorted by descriptor, once something is ready or the time is over."""
        events = super().select(0)
        if not events and (timeout is None or timeout > 0):
            events = super().select(None) if timeout is None else self._wait(timeout)
        # The kernel's order depends on arrival times: sorted, a seed gives the same trial each time.
        return sorted(events, key=lambda event: event[0].fd)

    def _wait(self, timeout: float) -> list[tuple[selectors.SelectorKey, int]]:
        if not self.calls:
            self.now += timeout
            return []
        # The answer of a simulated node arrives over loopback in no time. If nothing has come after
        # `patience`, the call itself only waits for a time, such as its timeout, so the clock may skip.
        began = time.monotonic()
        bound = timeout if self._patience is None else min(timeout, self._patience)
        events = super().select(bound)
        if not events:
            self.now += timeout
        elif self._patience is None:
            self.now += min(timeout, time.monotonic() - began)
        return events


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stops while code runs, and jumps ahead when everything only waits.

    Args:
        patience: real seconds after which a call in flight counts as waiting for a time too; None if the
            other end is in another process, which needs real time.
    """

    def __init__(self, patience: float | None = SAME_PROCESS) -> None:
        self._selector = _SkippingSelector(patience)
        super().__init__(self._selector)

    def time(self) -> float:
        """Seconds since the start of the trial."""
        return self._selector.now

    def calling(self, number: int) -> None:
        """Add to the number of calls in flight; a negative number takes `PACE` seconds."""
        self._selector.calls += number
        if number < 0:
            self._selector.now += PACE

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count one call of the reconciler as in flight during the block."""
        self.calling(1)
        try:
            yield
        finally:
            self.calling(-1)

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run in a thread, and wait for it, so that each run of a seed has the same order of events."""
        future: asyncio.Future[T] = self.create_future()
        # An executor that was shut down raises at once, as with any other loop.
        running = executor.submit(func, *args) if executor else None
        try:
            future.set_result(running.result() if running else func(*args))
        except Exception as error:  # noqa: BLE001  (the future raises it)
            future.set_exception(error)
        return future


class StampClock:
    """The time of a trial; each reading is later than the last, so that all records have an order."""

    def __init__(self, begin: datetime | None = None) -> None:
        self._begin = begin or datetime.now(UTC)
        self._last = self._begin

    def __call__(self) -> datetime:
        """The time now."""
        now = self._begin + timedelta(seconds=asyncio.get_running_loop().time())
        self._last = max(now, self._last + _TICK)
        return self._last


class OffsetClock:
    """The system's time plus some seconds: for trials of processes, which run in real time."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> datetime:
        """The time now."""
        return utc_now() + timedelta(seconds=self.seconds)

    async def wait(self, seconds: float) -> None:
        """Skip some seconds."""
        self.seconds += seconds


class _CountedTransport:
    """Any transport, with each call counted by the loop, also calls that a port gets later."""

    def __init__(self, transport: object, loop: SkippingLoop) -> None:
        self._transport = transport
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._transport, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **options: Any) -> Any:
            with self._loop.in_flight():
                return await found(*args, **options)

        return call


def count_calls(transports: Transports, loop: SkippingLoop) -> Transports:
    """The same transports, with each call counted by the loop: it skips time only if none is in flight."""

    def count(transport: T) -> T:
        return cast("T", _CountedTransport(transport, loop))

    return transports.wrap(http=count, commands=count, mailbox=count, files=count, streams=count)


def run_skipping_waits(work: Coroutine[Any, Any, T], *, patience: float | None = SAME_PROCESS) -> T:
    """The result of a coroutine, run under a clock that skips waiting."""
    with asyncio.Runner(loop_factory=lambda: SkippingLoop(patience)) as runner:
        return runner.run(work)
