"""Runs waves in order: each is performed, soaks, and has to pass its gates before the next one starts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from reconciler import __version__
from reconciler.core.fields import resolve_amount
from reconciler.core.guard import apply_overrides, run_guards
from reconciler.core.outcome import OPEN, SUCCESSES, State
from reconciler.core.plan import Step
from reconciler.core.policy import Override
from reconciler.core.rollout_rules import PendingReturn, RolloutProgress
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.core.wave_state import WAVE_WAITS, WaveState
from reconciler.core.waves import group_by_wave
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import UnreadableArguments, UsageError
from reconciler.guards.change_control import (
    find_steps_to_approve,
    find_temporary_holds,
    select_current_overrides,
)
from reconciler.ports.store import RunRecord
from reconciler.rollout.gates import FinishedWave, GateKeeper
from reconciler.rollout.metric_comparison import GateResult, GateStatus
from reconciler.rollout.rollback import FailedWave, take_back_nodes, undo_wave
from reconciler.rollout.run_log import RunLog
from reconciler.rollout.step_executor import STOPPED, run_step
from reconciler.rollout.step_scheduler import StepScheduler, count_parallel
from reconciler.rollout.wave_return import find_wave_offers, narrow_return, withdraw_wave
from reconciler.text.one_line import join_some

_NAMED = 3

_RUNS = 10
"""Runs of an open wave that are remembered: each retry adds one, and the fact must not grow without limit."""


@dataclass(slots=True)
class WaveRunner:
    """The rollout of one cluster's plan, under the cluster's lock.

    Its progress is stored before a wave starts and after it has passed, so that after a stop or a kill, a
    later run of the same content continues with the same wave and its gates.

    Args:
        overrides: may set holds of further waves aside.
        is_whole: whether the plan covers the whole cluster; a run of one node does not touch the progress of
            an open rollout.
    """

    gate_keeper: GateKeeper
    log: RunLog
    overrides: Sequence[Override]
    is_whole: bool = True
    _progress: RolloutProgress = field(init=False)
    _wave_state: WaveState | None = field(init=False, default=None)
    _findings: list[Diagnostic] = field(init=False, default_factory=list)

    async def run(self) -> tuple[Diagnostic, ...]:
        """Perform the plan's waves; gives what stopped them, if anything did."""
        case = self.gate_keeper.guard_context
        self._progress = case.progress or RolloutProgress(
            case.content,
            number=0,
            total=len({step.node for step in case.plan.steps}),
            digests=case.digests,
        )
        if case.digest and case.digest in case.cluster_memory.approved:
            marked = {step.id for step, _ in find_steps_to_approve(case)}
            approved = tuple(sorted(marked.union(self._progress.approved)))
            self._progress = replace(self._progress, approved=approved)
        self._wave_state = case.wave_state
        stalled = case.stalled.keys()
        # A polled node that shows no effect is unknown: only its own report of a failure rejects a revision.
        failed = sorted(self._progress.nodes & (stalled & case.refused if case.polling else stalled))
        if failed:
            bad = GateResult(GateStatus.BAD, f"{failed[0]}: {case.stalled[failed[0]]}")
            await self._reject(self._progress.number, [], await self._list_earlier_steps(), bad)
            return tuple(self._findings)
        waves = self._number_waves()
        behind: frozenset[str] = frozenset()
        for index, (number, steps) in enumerate(waves):
            why = await self._find_hold(number) if index else ""
            earlier = await self._list_earlier_steps() if number == self._progress.number else []
            why = why or await self._find_reserved(number, steps)
            if not why:
                own = await self._leave_out_held(steps)
                await self._open_wave(number, own)
                await self._perform(own, behind)
                why = await self._close_wave(number, own, earlier)
            if why:
                is_performed = all(step.id in self.log.outcomes for step in steps)
                left = [step for _, later in waves[index + is_performed :] for step in later]
                await self.log.record_skipped([(step, why) for step in left])
                return tuple(self._findings)
            behind |= {step.id for step in steps}
        await self._store_progress(None)
        return tuple(self._findings)

    def _number_waves(self) -> list[tuple[int, tuple[Step, ...]]]:
        """The waves by number; an open wave is the first, with the steps of it that are left."""
        steps = self.gate_keeper.guard_context.plan.steps
        first = self._progress.number + (not self._progress.wave)
        waves = [(max(wave[0].wave, first), wave) for wave in group_by_wave(steps)]
        if self._progress.wave and (not waves or waves[0][0] != first):
            waves.insert(0, (first, ()))  # nothing is left to send, but its gates have not been evaluated
        return waves

    async def _open_wave(self, number: int, steps: Sequence[Step]) -> None:
        # Stored before anything of the wave is sent: a killed run would otherwise leave changed nodes that no
        # later run holds against the gates.
        before, run, context = self._progress, self.log.run, self.gate_keeper.context
        is_open = number == before.number
        names = before.wave if is_open else ()
        runs = (*(one for one in before.runs if one != run), run) if is_open else (run,)
        self._progress = replace(
            before,
            number=number,
            wave=tuple(dict.fromkeys((*names, *(step.id for step in steps)))),
            runs=runs[-_RUNS:],
            performed="" if steps else before.performed,
            begun=before.begun if is_open and before.begun else format_timestamp(context.clock()),
        )
        await self._store_progress(self._progress)

    async def _store_progress(self, progress: RolloutProgress | None) -> None:
        journal, cluster = self.log.store, self.gate_keeper.guard_context.plan.cluster
        if self.is_whole and (
            progress or self.gate_keeper.guard_context.cluster_memory.progress or self._progress.number
        ):
            await journal.store_progress(cluster, progress)

    async def _read_records(self) -> list[RunRecord]:
        """The runs that sent something to the open wave, as far as this version can judge their steps."""
        records: list[RunRecord] = []
        for run in self._progress.runs:
            with suppress(UsageError):  # the history no longer has this run
                record = await self.log.store.run(run, is_whole=True)
                if record.plan.program == __version__:
                    records.append(record)
        return records

    async def _list_earlier_steps(self) -> list[Step]:
        """The steps of the open wave that an earlier run performed, and that this plan does not repeat."""
        if not self._progress.wave:
            return []
        again = {step.id for step in self.gate_keeper.guard_context.plan.steps}
        found: dict[str, Step] = {}
        for record in await self._read_records():
            for entry in record.entries:
                step = entry.step
                if step.id in self._progress.wave and step.id not in again and entry.state in SUCCESSES:
                    with suppress(UnreadableArguments):  # as if the history no longer had it
                        found[step.id] = self.gate_keeper.context.driver.load_step(step)
        return list(found.values())

    async def _perform(self, steps: tuple[Step, ...], behind: frozenset[str]) -> None:
        context = self.gate_keeper.context
        at_once = count_parallel(steps, self.gate_keeper.guard_context.plan.concurrency)
        await StepScheduler(
            steps,
            at_once,
            partial(run_step, context=context),
            self.log.record_skipped,
            context.stop,
            behind,
        ).run()

    async def _find_hold(self, number: int) -> str:
        """Why a further wave may not start now; empty if it may."""
        # The guards have judged the plan before its first wave. Hours may have passed since: a window may
        # have closed, a freeze begun, somebody suspended the cluster.
        case = self.gate_keeper.guard_context
        memory = await self.log.store.read_cluster_memory(case.plan.cluster)
        now = replace(case, now=memory.at, cluster_memory=memory.get_cluster_memory(case.plan.cluster))
        overrides = select_current_overrides(self.overrides, now.cluster_memory.suspended, case.now)
        in_force = apply_overrides(
            run_guards(now, (find_temporary_holds,)), overrides, memory.at.date()
        ).in_force
        if not in_force:
            return ""
        hold = in_force[0]
        self._findings.append(
            Diagnostic(
                Severity.WARNING,
                hold.code,
                f"wave {number} and all later waves were not started: {hold.message}",
                hold.remedy,
                target=hold.target,
            )
        )
        return f"wave {number} was not started: {hold.message}"

    async def _find_reserved(self, number: int, steps: Sequence[Step]) -> str:
        """Why a wave may not start because of reservations; empty if it may."""
        # The plan has no step that a reservation held back when it was made. A wave that begins on other
        # nodes than all of its own would end incomplete: it waits as a whole.
        context = self.gate_keeper.context
        await context.reservations.read()
        for step in steps:
            hold = context.reservations.find_hold(step, context.driver)
            if hold is not None and not hold.is_hold:
                return self._report_waiting(number, f"{step.node}: {hold.why}")
        return ""

    async def _leave_out_held(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """The steps of a wave without those that a hold keeps back, which end as not performed."""
        # A hold that was ordered during the run may last for days: the wave does without the node, as the
        # plan of the next run would.
        context = self.gate_keeper.context
        holds = {step.id: context.reservations.find_hold(step, context.driver) for step in steps}
        held = {id_: hold.why for id_, hold in holds.items() if hold is not None and hold.is_hold}
        left: list[Step] = []
        skipped: list[tuple[Step, str]] = []
        for step in steps:
            if step.id in held:
                skipped.append((step, f"nothing was sent: {step.node}: {held[step.id]}"))
            elif before := next((name for name in step.after if name in held), ""):
                held[step.id] = held[before]
                skipped.append((step, f"nothing was sent: {before} was not done"))
            else:
                left.append(step)
        if skipped:
            await self.log.record_skipped(skipped)
        return tuple(left)

    async def _close_wave(self, number: int, steps: Sequence[Step], earlier: Sequence[Step]) -> str:
        """Evaluate a wave that was performed; why no further wave may follow, empty if it passed."""
        outcomes = self.log.outcomes
        failed = [outcomes[step.id] for step in steps if outcomes[step.id].state is State.FAILED]
        done = [step for step in steps if outcomes[step.id].state in SUCCESSES]
        if failed:
            result = GateResult(GateStatus.BAD, f"{failed[0].step.id}: {failed[0].reason}")
        elif why := self._find_wait(number, steps):
            return why
        else:
            result = await self._evaluate_gates(number, done, earlier)
        if self.gate_keeper.context.stop.is_set() and result.status is not GateStatus.BAD:
            return STOPPED
        if result.status is GateStatus.PENDING:
            return self._report_waiting(number, result.reason)
        if result.status is not GateStatus.GOOD:
            return await self._reject(number, steps, earlier, result)
        if len(done) < len(steps):
            return self._report_incomplete(number)
        nodes = sorted(self._progress.nodes)
        passed = tuple(dict.fromkeys((*self._progress.passed, *nodes)))
        self._progress = replace(self._progress, wave=(), passed=passed, runs=(), performed="", begun="")
        self._wave_state = None
        await self._store_progress(self._progress)
        return ""

    def _find_wait(self, number: int, steps: Sequence[Step]) -> str:
        """Why a wave of which nothing failed cannot be evaluated now; empty if it can."""
        # A stopped run says that it was stopped, not that it waits.
        if self.gate_keeper.context.stop.is_set():
            return ""
        ended = {step.id: self.log.outcomes[step.id].state for step in steps}
        offered = [step.node for step in steps if ended[step.id] is State.OFFERED]
        if offered:
            names = join_some(sorted(offered), _NAMED)
            return self._report_waiting(number, f"{len(offered)} of its nodes may take their offer ({names})")
        if unknown := [id_ for id_, state in ended.items() if state in OPEN]:
            # Unknown is no failure: a later run settles the step by reading, and continues with this wave.
            return self._report_incomplete(number, f": it is unknown whether {unknown[0]} took effect")
        state = self._wave_state
        if state is None or state.can_close:
            return ""
        done = {step.node for step in steps if ended[step.id] in SUCCESSES}
        left = {*state.waiting, *state.unsent, *state.unknown} - done
        return self._report_waiting(number, state.describe()) if left else ""

    async def _evaluate_gates(self, number: int, done: Sequence[Step], earlier: Sequence[Step]) -> GateResult:
        """The gates' result for the nodes that show their effect; good if there are none."""
        case, rollout, clock = (
            self.gate_keeper.guard_context,
            self.gate_keeper.rollout,
            self.gate_keeper.context.clock,
        )
        again = {step.node for step in case.plan.steps}
        state = self._wave_state
        members = {node.name for node in case.entry.members()}
        shown = (self._progress.nodes & members if case.polling else self._progress.nodes) - again
        shown -= frozenset(state.unknown if state else ())
        changed = tuple(dict.fromkeys([*sorted(shown), *(step.node for step in (*earlier, *done))]))
        if not changed:
            return GateResult(GateStatus.GOOD)
        soak = rollout.soak
        if not self._progress.performed:
            self._progress = replace(self._progress, performed=format_timestamp(clock()))
            await self._store_progress(self._progress)
        # A soak that an earlier run began continues, unless a gate needs the growth of a metric: the reading
        # at the start of that soak is lost.
        elif not any(gate.compare == "rate" for gate in rollout.gates.metrics):
            passed = (clock() - parse_timestamp(self._progress.performed)).total_seconds()
            soak -= min(max(passed, 0.0), soak)  # not longer than whole, if the clock was put back since
        self.log.listener.on_soaking(case.plan.cluster, number, soak)
        tolerated = (
            state.allowed - len(state.unknown) if state else resolve_amount(rollout.max_unknown, len(changed))
        )
        wave = FinishedWave(
            changed,
            tuple(done),
            tuple(earlier),
            soak,
            max(0, tolerated),
            parse_timestamp(self._progress.begun or self._progress.performed),
            parse_timestamp(self._progress.performed),
        )
        result = await self.gate_keeper.evaluate(
            wave, frozenset((*self._progress.passed, *self._progress.nodes))
        )
        self.log.listener.on_gated(case.plan.cluster, number, result.status.value)
        return result

    async def _reject(
        self, number: int, steps: Sequence[Step], earlier: Sequence[Step], result: GateResult
    ) -> str:
        """Reject the revision for this cluster, and undo the wave if the rollout says so."""
        plan, revision = self.gate_keeper.guard_context.plan, self.log.revision
        bad = result.status is GateStatus.BAD
        failed = "failed its gates" if bad else "has no clear gate result"
        why = f"wave {number} {failed}: {result.reason}"
        goes_back = bad and self.gate_keeper.rollout.on_failure == "return"
        pending = await self._plan_return(goes_back=goes_back)
        self._progress = replace(self._progress, wave=(), runs=())
        # Stored before anything is undone: after a kill, the next run must not apply the revision again, and
        # has to finish what is to do for the offers.
        await self.log.store.reject(
            plan.cluster,
            revision,
            why,
            ends_rollout=self.is_whole,
            content=self.gate_keeper.guard_context.content,
            pending=pending,
        )
        self._findings.append(
            Diagnostic(
                Severity.ERROR,
                "gate-failed" if bad else "gate-unclear",
                f"{plan.cluster}: {why}; revision {revision.short or revision.id} is rejected here",
                f"commit a fix; if the cause was elsewhere, `reconcile retry {plan.cluster}`",
                target=plan.cluster,
            )
        )
        context, guard_context = self.gate_keeper.context, self.gate_keeper.guard_context
        # Whatever follows: what no node has taken yet must not be taken any more.
        taken = await withdraw_wave(pending, guard_context, context, self.log) if pending else []
        if goes_back:
            wave = [outcome for step in steps if (outcome := self.log.outcomes.get(step.id))]
            failed_wave = FailedWave(wave, earlier, taken)
            self._findings += await undo_wave(failed_wave, guard_context, context, self.log)
        else:
            self._findings += await take_back_nodes(guard_context, context, self.log)
        if pending:
            await narrow_return(pending, plan.cluster, self.log)
        return f"the rollout stops: {why}"

    async def _plan_return(self, *, goes_back: bool) -> PendingReturn | None:
        """What is to do for the offers of the open wave; that of earlier ones has entries of its own."""
        case, progress, log = self.gate_keeper.guard_context, self._progress, self.log
        if not case.polling:
            return None
        runs = {*progress.runs, log.run}
        cluster, begun = case.plan.cluster, progress.begun
        offers = await find_wave_offers(log.store, cluster, progress.nodes, runs, begun)
        return PendingReturn(log.run, log.revision, offers, goes_back) if offers else None

    def _report_waiting(self, number: int, what: str) -> str:
        """Why no further wave is started now, although nothing has failed."""
        cluster = self.gate_keeper.guard_context.plan.cluster
        why = f"wave {number} waits: {what}"
        self._findings.append(
            Diagnostic(
                Severity.NOTE,
                WAVE_WAITS,
                f"{cluster}: {why}",
                "a later run continues with it",
                target=cluster,
            )
        )
        return why

    def _report_incomplete(self, number: int, because: str = "") -> str:
        cluster = self.gate_keeper.guard_context.plan.cluster
        why = f"wave {number} is incomplete{because}"
        self._findings.append(
            Diagnostic(
                Severity.WARNING,
                "wave-incomplete",
                f"{cluster}: {why}, so no further wave was started",
                "fix the cause of the steps that were not done, then run again",
                target=cluster,
            )
        )
        return f"the rollout stops: {why}"
