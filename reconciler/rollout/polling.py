"""Looking at the nodes until a step's effect shows, or until its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

from reconciler.core.observation import Observed
from reconciler.core.plan import Step
from reconciler.core.step import Standing, Verdict
from reconciler.host.defects import EXPECTED, defect_of
from reconciler.host.retry import growing, poll
from reconciler.planning.reading import only_reading
from reconciler.ports.driver import Driver
from reconciler.ports.transport import Transports

GRACE = 20.0
"""Seconds that a step under way still has to show its effect once the run is asked to stop."""

_FIRST, _LONGEST = 0.05, 2.0


async def standing(step: Step, driver: Driver[Any, Any], transports: Transports) -> Verdict:
    """How a step stands, by one fresh look."""
    return judged(step, driver, await driver.look(step, only_reading(transports, driver.reads)))


def judged(step: Step, driver: Driver[Any, Any], seen: Observed[Any]) -> Verdict:
    """How a step stands by a look; unknown where the program fails at what its node shows."""
    try:
        return driver.judge(step, seen)
    except EXPECTED:
        raise
    except Exception as error:  # noqa: BLE001  (the step keeps its record, and the other nodes go on)
        return Verdict(Standing.UNKNOWN, defect_of(step.node, error).reason)


async def until_clear(step: Step, driver: Driver[Any, Any], transports: Transports) -> Verdict:
    """How a step stands before it is performed; nodes that do not tell are asked twice more."""
    return await poll(
        partial(standing, step, driver, transports),
        lambda verdict: verdict.standing is not Standing.UNKNOWN,
        (0.3, 1.0),
    )


async def until_done(
    step: Step,
    driver: Driver[Any, Any],
    transports: Transports,
    *,
    seconds: float,
    stop: asyncio.Event | None = None,
) -> Verdict:
    """How a step stands as soon as its effect shows, or else after so many seconds; looks at least once.

    Once `stop` is set, no more than `GRACE` seconds are waited.
    """
    return await poll(
        partial(standing, step, driver, transports),
        lambda verdict: verdict.standing is Standing.DONE,
        _pauses(asyncio.get_running_loop().time() + seconds, stop),
    )


def _pauses(end: float, stop: asyncio.Event | None) -> Iterator[float]:
    """Growing pauses until a moment of the event loop's clock; a request to stop brings it nearer, once."""
    now = asyncio.get_running_loop().time
    hurried = False
    for pause in growing(_FIRST, _LONGEST):
        if stop is not None and stop.is_set() and not hurried:
            end, hurried = min(end, now() + GRACE), True
        left = end - now()
        if left <= 0:
            return
        yield min(pause, left)
