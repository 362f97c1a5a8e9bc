"""Hearing what nodes report by themselves while they are rolled out: one door, however many listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.core.guard import Case
from reconciler.core.plan import Step
from reconciler.core.reports import Kind
from reconciler.core.rollout import ReportGate
from reconciler.feedback.receiver import Receiver
from reconciler.host.defects import EXPECTED, defect_of
from reconciler.host.retry import poll, steady
from reconciler.ports.driver import Driver
from reconciler.ports.transport import TextRedactor
from reconciler.rollout.health import Weighed, Weight
from reconciler.rollout.report_gate import Heard, weighed
from reconciler.secrets.redact import SHAPES

_PAUSE = 0.1


@dataclass(slots=True)
class Hearing:
    """What one cluster's nodes report, for the gate that asks for it.

    Args:
        gate: which reports are asked for.
        product: whether the product's nodes report at all.
        redactor: masks the secrets that a report quotes.
    """

    gate: ReportGate
    product: bool = True
    redactor: TextRedactor = SHAPES
    heard: Heard = field(default_factory=Heard)

    def begin(self) -> None:
        """A wave is about to be performed."""
        self.heard.forget(*Kind)

    def performed(self) -> None:
        """The wave was performed: heartbeats count from now on; a feedback may have come already."""
        self.heard.forget(Kind.HEARTBEAT)

    async def judge(
        self, done: tuple[Step, ...], stop: asyncio.Event, silent: frozenset[str] = frozenset()
    ) -> Weighed:
        """What the changed nodes report; those that are silent are waited for, as long as the gate says.

        Args:
            done: the last steps of the changed nodes.
            stop: ends the wait.
            silent: nodes that sent their feedback to an earlier run.
        """
        if not self.product:
            return Weighed(Weight.UNCLEAR, "nodes of this product send no reports")
        given = {step.node: next(iter(step.feedback.setting), None) for step in done}

        async def look() -> Weighed:
            found = weighed(self.gate, given, self.heard, silent)
            return replace(found, reason=self.redactor.text(found.reason))

        def is_over(found: Weighed) -> bool:
            return found.weight is not Weight.UNCLEAR or stop.is_set()

        found = await poll(look, is_over, steady(_PAUSE, self.gate.within))
        return found if is_over(found) else Weighed(Weight.BAD, found.reason)


@dataclass(slots=True)
class _Door:
    takers: list[Callable[[Mapping[str, Any]], None]]
    users: int = 0
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    receiver: Receiver | None = None


@dataclass(slots=True)
class Ears:
    """The addresses at which reports are taken now; several clusters may share one."""

    _doors: dict[str, _Door] = field(default_factory=dict)

    @asynccontextmanager
    async def hearing(
        self, case: Case, driver: Driver[Any, Any], redactor: TextRedactor = SHAPES
    ) -> AsyncIterator[Hearing | None]:
        """What the case's nodes report while this is entered; none where its rollout does not ask.

        Args:
            case: whose nodes.
            driver: of its product.
            redactor: masks the secrets that a report quotes.

        Raises:
            StateError: its address cannot be listened on.
        """
        gate = case.conduct.rollout.gates.reports if case.conduct.rollout else None
        if gate is None or not driver.capabilities.reports:
            yield None if gate is None else Hearing(gate, product=False)
            return
        hearing = Hearing(gate, redactor=redactor)

        def take(message: Mapping[str, Any]) -> None:
            try:
                report = driver.reported(case.desired, message)
            except EXPECTED:
                raise
            except Exception as error:  # noqa: BLE001  (one node's odd message)
                defect_of(case.plan.cluster, error)
                return
            if report is not None:
                hearing.heard.take(report)

        async with self._open(gate.listen, take):
            yield hearing

    @asynccontextmanager
    async def _open(self, address: str, take: Callable[[Mapping[str, Any]], None]) -> AsyncIterator[None]:
        door = self._doors.setdefault(address, _Door([]))
        door.users += 1
        try:
            async with door.opening:
                if door.receiver is None:
                    door.receiver = await Receiver(address, lambda message: _told(door, message)).__aenter__()
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
