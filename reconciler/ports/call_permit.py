"""Asks, right before a call to a node begins, whether it still may: a lease could end before the call does.

The permit belongs to the task that performs a step, and to the tasks that it starts. It is asked for by the
transport itself, when the call has its turn: calls wait for connections and for other calls, for how long
nobody knows when the step begins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ASK: ContextVar[Callable[[float], Awaitable[None]] | None] = ContextVar("call_permit", default=None)


@contextmanager
def require_permit(ask: Callable[[float], Awaitable[None]]) -> Iterator[None]:
    """Let the calls that are made in this context be asked about.

    Args:
        ask: gets the seconds that a call takes at most; raises if it must not begin.
    """
    before = _ASK.set(ask)
    try:
        yield
    finally:
        _ASK.reset(before)


async def ask_permit(seconds: float) -> None:
    """Ask whether a call may begin now; called by transports when nothing is left to wait for.

    Args:
        seconds: that the call takes at most.

    Raises:
        StateError: it must not begin.
    """
    ask = _ASK.get()
    if ask is not None:
        await ask(seconds)
