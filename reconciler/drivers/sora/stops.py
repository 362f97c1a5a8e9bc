"""What stops a node by commands of the host: a stop, a restart, an upgrade; each drained before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from reconciler.core.observation import Liveness
from reconciler.drivers.sora.arguments import RestartArguments, StopArguments, UpgradeArguments
from reconciler.drivers.sora.client import Client
from reconciler.drivers.sora.conf_drift import RESTARTED_FOR
from reconciler.drivers.sora.upgrades import UPGRADED
from reconciler.errors import NodeError, NodeRefused, NodeUnreachable
from reconciler.host.retry import make_steady_pauses, poll_until
from reconciler.ports.driver import StepAnswer
from reconciler.ports.transport import Http, Transports

DRAIN_PAUSE: Final = 2.0
"""Seconds between two reads of a draining node's channels."""

STOP_PAUSE: Final = 0.5
"""Seconds between two questions to a node that was stopped."""

Pause: TypeAlias = Callable[[float], Awaitable[None]]


async def perform_stop(
    own: StopArguments | RestartArguments | UpgradeArguments, node: str, transports: Transports, pause: Pause
) -> StepAnswer:
    """Wait until the node is drained, and run the commands.

    Raises:
        NodeError: a command failed; only a reading shows whether it had an effect.
    """
    if isinstance(own, UpgradeArguments):
        return await _upgrade(own, node, transports, pause)
    left = await _wait_drained(own, node, transports.http, pause)
    words = await transports.commands.run(own.command, own.values, node=node)
    shown = own.shown_keys if isinstance(own, RestartArguments) and not own.again else ""
    return StepAnswer(f"{left}{words}", facts={RESTARTED_FOR: shown} if shown else {})


async def _upgrade(own: UpgradeArguments, node: str, transports: Transports, pause: Pause) -> StepAnswer:
    """Stop, upgrade and start a node; it is also started if the upgrade has failed."""
    commands, words = transports.commands, ""
    if not own.is_resumed:
        words = await _wait_drained(own, node, transports.http, pause)
        words += f"{await commands.run(own.stop, own.stop_values, node=node)}; "
        await _require_silence(own, node, transports.http, pause)
    failure: NodeRefused | None = None
    try:
        if own.command:
            try:
                words += f"{await commands.run(own.command, own.values, node=node)}; "
            except NodeRefused as error:
                # Down, the node is of no use to anybody. What the command has left may still start.
                failure = error
        words += await commands.run(own.start, own.start_values, node=node)
    except NodeUnreachable as error:
        # The stop has had its effect, and the upgrade may still run: nothing is started beside it.
        raise NodeUnreachable(node, error.reason, remedy=error.remedy, sign=error.sign) from error
    if failure is not None:
        raise NodeRefused(
            node,
            f"the upgrade failed: {failure.reason}; the node was started again with what is installed",
            status=failure.status,
            code=failure.code,
            remedy=failure.remedy,
            again=True,
        )
    return StepAnswer(words, facts={UPGRADED: own.version} if own.temporary and own.version else {})


async def _require_silence(own: UpgradeArguments, node: str, http: Http, pause: Pause) -> None:
    """Wait until a stopped node does not answer any more.

    Raises:
        NodeRefused: it still does.
    """
    client = Client(http, node, own.own, own.timeout, own.connect)

    async def is_silent() -> bool:
        try:
            await client.nodes()
        except NodeUnreachable as error:
            return error.sign != Liveness.ALIVE
        except NodeError:
            return False
        return False

    pauses = make_steady_pauses(min(STOP_PAUSE, own.settle), own.settle)
    if not await poll_until(is_silent, bool, pauses, wait=pause):
        reason = f"it still answers {own.settle:g} s after the command {own.stop} has ended: not upgraded"
        raise NodeRefused(node, reason, status=0, code="COMMAND", again=True)


async def _wait_drained(
    own: StopArguments | RestartArguments | UpgradeArguments, node: str, http: Http, pause: Pause
) -> str:
    """Wait until the node owns no channel, or until the drain time is over."""
    # A channel that never ends must not hold the rollout, and one that cannot be counted must not either:
    # the stop follows in each case, and the words say what was known.
    if not (own.drain and own.own):
        return ""
    client = Client(http, node, own.own, own.timeout, own.connect)

    pauses = make_steady_pauses(min(DRAIN_PAUSE, own.drain), own.drain)
    try:
        owned = await poll_until(client.count_channels, lambda count: not count, pauses, wait=pause)
    except NodeError as error:
        return f"its channels are not known ({error.reason}); "
    if owned:
        return f"it still owned {owned} channels after {own.drain:g} s; "
    return "it owned no channels; "
