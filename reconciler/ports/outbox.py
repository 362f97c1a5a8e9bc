"""Where messages about outcomes wait until a sink has taken them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message about one outcome, on its way to the sink.

    Args:
        id: the same in every delivery of the same message.
        body: the JSON that is sent.
        wanted: whether there is a sink; without one the message is for the history alone.
        number: its place in the outbox, given by the store.
    """

    id: str
    body: bytes
    wanted: bool = True
    number: int = 0


class Outbox(Protocol):
    """Where messages wait until the sink has taken them."""

    async def due(self, *, beyond: int = 0, limit: int = 50) -> Sequence[OutboxMessage]:
        """Messages to deliver, oldest first, numbered beyond the one given."""

    async def sent(self, outbox_message: str) -> None:
        """The sink took the message with this id."""

    async def unsent(self, outbox_message: str, error: str, *, refused: bool) -> None:
        """The sink did not take it, and whether it said so itself."""

    async def left(self) -> int:
        """How many messages are still to be delivered."""
