"""What a sink of feedback is: it takes one message at a time, and says what became of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from reconciler.ports.store import OutboxMessage


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one delivery of one message.

    Args:
        problem: why the message was not delivered, to follow the sink's name; empty if it was.
        is_refused: whether the message itself is refused, so that the same delivery would fail again.
        remedy: what to do about the problem; empty if only time helps.
    """

    problem: str = ""
    is_refused: bool = False
    remedy: str = ""

    @property
    def is_temporary(self) -> bool:
        """Whether a later delivery of the same message may succeed."""
        return bool(self.problem) and not self.is_refused


class Sink(ABC):
    """A sink of feedback messages.

    A message may be delivered more than once: each delivery has the id of the message, by which the receiver
    recognises it.
    """

    name: str
    """Kind and place of the sink, without secrets."""

    @abstractmethod
    async def send(self, message: OutboxMessage) -> Delivery:
        """Deliver a message; the delivery has succeeded once the sink has confirmed it."""

    async def aclose(self) -> None:
        """End its connections."""
        return
