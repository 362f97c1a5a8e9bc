"""What is written down while a run goes on: intents, outcomes and the messages about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan, Revision, Step
from reconciler.core.timestamps import Clock
from reconciler.feedback.sink import Courier
from reconciler.ports.listener import Listener
from reconciler.ports.store import Ending, Opening, Store
from reconciler.rollout.letters import Letters
from reconciler.rollout.step_executor import Bench, passed_over, perform
from reconciler.rollout.step_scheduler import Skipped


@dataclass(frozen=True, slots=True)
class Ledger:
    """What runs write with.

    Args:
        wanted: whether there is a sink for messages.
    """

    journal: Store
    courier: Courier
    listener: Listener
    clock: Clock
    wanted: bool

    async def begin(
        self,
        trigger: str,
        plan: Plan,
        stale: Mapping[str, str] | None = None,
        attempts: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Record:
        """Write down a new run with all its steps open.

        Args:
            trigger: what asked for it.
            plan: what it is going to do.
            stale: step -> why it must not be performed.
            attempts: step -> facts of its node to be written with its intent.
        """
        run = await self.journal.begin(Opening(trigger, plan))
        self.listener.begun(run)
        return Record(self, run, plan.revision, stale or {}, attempts or {})


@dataclass(frozen=True, slots=True)
class Record:
    """One run in the journal; `outcomes` has the end of each step by its id."""

    ledger: Ledger
    run: str
    revision: Revision
    stale: Mapping[str, str] = field(default_factory=dict)
    attempts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    async def intend(self, step: Step) -> None:
        """Write down that a step is about to be performed."""
        await self.ledger.journal.intend(self.run, step, self.attempts.get(step.id))

    async def take_up(self, step: Step, bench: Bench) -> State:
        """Perform one step and write down how it ended."""
        self.ledger.listener.started(step)
        why = self.stale.get(step.id, "")
        ending = await passed_over(step, bench, why) if why else await perform(step, bench)
        await self.conclude([ending])
        return ending.outcome.state

    async def skip(self, skipped: Sequence[Skipped]) -> None:
        """Write down that steps were not taken up, and why."""
        await self.conclude([Ending(Outcome(step, State.SKIPPED, why)) for step, why in skipped])

    async def conclude(self, endings: Sequence[Ending]) -> None:
        """Write outcomes down with their messages, then let everybody know."""
        ledger = self.ledger
        letters = Letters(self.run, self.revision, wanted=ledger.wanted, clock=ledger.clock)
        await ledger.journal.conclude(self.run, [letters.enclose(ending) for ending in endings])
        ledger.courier.nudge()
        for ending in endings:
            self.outcomes[ending.outcome.step.id] = ending.outcome
            ledger.listener.ended(ending.outcome)

    async def finish(self, exit_status: int, note: str = "") -> None:
        """Write down that the run has ended."""
        await self.ledger.journal.finish(self.run, exit_status, note)
