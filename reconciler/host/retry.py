"""Polling: the one loop that repeats a query until the answer is sufficient, and its pauses.

Not the library stamina: it retries after exceptions, while here nearly every query has an answer that decides
whether to continue; it has no deadline that a request to stop can shorten; and it logs each retry unless its
global hooks are switched off. Retries across runs and restarts are state, not a loop: `core.attempts` in the
store, `server.timing` in the watch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import repeat, takewhile
from typing import TypeVar

T = TypeVar("T")


async def poll_until(
    ask: Callable[[], Awaitable[T]],
    is_enough: Callable[[T], bool],
    pauses: Iterable[float],
    *,
    wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> T:
    """Query at least once, and again after each pause, until an answer is sufficient.

    Args:
        ask: one query; an exception ends the polling.
        is_enough: whether an answer is sufficient.
        pauses: seconds before each further query; their end ends the polling. Each is taken after an answer,
            so that a generator can observe a deadline.
        wait: makes a pause.

    Returns:
        The last answer, sufficient or not.
    """
    following = iter(pauses)
    answer = await ask()
    while not is_enough(answer):
        pause = next(following, None)
        if pause is None:
            break
        await wait(pause)
        answer = await ask()
    return answer


def make_growing_pauses(first: float, longest: float) -> Iterator[float]:
    """Pauses that double from `first` seconds up to `longest`, without end."""
    pause = first
    while True:
        yield pause
        pause = min(longest, pause * 2)


def make_steady_pauses(pause: float, seconds: float) -> Iterator[float]:
    """Pauses of equal length for a total of `seconds`, by the clock of the event loop."""
    now = asyncio.get_running_loop().time
    end = now() + seconds  # from this call on; a generator would start at the first answer
    return takewhile(lambda _: now() < end, repeat(pause))
