"""The gates after a wave: its nodes still show the new content, and their metrics are as good as before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.core.guard import GuardContext
from reconciler.core.plan import Step
from reconciler.core.rollout_rules import Rollout
from reconciler.core.step_status import StepStatus
from reconciler.host.aio import gather_all, run_unless_stopped
from reconciler.planning.read_only import restrict_to_reading
from reconciler.rollout.metric_comparison import (
    GOOD,
    GateResult,
    GateStatus,
    Samples,
    SoakReadings,
    compare_metric,
)
from reconciler.rollout.polling import wait_until_done
from reconciler.rollout.step_executor import ExecutionContext
from reconciler.rollout.stored_reports import StoredReports
from reconciler.text.one_line import join_some

_NAMED = 3
"""Nodes that a reason names: enough to start with."""

Rest = Callable[[float, asyncio.Event], Awaitable[None]]
"""Waits for a number of seconds, or until the event is set."""


async def sleep_real_time(seconds: float, stop: asyncio.Event) -> None:
    """Wait by the real clock."""
    if seconds > 0:
        waiting = asyncio.ensure_future(stop.wait())
        await asyncio.wait({waiting}, timeout=seconds)
        waiting.cancel()


@dataclass(frozen=True, slots=True)
class FinishedWave:
    """The part of a wave whose effect is visible.

    Args:
        nodes: all nodes of the wave that show the effect.
        performed: the steps that this run performed.
        earlier: the steps that an earlier run performed, as far as they are known.
        soak: seconds to wait before the gates are evaluated.
        tolerated: how many of its nodes that poll need not be heard.
        begun: when its first step began; None if that is not known.
        visible: when the effect of all its steps was visible; None if that is not known.
    """

    nodes: tuple[str, ...]
    performed: tuple[Step, ...]
    earlier: tuple[Step, ...] = ()
    soak: float = 0.0
    tolerated: int = 0
    begun: datetime | None = None
    visible: datetime | None = None


@dataclass(frozen=True, slots=True)
class GateKeeper:
    """Evaluates the gates of one cluster.

    Args:
        rest: waits for the soak.
        reports: what the nodes report by themselves; None if there is no such gate.
    """

    guard_context: GuardContext
    rollout: Rollout
    context: ExecutionContext
    rest: Rest
    reports: StoredReports | None = None

    async def evaluate(self, wave: FinishedWave, touched: frozenset[str]) -> GateResult:
        """Soak, then evaluate all gates; unclear if the run is stopped meanwhile.

        Args:
            wave: the part whose effect is visible.
            touched: nodes that this rollout has changed, or tried to change, so far.
        """
        # Gates only wait and read, so a stop may cancel them at any point.
        found = await run_unless_stopped(self.context.stop, self._soak_and_evaluate(wave, touched))
        if found is None or self.context.stop.is_set():
            return GateResult(GateStatus.UNCLEAR, "the run was stopped before the gates were evaluated")
        return found

    async def _soak_and_evaluate(self, wave: FinishedWave, touched: frozenset[str]) -> GateResult:
        unchanged = tuple(
            node.name for node in self.guard_context.entry.members() if node.name not in touched
        )
        asked = (*wave.nodes, *unchanged) if self.rollout.gates.metrics else ()
        before = await self._read_metrics(asked)
        await self.rest(wave.soak, self.context.stop)
        # Of a chain of steps the nodes show only the effect of the last one.
        steps = (*wave.earlier, *wave.performed)
        followed = {name for step in steps for name in step.after}
        last = tuple(step for step in steps if step.id not in followed)
        if self.rollout.gates.read_back:
            reverted, unheard = await self._find_reverted_nodes(last)
            if reverted:
                return GateResult(GateStatus.BAD, _join_reasons(reverted))
            if len(unheard) > wave.tolerated:
                words = f"{len(unheard)} of its nodes are not heard any more ({join_some(unheard, _NAMED)})"
                return GateResult(GateStatus.PENDING, words)
            last = tuple(step for step in last if step.node not in unheard)
        if self.reports is not None:
            now = self.context.clock()
            found = await self.reports.evaluate(
                last, wave.begun or now, wave.visible or now, self.context.stop
            )
            if found.status is not GateStatus.GOOD:
                return found
        soaked = SoakReadings(before, await self._read_metrics(asked), wave.soak)
        compared = [
            compare_metric(gate, wave.nodes, unchanged, soaked) for gate in self.rollout.gates.metrics
        ]
        # A bad metric is named before one that is unclear: with `on_failure: return`, only the first undoes.
        bad = [one for one in compared if one.status is GateStatus.BAD]
        unclear = [one for one in compared if one.status is GateStatus.UNCLEAR]
        return next(iter([*bad, *unclear]), GOOD)

    async def _find_reverted_nodes(self, last: Sequence[Step]) -> tuple[list[str], list[str]]:
        """Why which nodes do not show their last step's effect; and those that poll and are not heard."""
        context, polling = self.context, self.guard_context.polling
        # What a node that polls does not show now, it will not show within seconds either.
        verdicts = await gather_all(
            wait_until_done(
                step,
                context.driver,
                context.transports,
                seconds=0.0 if step.node in polling else step.settle,
                stop=context.stop,
            )
            for step in last
        )
        wrong: list[str] = []
        unheard: list[str] = []
        for step, verdict in zip(last, verdicts, strict=True):
            if verdict.status is StepStatus.UNKNOWN and step.node in polling:
                unheard.append(step.node)
            elif verdict.status is not StepStatus.DONE:
                wrong.append(f"{step.node}: {verdict.reason or 'it no longer shows the effect of its step'}")
        return wrong, unheard

    async def _read_metrics(self, nodes: Sequence[str]) -> Samples:
        driver = self.context.driver
        if not nodes or not driver.capabilities.metrics:
            return {}
        return await driver.health(
            self.guard_context.desired, nodes, restrict_to_reading(self.context.transports, driver.reads)
        )


def _join_reasons(reasons: Sequence[str]) -> str:
    more = f" and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    return "; ".join(reasons[:_NAMED]) + more
