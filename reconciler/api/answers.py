"""What the API of a watch answers, as plain data that a client reads back into the program's own types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from reconciler.core.operations import Operation
from reconciler.core.outcome import State
from reconciler.core.pins import PinState
from reconciler.core.plan import Plan, PlanShape, load_plan
from reconciler.core.policy import Override
from reconciler.diagnostic import Diagnostic
from reconciler.planning.inventory_report import InventoryUse
from reconciler.planning.plan_summary import PlanSummary
from reconciler.ports.store import JournalEntry, MessageRecord, OrderRecord, RunRecord, RunSummary


@dataclass(frozen=True, slots=True)
class PlanAnswer:
    """A plan that was made for this answer, from a new reading of the nodes.

    Args:
        ids: cluster -> id of its plan, for an approval.
        plan: the steps, with secrets masked.
        violations: why it is refused or on hold; empty if it is not.
        overridden: violations that an override of the fleet file sets aside, each with that override.
        warnings: about the files.
        pins: of its clusters.
        inventory: the lists of instances that its clusters use.
        summary: what the reading found.
    """

    ids: Mapping[str, str]
    plan: PlanShape
    violations: tuple[Diagnostic, ...] = ()
    overridden: tuple[tuple[Diagnostic, Override], ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
    pins: tuple[PinState, ...] = ()
    inventory: tuple[InventoryUse, ...] = ()
    summary: PlanSummary = field(default_factory=PlanSummary)

    def load(self) -> Plan:
        """The plan.

        Raises:
            pydantic.ValidationError: it is none.
        """
        return load_plan(self.plan)


@dataclass(frozen=True, slots=True)
class EntryAnswer:
    """One step in the journal; see `JournalEntry`."""

    step: str
    intended: datetime | None = None
    ended: datetime | None = None
    state: State | None = None
    reason: str = ""
    seconds: float = 0.0
    answer: str = ""
    waiting_for_restart: tuple[str, ...] = ()
    until: datetime | None = None


def _get_shared(entry: JournalEntry | EntryAnswer) -> dict[str, Any]:
    """What an entry has beside its step, which the answer names and the journal has whole."""
    return {one.name: getattr(entry, one.name) for one in fields(EntryAnswer) if one.name != "step"}


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """One run with all its records.

    Args:
        plan: the steps, with secrets masked.
        entries: one for each step, in the order of the plan.
    """

    summary: RunSummary
    plan: PlanShape
    entries: tuple[EntryAnswer, ...] = ()
    messages: tuple[MessageRecord, ...] = ()

    @classmethod
    def of(cls, record: RunRecord) -> RunAnswer:
        """A run of the history."""
        entries = tuple(EntryAnswer(step=one.step.id, **_get_shared(one)) for one in record.entries)
        return cls(record.summary, record.plan.plain(), entries, record.messages)

    def load(self) -> RunRecord:
        """The run.

        Raises:
            pydantic.ValidationError: its plan is none.
            KeyError: an entry is of a step that the plan does not have.
        """
        plan = load_plan(self.plan)
        steps = {step.id: step for step in plan.steps()}
        entries = tuple(JournalEntry(step=steps[one.step], **_get_shared(one)) for one in self.entries)
        return RunRecord(self.summary, plan, entries, self.messages)


@dataclass(frozen=True, slots=True)
class RunsAnswer:
    """A page of runs, newest first.

    Args:
        next: the id to give as `before` for the next page; empty on the last one.
    """

    runs: tuple[RunSummary, ...]
    next: str = ""


@dataclass(frozen=True, slots=True)
class PastOrdersAnswer:
    """Orders of the history, newest first."""

    orders: tuple[OrderRecord, ...]


@dataclass(frozen=True, slots=True)
class OperationsAnswer:
    """Operations of the history, newest first."""

    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """Work that is not over yet.

    Args:
        task: its id; its answer is at `/api/v1/tasks/ID`.
    """

    task: str


@dataclass(frozen=True, slots=True)
class WatchAnswer:
    """The state of the watch, as `/readyz` has it."""

    ready: bool
    details: dict[str, Any]
