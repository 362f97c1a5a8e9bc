"""Delivers the notices of the outbox to their addresses: at least once, and each address by itself."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias

from reconciler.core.alerts import Notice
from reconciler.errors import ReconcilerError, StateError
from reconciler.host.clock import utc_now
from reconciler.host.notification_rules import NotificationRules
from reconciler.notifications.apprise_client import read_address, send_by_apprise
from reconciler.notifications.message_text import NoticeMessage, compose_message
from reconciler.notifications.routing import Address, list_addresses, make_router
from reconciler.notifications.schedule import compute_next_try, find_limit_end, is_due
from reconciler.ports.notification_store import AddressState, DeliveryEnd, NotificationStore, TakenNotices

SEND_SECONDS: Final = 60.0
"""Seconds after which an attempt counts as failed, whatever the library does."""

_HOLD_SECONDS: Final = 90.0
"""Seconds after which another process may send what a killed one has taken."""

_END_SECONDS: Final = 5.0
_DROP_EVERY: Final = timedelta(hours=1)

SendMessage: TypeAlias = Callable[[str, NoticeMessage], str]
"""Sends a message to an address; gives why it failed. Called in a thread."""


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What came of one attempt.

    Args:
        address: its name, without secrets.
        problem: why it failed; empty if it did not.
        notices: number of notices in the message.
        given_up: how many of them were given up.
        failures: attempts in a row that had failed before.
    """

    address: str
    problem: str = ""
    notices: int = 0
    given_up: int = 0
    failures: int = 0


class AddressCalls:
    """The calls to addresses, each in a thread, and one at a time for each address.

    Args:
        environment: of the process, with addresses in variables.
        send: sends one message.
    """

    def __init__(self, environment: Mapping[str, str], send: SendMessage = send_by_apprise) -> None:
        self._environment, self._send = environment, send
        self._calls: dict[str, asyncio.Future[str]] = {}

    def is_busy(self, name: str) -> bool:
        """Whether a call to this address has not ended, perhaps one that was given up."""
        return name in self._calls and not self._calls[name].done()

    async def send(self, address: Address, message: NoticeMessage) -> str:
        """Send one message to one address; gives why it failed, or an empty text."""
        if self.is_busy(address.name):
            return "an earlier attempt has not ended"
        try:
            url = read_address(address, self._environment)
            call = asyncio.ensure_future(asyncio.to_thread(self._send, url, message))
            # Else the event loop would log the error of a call that was given up, which may have the address.
            call.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            self._calls[address.name] = call
            async with asyncio.timeout(SEND_SECONDS):
                # Shielded: the thread goes on whatever becomes of the task, and must not be forgotten.
                return await asyncio.shield(call)
        except ReconcilerError as error:
            return f"{error.message}; {error.remedy}" if error.remedy else error.message
        except TimeoutError:
            return f"it took longer than {SEND_SECONDS:g} s"
        except Exception as error:  # noqa: BLE001  (of any service; its text may contain the address)
            return f"an unexpected error ({type(error).__name__})"


async def try_recipient(
    rules: NotificationRules, environment: Mapping[str, str], recipient: str
) -> Mapping[str, str]:
    """Send a test message to each address of a recipient; gives address -> why it failed, or empty."""
    message = NoticeMessage(
        "Test message of the reconciler",
        "This is a test: nothing has happened. Whoever reads it is told what the watch finds.",
    )
    calls, addresses = AddressCalls(environment), list_addresses(rules, recipient)
    problems = await asyncio.gather(*(calls.send(one, message) for one in addresses.values()))
    return dict(zip(addresses, problems, strict=True))


class NoticeSender:
    """Sends what is due to the addresses of this host.

    Args:
        rules: of the host configuration.
        environment: of the process, with addresses in variables.
        store: has the outbox.
        report: called after each attempt.
        send: sends one message.
    """

    def __init__(
        self,
        rules: NotificationRules,
        environment: Mapping[str, str],
        store: NotificationStore,
        report: Callable[[DeliveryReport], None],
        *,
        send: SendMessage = send_by_apprise,
    ) -> None:
        self._rules, self._store, self._report = rules, store, report
        self._addresses = list_addresses(rules)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._calls = AddressCalls(environment, send)
        self._dropped: datetime | None = None

    async def look(self) -> Mapping[str, AddressState]:
        """Begin to send what is due; gives the state of each address, before that.

        Raises:
            StateError: the store cannot be used.
        """
        states = await self._store.list_addresses()
        now = utc_now()
        for name, address in self._addresses.items():
            state = states.get(name)
            is_idle = name not in self._tasks and not self._calls.is_busy(name)
            if state is not None and is_idle and not state.holder and is_due(address.recipient, state, now):
                task = self._tasks[name] = asyncio.create_task(self._deliver(address))
                task.add_done_callback(partial(self._forget, name))
        if self._dropped is None or now - self._dropped >= _DROP_EVERY:
            self._dropped = now
            age = timedelta(seconds=self._rules.give_up)
            if given_up := await self._store.drop_addresses(tuple(self._addresses), age):
                self._report(DeliveryReport("of no recipient", "no host has the address", given_up, given_up))
        return states

    async def send_directly(self, notices: Sequence[Notice]) -> Mapping[str, str]:
        """Send notices past the outbox, which cannot be used; gives address -> why it failed, or empty."""
        route = make_router(self._rules)
        wanted: dict[str, list[Notice]] = {}
        for notice in notices:
            for name in route(notice):
                wanted.setdefault(name, []).append(notice)
        messages = {name: compose_message(own, url=self._rules.url or "") for name, own in wanted.items()}
        problems = await asyncio.gather(
            *(self._calls.send(self._addresses[name], message) for name, message in messages.items())
        )
        return dict(zip(messages, problems, strict=True))

    async def aclose(self) -> None:
        """Wait a moment for messages that are being sent; what is not confirmed by then is sent again."""
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=_END_SECONDS)
        for task in tasks:
            task.cancel()

    async def _deliver(self, address: Address) -> None:
        holder, due = secrets.token_hex(8), partial(is_due, address.recipient)
        try:
            taken = await self._store.take_notices(address.name, holder, _HOLD_SECONDS, due)
            if taken is None:
                return
            problem = await self._calls.send(address, self._compose(address, taken))
            end = DeliveryEnd(
                problem,
                compute_next_try(taken.state.failures, taken.at),
                timedelta(seconds=self._rules.give_up),
                address.recipient.limit,
            )
            given_up = await self._store.end_delivery(address.name, holder, taken.last, end)
        except StateError:
            return  # the turn ends by itself, and the notices are sent again
        self._report(
            DeliveryReport(address.name, problem, len(taken.notices), given_up, taken.state.failures)
        )

    def _compose(self, address: Address, taken: TakenNotices) -> NoticeMessage:
        sent = (*taken.state.sent, taken.at)
        return compose_message(
            taken.notices,
            url=self._rules.url or "",
            dropped=taken.state.dropped,
            limit_end=find_limit_end(address.recipient, sent, taken.at),
        )

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(name)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(DeliveryReport(name, f"an unexpected error ({type(error).__name__})"))
