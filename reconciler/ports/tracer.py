"""What makes spans of passes, for those who trace: the port, and what is used where nobody does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeAlias, TypeVar

from reconciler.ports.listener import PassListener
from reconciler.ports.transport import Transports

SpanFact: TypeAlias = str | int | float | bool
"""A value of a span."""

H = TypeVar("H")


class Span:
    """One part of a pass, from its beginning to its end; this one is nowhere recorded."""

    def note(self, **facts: SpanFact) -> None:
        """Add what is known only later; names are without the program's prefix."""

    def fail(self, why: str) -> None:
        """Record that the part did not succeed, in the words of the history."""


NO_SPAN = Span()


class Tracer:
    """Makes spans of the parts of passes; this one makes none.

    A span that is opened within another one is part of it, also across tasks. None of its methods raises, or
    waits for whoever receives the spans.
    """

    @contextmanager
    def open_span(self, name: str, **facts: SpanFact) -> Iterator[Span]:
        """A span that lasts as long as the block; an error that leaves the block is recorded.

        Args:
            name: of the part, from a small set of names.
            facts: what is known of it.
        """
        yield NO_SPAN

    @contextmanager
    def trace_events(self, listener: PassListener) -> Iterator[PassListener]:
        """A listener that makes spans of the events of a pass within the block, and passes each one on.

        Args:
            listener: gets the events.
        """
        yield listener

    def trace_calls(
        self, connect: Callable[[H], AbstractAsyncContextManager[Transports]]
    ) -> Callable[[H], AbstractAsyncContextManager[Transports]]:
        """What opens the same transports, with a span for each call to a node.

        Args:
            connect: opens the transports of a host.
        """
        return connect


NO_TRACER = Tracer()
