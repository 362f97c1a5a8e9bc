"""Delivers messages from the outbox to the configured sink: at least once, without delaying steps."""

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
"""Seconds between the attempts for one message, before the sink counts as down for this run."""

FINISH_TIMEOUT = 30.0
"""Seconds that the end of a run waits for messages in delivery."""

STOP_TIMEOUT = 1.0
"""Seconds that it waits after a request to stop: the rest stays in the outbox for the next run."""

_AGAIN = frozenset({408, 425, 429})  # the other 4xx refuse the message itself: the answer would not change
_OK = range(200, 300)
_SERVER_ERROR = 500


class MessageSender:
    """Delivers during a run, one message after the other, in the order of the outcomes.

    Every message is POSTed as JSON with its id in the header `Idempotency-Key`, so that a sink recognises a
    second delivery. A sink that does not answer is tried a few times, and once more at the end of the run;
    the next run delivers the rest. An answer of 4xx refuses one message and does not stop the others.

    Args:
        outbox: where the messages wait.
        http: sends them.
        entry: the sink; without one nothing is sent.
        pauses: seconds between the attempts for one message, `PAUSES` by default.
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
        self._has_messages = asyncio.Event()
        self._is_finishing = False
        self._reached = 0  # number of the last message that was handled in this run, delivered or refused
        self._failure = ""
        self._refusal = ""
        self._work: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._entry is not None:
            self._work = asyncio.create_task(self._run(self._entry))
            self.wake()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    def wake(self) -> None:
        """Look for new messages in the outbox."""
        self._has_messages.set()

    async def finish(self, stop: asyncio.Event | None = None) -> tuple[Diagnostic, ...]:
        """Deliver the remaining messages within `FINISH_TIMEOUT` seconds; report what was not delivered.

        Args:
            stop: once set, it waits at most `STOP_TIMEOUT` seconds; None if nothing stops the run.
        """
        if self._work is None or self._entry is None:
            return ()
        self._is_finishing = True
        self.wake()
        stop = stop or asyncio.Event()
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait(
                {self._work, stopped}, timeout=FINISH_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
            )
            if not self._work.done() and stop.is_set():
                await asyncio.wait({self._work}, timeout=STOP_TIMEOUT)
        finally:
            stopped.cancel()
        if self._work.done():
            self._work.result()  # an error of the store must end the run, not disappear with the task
        slow = f"delivery took longer than {FINISH_TIMEOUT:g} s"
        return await self._report(self._entry, "the run was asked to stop" if stop.is_set() else slow)

    async def _run(self, entry: FeedbackEntry) -> None:
        while not self._is_finishing:
            await self._has_messages.wait()
            self._has_messages.clear()  # before reading: a message that is written meanwhile wakes it again
            if not self._failure:
                await self._deliver_all(entry, self._pauses)
        # Once more at the end, but without pauses: a sink that is down must not delay the end of the run.
        pauses = () if self._failure else self._pauses
        self._failure = ""
        await self._deliver_all(entry, pauses)

    async def _deliver_all(self, entry: FeedbackEntry, pauses: tuple[float, ...]) -> None:
        while not self._failure and (messages := await self._outbox.list_due(beyond=self._reached)):
            for message in messages:
                await self._deliver(message, entry, pauses)
                if self._failure:
                    break
                self._reached = message.number

    async def _deliver(self, message: OutboxMessage, entry: FeedbackEntry, pauses: tuple[float, ...]) -> None:
        post = partial(self._post, message, entry)
        status, error = await poll_until(post, lambda answer: not _is_temporary(answer[0]), pauses)
        if status in _OK:
            await self._outbox.mark_sent(message.id)
        elif _is_temporary(status):
            self._failure = error  # the later messages would wait as long: the order of outcomes is kept
            await self._outbox.mark_failed(message.id, error, refused=False)
        else:
            self._refusal = error
            await self._outbox.mark_failed(message.id, error, refused=True)

    async def _post(self, message: OutboxMessage, entry: FeedbackEntry) -> tuple[int, str]:
        """Status of the answer and the problem with it; status 0 without an answer."""
        try:
            answer = await self._http.send(
                "POST",
                entry.url,
                node="feedback",
                timeout=entry.timeout,
                headers={"Content-Type": "application/json", "Idempotency-Key": message.id},
                content=message.body,
            )
        except NodeUnreachable as error:
            return 0, error.reason
        return answer.status, f"it answered {answer.status}"

    async def _report(self, entry: FeedbackEntry, late: str) -> tuple[Diagnostic, ...]:
        found: list[Diagnostic] = []
        where = strip_secrets(entry.url)
        if self._refusal:
            text = f"the feedback sink {where} refused messages: {self._refusal}"
            remedy = "read its log; the history keeps the messages"
            found.append(Diagnostic(Severity.WARNING, "feedback-refused", text, remedy, target=where))
        if left := await self._outbox.count_pending():
            why = self._failure or self._refusal or late
            text = f"{left} feedback messages still wait for the sink {where}: {why}"
            remedy = "the next run delivers them"
            found.append(Diagnostic(Severity.WARNING, "feedback-undelivered", text, remedy, target=where))
        return tuple(found)


def _is_temporary(status: int) -> bool:
    return not status or status >= _SERVER_ERROR or status in _AGAIN
