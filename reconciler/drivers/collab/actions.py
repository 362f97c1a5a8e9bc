"""Performs the steps of a cluster that are not about files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from reconciler.core.plan import Step
from reconciler.drivers.collab.arguments import (
    AddPasswordArguments,
    CommandArguments,
    DropPasswordArguments,
    RestartArguments,
    StopArguments,
    read_collab_arguments,
)
from reconciler.drivers.collab.facts import RESTARTED_FOR
from reconciler.drivers.collab.redis_client import RedisClient
from reconciler.drivers.collab.status_client import StatusClient
from reconciler.errors import NodeError
from reconciler.host.retry import make_steady_pauses, poll_until
from reconciler.ports.driver import StepAnswer
from reconciler.ports.transport import Transports

DRAIN_PAUSE: Final = 2.0
"""Seconds between two readings of a draining server's clients."""

Pause: TypeAlias = Callable[[float], Awaitable[None]]


async def perform(step: Step, transports: Transports, pause: Pause) -> StepAnswer:
    """Make the step's one change.

    Raises:
        NodeError: it failed; only a reading shows whether it had an effect.
    """
    own = read_collab_arguments(step)
    if isinstance(own, AddPasswordArguments | DropPasswordArguments):
        redis = RedisClient(transports.streams, own.redis, own.address, own.timeout, logins=own.logins)
        if isinstance(own, AddPasswordArguments):
            return StepAnswer(await redis.add_password(own.password))
        return StepAnswer(await redis.keep_only(own.password))
    assert isinstance(own, CommandArguments)
    left = ""
    if isinstance(own, StopArguments):
        left = await _wait_drained(own, transports, pause)
    words = await transports.commands.run(own.command, own.values, node=step.node)
    facts = {}
    if isinstance(own, RestartArguments) and own.shown_values:
        facts = {RESTARTED_FOR: own.shown_values}
    return StepAnswer(f"{left}{words}", facts=facts)


async def _wait_drained(own: StopArguments, transports: Transports, pause: Pause) -> str:
    """Wait until no client is connected, or until the drain time is over."""
    # A client that never leaves must not hold the rollout, and neither must one that cannot be counted.
    if not own.drain:
        return ""
    client = StatusClient(transports.http, own.server, own.status, own.timeout, own.connect)

    async def count() -> int | None:
        return (await client.read()).connections

    pauses = make_steady_pauses(min(DRAIN_PAUSE, own.drain), own.drain)
    try:
        left = await poll_until(count, lambda number: number == 0, pauses, wait=pause)
    except NodeError as error:
        return f"its clients are not known ({error.reason}); "
    if left is None:
        return f"it does not show its clients, {own.drain:g} s have passed; "
    return f"{left} clients were still connected after {own.drain:g} s; " if left else "no client was left; "
