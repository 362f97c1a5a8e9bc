"""Hearing what nodes report by themselves while they are rolled out: one door, however many listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.core.guard import GuardContext
from reconciler.core.node_reports import ReportKind
from reconciler.core.plan import Step
from reconciler.core.rollout import ReportGate
from reconciler.feedback.receiver import ReportReceiver
from reconciler.host.defect_capture import EXPECTED, make_defect_observation
from reconciler.host.retry import make_steady_pauses, poll_until
from reconciler.ports.driver import Driver
from reconciler.ports.transport import TextRedactor
from reconciler.rollout.metric_comparison import GateResult, GateStatus
from reconciler.rollout.report_gate import ReceivedReports, evaluate_reports
from reconciler.secrets.redaction import SHAPES

_PAUSE = 0.1


@dataclass(slots=True)
class ReportSubscription:
    """What one cluster's nodes report, for the gate that asks for it.

    Args:
        gate: which reports are asked for.
        product: whether the product's nodes report at all.
        redactor: masks the secrets that a report quotes.
    """

    gate: ReportGate
    product: bool = True
    redactor: TextRedactor = SHAPES
    heard: ReceivedReports = field(default_factory=ReceivedReports)

    def begin(self) -> None:
        """A wave is about to be performed."""
        self.heard.forget(*ReportKind)

    def performed(self) -> None:
        """The wave was performed: heartbeats count from now on; a feedback may have come already."""
        self.heard.forget(ReportKind.HEARTBEAT)

    async def judge(
        self, done: tuple[Step, ...], stop: asyncio.Event, silent: frozenset[str] = frozenset()
    ) -> GateResult:
        """What the changed nodes report; those that are silent are waited for, as long as the gate says.

        Args:
            done: the last steps of the changed nodes.
            stop: ends the wait.
            silent: nodes that sent their feedback to an earlier run.
        """
        if not self.product:
            return GateResult(GateStatus.UNCLEAR, "nodes of this product send no reports")
        given = {step.node: next(iter(step.feedback.setting), None) for step in done}

        async def look() -> GateResult:
            found = evaluate_reports(self.gate, given, self.heard, silent)
            return replace(found, reason=self.redactor.text(found.reason))

        def is_over(found: GateResult) -> bool:
            return found.weight is not GateStatus.UNCLEAR or stop.is_set()

        found = await poll_until(look, is_over, make_steady_pauses(_PAUSE, self.gate.within))
        return found if is_over(found) else GateResult(GateStatus.BAD, found.reason)


@dataclass(slots=True)
class _Door:
    takers: list[Callable[[Mapping[str, Any]], None]]
    users: int = 0
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    receiver: ReportReceiver | None = None


@dataclass(slots=True)
class ReportListener:
    """The addresses at which reports are taken now; several clusters may share one."""

    _doors: dict[str, _Door] = field(default_factory=dict)

    @asynccontextmanager
    async def subscription(
        self, case: GuardContext, driver: Driver[Any, Any], redactor: TextRedactor = SHAPES
    ) -> AsyncIterator[ReportSubscription | None]:
        """What the case's nodes report while this is entered; none where its rollout does not ask.

        Args:
            case: whose nodes.
            driver: of its product.
            redactor: masks the secrets that a report quotes.

        Raises:
            StateError: its address cannot be listened on.
        """
        gate = case.change_rules.rollout.gates.reports if case.change_rules.rollout else None
        if gate is None or not driver.capabilities.reports:
            yield None if gate is None else ReportSubscription(gate, product=False)
            return
        subscription = ReportSubscription(gate, redactor=redactor)

        def take(message: Mapping[str, Any]) -> None:
            try:
                report = driver.reported(case.desired, message)
            except EXPECTED:
                raise
            except Exception as error:  # noqa: BLE001  (one node's odd message)
                make_defect_observation(case.plan.cluster, error)
                return
            if report is not None:
                subscription.heard.take(report)

        async with self._open(gate.listen, take):
            yield subscription

    @asynccontextmanager
    async def _open(self, address: str, take: Callable[[Mapping[str, Any]], None]) -> AsyncIterator[None]:
        door = self._doors.setdefault(address, _Door([]))
        door.users += 1
        try:
            async with door.opening:
                if door.receiver is None:
                    door.receiver = await ReportReceiver(
                        address, lambda message: _told(door, message)
                    ).__aenter__()
            door.takers.append(take)
            try:
                yield
            finally:
                door.takers.remove(take)
        finally:
            door.users -= 1
            if not door.users:
                del self._doors[address]
                if door.receiver is not None:
                    await door.receiver.__aexit__(None, None, None)


def _told(door: _Door, message: Mapping[str, Any]) -> None:
    for take in tuple(door.takers):
        take(message)
