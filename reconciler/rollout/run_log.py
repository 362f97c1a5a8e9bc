"""The one way of a run to its journal: intents, outcomes and the messages about them, and refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from reconciler.core.actor import Actor
from reconciler.core.canonical import encode_canonical
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

_NAMED_STEPS = 3
"""Steps that a request for approval names; more of them fit on no line."""


@dataclass(frozen=True, slots=True)
class RunLog:
    """One run in the journal.

    Args:
        store: has the run already, by its id; `open` begins one.
        run: its id.
        revision: what its messages speak of.
        wanted: whether there is a sink for messages; the history keeps them either way.
        clock: stamps the messages.
        listener: hears of each step once the journal has it.
        message_sender: is told that there are new messages; none where nobody delivers them now.
        attempts: step -> facts of its node to be written with its intent.
        actor: who asked for it.
        outcomes: step -> how it ended, filled in as the run goes on.
    """

    store: Store
    run: str
    revision: Revision
    wanted: bool = False
    clock: Clock = utc_now
    listener: PassListener = SILENT
    message_sender: MessageSender | None = None
    attempts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    actor: Actor = field(default_factory=Actor)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @classmethod
    async def open(
        cls,
        store: Store,
        trigger: str,
        plan: Plan,
        *,
        actor: Actor | None = None,
        wanted: bool = False,
        clock: Clock = utc_now,
        listener: PassListener = SILENT,
        message_sender: MessageSender | None = None,
        attempts: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Self:
        """Write down a new run with all its steps open.

        Args:
            store: where.
            trigger: what asked for it.
            plan: what it is going to do.
            actor: who asked for it.
            wanted: whether there is a sink for its messages.
            clock: stamps them.
            listener: hears of it and of each step.
            message_sender: is told that there are new messages.
            attempts: step -> facts of its node to be written with its intent.
        """
        actor = actor or Actor()
        run = await store.begin(RunStart(trigger, plan, actor))
        listener.begun(run)
        return cls(store, run, plan.revision, wanted, clock, listener, message_sender, attempts or {}, actor)

    async def open_another(self, trigger: str, plan: Plan) -> Self:
        """Write down a further run beside this one, of which the same people hear."""
        return await self.open(
            self.store,
            trigger,
            plan,
            actor=self.actor,
            wanted=self.wanted,
            clock=self.clock,
            listener=self.listener,
            message_sender=self.message_sender,
        )

    def take_up(self, step: Step) -> None:
        """Let everybody know that a step is taken up; its first look tells whether it is performed."""
        self.listener.started(step)

    async def intend(self, step: Step) -> None:
        """Write down that a step is about to be performed; it is on disk when this returns.

        Raises:
            Fenced: a later run has taken the cluster over, so nothing may be sent.
            StateError: it could not be written, so nothing may be sent.
        """
        await self.store.intend(self.run, step, self.attempts.get(step.id))

    async def skip(self, skipped: Sequence[tuple[Step, str]]) -> None:
        """Write down that steps were not taken up, and why."""
        await self.conclude([StepEnd(Outcome(step, State.SKIPPED, why)) for step, why in skipped])

    async def conclude(self, endings: Sequence[StepEnd]) -> None:
        """Write outcomes down with their facts and messages, all or none, then let everybody know.

        A message goes into the outbox in the transaction of its outcome: were it sent first, a run killed in
        between would have told what its journal does not know; were it sent last, nobody would ever hear.
        """
        await self.store.conclude(self.run, [self._with_letter(ending) for ending in endings])
        if self.message_sender is not None:
            self.message_sender.nudge()
        for ending in endings:
            self.outcomes[ending.outcome.step.id] = ending.outcome
            self.listener.ended(ending.outcome)

    async def finish(self, exit_status: int, note: str = "") -> None:
        """Write down that the run has ended."""
        await self.store.finish(self.run, exit_status, note)

    def _with_letter(self, ending: StepEnd) -> StepEnd:
        """The same ending, with its message where one is to be told."""
        outcome = ending.outcome
        if not is_reported(outcome):
            return ending
        body = encode_canonical(make_message(outcome, run=self.run, revision=self.revision, now=self.clock()))
        return replace(
            ending, outbox_message=OutboxMessage(make_message_id(self.run, outcome), body, wanted=self.wanted)
        )


async def record_members(plan_result: PlanResult, drivers: Drivers, store: Store) -> None:
    """Write down what drivers want to remember of what the nodes showed, whatever becomes of the plan.

    It comes before the first step: a run that is killed must not leave the store without who was there.
    """
    for cluster, facts in collect_observed_facts(plan_result, drivers).items():
        await store.remember(cluster, facts)


async def record_refusal(plan_result: PlanResult, store: Store, trigger: str, actor: Actor) -> None:
    """Write down a refused run with its verdicts, and each plan of a cluster that waits for an approval."""
    verdicts = "\n".join(violation.message for violation in plan_result.violations)
    await store.refuse(RunStart(trigger, plan_result.plan, actor), verdicts)
    waiting = {violation.target for violation in plan_result.violations if violation.code in APPROVED}
    short = plan_result.plan.revision.short or plan_result.plan.revision.id
    for case in plan_result.cases:
        if case.plan.cluster in waiting:
            await store.request_approval(case.plan.cluster, case.digest, short, _words(case))


def _words(case: GuardContext) -> str:
    marked = [f"{step.id} ({step.doubt})" for step in case.plan.steps if step.doubt]
    marked += [
        f"{step.id} ({', '.join(marks)})" for step, marks in find_steps_to_approve(case) if not step.doubt
    ]
    more = f" and {len(marked) - _NAMED_STEPS} more" if len(marked) > _NAMED_STEPS else ""
    named = ", ".join(marked[:_NAMED_STEPS])
    return f"{len(case.plan.steps)} steps, of which {named}{more} wait for an approval"
