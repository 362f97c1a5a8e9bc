"""Carrying messages from the outbox to the configured API sink: at least once, and never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Self

from reconciler.core.entries import FeedbackEntry
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import NodeUnreachable
from reconciler.host.retry import poll_until
from reconciler.ports.store import Outbox, OutboxMessage
from reconciler.ports.transport import Http
from reconciler.text.urls import strip_secrets

PAUSES = (0.2, 0.8, 2.0)
"""Seconds between the tries of one message, before the sink counts as dead for this run."""

FAREWELL = 30.0
"""Seconds that the end of a run waits for messages still on their way."""

HURRIED = 1.0
"""Seconds that it waits once it is asked to stop: what is left stays in the outbox for the next run."""

_AGAIN = frozenset({408, 425, 429})
_OK = range(200, 300)
_SERVER_ERROR = 500


class MessageSender:
    """Delivers while a run goes on, one message after the other, in the order of the outcomes.

    Every message is POSTed as JSON with its id in the header `Idempotency-Key`, by which a sink tells
    a second delivery of the same message. A sink that does not answer is tried a few times and once
    more at the end of the run; what is left then is for the next run. An answer of 4xx refuses one
    message and does not hold up the others.

    Args:
        outbox: where the messages wait.
        http: how they travel.
        entry: the sink; without one the courier does nothing.
        pauses: seconds between the tries of one message, `PAUSES` by default.
    """

    def __init__(
        self,
        outbox: Outbox,
        http: Http,
        entry: FeedbackEntry | None,
        *,
        pauses: Sequence[float] | None = None,
    ) -> None:
        self._outbox = outbox
        self._http = http
        self._entry = entry
        self._pauses = tuple(PAUSES if pauses is None else pauses)
        self._bell = asyncio.Event()
        self._last_round = False
        self._reached = 0
        self._dead = ""
        self._refused = ""
        self._work: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._entry is not None:
            self._work = asyncio.create_task(self._rounds(self._entry))
            self.nudge()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    def nudge(self) -> None:
        """There may be something new in the outbox."""
        self._bell.set()

    async def farewell(self, stop: asyncio.Event | None = None) -> tuple[Diagnostic, ...]:
        """Deliver what is left, within `FAREWELL` seconds; says what was not delivered and why.

        Args:
            stop: once it is set, no more than `HURRIED` seconds are waited; None where nothing stops the run.
        """
        if self._work is None or self._entry is None:
            return ()
        self._last_round = True
        self.nudge()
        stop = stop or asyncio.Event()
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({self._work, stopped}, timeout=FAREWELL, return_when=asyncio.FIRST_COMPLETED)
            if not self._work.done() and stop.is_set():
                await asyncio.wait({self._work}, timeout=HURRIED)
        finally:
            stopped.cancel()
        if self._work.done():
            self._work.result()
        late = "the run was asked to stop" if stop.is_set() else f"they took longer than {FAREWELL:g} s"
        return await self._findings(self._entry, late)

    async def _rounds(self, entry: FeedbackEntry) -> None:
        while not self._last_round:
            await self._bell.wait()
            self._bell.clear()
            if not self._dead:
                await self._round(entry, self._pauses)
        pauses = () if self._dead else self._pauses
        self._dead = ""
        await self._round(entry, pauses)

    async def _round(self, entry: FeedbackEntry, pauses: tuple[float, ...]) -> None:
        while not self._dead and (letters := await self._outbox.due(beyond=self._reached)):
            for outbox_message in letters:
                await self._deliver(outbox_message, entry, pauses)
                if self._dead:
                    break
                self._reached = outbox_message.number

    async def _deliver(
        self, outbox_message: OutboxMessage, entry: FeedbackEntry, pauses: tuple[float, ...]
    ) -> None:
        status, error = await poll_until(
            partial(self._post, outbox_message, entry),
            lambda answer: not _may_be_taken_later(answer[0]),
            pauses,
        )
        if status in _OK:
            await self._outbox.sent(outbox_message.id)
        elif _may_be_taken_later(status):
            self._dead = error
            await self._outbox.unsent(outbox_message.id, error, refused=False)
        else:
            self._refused = error
            await self._outbox.unsent(outbox_message.id, error, refused=True)

    async def _post(self, outbox_message: OutboxMessage, entry: FeedbackEntry) -> tuple[int, str]:
        """The answer's status and what is wrong with it; status 0 where no answer came."""
        try:
            answer = await self._http.send(
                "POST",
                entry.url,
                node="feedback",
                timeout=entry.timeout,
                headers={"Content-Type": "application/json", "Idempotency-Key": outbox_message.id},
                content=outbox_message.body,
            )
        except NodeUnreachable as error:
            return 0, error.reason
        return answer.status, f"it answered {answer.status}"

    async def _findings(self, entry: FeedbackEntry, late: str) -> tuple[Diagnostic, ...]:
        found: list[Diagnostic] = []
        where = strip_secrets(entry.url)
        if self._refused:
            said = f"the feedback sink {where} refused messages: {self._refused}"
            found.append(_finding("feedback-refused", where, said, "see its log; the history keeps them"))
        if left := await self._outbox.left():
            why = self._dead or self._refused or late
            said = f"{left} feedback messages still wait for the sink {where}: {why}"
            found.append(_finding("feedback-undelivered", where, said, "the next run delivers them"))
        return tuple(found)


def _may_be_taken_later(status: int) -> bool:
    return not status or status >= _SERVER_ERROR or status in _AGAIN


def _finding(code: str, where: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(Severity.WARNING, code, message, remedy, target=where)
