"""Wave after wave: each is performed, soaks, and has to pass its gates before the next one begins."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from reconciler import __version__
from reconciler.core.guard import apply_overrides, run_guards
from reconciler.core.outcome import OPEN, SUCCESSES, State
from reconciler.core.plan import Step
from reconciler.core.policy import Override
from reconciler.core.rollout_progress import RolloutProgress
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.core.waves import group_by_wave
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import UnreadableArguments, UsageError
from reconciler.guards.change_control import find_temporary_holds
from reconciler.rollout.gates import FinishedWave, GateKeeper
from reconciler.rollout.metric_comparison import GateResult, GateStatus
from reconciler.rollout.rollback import undo_wave
from reconciler.rollout.run_log import RunLog
from reconciler.rollout.step_executor import STOPPED, execute_step
from reconciler.rollout.step_scheduler import StepScheduler

_RUNS = 10
"""Runs of an open wave that are remembered."""


@dataclass(slots=True)
class WaveRunner:
    """The rollout of one cluster's plan, under the cluster's lock.

    How far it has come is written down before a wave begins and once it has passed, so that a run that was
    stopped or killed, or a newer revision with the same content, goes on with the same wave and its gates.

    Args:
        overrides: set aside what would hold up a further wave.
        is_whole: whether the plan is about all of the cluster; a run of one node is no part of a rollout that
            is open, and leaves it as it is.
    """

    gate_keeper: GateKeeper
    log: RunLog
    overrides: Sequence[Override]
    is_whole: bool = True
    _progress: RolloutProgress = field(init=False)
    _findings: list[Diagnostic] = field(init=False, default_factory=list)

    async def run(self) -> tuple[Diagnostic, ...]:
        """Perform the plan's waves; gives what stopped them, if anything did."""
        case = self.gate_keeper.case
        self._progress = case.progress or RolloutProgress(
            case.content, number=0, total=len({step.node for step in case.plan.steps})
        )
        failed = sorted(self._progress.nodes & case.stalled.keys())
        if failed:
            bad = GateResult(GateStatus.BAD, f"{failed[0]}: {case.stalled[failed[0]]}")
            await self._reject(self._progress.number, [], await self._earlier(), bad)
            return tuple(self._findings)
        waves = self._waves()
        behind: frozenset[str] = frozenset()
        for place, (number, steps) in enumerate(waves):
            why = await self._held(number) if place else ""
            earlier = await self._earlier() if number == self._progress.number else []
            if not why:
                await self._begin(number, steps)
                await self._perform(steps, behind)
                why = await self._stopped(number, steps, earlier)
            if why:
                await self._skip([steps for _, steps in waves[place + bool(self._is_taken(steps)) :]], why)
                return tuple(self._findings)
            behind |= {step.id for step in steps}
        await self._keep(None)
        return tuple(self._findings)

    def _waves(self) -> list[tuple[int, tuple[Step, ...]]]:
        """The waves by number; the open one is the first, with whatever steps of it are left."""
        steps = self.gate_keeper.case.plan.steps
        first = self._progress.number + (not self._progress.wave)
        waves = [(max(wave[0].wave, first), wave) for wave in group_by_wave(steps)]
        if self._progress.wave and (not waves or waves[0][0] != first):
            waves.insert(0, (first, ()))
        return waves

    def _is_taken(self, steps: Sequence[Step]) -> bool:
        """Whether all of these steps have their end already."""
        return all(step.id in self.log.outcomes for step in steps)

    async def _begin(self, number: int, steps: Sequence[Step]) -> None:
        """Write down which wave is open, before anything of it is sent."""
        before, run = self._progress, self.log.run
        is_open = number == before.number
        names = before.wave if is_open else ()
        runs = (*(one for one in before.runs if one != run), run) if is_open else (run,)
        self._progress = replace(
            before,
            number=number,
            wave=tuple(dict.fromkeys((*names, *(step.id for step in steps)))),
            runs=runs[-_RUNS:],
            performed="" if steps else before.performed,
        )
        await self._keep(self._progress)

    async def _keep(self, progress: RolloutProgress | None) -> None:
        journal, cluster = self.log.store, self.gate_keeper.case.plan.cluster
        if self.is_whole and (
            progress or self.gate_keeper.case.cluster_memory.progress or self._progress.number
        ):
            await journal.keep_progress(cluster, progress)

    async def _earlier(self) -> list[Step]:
        """The steps of the open wave that an earlier run did, and that are not to be done again."""
        if not self._progress.wave:
            return []
        again = {step.id for step in self.gate_keeper.case.plan.steps}
        found: dict[str, Step] = {}
        for run in self._progress.runs:
            try:
                record = await self.log.store.run(run, is_whole=True)
            except UsageError:  # the history has let it go
                continue
            if record.plan.program != __version__:
                continue
            for entry in record.entries:
                step = entry.step
                if step.id in self._progress.wave and step.id not in again and entry.state in SUCCESSES:
                    with suppress(UnreadableArguments):  # as if the history had let it go
                        found[step.id] = self.gate_keeper.bench.driver.typed(step)
        return list(found.values())

    async def _perform(self, steps: tuple[Step, ...], behind: frozenset[str]) -> None:
        bench = self.gate_keeper.bench
        if self.gate_keeper.subscription is not None:
            self.gate_keeper.subscription.begin()
        at_once = max(1, self.gate_keeper.case.plan.concurrency)
        await StepScheduler(
            steps, at_once, partial(execute_step, bench=bench), self.log.skip, bench.stop, behind
        ).run()

    async def _held(self, number: int) -> str:
        """Why no further wave may begin now, though the first one might; empty where it may."""
        case = self.gate_keeper.case
        memory = await self.log.store.recall()
        now = replace(case, at=memory.at, cluster_memory=memory.of(case.plan.cluster))
        in_force = apply_overrides(
            run_guards(now, (find_temporary_holds,)), self.overrides, memory.at.date()
        ).in_force
        if not in_force:
            return ""
        self._findings.append(_held(in_force[0], number))
        return f"wave {number} was not begun: {in_force[0].message}"

    async def _stopped(self, number: int, steps: Sequence[Step], earlier: Sequence[Step]) -> str:
        """Why nothing may follow this wave, all consequences drawn; empty where it passed.

        A step whose end is unknown fails nothing: a later run settles it by reading and goes on here.
        """
        outcomes = self.log.outcomes
        failed = [outcomes[step.id] for step in steps if outcomes[step.id].state is State.FAILED]
        done = [step for step in steps if outcomes[step.id].state in SUCCESSES]
        unknown = [step for step in steps if outcomes[step.id].state in OPEN]
        if failed:
            weighed = GateResult(GateStatus.BAD, f"{failed[0].step.id}: {failed[0].reason}")
        elif unknown and not self.gate_keeper.bench.stop.is_set():
            return self._incomplete(number, f": it is not known yet whether {unknown[0].id} took effect")
        else:
            weighed = await self._weighed(number, done, earlier)
        if self.gate_keeper.bench.stop.is_set() and weighed.weight is not GateStatus.BAD:
            return STOPPED
        if weighed.weight is not GateStatus.GOOD:
            return await self._reject(number, steps, earlier, weighed)
        if len(done) < len(steps):
            return self._incomplete(number)
        nodes = sorted(self._progress.nodes)
        passed = tuple(dict.fromkeys((*self._progress.passed, *nodes)))
        self._progress = replace(self._progress, wave=(), passed=passed, runs=(), performed="")
        await self._keep(self._progress)
        return ""

    async def _weighed(self, number: int, done: Sequence[Step], earlier: Sequence[Step]) -> GateResult:
        """What the gates come to for the nodes that have their effect; good where there is none.

        A soak that another run began is not begun anew, unless a gate compares how metrics grow in it.
        """
        case, rollout, clock = self.gate_keeper.case, self.gate_keeper.rollout, self.gate_keeper.bench.clock
        again = {step.node for step in case.plan.steps}
        changed = tuple(
            dict.fromkeys([*sorted(self._progress.nodes - again), *(step.node for step in (*earlier, *done))])
        )
        if not changed:
            return GateResult(GateStatus.GOOD)
        soak = rollout.soak
        if not self._progress.performed:
            self._progress = replace(self._progress, performed=format_timestamp(clock()))
            await self._keep(self._progress)
        elif not any(gate.compare == "rate" for gate in rollout.gates.metrics):
            soak = max(0.0, soak - (clock() - parse_timestamp(self._progress.performed)).total_seconds())
        self.log.listener.soaking(case.plan.cluster, number, soak)
        wave = FinishedWave(changed, tuple(done), tuple(earlier), soak)
        return await self.gate_keeper.judge(wave, frozenset((*self._progress.passed, *self._progress.nodes)))

    async def _reject(
        self, number: int, steps: Sequence[Step], earlier: Sequence[Step], weighed: GateResult
    ) -> str:
        """Remember the revision before anything is undone: a run that is killed here must not go on anew."""
        plan, revision = self.gate_keeper.case.plan, self.log.revision
        bad = weighed.weight is GateStatus.BAD
        why = f"wave {number} {'failed its gates' if bad else 'could not be judged'}: {weighed.reason}"
        self._progress = replace(self._progress, wave=(), runs=())
        await self.log.store.reject(plan.cluster, revision, why, ends_rollout=self.is_whole)
        self._findings.append(
            Diagnostic(
                Severity.ERROR,
                "gate-failed" if bad else "gate-unclear",
                f"{plan.cluster}: {why}; revision {revision.short or revision.id} is rejected here",
                "commit what mends it",
                target=plan.cluster,
            )
        )
        if bad and self.gate_keeper.rollout.on_failure == "return":
            wave = [outcome for step in steps if (outcome := self.log.outcomes.get(step.id))]
            self._findings += await undo_wave(
                wave, earlier, self.gate_keeper.case, self.gate_keeper.bench, self.log
            )
        return f"nothing follows: {why}"

    def _incomplete(self, number: int, because: str = "") -> str:
        cluster = self.gate_keeper.case.plan.cluster
        why = f"wave {number} did not come to its end{because}"
        self._findings.append(
            Diagnostic(
                Severity.WARNING,
                "wave-incomplete",
                f"{cluster}: {why}, so no further wave was begun",
                "see to the steps that were not done, and run again",
                target=cluster,
            )
        )
        return f"nothing follows: {why}"

    async def _skip(self, waves: Sequence[Sequence[Step]], why: str) -> None:
        await self.log.skip([(step, why) for wave in waves for step in wave])


def _held(violation: Diagnostic, number: int) -> Diagnostic:
    return Diagnostic(
        Severity.WARNING,
        violation.code,
        f"wave {number} and what comes after it were not begun: {violation.message}",
        violation.remedy,
        target=violation.target,
    )
