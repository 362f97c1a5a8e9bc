"""The part of a store that keeps what people are told: open alerts, and the notices of each address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from reconciler.core.alerts import Alert, AlertEvent, Notice

Router: TypeAlias = Callable[[Notice], Sequence[str]]
"""Gives the addresses that get a notice; pure, because it is called in a transaction."""


@dataclass(frozen=True, slots=True)
class TellingRules:
    """How notices come into the outbox.

    Args:
        route: who gets what.
        steady: how long something must be absent to be over.
    """

    route: Router
    steady: timedelta


@dataclass(frozen=True, slots=True)
class AlertScope:
    """The open alerts that a set of found alerts replaces.

    Args:
        cluster: its name; empty for what is about no cluster.
        subject: only alerts about this; empty for any.
        kept: events about which nothing was found out.
    """

    cluster: str = ""
    subject: str = ""
    kept: frozenset[AlertEvent] = frozenset()


@dataclass(frozen=True, slots=True)
class AddressState:
    """What is known of the delivery to one address.

    Args:
        waiting: notices that wait.
        oldest: of the notices that wait; None if none does.
        is_urgent: whether one of them must not wait to be grouped.
        holder: that is sending now; empty for nobody.
        sent: when the last messages were sent, oldest first.
        failures: attempts in a row that failed.
        next_try: not before this moment; None for at once.
        problem: why the last attempt failed; empty if it did not.
        given_up: notices that could not be delivered in time, since the beginning.
        dropped: notices that no longer had room, since the last message.
    """

    address: str
    waiting: int = 0
    oldest: datetime | None = None
    is_urgent: bool = False
    holder: str = ""
    sent: tuple[datetime, ...] = ()
    failures: int = 0
    next_try: datetime | None = None
    problem: str = ""
    given_up: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class TakenNotices:
    """The notices of one address that one host sends now.

    Args:
        notices: oldest first.
        last: number of the last of them.
        state: of the address before.
        at: when they were taken.
    """

    notices: tuple[Notice, ...]
    last: int
    state: AddressState
    at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryEnd:
    """What came of one attempt to deliver.

    Args:
        problem: why it failed; empty if it did not.
        next_try: when to try again.
        give_up: notices older than this are given up if the attempt failed.
        kept_times: number of times of sending to remember.
    """

    problem: str = ""
    next_try: datetime | None = None
    give_up: timedelta = field(default_factory=timedelta)
    kept_times: int = 0


class NotificationStore(Protocol):
    """Reads and writes open alerts, and the outbox of notices."""

    async def record_alerts(self, scope: AlertScope, found: Sequence[Alert], rules: TellingRules) -> None:
        """Record what is true now, and put what has changed into the outbox, in one transaction."""

    async def forget_alerts(self, clusters: Sequence[str]) -> None:
        """Delete, without a word, the alerts of clusters that the fleet no longer has.

        Args:
            clusters: those that it has.
        """

    async def tell_history(self, rules: TellingRules) -> None:
        """Put new orders, operations and failed runs of the history into the outbox, in one transaction.

        Also ends the alerts that have been absent long enough. What is older than a day is passed over, and
        so is everything before the first call.
        """
        # The rows of the history are written in the transaction of what they record, by whichever command or
        # host. So nothing is lost between them and the outbox, however a process ends.

    async def list_addresses(self) -> Mapping[str, AddressState]:
        """Each address with notices, or with a delivery that failed or was limited."""

    async def take_notices(
        self, address: str, holder: str, seconds: float, is_due: Callable[[AddressState, datetime], bool]
    ) -> TakenNotices | None:
        """Take the notices of an address, if they are due and no other process sends them now.

        Args:
            address: whose notices.
            holder: of this attempt, different from any other.
            seconds: after which another process may take them, if this one is killed.
            is_due: decides by the state of the address; pure.
        """

    async def end_delivery(self, address: str, holder: str, last: int, end: DeliveryEnd) -> int:
        """Record what came of an attempt; gives how many notices were given up by it."""

    async def drop_addresses(self, known: Sequence[str], age: timedelta) -> int:
        """Give up the notices of other addresses that are older than `age`; gives their number."""

    async def list_silent_hosts(self) -> Sequence[str]:
        """Hosts of this database that have not ended in order, and were not seen for a while."""
