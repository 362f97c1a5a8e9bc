"""A clock that skips waiting: settle and soak times of a trial take no real time."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, TypeVar

from reconciler.host.clock import utc_now
from reconciler.ports.transport import Commands, Http, HttpAnswer, Mailbox, MailReport, Transports

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
        """What is ready, in an order that is the same every time, once something is or the time is over."""
        events = super().select(0)
        if not events and (timeout is None or timeout > 0):
            events = super().select(None) if timeout is None else self._wait(timeout)
        return sorted(events, key=lambda event: event[0].fd)

    def _wait(self, timeout: float) -> list[tuple[selectors.SelectorKey, int]]:
        if not self.calls:
            self.now += timeout
            return []
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

    Calls in flight are counted by `calling`. Work for a thread is done at once and waited for, so the order
    of everything is the same in each run of a seed.

    Args:
        patience: real seconds after which a call in flight counts as waiting for a time too; None where
            the other end is in another process, so that only real time tells.
    """

    def __init__(self, patience: float | None = SAME_PROCESS) -> None:
        self._selector = _SkippingSelector(patience)
        super().__init__(self._selector)

    def time(self) -> float:
        """Seconds since the beginning."""
        return self._selector.now

    def calling(self, number: int) -> None:
        """So many more calls are in flight, or fewer; each that ends has taken its time."""
        self._selector.calls += number
        if number < 0:
            self._selector.now += PACE

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """A call of the reconciler is in flight for as long as the block lasts."""
        self.calling(1)
        try:
            yield
        finally:
            self.calling(-1)

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run in a thread, and wait for it."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(executor.submit(func, *args).result() if executor else func(*args))
        except Exception as error:  # noqa: BLE001  (it is handed on)
            future.set_exception(error)
        return future


class StampClock:
    """The present moment of a trial; each one is later than the last, so that all records have an order."""

    def __init__(self, begin: datetime | None = None) -> None:
        self._begin = begin or datetime.now(UTC)
        self._last = self._begin

    def __call__(self) -> datetime:
        """The moment."""
        now = self._begin + timedelta(seconds=asyncio.get_running_loop().time())
        self._last = max(now, self._last + _TICK)
        return self._last


class OffsetClock:
    """The present moment, so many seconds ahead of the system's: for trials of processes in real time."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> datetime:
        """The moment."""
        return utc_now() + timedelta(seconds=self.seconds)

    async def wait(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.seconds += seconds


def count_calls(transports: Transports, loop: SkippingLoop) -> Transports:
    """The same transports, with each call counted by the loop: it skips time only if none is in flight."""
    return transports.wrapped(
        http=lambda http: _CountedHttp(http, loop),
        commands=lambda commands: _CountedCommands(commands, loop),
        mailbox=lambda mailbox: _CountedMailbox(mailbox, loop),
    )


class _CountedHttp(Http):
    def __init__(self, http: Http, loop: SkippingLoop) -> None:
        self._http = http
        self._loop = loop

    async def send(
        self,
        method: str,
        url: str,
        *,
        node: str,
        timeout: float,  # noqa: ASYNC109  (the contract's parameter)
        connect: float = 0.0,
        headers: Mapping[str, str] = MappingProxyType({}),
        content: bytes = b"",
    ) -> HttpAnswer:
        """One call; see `ports.transport.Http.send`."""
        with self._loop.in_flight():
            return await self._http.send(
                method, url, node=node, timeout=timeout, connect=connect, headers=headers, content=content
            )

    async def resolve(self, host: str) -> tuple[str, ...]:
        """The addresses of a name; see `ports.transport.Http.resolve`."""
        with self._loop.in_flight():
            return await self._http.resolve(host)

    def local_address(self, url: str) -> str:
        """The address of this host that faces a URL."""
        return self._http.local_address(url)


class _CountedCommands(Commands):
    def __init__(self, commands: Commands, loop: SkippingLoop) -> None:
        self._commands = commands
        self._loop = loop

    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        """One command; see `ports.transport.Commands.run`."""
        with self._loop.in_flight():
            return await self._commands.run(command, values, node=node)

    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:
        """One command; see `ports.transport.Commands.read`."""
        with self._loop.in_flight():
            return await self._commands.read(command, values, node=node)


class _CountedMailbox(Mailbox):
    def __init__(self, mailbox: Mailbox, loop: SkippingLoop) -> None:
        self._mailbox = mailbox
        self._loop = loop

    async def offer(self, node: str, body: bytes, *, seconds: float) -> str:
        """One offer; see `ports.transport.Mailbox.offer`."""
        with self._loop.in_flight():
            return await self._mailbox.offer(node, body, seconds=seconds)

    async def report(self, node: str) -> MailReport | None:
        """One look; see `ports.transport.Mailbox.report`."""
        with self._loop.in_flight():
            return await self._mailbox.report(node)


def run_skipping_waits(work: Coroutine[Any, Any, T], *, patience: float | None = SAME_PROCESS) -> T:
    """The result of a coroutine, run under a clock that skips waiting."""
    with asyncio.Runner(loop_factory=lambda: SkippingLoop(patience)) as runner:
        return runner.run(work)
