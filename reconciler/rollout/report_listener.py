"""Receives what nodes report by themselves during a rollout: one receiver for each address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.core.guard import GuardContext
from reconciler.core.observation import ReportKind
from reconciler.core.plan import Step
from reconciler.core.rollout_rules import ReportGate
from reconciler.feedback.receiver import ReportReceiver
from reconciler.host.defect_capture import EXPECTED, make_defect_observation
from reconciler.host.retry import make_steady_pauses, poll_until
from reconciler.ports.driver import Driver
from reconciler.ports.transport import TextRedactor
from reconciler.rollout.metric_comparison import GateResult, GateStatus
from reconciler.rollout.report_gate import ReceivedReports, evaluate_reports
from reconciler.secrets.redaction import SHAPES

_PAUSE = 0.1
"""Seconds between two evaluations of the reports."""


@dataclass(slots=True)
class ReportSubscription:
    """What one cluster's nodes report, for its gate.

    Args:
        gate: which reports are required.
        product: whether the product's nodes send reports at all.
        redactor: masks the secrets that a report quotes.
    """

    gate: ReportGate
    product: bool = True
    redactor: TextRedactor = SHAPES
    reports: ReceivedReports = field(default_factory=ReceivedReports)

    def begin(self) -> None:
        """Discard all reports: a wave is about to be performed."""
        self.reports.forget(*ReportKind)

    def note_performed(self) -> None:
        """Discard the heartbeats so far: the wave was performed."""
        # A heartbeat of the time before may have been sent by the old setting. A feedback is kept, because it
        # is about the change: it may have come before the step's own reading.
        self.reports.forget(ReportKind.HEARTBEAT)

    async def evaluate(
        self, done: tuple[Step, ...], stop: asyncio.Event, silent: frozenset[str] = frozenset()
    ) -> GateResult:
        """The gate's result by what the changed nodes report; waits for missing reports as the gate says.

        Args:
            done: the last steps of the changed nodes.
            stop: ends the wait.
            silent: nodes that sent their feedback to an earlier run.
        """
        if not self.product:
            return GateResult(GateStatus.UNCLEAR, "nodes of this product send no reports")
        given = {step.node: next(iter(step.arguments.feedback.setting), None) for step in done}

        async def look() -> GateResult:
            found = evaluate_reports(self.gate, given, self.reports, silent)
            return replace(found, reason=self.redactor.redact_text(found.reason))

        def is_over(found: GateResult) -> bool:
            return found.status is not GateStatus.UNCLEAR or stop.is_set()

        found = await poll_until(look, is_over, make_steady_pauses(_PAUSE, self.gate.within))
        return found if is_over(found) else GateResult(GateStatus.BAD, found.reason)


@dataclass(slots=True)
class _SharedReceiver:
    handlers: list[Callable[[Mapping[str, Any]], None]] = field(default_factory=list)
    users: int = 0
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    receiver: ReportReceiver | None = None

    def dispatch(self, message: Mapping[str, Any]) -> None:
        for handle in tuple(self.handlers):
            handle(message)


@dataclass(slots=True)
class ReportListener:
    """The receivers that are open now, by address; several clusters may share one."""

    _receivers: dict[str, _SharedReceiver] = field(default_factory=dict)

    @asynccontextmanager
    async def subscription(
        self, context: GuardContext, driver: Driver[Any, Any], redactor: TextRedactor = SHAPES
    ) -> AsyncIterator[ReportSubscription | None]:
        """What a cluster's nodes report, masked, until the context ends; None without such a gate.

        Raises:
            StateError: the address cannot be listened on.
        """
        gate = context.change_rules.rollout.gates.reports if context.change_rules.rollout else None
        if gate is None or not driver.capabilities.reports:
            yield None if gate is None else ReportSubscription(gate, product=False)
            return
        subscription = ReportSubscription(gate, redactor=redactor)

        def handle(message: Mapping[str, Any]) -> None:
            try:
                report = driver.parse_report(context.desired, message)
            except EXPECTED:
                raise
            except Exception as error:  # noqa: BLE001  (a message of one node must not stop the others')
                make_defect_observation(context.plan.cluster, error)
                return
            if report is not None:
                subscription.reports.take(report)

        async with self._open(gate.listen, handle):
            yield subscription

    @asynccontextmanager
    async def _open(self, address: str, handle: Callable[[Mapping[str, Any]], None]) -> AsyncIterator[None]:
        shared = self._receivers.setdefault(address, _SharedReceiver())
        shared.users += 1  # before the first await, so that a user who leaves meanwhile does not close it
        try:
            async with shared.opening:
                if shared.receiver is None:
                    shared.receiver = await ReportReceiver(address, shared.dispatch).__aenter__()
            shared.handlers.append(handle)
            try:
                yield
            finally:
                shared.handlers.remove(handle)
        finally:
            shared.users -= 1
            if not shared.users:
                del self._receivers[address]
                if shared.receiver is not None:
                    await shared.receiver.__aexit__(None, None, None)
