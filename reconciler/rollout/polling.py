"""Looking at the nodes until a step's effect shows, or until its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

from reconciler.core.observation import Observed
from reconciler.core.plan import Step
from reconciler.core.step import StepStatus, StepVerdict
from reconciler.host.defect_capture import EXPECTED, make_defect_observation
from reconciler.host.retry import make_growing_pauses, poll_until
from reconciler.planning.read_only import restrict_to_reading
from reconciler.ports.driver import Driver
from reconciler.ports.transport import Transports

GRACE = 20.0
"""Seconds that a step under way still has to show its effect once the run is asked to stop."""

_FIRST, _LONGEST = 0.05, 2.0


async def assess_step(step: Step, driver: Driver[Any, Any], transports: Transports) -> StepVerdict:
    """How a step stands, by one fresh look."""
    return judge_step(step, driver, await driver.look(step, restrict_to_reading(transports, driver.reads)))


def judge_step(step: Step, driver: Driver[Any, Any], seen: Observed[Any]) -> StepVerdict:
    """How a step stands by a look; unknown where the program fails at what its node shows."""
    try:
        return driver.judge(step, seen)
    except EXPECTED:
        raise
    except Exception as error:  # noqa: BLE001  (the step keeps its record, and the other nodes go on)
        return StepVerdict(StepStatus.UNKNOWN, make_defect_observation(step.node, error).reason)


async def wait_until_clear(step: Step, driver: Driver[Any, Any], transports: Transports) -> StepVerdict:
    """How a step stands before it is performed; nodes that do not tell are asked twice more."""
    return await poll_until(
        partial(assess_step, step, driver, transports),
        lambda verdict: verdict.status is not StepStatus.UNKNOWN,
        (0.3, 1.0),
    )


async def wait_until_done(
    step: Step,
    driver: Driver[Any, Any],
    transports: Transports,
    *,
    seconds: float,
    stop: asyncio.Event | None = None,
) -> StepVerdict:
    """How a step stands as soon as its effect shows, or else after so many seconds; looks at least once.

    Once `stop` is set, no more than `GRACE` seconds are waited.
    """
    return await poll_until(
        partial(assess_step, step, driver, transports),
        lambda verdict: verdict.status is StepStatus.DONE,
        _pauses(asyncio.get_running_loop().time() + seconds, stop),
    )


def _pauses(end: float, stop: asyncio.Event | None) -> Iterator[float]:
    """Growing pauses until a moment of the event loop's clock; a request to stop brings it nearer, once."""
    now = asyncio.get_running_loop().time
    hurried = False
    for pause in make_growing_pauses(_FIRST, _LONGEST):
        if stop is not None and stop.is_set() and not hurried:
            end, hurried = min(end, now() + GRACE), True
        left = end - now()
        if left <= 0:
            return
        yield min(pause, left)
