"""Waiting for an event, with a failure that names the condition that did not come about."""

import asyncio
import inspect
import time

PATIENCE = 90
"""Seconds that a test waits for anything: generous, because a busy machine is slow."""


async def wait_until(condition, *, seconds=PATIENCE, every=0.005):
    """Wait until a condition holds; a function that returns a truth value, or an awaitable of one.

    Returns what the condition gave.
    """
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < end, _failure(condition, seconds)
        await asyncio.sleep(every)


def block_until(condition, *, seconds=PATIENCE, every=0.01):
    """The same for tests without an event loop, and for threads."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, _failure(condition, seconds)
        time.sleep(every)
    return found


def _failure(condition, seconds):
    """The condition in its own words: the source of a lambda or function."""
    try:
        text = " ".join(inspect.getsource(condition).split())
    except (OSError, TypeError):
        text = repr(condition)
    return f"not within {seconds} seconds: {text}"
