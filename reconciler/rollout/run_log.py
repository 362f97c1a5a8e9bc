"""Writes a run to its journal: intents, outcomes, the messages about them, and refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self

from reconciler.core.actor import Actor
from reconciler.core.canonical import encode_canonical
from reconciler.core.finding_groups import group_findings
from reconciler.core.guard import GuardContext
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan, Revision, Step
from reconciler.core.timestamps import Clock
from reconciler.feedback.message import is_reported, make_message, make_message_id
from reconciler.feedback.sender import MessageSender
from reconciler.guards.change_control import APPROVED, find_steps_to_approve
from reconciler.host.clock import utc_now
from reconciler.planning.applied_facts import collect_observed_facts
from reconciler.planning.plan_pass import Drivers, PlanResult
from reconciler.ports.listener import SILENT, PassListener
from reconciler.ports.store import OutboxMessage, RunStart, StepEnd, Store
from reconciler.text.one_line import join_some

_TOGETHER = 100
"""Outcomes in one write."""

_NAMED_STEPS = 3
"""Steps that a request for approval names: it is one line."""


@dataclass(frozen=True, slots=True)
class RunLog:
    """One run in the journal.

    Args:
        store: has the run already, by its id.
        run: its id; empty before `begin`.
        revision: named in its messages.
        has_sink: whether there is a sink for messages; the history keeps them either way.
        clock: dates the messages.
        listener: called for each step once the journal has it.
        message_sender: woken for new messages; None if they are not delivered now.
        attempts: step -> facts of its node to write with its intent.
        actor: who asked for it.
        outcomes: step -> its outcome, filled in during the run.
    """

    store: Store
    run: str
    revision: Revision
    has_sink: bool = False
    clock: Clock = utc_now
    listener: PassListener = SILENT
    message_sender: MessageSender | None = None
    attempts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    actor: Actor = field(default_factory=Actor)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    async def begin(
        self, trigger: str, plan: Plan, attempts: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    ) -> Self:
        """Journal a new run with all its steps open; its log has the listener and the sender of this one."""
        run = await self.store.begin_run(RunStart(trigger, plan, self.actor))
        self.listener.on_run_begun(run)
        return replace(self, run=run, revision=plan.revision, attempts=attempts, outcomes={})

    def announce_start(self, step: Step) -> None:
        """Announce that a step begins; its first reading decides whether it is performed."""
        self.listener.on_step_started(step)

    async def record_intent(
        self, step: Step, reserved: frozenset[str] | None = None, *, despite_suspension: bool
    ) -> None:
        """Journal that a step is about to be performed; it is on disk when this returns.

        Args:
            step: that is performed next.
            reserved: ids of the reservations that it was judged with; None if none concern it.
            despite_suspension: whether it may be sent although the cluster is suspended.

        Raises:
            RunFenced: a later run has taken the cluster over, so nothing may be sent.
            ReservedMeanwhile: there are further reservations, so nothing may be sent.
            SuspendedMeanwhile: the cluster is suspended, so nothing may be sent.
            StateError: it could not be written, so nothing may be sent.
        """
        await self.store.record_intent(
            self.run,
            step,
            self.attempts.get(step.id),
            reserved=reserved,
            despite_suspension=despite_suspension,
        )

    async def hold_for(self, cluster: str, seconds: float) -> None:
        """Make sure that the lock of a cluster outlasts a call that begins now; see `Store.hold_for`."""
        await self.store.hold_for(cluster, seconds)

    async def record_skipped(self, skipped: Sequence[tuple[Step, str]]) -> None:
        """Journal that steps were not started, and why."""
        await self.record_outcomes([StepEnd(Outcome(step, State.SKIPPED, why)) for step, why in skipped])

    async def record_outcomes(self, endings: Sequence[StepEnd]) -> None:
        """Journal outcomes, each with its facts and message or not at all, then announce them."""
        # Some at a time: reports of nodes wait for the end of a write, and waves have thousands of steps.
        for start in range(0, len(endings), _TOGETHER):
            await self._record_together(endings[start : start + _TOGETHER])

    async def _record_together(self, endings: Sequence[StepEnd]) -> None:
        # A message goes into the outbox in the transaction of its outcome. Sent before it, a run killed in
        # between would have announced what its journal does not know; after it, the message would be lost.
        await self.store.record_outcomes(self.run, [self._add_message(ending) for ending in endings])
        if self.message_sender is not None:
            self.message_sender.wake()
        for ending in endings:
            self.outcomes[ending.outcome.step.id] = ending.outcome
            self.listener.on_step_ended(ending.outcome)

    async def finish_run(self, exit_status: int, note: str = "") -> None:
        """Journal the end of the run."""
        await self.store.finish_run(self.run, exit_status, note)
        self.listener.on_run_ended(self.run, exit_status)

    def _add_message(self, ending: StepEnd) -> StepEnd:
        outcome = ending.outcome
        if not is_reported(outcome):
            return ending
        body = encode_canonical(make_message(outcome, run=self.run, revision=self.revision, now=self.clock()))
        return replace(
            ending,
            outbox_message=OutboxMessage(make_message_id(self.run, outcome), body, wanted=self.has_sink),
        )


async def record_members(plan_result: PlanResult, drivers: Drivers, store: Store) -> None:
    """Store what drivers want to remember of the nodes' answers, whether the plan is applied or not."""
    # Before the first step: a run that is killed must not leave the store without the members of a cluster.
    for cluster, facts in collect_observed_facts(plan_result, drivers).items():
        await store.store_facts(cluster, facts)


def _describe_request(context: GuardContext) -> str:
    marked = [f"{step.id} ({step.arguments.doubt})" for step in context.plan.steps if step.arguments.doubt]
    marked += [
        f"{step.id} ({', '.join(marks)})"
        for step, marks in find_steps_to_approve(context)
        if not step.arguments.doubt
    ]
    return f"{len(context.plan.steps)} steps; these need an approval: {join_some(marked, _NAMED_STEPS)}"


@dataclass(slots=True)
class RefusalMemory:
    """The refusals that one process has journalled: one that repeats at every interval is written once."""

    _known: dict[frozenset[str], str] = field(default_factory=dict)

    def is_new(self, plan_result: PlanResult) -> bool:
        """Whether the same clusters were refused for another reason, or not at all, the last time."""
        return self._known.get(_get_clusters(plan_result)) != _get_reasons(plan_result)

    async def record(self, plan_result: PlanResult, store: Store, trigger: str, actor: Actor) -> None:
        """Journal a new refusal with its violations, and a request for each approval that it needs."""
        # A watch meets the same refusal at every interval, which would fill the history.
        if not self.is_new(plan_result):
            return
        # The history is the only record of a refusal: it names every node.
        groups = group_findings(plan_result.violations, full=True)
        reasons = "\n".join(group.text for group in groups)
        await store.record_refused_run(RunStart(trigger, plan_result.plan, actor), reasons)
        waiting = {violation.target for violation in plan_result.violations if violation.code in APPROVED}
        short = plan_result.plan.revision.short or plan_result.plan.revision.id
        for context in plan_result.guard_contexts:
            cluster, request = context.plan.cluster, _describe_request(context)
            if cluster in waiting:
                await store.request_approval(cluster, context.digest, short, request)
        # After the writes: what could not be journalled is still new at the next interval.
        self._known[_get_clusters(plan_result)] = _get_reasons(plan_result)

    def forget(self, plan_result: PlanResult) -> None:
        """Forget the refusal of clusters that were not refused this time."""
        self._known.pop(_get_clusters(plan_result), None)


def _get_reasons(plan_result: PlanResult) -> str:
    messages = (violation.message for violation in plan_result.violations)
    return "\n".join([plan_result.plan.revision.id, *messages])


def _get_clusters(plan_result: PlanResult) -> frozenset[str]:
    return frozenset(context.plan.cluster for context in plan_result.guard_contexts)
