"""A message bus in memory that keeps a bus's promises, with the faults that tests ask for."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from reconciler.core.bus_channels import BusId, BusKind
from reconciler.ports.message_bus import MOST_RECEIVED, BusError, BusMessage, MessageBus, Publication


@dataclass
class MemoryBroker:
    """What survives a kill of the program: messages, and the positions that were acknowledged.

    Args:
        fails: errors of the next publications, in order; None for one that succeeds.
        lost: whether the next publication arrives, and its acknowledgement does not.
        is_down: whether nothing reaches it.
    """

    channels: dict[str, list[BusMessage]] = field(default_factory=lambda: defaultdict(list))
    published: list[Publication] = field(default_factory=list)
    acknowledged: dict[str, int] = field(default_factory=dict)
    fails: list[str | None] = field(default_factory=list)
    lost: int = 0
    is_down: bool = False

    def put(self, channel: str, body: bytes, *, at: datetime | None = None, defect: str = "") -> BusMessage:
        messages = self.channels[channel]
        message = BusMessage(channel, 0, len(messages), at or datetime.now(UTC), body, defect)
        messages.append(message)
        return message


class MemoryBus(MessageBus):
    """A connection to a broker in memory; a killed program makes another one."""

    def __init__(self, broker: MemoryBroker, bus: BusId | None = None) -> None:
        self.id = bus or BusId(BusKind.KAFKA, "prod")
        self.problem = ""
        self.broker = broker
        self._channels: frozenset[str] = frozenset()
        self._next: dict[str, int] = {}
        self.is_closed = False

    async def publish(self, publication: Publication) -> None:
        await asyncio.sleep(0)
        broker = self.broker
        self._require_up()
        if broker.fails and (failure := broker.fails.pop(0)):
            raise BusError(failure)
        broker.published.append(publication)
        if broker.lost:
            broker.lost -= 1
            raise BusError("the acknowledgement was lost")

    async def listen(self, channels: frozenset[str]) -> None:
        for name in channels - self._channels:
            self._next[name] = self.broker.acknowledged.get(name, 0)
        self._channels = channels

    async def receive(self, seconds: float) -> Sequence[BusMessage]:
        self._require_up()
        found: list[BusMessage] = []
        for name in sorted(self._channels):
            new = self.broker.channels[name][self._next[name] :][: MOST_RECEIVED - len(found)]
            self._next[name] += len(new)
            found += new
        if not found:
            await asyncio.sleep(min(seconds, 0.01))
        return found

    async def acknowledge(self, messages: Sequence[BusMessage]) -> None:
        self._require_up()
        for message in messages:
            assert message.offset is not None
            known = self.broker.acknowledged.get(message.channel, 0)
            self.broker.acknowledged[message.channel] = max(known, message.offset + 1)

    async def close(self) -> None:
        self.is_closed = True

    def _require_up(self) -> None:
        self.problem = "the broker does not answer" if self.broker.is_down else ""
        if self.problem:
            raise BusError(self.problem)
