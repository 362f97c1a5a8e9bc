"""An outbox in memory, with numbered messages."""

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryMessage:
    number: int
    content: bytes = b""

    @property
    def id(self):
        return f"id-{self.number}"

    @property
    def body(self):
        return self.content or b'{"number": %d}' % self.number


class MemoryOutbox:
    """An outbox in memory."""

    def __init__(self, count=0):
        self.messages = [MemoryMessage(number) for number in range(1, count + 1)]
        self.delivered: list[str] = []
        self.errors: list[tuple[str, str, bool]] = []
        self._turn = asyncio.Lock()

    def hold_delivery(self):
        return self._turn

    async def list_due(self, *, beyond=0, limit=50):
        due = [one for one in self.messages if one.number > beyond and one.id not in self.delivered]
        return due[:limit]

    async def mark_sent(self, outbox_message):
        self.delivered.append(outbox_message)

    async def mark_failed(self, outbox_message, error, *, refused):
        self.errors.append((outbox_message, error, refused))

    async def count_pending(self):
        return len(self.messages) - len(self.delivered)

    def replace(self, number, body):
        """Give one message another body."""
        self.messages[number - 1] = MemoryMessage(number, body)
