"""To ask again until an answer is good enough: the one loop for it, and the pauses between the tries.

Why not the library stamina: it tries again for exceptions, and here nearly every try has an answer (a
status, a verdict, a list of channels) that says whether to go on; it has no deadline that a request to stop
may shorten; and it logs each try, in every command, unless its global hooks are switched off. What is tried
again over runs and restarts is a state, not a loop: `core.attempts` in the store, `server.timing` in the
watch.
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
    """Ask at least once, and again after each pause, until an answer is enough.

    Args:
        ask: one try; what it raises ends the polling.
        is_enough: whether an answer ends it.
        pauses: seconds before each further try; where they end, so do the tries. They are drawn one by one,
            after an answer, so that a generator can follow a deadline.
        wait: what a pause is made with.

    Returns:
        The last answer, enough or not.
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
    """Pauses of one length until so many seconds are over, by the clock of the event loop."""
    now = asyncio.get_running_loop().time
    end = now() + seconds  # counted from here, not from the first answer, as a generator would
    return takewhile(lambda _: now() < end, repeat(pause))
