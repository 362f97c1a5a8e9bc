"""The port of a message bus: offers of nodes are published to channels, and reports are received from them.

A bus promises *at least once* in both directions: `publish` returns when the bus has the message on disk, and
`receive` gives a message again after a restart until it was acknowledged. Whoever uses it records first and
acknowledges afterwards, so that a process that is killed at any moment loses nothing. Repeated messages are
harmless: a node that gets an offer twice loads the same content twice, and the store drops a message whose
offset it has recorded.

Nothing that arrives is trusted: a bus bounds size and number of what it holds, and gives anything that is no
message (a removed key, too many bytes) with `defect`: it is counted, logged, acknowledged and skipped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from reconciler.core.bus_channels import BusId
from reconciler.errors import ReconcilerError

LARGEST_MESSAGE: Final = 8 * 1024 * 1024
"""Bytes of a message that is read: a report has the whole setting of its node, as by HTTP."""

MOST_RECEIVED: Final = 200
"""Messages that one `receive` gives at most."""

MOST_RECEIVED_BYTES: Final = 32 * 1024 * 1024
"""Bytes after which one `receive` gives no further message."""

PUBLISH_SECONDS: Final = 30.0
"""Seconds after which a message that is not acknowledged counts as not published."""


class BusError(ReconcilerError):
    """A message bus cannot be reached, or refuses a message; the message says which bus and channel."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A message to publish.

    Args:
        channel: name of the topic, document or collection.
        id: of the offer. A bus whose messages have names uses it, so that a repeated one replaces itself.
        node: name of the node; messages of one node keep their order.
        body: JSON.
    """

    channel: str
    id: str
    node: str
    body: bytes


@dataclass(frozen=True, slots=True)
class BusMessage:
    """A message that was received.

    Args:
        channel: name of the topic, document or collection.
        partition: of the channel; 0 where there is one.
        offset: grows with each message of a partition, also after a restart; None where a bus has no such
            number, so that only the content shows a repeated message.
        at: when the bus got it, or the sender sent it, by their clocks; None if it does not say.
        body: JSON by what the sender says; empty with a `defect`.
        defect: why it cannot be read, without text of the message; empty if it can.
    """

    channel: str
    partition: int
    offset: int | None
    at: datetime | None
    body: bytes = b""
    defect: str = ""

    @property
    def place(self) -> str:
        """For logs: where somebody finds it."""
        where = f"{self.channel}[{self.partition}]"
        return f"{where}@{self.offset}" if self.offset is not None else where


class MessageBus(ABC):
    """One message bus of the host configuration; used by one event loop.

    No method blocks the loop: a library that blocks runs in threads. No method raises for what arrives.

    Attributes:
        id: which one it is.
        problem: why it is not connected, in plain words and without credentials; empty if it is. A bus finds
            out by itself, within `receive`, that it is connected again: nothing is published as long as there
            is a problem.
    """

    id: BusId
    problem: str
    warning: str = ""

    @abstractmethod
    async def publish(self, publication: Publication) -> None:
        """Publish a message; durable on the bus when this returns.

        After an error it is not known whether the message arrived: publish it again, before any later one of
        the same node.

        Raises:
            BusError: it was not acknowledged within `PUBLISH_SECONDS`, or was refused.
        """

    @abstractmethod
    async def listen(self, channels: frozenset[str]) -> None:
        """Receive from exactly these channels from now on; the first time from where they were acknowledged.

        A channel that does not exist (yet) is no error: it is found when it appears.

        Raises:
            BusError: the bus refuses.
        """

    @abstractmethod
    async def receive(self, seconds: float) -> Sequence[BusMessage]:
        """The next messages, at most `MOST_RECEIVED`; none if none came within so many seconds.

        Raises:
            BusError: the bus cannot be used; call it again later.
        """

    @abstractmethod
    async def acknowledge(self, messages: Sequence[BusMessage]) -> None:
        """Note that these messages, and all before them in their partitions, are recorded or skipped.

        Raises:
            BusError: this is not noted; they may be given again.
        """

    @abstractmethod
    async def close(self) -> None:
        """End connections and threads within a few seconds, also where the bus does not answer."""
