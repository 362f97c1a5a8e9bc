"""Delivers messages from the outbox to the configured sink: at least once, without delaying steps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Self

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.feedback.sink import Delivery, Sink
from reconciler.host.retry import poll_until
from reconciler.ports.listener import SILENT, PassListener
from reconciler.ports.store import Outbox, OutboxMessage

PAUSES = (0.2, 0.8, 2.0)
"""Seconds between the attempts for one message, before the sink counts as down for this run."""

FINISH_TIMEOUT = 30.0
"""Seconds that the end of a run waits for messages in delivery."""

STOP_TIMEOUT = 1.0
"""Seconds that it waits after a request to stop: the rest stays in the outbox for the next run."""


class MessageSender:
    """Delivers during a run, one message after the other, in the order of the outcomes.

    A sink that does not answer is tried a few times, and once more at the end of the run; the next run
    delivers the rest. A refusal concerns one message and does not stop the others.

    Args:
        outbox: where the messages wait.
        sink: gets them, and is closed at the end; without one nothing is sent.
        pauses: seconds between the attempts for one message, `PAUSES` by default.
        listener: called for each message.
    """

    def __init__(
        self,
        outbox: Outbox,
        sink: Sink | None,
        *,
        pauses: Sequence[float] | None = None,
        listener: PassListener = SILENT,
    ) -> None:
        self._outbox = outbox
        self._sink = sink
        self._listener = listener
        self._pauses = tuple(PAUSES if pauses is None else pauses)
        self._has_messages = asyncio.Event()
        self._is_finishing = False
        self._reached = 0  # number of the last message that was handled in this run, delivered or refused
        self._failure = Delivery()
        self._refusal = Delivery()
        self._work: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._sink is not None:
            self._work = asyncio.create_task(self._run(self._sink))
            self.wake()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        if self._sink is not None:
            await self._sink.aclose()

    def wake(self) -> None:
        """Look for new messages in the outbox."""
        self._has_messages.set()

    async def finish(self, stop: asyncio.Event | None = None) -> tuple[Diagnostic, ...]:
        """Deliver the remaining messages within `FINISH_TIMEOUT` seconds; report what was not delivered.

        Args:
            stop: once set, it waits at most `STOP_TIMEOUT` seconds; None if nothing stops the run.
        """
        if self._work is None or self._sink is None:
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
        late = "the run was asked to stop" if stop.is_set() else slow
        return await self._report(self._sink, late)

    async def _run(self, sink: Sink) -> None:
        while not self._is_finishing:
            await self._has_messages.wait()
            self._has_messages.clear()  # before reading: a message that is written meanwhile wakes it again
            if not self._failure.problem:
                await self._deliver_all(sink, self._pauses)
        # Once more at the end, but without pauses: a sink that is down must not delay the end of the run.
        pauses = () if self._failure.problem else self._pauses
        self._failure = Delivery()
        await self._deliver_all(sink, pauses)

    async def _deliver_all(self, sink: Sink, pauses: tuple[float, ...]) -> None:
        # In turns: every run finds the messages of all, and several at once would send each of them again.
        async with self._outbox.hold_delivery():
            while not self._failure.problem and (
                messages := await self._outbox.list_due(beyond=self._reached)
            ):
                for message in messages:
                    await self._deliver(message, sink, pauses)
                    if self._failure.problem:
                        break
                    self._reached = message.number

    async def _deliver(self, message: OutboxMessage, sink: Sink, pauses: tuple[float, ...]) -> None:
        send = partial(sink.send, message)
        self._listener.on_delivering(message.id, sink.name)
        delivery = await poll_until(send, lambda one: not one.is_temporary, pauses)
        self._listener.on_delivered(message.id, delivery.problem)
        if not delivery.problem:
            await self._outbox.mark_sent(message.id)
            return
        if delivery.is_temporary:
            self._failure = delivery  # the later messages would wait as long: the order of outcomes is kept
        else:
            self._refusal = delivery
        await self._outbox.mark_failed(message.id, delivery.problem, refused=delivery.is_refused)

    async def _report(self, sink: Sink, late: str) -> tuple[Diagnostic, ...]:
        found: list[Diagnostic] = []
        where = sink.name
        if problem := self._refusal.problem:
            text = f"the feedback sink {where} refused messages: {problem}"
            remedy = self._refusal.remedy or "read its log; the history keeps the messages"
            found.append(Diagnostic(Severity.WARNING, "feedback-refused", text, remedy, target=where))
        if left := await self._outbox.count_pending():
            why = self._failure.problem or self._refusal.problem or late
            text = f"{left} feedback messages still wait for the sink {where}: {why}"
            remedy = "the next run delivers them"
            if self._failure.remedy:
                remedy = f"{self._failure.remedy}; {remedy}"
            found.append(Diagnostic(Severity.WARNING, "feedback-undelivered", text, remedy, target=where))
        return tuple(found)
