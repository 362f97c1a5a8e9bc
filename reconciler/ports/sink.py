"""Where messages about outcomes wait until a sink has taken them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Waiting(Protocol):
    """A message that waits in the outbox."""

    @property
    def id(self) -> str:
        """The same in every delivery of the same message."""

    @property
    def body(self) -> bytes:
        """The JSON to send."""

    @property
    def number(self) -> int:
        """Its place in the outbox."""


class Outbox(Protocol):
    """Where messages wait until the sink has taken them."""

    async def due(self, *, beyond: int = 0, limit: int = 50) -> Sequence[Waiting]:
        """Messages to deliver, oldest first, numbered beyond the one given."""

    async def sent(self, letter: str) -> None:
        """The sink took the message with this id."""

    async def unsent(self, letter: str, error: str, *, refused: bool) -> None:
        """The sink did not take it, and whether it said so itself."""

    async def left(self) -> int:
        """How many messages are still to be delivered."""
