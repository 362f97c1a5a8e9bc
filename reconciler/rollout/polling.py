"""Reads nodes until a step's effect is visible, or until its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from reconciler.core.observation import Observed
from reconciler.core.plan import Step
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.host.defect_capture import EXPECTED, make_defect_observation
from reconciler.host.retry import make_growing_pauses, poll_until
from reconciler.planning.read_only import restrict_to_reading
from reconciler.ports.driver import Driver
from reconciler.ports.transport import Transports

GRACE = 20.0
"""Seconds that a running step still gets to show its effect once the run is asked to stop.

Kubernetes kills a process 30 s after it asked it to stop, systemd after 90 s; the journal needs the rest.
"""

# Most effects are visible at once; the longest pause bounds the load of waiting for many slow nodes.
_FIRST, _LONGEST = 0.05, 2.0


async def assess_step(
    step: Step,
    driver: Driver[Any, Any],
    transports: Transports,
    reserved: frozenset[str] = frozenset(),
) -> StepVerdict:
    """The status of a step, by one fresh reading; `reserved` nodes count as away."""
    seen = await driver.observe_step(step, restrict_to_reading(transports, driver.reads))
    return judge_step(step, driver, replace(seen, reserved=reserved) if reserved else seen)


def judge_step(step: Step, driver: Driver[Any, Any], seen: Observed[Any]) -> StepVerdict:
    """The status of a step by a reading; unknown if the program fails to process what its node shows."""
    try:
        return driver.judge(step, seen)
    except EXPECTED:
        raise
    except Exception as error:  # noqa: BLE001  (the step still gets an outcome, and the other nodes continue)
        return StepVerdict(StepStatus.UNKNOWN, make_defect_observation(step.node, error).reason)


async def wait_until_clear(
    step: Step,
    driver: Driver[Any, Any],
    transports: Transports,
    reserved: frozenset[str] = frozenset(),
) -> StepVerdict:
    """The status of a step before it is performed; if it is unknown, the nodes are read twice more."""
    return await poll_until(
        partial(assess_step, step, driver, transports, reserved),
        lambda verdict: verdict.status is not StepStatus.UNKNOWN,
        # Long enough for a lost answer or a restart of the node's server; a longer outage stays unknown.
        (0.3, 1.0),
    )


async def wait_until_done(
    step: Step,
    driver: Driver[Any, Any],
    transports: Transports,
    *,
    seconds: float,
    stop: asyncio.Event | None = None,
    is_answered: bool = False,
) -> StepVerdict:
    """The status of a step as soon as its effect is visible, else after `seconds`; reads at least once.

    Once `stop` is set, it waits no longer than `GRACE` seconds. `is_answered` says that the node accepted the
    call, which counts where the verdict accepts it.
    """

    async def assess() -> StepVerdict:
        verdict = await assess_step(step, driver, transports)
        is_done = is_answered and verdict.accepts_answer and verdict.status is StepStatus.READY
        return replace(verdict, status=StepStatus.DONE) if is_done else verdict

    return await poll_until(
        assess,
        lambda verdict: verdict.status is StepStatus.DONE,
        _pauses(asyncio.get_running_loop().time() + seconds, stop),
    )


def _pauses(end: float, stop: asyncio.Event | None) -> Iterator[float]:
    """Growing pauses until a moment of the event loop's clock; a request to stop moves it nearer, once."""
    now = asyncio.get_running_loop().time
    hurried = False
    for pause in make_growing_pauses(_FIRST, _LONGEST):
        if stop is not None and stop.is_set() and not hurried:
            end, hurried = min(end, now() + GRACE), True
        left = end - now()
        if left <= 0:
            return
        yield min(pause, left)
