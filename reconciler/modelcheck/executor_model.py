"""The executor, a cluster and its faults as one system for the model checker.

The model does what `rollout` does, transition by transition: it reads, journals its intent, calls, reads
again and journals the outcome. It may be killed between any two transitions; then a new process, at once or
later, settles the open steps by reading, and plans again. A call may fail halfway, or get stuck and take
effect long after the executor gave it up. The product says how its cluster behaves, and what must never
happen to it.

Bounds: a number of faults in all; at most one fault or recovery between a reading and the end of the call
that is based on it, which are milliseconds apart; a stuck call takes effect, if ever, before the time ends
for which the executor considers it in flight. Until then a pass leaves out the nodes of all calls that may be
in flight; if nodes cannot be left out, no pass starts. Waves are not modelled; offers have their own model,
`offer_model`; `tests/end_to_end/test_polled_histories.py` plays histories of them with the real store.
`benchmarks/replay.py` compares the model with the executor, by the journal that `journal_model` derives.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.step_status import StepStatus
from reconciler.modelcheck.explore import Transition
from reconciler.modelcheck.state_table import StateTable

W = TypeVar("W", bound=Hashable)


class StepPhase(IntEnum):
    """How far the executor is with a step."""

    PENDING = 0
    INTENT = 1
    SENT = 2
    SUCCEEDED = 3
    ENDED = 4


OPEN = frozenset({StepPhase.INTENT, StepPhase.SENT})


class ModelState(NamedTuple):
    """The whole system at one state; worlds, plans and steps by their numbers in the state table.

    Args:
        plan: the plan that is being applied; -1 between two passes.
        phases: how far its steps are.
        running: whether the executor's process lives.
        faults: how many faults may still happen.
        struck: whether a fault or recovery has happened since the reading that the current call is based on.
        crashes: how often the executor may still be killed.
        passes: how many further passes it may start.
        late: 1 + number of a step whose stuck call may still take effect; 0 for none.
        held: numbers of further steps, sorted, whose calls count as in flight for a pass that starts before
            their time is over: a killed run left them open, or they were not answered. Kept only for products
            whose nodes can be left out, because for others it decides nothing.
    """

    world: int
    plan: int = -1
    phases: tuple[StepPhase, ...] = ()
    running: bool = True
    faults: int = 1
    struck: bool = False
    crashes: int = 1
    passes: int = 2
    late: int = 0
    held: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecutorModel(Generic[W]):
    """The transitions of one model."""

    state_table: StateTable[W]

    def begin(self, world: W, *, faults: int = 1, crashes: int = 1, passes: int = 2) -> ModelState:
        """The state before a pass."""
        return ModelState(self.state_table.number(world), faults=faults, crashes=crashes, passes=passes)

    def under(self, plan: ClusterPlan, state: ModelState) -> ModelState:
        """The state in which the executor begins to apply a given plan."""
        return self._begin_plan(state, self.state_table.add_plan(plan))

    def _begin_plan(self, state: ModelState, plan: int) -> ModelState:
        steps = self.state_table.plans[plan].steps
        return state._replace(plan=plan, phases=(StepPhase.PENDING,) * len(steps))

    def moves(self, state: ModelState) -> Iterator[Transition[ModelState]]:
        """All that can happen next, each with the invariant that it breaks, if any."""
        yield from self._list_faults(state)
        if state.late:
            yield from self._resolve_stuck_call(state)
        if state.running and state.plan >= 0:
            yield from self._continue_run(state)
        elif state.late:
            yield from self._plan_beside_calls(state)
        elif not state.running:
            yield self._restart(state)
            yield from self._plan_beside_calls(state)
        else:
            yield from self._plan_pass(state)
            yield from self._plan_beside_calls(state)

    def _resolve_stuck_call(self, state: ModelState) -> Iterator[Transition[ModelState]]:
        """A call that was given up takes effect after all, or never; the executor does not know which."""
        number = state.late - 1
        # Whether it took effect is known to the model only; the executor still treats the call as in flight.
        held = tuple(sorted({*state.held, number})) if self.state_table.single_node else ()
        freed = state._replace(late=0, held=held)
        call, name = self.state_table.called(state.world, number), self.state_table.steps[number].id
        yield Transition(
            f"the stuck call of {name} takes effect", freed._replace(world=call.world), call.broken
        )
        yield Transition(f"the stuck call of {name} is lost", freed)

    def _list_faults(self, state: ModelState) -> Iterator[Transition[ModelState]]:
        """Faults, and recoveries by themselves."""
        resting = not OPEN.isdisjoint(state.phases)
        # Reading and call are milliseconds apart; more than one fault in between would refuse every plan.
        if resting and state.struck:
            return
        _, plan, phases, running, left, _, crashes, passes, late, held = state  # twice as fast as `_replace`
        for fault in self.state_table.faults(state.world) if left else ():
            fewer = ModelState(
                fault.world, plan, phases, running, left - 1, resting, crashes, passes, late, held
            )
            yield Transition(fault.story, fewer)
        for back in self.state_table.returns(state.world):
            same = ModelState(back.world, plan, phases, running, left, resting, crashes, passes, late, held)
            yield Transition(back.story, same)

    def _plan_beside_calls(self, state: ModelState) -> Iterator[Transition[ModelState]]:
        """A pass, of this process or another one, that starts while calls may be in flight."""
        # It has to treat every open call as one in flight, as the program does: only the model knows which
        # one is stuck, or that none is because the process was killed and started again at once.
        left = {*state.held, *self._list_open_steps(state)} - {state.late - 1}
        held, broken = self._settle_steps(state.world, left)
        calls = (state.late - 1, *held) if state.late else held
        index = self.state_table.beside(state.world, calls) if calls and state.passes else -1
        if index >= 0:
            begun = self._begin_plan(state, index)._replace(
                running=True, passes=state.passes - 1, struck=False, held=held
            )
            names = " and ".join(sorted({self.state_table.steps[number].node for number in calls}))
            yield Transition(f"the reconciler reads all nodes and plans for all but {names}", begun, broken)

    def _settle_steps(self, world: int, left: Iterable[int]) -> tuple[tuple[int, ...], str]:
        """The steps that a reading does not show as done; what is wrong if it takes others for done."""
        held = tuple(
            number for number in sorted(left) if self.state_table.status(world, number) is not StepStatus.DONE
        )
        wrong = (self._find_false_outcome(world, number) for number in sorted(left) if number not in held)
        return held, next(filter(None, wrong), "")

    def _plan_pass(self, state: ModelState) -> Iterator[Transition[ModelState]]:
        index = self.state_table.planned(state.world) if state.passes else -1
        if index >= 0 and self.state_table.plans[index].steps:
            begun = self._begin_plan(state, index)
            begun = begun._replace(passes=state.passes - 1, struck=False, held=())
            yield Transition("the reconciler reads all nodes and plans", begun)

    def _continue_run(self, state: ModelState) -> Iterator[Transition[ModelState]]:
        plan, phases = self.state_table.plans[state.plan], state.phases
        if all(phase >= StepPhase.SUCCEEDED for phase in phases):
            whole = StepPhase.ENDED not in phases
            broken = (
                self.state_table.model.find_leftover(self.state_table.worlds[state.world], plan)
                if whole
                else ""
            )
            yield Transition("the run ends", state._replace(plan=-1, phases=()), broken)
            return
        # A kill is possible before every transition: between reading, intent, call and outcome.
        if state.crashes:
            killed = state._replace(running=False, crashes=state.crashes - 1)
            yield Transition("the reconciler is killed", killed)
        is_free = sum(phase in OPEN for phase in phases) < plan.concurrency
        for place, after in enumerate(self.state_table.before[state.plan]):
            step = plan.steps[place]
            match phases[place]:
                case StepPhase.PENDING if is_free and all(
                    phases[one] is StepPhase.SUCCEEDED for one in after
                ):
                    yield self._start_step(state, place, step)
                case StepPhase.INTENT:
                    yield from self._call_node(state, place, step)
                case StepPhase.SENT:
                    yield self._conclude_step(state, place, step)

    def _start_step(self, state: ModelState, place: int, step: Step) -> Transition[ModelState]:
        number = self.state_table.first[state.plan] + place
        status = self.state_table.status(state.world, number)
        read = state._replace(struck=False)
        if status is StepStatus.READY and not step.is_manual:
            begun = _set_phase(read, place, StepPhase.INTENT)
            story = f"{step.id}: the nodes show that it may start; the intent is written"
            return Transition(story, begun, self._find_start_objection(begun, place, step))
        if status is StepStatus.DONE:
            found = _set_phase(read, place, StepPhase.SUCCEEDED)
            return Transition(
                f"{step.id} is found done", found, self._find_false_outcome(state.world, number)
            )
        return Transition(f"{step.id} is not performed ({status})", self._end_step(read, place))

    def _end_step(self, state: ModelState, place: int) -> ModelState:
        """The state after a step has ended without success, with all steps that depend on it."""
        # In one transition: the scheduler skips the dependent steps before it starts anything else. A run
        # that is killed in between leaves steps that were never started, which the next run skips as well.
        phases = list(state.phases)
        phases[place] = StepPhase.ENDED
        for one, after in enumerate(self.state_table.before[state.plan]):
            if phases[one] is StepPhase.PENDING and any(
                phases[earlier] is StepPhase.ENDED for earlier in after
            ):
                phases[one] = StepPhase.ENDED
        return state._replace(phases=tuple(phases))

    def _find_start_objection(self, state: ModelState, place: int, step: Step) -> str:
        """Why a step that has just started must not have: by the plan itself, or by the world."""
        plan, phases = self.state_table.plans[state.plan], state.phases
        if sum(phase in OPEN for phase in phases) > plan.concurrency:
            return f"{step.id} starts while the limit of {plan.concurrency} running steps is reached"
        for one in self.state_table.before[state.plan][place]:
            if phases[one] is not StepPhase.SUCCEEDED:
                return f"{step.id} starts before {plan.steps[one].id}, on which it depends, is done"
        return self.state_table.model.find_obstacle(self.state_table.worlds[state.world], step)

    def _call_node(self, state: ModelState, place: int, step: Step) -> Iterator[Transition[ModelState]]:
        number, sent = self.state_table.first[state.plan] + place, _set_phase(state, place, StepPhase.SENT)
        known = state.phases[place] is StepPhase.INTENT
        # A kill after a call without intent would leave an effect that no later run looks for.
        blind = "" if known else f"{step.id} is called, and the journal does not know of it"
        call = self.state_table.called(state.world, number)
        yield Transition(call.story, sent._replace(world=call.world), blind or call.broken)
        if not state.faults or state.struck:
            return
        hit = sent._replace(faults=state.faults - 1, struck=True)
        if not state.late:
            yield Transition(f"{step.id} is called and gets stuck on its way", hit._replace(late=1 + number))
        for half in self.state_table.halves(state.world, number):
            yield Transition(half.story, hit._replace(world=half.world), half.broken)

    def _conclude_step(self, state: ModelState, place: int, step: Step) -> Transition[ModelState]:
        number, read = self.state_table.first[state.plan] + place, state._replace(struck=False)
        # What the call answered does not count, only what a reading shows.
        if self.state_table.status(state.world, number) is not StepStatus.DONE:
            return Transition(f"{step.id} is recorded as not done", self._end_step(read, place))
        read = read._replace(held=tuple(one for one in state.held if one != number))
        ended = _set_phase(read, place, StepPhase.SUCCEEDED)
        broken = self._find_false_outcome(state.world, number)
        return Transition(f"{step.id} is recorded as done", ended, broken)

    def _restart(self, state: ModelState) -> Transition[ModelState]:
        """A new process settles the open steps by reading; the next pass plans again."""
        # The rest of the old plan is dropped: its steps rest on readings from before the kill.
        fresh = state._replace(running=True, plan=-1, phases=(), struck=False, held=())
        _, broken = self._settle_steps(state.world, {*state.held, *self._list_open_steps(state)})
        return Transition(
            "the reconciler is started again and settles what was open by reading", fresh, broken
        )

    def _list_open_steps(self, state: ModelState) -> set[int]:
        """The numbers of the current plan's steps that were started and have no outcome."""
        first = self.state_table.first[state.plan]
        return {first + place for place, phase in enumerate(state.phases) if phase in OPEN}

    def _find_false_outcome(self, world: int, number: int) -> str:
        """The broken invariant if the journal says that a step is done; empty if it is right."""
        step = self.state_table.steps[number]
        if self.state_table.model.is_effective(self.state_table.worlds[world], step):
            return ""
        return f"the journal says that {step.id} is done, and it is not"


def _set_phase(state: ModelState, place: int, phase: StepPhase) -> ModelState:
    return state._replace(phases=(*state.phases[:place], phase, *state.phases[place + 1 :]))
