"""Wave after wave: each is performed, soaks, and has to pass its gates before the next one begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reconciler.core.guard import Violation, judged, verdicts
from reconciler.core.health import Weighed, Weight
from reconciler.core.holds import held
from reconciler.core.outcome import SUCCESSES, State
from reconciler.core.plan import Finding, Step
from reconciler.core.policy import Override
from reconciler.core.problem import Severity
from reconciler.core.waves import parted
from reconciler.engine.gates import Gatekeeper
from reconciler.engine.perform import STOPPED
from reconciler.engine.record import Record
from reconciler.engine.schedule import Course
from reconciler.engine.undo import undo
from reconciler.store import orders

_BAD = frozenset({State.FAILED, State.UNKNOWN})


@dataclass(slots=True)
class Rolling:
    """The rollout of one cluster's plan, under the cluster's lock.

    Args:
        overrides: set aside what would hold up a further wave.
    """

    keeper: Gatekeeper
    record: Record
    overrides: Sequence[Override]
    _findings: list[Finding] = field(init=False, default_factory=list)

    async def run(self) -> tuple[Finding, ...]:
        """Perform the plan's waves; gives what stopped them, if anything did."""
        waves = parted(self.keeper.case.plan.steps)
        behind: frozenset[str] = frozenset()
        for number, steps in enumerate(waves, 1):
            why = await self._held(number) if behind else ""
            if why:
                await self._skip(waves[number - 1 :], why)
                break
            await self._perform(steps, behind)
            why = await self._stopped(number, steps, behind)
            if why:
                await self._skip(waves[number:], why)
                break
            behind |= {step.id for step in steps}
        return tuple(self._findings)

    async def _perform(self, steps: tuple[Step, ...], behind: frozenset[str]) -> None:
        bench, record = self.keeper.bench, self.record
        if self.keeper.hearing is not None:
            self.keeper.hearing.begin()

        async def take_up(step: Step) -> State:
            return await record.take_up(step, bench)

        at_once = max(1, self.keeper.case.plan.concurrency)
        await Course(steps, at_once, take_up, record.skip, bench.stop, behind).run()

    async def _held(self, number: int) -> str:
        """Why no further wave may begin now, though the first one might; empty where it may."""
        case = self.keeper.case
        memory = await self.record.ledger.journal.recall()
        now = replace(case, at=memory.at, past=memory.of(case.plan.cluster))
        standing = judged(verdicts(now, (held,)), self.overrides, memory.at.date()).standing
        if not standing:
            return ""
        self._findings.append(_held(standing[0], number))
        return f"wave {number} was not begun: {standing[0].message}"

    async def _stopped(self, number: int, steps: Sequence[Step], behind: frozenset[str]) -> str:
        """Why nothing may follow this wave, all consequences drawn; empty where it passed."""
        outcomes = self.record.outcomes
        failed = [outcomes[step.id] for step in steps if outcomes[step.id].state in _BAD]
        done = [step for step in steps if outcomes[step.id].state in SUCCESSES]
        if failed:
            weighed = Weighed(Weight.BAD, f"{failed[0].step.id}: {failed[0].reason}")
        elif done:
            cluster, soak = self.keeper.case.plan.cluster, self.keeper.rollout.soak
            self.record.ledger.listener.soaking(cluster, number, soak)
            nodes = {step.node for step in self.keeper.case.plan.steps if step.id in behind}
            weighed = await self.keeper.judge(done, frozenset(nodes | {step.node for step in steps}))
        else:
            weighed = Weighed(Weight.GOOD)
        if self.keeper.bench.stop.is_set() and weighed.weight is not Weight.BAD:
            return STOPPED
        if weighed.weight is not Weight.GOOD:
            return await self._reject(number, steps, weighed)
        if len(done) < len(steps):
            return self._incomplete(number)
        return ""

    async def _reject(self, number: int, steps: Sequence[Step], weighed: Weighed) -> str:
        """Remember the revision before anything is undone: a run that is killed here must not go on anew."""
        plan, revision = self.keeper.case.plan, self.record.revision
        bad = weighed.weight is Weight.BAD
        why = f"wave {number} {'failed its gates' if bad else 'could not be judged'}: {weighed.reason}"
        rejection = orders.rejection(revision.id, revision.short, why)
        await self.record.ledger.journal.remember(plan.cluster, rejection)
        self._findings.append(
            Finding(
                Severity.ERROR,
                "gate-failed" if bad else "gate-unclear",
                plan.cluster,
                f"{plan.cluster}: {why}; revision {revision.short or revision.id} is rejected here",
                "commit what mends it",
            )
        )
        if bad and self.keeper.rollout.on_failure == "return":
            done = [step for step in steps if self.record.outcomes[step.id].state is State.DONE]
            self._findings += await undo(done, self.keeper.case, self.keeper.bench, self.record)
        return f"nothing follows: {why}"

    def _incomplete(self, number: int) -> str:
        cluster = self.keeper.case.plan.cluster
        why = f"wave {number} did not come to its end"
        self._findings.append(
            Finding(
                Severity.WARNING,
                "wave-incomplete",
                cluster,
                f"{cluster}: {why}, so no further wave was begun",
                "see to the steps that were not done, and run again",
            )
        )
        return f"nothing follows: {why}"

    async def _skip(self, waves: Sequence[Sequence[Step]], why: str) -> None:
        await self.record.skip([(step, why) for wave in waves for step in wave])


def _held(violation: Violation, number: int) -> Finding:
    return Finding(
        Severity.WARNING,
        violation.code,
        violation.target,
        f"wave {number} and what comes after it were not begun: {violation.message}",
        violation.remedy,
    )
