"""What nodes reported to the node server, for the gate of a wave; read from the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from reconciler.core.observation import ReportKind
from reconciler.core.plan import Step
from reconciler.core.rollout_rules import ReportGate
from reconciler.core.timestamps import Clock
from reconciler.host.clock import utc_now
from reconciler.host.defect_capture import EXPECTED, make_defect_observation
from reconciler.host.retry import make_steady_pauses, poll_until
from reconciler.ports.driver import Driver
from reconciler.ports.node_store import NodeReader
from reconciler.ports.transport import NodeMail, TextRedactor
from reconciler.rollout.metric_comparison import GateResult, GateStatus
from reconciler.rollout.report_gate import ReceivedReports, evaluate_reports
from reconciler.secrets.redaction import SHAPES, Redactor

_PAUSE = 1.0
"""Seconds between two readings of the reports."""


@dataclass(frozen=True, slots=True)
class StoredReports:
    """What one cluster's nodes reported, for its gate.

    Args:
        gate: which reports are required.
        driver: of the cluster.
        store: limited to the fleet.
        redactor: masks the secrets that a report quotes.
        clock: of this host.
    """

    gate: ReportGate
    driver: Driver[Any, Any]
    store: NodeReader
    redactor: TextRedactor = SHAPES
    clock: Clock = utc_now

    async def evaluate(
        self, done: Sequence[Step], begun: datetime, performed: datetime, stop: asyncio.Event
    ) -> GateResult:
        """The gate's result by what the changed nodes reported; waits for missing reports as the gate says.

        Args:
            done: the last steps of the changed nodes.
            begun: when the wave was begun: a feedback that is older is about an earlier change.
            performed: when the effect of the whole wave was visible: a heartbeat of the time before may have
                been sent by the old setting.
            stop: ends the wait.
        """
        if not self.driver.capabilities.reports:
            return GateResult(GateStatus.UNCLEAR, "nodes of this product send no reports")
        if not done:
            return GateResult(GateStatus.GOOD)
        given = {step.node: next(iter(step.arguments.feedback.setting), None) for step in done}
        since = {ReportKind.FEEDBACK: begun, ReportKind.HEARTBEAT: performed}

        async def look() -> GateResult:
            now = self.clock()
            mail = await self.store.mail(done[0].cluster, sorted(given))
            heard = ReceivedReports()
            for node, one in mail.items():
                self._take_reports(node, one, heard, since, now)
            found = evaluate_reports(self.gate, given, heard)
            return replace(found, reason=self._redact(found, mail))

        def is_over(found: GateResult) -> bool:
            return found.status is not GateStatus.UNCLEAR or stop.is_set()

        found = await poll_until(look, is_over, make_steady_pauses(_PAUSE, self.gate.within))
        return found if is_over(found) else GateResult(GateStatus.BAD, found.reason)

    def _redact(self, found: GateResult, mail: Mapping[str, NodeMail]) -> str:
        """The reason of a result without secrets, also those of the settings of the nodes that it quotes."""
        reason, server = found.reason, self.driver.central_server()
        if found.status is GateStatus.BAD and server is not None:
            quoted = [one for node, one in mail.items() if node in reason]
            known = {secret for one in quoted for secret in server.list_secrets(one)}
            reason = Redactor(known).redact_text(reason)
        return self.redactor.redact_text(reason)

    def _take_reports(
        self,
        node: str,
        mail: NodeMail,
        heard: ReceivedReports,
        since: dict[ReportKind, datetime],
        now: datetime,
    ) -> None:
        for item in mail.items.values():
            try:
                message = json.loads(item.body)
                report = self.driver.parse_report(node, message) if isinstance(message, dict) else None
            except EXPECTED:
                raise
            except Exception as error:  # noqa: BLE001  (a message of one node must not stop the others')
                make_defect_observation(node, error)
                continue
            if report is not None and now - timedelta(seconds=item.age) >= since[report.kind]:
                heard.take(report)
