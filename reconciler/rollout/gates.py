"""The gates after a wave: the nodes still show what they were given, and are as well as the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from reconciler.core.guard import GuardContext
from reconciler.core.plan import Step
from reconciler.core.rollout import Rollout
from reconciler.core.step import StepStatus
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
from reconciler.rollout.report_listener import ReportSubscription
from reconciler.rollout.step_executor import ExecutionContext

Rest = Callable[[float, asyncio.Event], Awaitable[None]]
"""Waits so many seconds, or until the event is set."""


async def sleep_real_time(seconds: float, stop: asyncio.Event) -> None:
    """Wait by the real clock."""
    if seconds > 0:
        waiting = asyncio.ensure_future(stop.wait())
        await asyncio.wait({waiting}, timeout=seconds)
        waiting.cancel()


@dataclass(frozen=True, slots=True)
class FinishedWave:
    """What of a wave has its effect.

    Args:
        nodes: all nodes of it that have.
        done: the steps that this run did.
        earlier: the steps that an earlier run did, as far as they are known.
        soak: seconds to wait before the gates are judged.
    """

    nodes: tuple[str, ...]
    done: tuple[Step, ...]
    earlier: tuple[Step, ...] = ()
    soak: float = 0.0


@dataclass(frozen=True, slots=True)
class GateKeeper:
    """Judges the waves of one cluster.

    Args:
        rest: waits for the soak.
        subscription: what the nodes report by themselves; none where no gate asks.
    """

    case: GuardContext
    rollout: Rollout
    bench: ExecutionContext
    rest: Rest
    subscription: ReportSubscription | None = None

    async def judge(self, wave: FinishedWave, touched: frozenset[str]) -> GateResult:
        """Soak, then see whether all gates hold; where the run is stopped meanwhile, it is not clear.

        Gates only wait and read: a stop gives them up at once, wherever they are.

        Args:
            wave: what has its effect.
            touched: nodes that this rollout has changed, or tried to, so far.
        """
        found = await run_unless_stopped(self.bench.stop, self._judge(wave, touched))
        if found is None or self.bench.stop.is_set():
            return GateResult(GateStatus.UNCLEAR, "the run was stopped before they were judged")
        return found

    async def _judge(self, wave: FinishedWave, touched: frozenset[str]) -> GateResult:
        unchanged = tuple(node.name for node in self.case.entry.members() if node.name not in touched)
        asked = (*wave.nodes, *unchanged) if self.rollout.gates.metrics else ()
        if self.subscription is not None:
            self.subscription.performed()
        before = await self._sampled(asked)
        await self.rest(wave.soak, self.bench.stop)
        if self.rollout.gates.read_back and (strayed := await self._strayed((*wave.earlier, *wave.done))):
            return GateResult(GateStatus.BAD, strayed)
        if self.subscription is not None:
            # a feedback about what an earlier run did was sent to that run, and does not come again
            found = await self.subscription.judge(
                _last((*wave.earlier, *wave.done)),
                self.bench.stop,
                silent=frozenset(step.node for step in wave.earlier),
            )
            if found.weight is not GateStatus.GOOD:
                return found
        soaked = SoakReadings(before, await self._sampled(asked), wave.soak)
        compared = [
            compare_metric(gate, wave.nodes, unchanged, soaked) for gate in self.rollout.gates.metrics
        ]
        bad = [one for one in compared if one.weight is GateStatus.BAD]
        unclear = [one for one in compared if one.weight is GateStatus.UNCLEAR]
        return next(iter([*bad, *unclear]), GOOD)

    async def _strayed(self, done: Sequence[Step]) -> str:
        """Which nodes no longer show what they were given, in words; empty where all do."""
        last, bench = _last(done), self.bench
        verdicts = await gather_all(
            wait_until_done(step, bench.driver, bench.transports, seconds=step.settle, stop=bench.stop)
            for step in last
        )
        wrong = [
            f"{step.node}: {verdict.reason or 'it does not show what it was given'}"
            for step, verdict in zip(last, verdicts, strict=True)
            if verdict.status is not StepStatus.DONE
        ]
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""  # noqa: PLR2004  (enough to begin with)
        return "; ".join(wrong[:3]) + more

    async def _sampled(self, nodes: Sequence[str]) -> Samples:
        driver = self.bench.driver
        if not nodes or not driver.capabilities.metrics:
            return {}
        return await driver.health(
            self.case.desired, nodes, restrict_to_reading(self.bench.transports, driver.reads)
        )


def _last(done: Sequence[Step]) -> tuple[Step, ...]:
    """The steps that no other one comes after: what they gave is what the nodes have now."""
    followed = {name for step in done for name in step.after}
    return tuple(step for step in done if step.id not in followed)
