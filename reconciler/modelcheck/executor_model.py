"""The executor, a cluster and its faults as one system for the model checker.

The model does what `rollout` does, transition by transition: it reads, journals its intent, calls, reads
again and journals the outcome. It may be killed between any two transitions; then a new process, at once or
later, settles the open steps by reading, and plans again. A call may fail halfway, or get stuck and take
effect long after the executor gave it up. The product says how its cluster behaves, and what must never
happen to it.

Bounds: a number of faults in all; at most one fault or recovery between a reading and the end of the call
that is based on it, which are milliseconds apart; a stuck call takes effect, if ever, before the time ends
for which the executor considers it in flight. Until then a pass leaves out the nodes of all calls that may be
in flight; if nodes cannot be left out, no pass starts. Waves and offers are not modelled.
`benchmarks/replay.py` compares the model with the executor, by the journal that `journal_model` derives.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.step import StepStatus
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
    """The whole system at one moment; worlds, plans and steps by their numbers in the state table.

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
        """The moment before a pass."""
        return ModelState(self.state_table.number(world), faults=faults, crashes=crashes, passes=passes)

    def under(self, plan: ClusterPlan, moment: ModelState) -> ModelState:
        """The moment in which the executor begins to apply a given plan."""
        return moment._replace(
            plan=self.state_table.kept(plan), phases=(StepPhase.PENDING,) * len(plan.steps)
        )

    def moves(self, moment: ModelState) -> Iterator[Transition[ModelState]]:
        """All that can happen next, each with the invariant that it breaks, if any."""
        yield from self._surroundings(moment)
        if moment.late:
            yield from self._stuck(moment)
        if moment.running and moment.plan >= 0:
            yield from self._executed(moment)
        elif moment.late:
            yield from self._beside(moment)
        elif not moment.running:
            yield self._resumed(moment)
            yield from self._beside(moment)
        else:
            yield from self._planned(moment)
            yield from self._beside(moment)

    def _stuck(self, moment: ModelState) -> Iterator[Transition[ModelState]]:
        """A call that was given up takes effect after all, or never; the executor does not know which."""
        number = moment.late - 1
        held = tuple(sorted({*moment.held, number})) if self.state_table.single_node else ()
        freed = moment._replace(late=0, held=held)
        call, name = self.state_table.called(moment.world, number), self.state_table.steps[number].id
        yield Transition(
            f"the stuck call of {name} takes effect", freed._replace(world=call.world), call.broken
        )
        yield Transition(f"the stuck call of {name} is lost", freed)

    def _surroundings(self, moment: ModelState) -> Iterator[Transition[ModelState]]:
        """Faults, and recoveries by themselves."""
        resting = not OPEN.isdisjoint(moment.phases)
        if resting and moment.struck:
            return
        _, plan, phases, running, left, _, crashes, passes, late, held = moment  # twice as fast as `_replace`
        for fault in self.state_table.faults(moment.world) if left else ():
            fewer = ModelState(
                fault.world, plan, phases, running, left - 1, resting, crashes, passes, late, held
            )
            yield Transition(fault.story, fewer)
        for back in self.state_table.returns(moment.world):
            same = ModelState(back.world, plan, phases, running, left, resting, crashes, passes, late, held)
            yield Transition(back.story, same)

    def _beside(self, moment: ModelState) -> Iterator[Transition[ModelState]]:
        """A pass, of this process or another one, that starts while calls may be in flight."""
        # It has to treat every open call as one in flight, as the program does: only the model knows which
        # one is stuck, or that none is because the process was killed and started again at once.
        left = {*moment.held, *self._open(moment)} - {moment.late - 1}
        held, broken = self._settled(moment.world, left)
        calls = (moment.late - 1, *held) if moment.late else held
        index = self.state_table.beside(moment.world, calls) if calls and moment.passes else -1
        if index >= 0:
            begun = moment._replace(
                plan=index,
                phases=(StepPhase.PENDING,) * len(self.state_table.plans[index].steps),
                running=True,
                passes=moment.passes - 1,
                struck=False,
                held=held,
            )
            names = " and ".join(sorted({self.state_table.steps[number].node for number in calls}))
            yield Transition(f"the reconciler reads all nodes and plans for all but {names}", begun, broken)

    def _settled(self, world: int, left: Iterable[int]) -> tuple[tuple[int, ...], str]:
        """The steps that a reading does not show as done, and what is false about calling the others done."""
        held = tuple(
            number for number in sorted(left) if self.state_table.status(world, number) is not StepStatus.DONE
        )
        lies = (self._lie(world, number) for number in sorted(left) if number not in held)
        return held, next(filter(None, lies), "")

    def _planned(self, moment: ModelState) -> Iterator[Transition[ModelState]]:
        if not moment.passes:
            return
        index = self.state_table.planned(moment.world)
        steps = self.state_table.plans[index].steps
        if steps:
            begun = moment._replace(
                plan=index,
                phases=(StepPhase.PENDING,) * len(steps),
                passes=moment.passes - 1,
                struck=False,
                held=(),
            )
            yield Transition("the reconciler reads all nodes and plans", begun)

    def _executed(self, moment: ModelState) -> Iterator[Transition[ModelState]]:
        plan, phases = self.state_table.plans[moment.plan], moment.phases
        if all(phase >= StepPhase.SUCCEEDED for phase in phases):
            whole = StepPhase.ENDED not in phases
            broken = self.state_table.model.left(self.state_table.worlds[moment.world], plan) if whole else ""
            yield Transition("the run ends", moment._replace(plan=-1, phases=()), broken)
            return
        if moment.crashes:
            killed = moment._replace(running=False, crashes=moment.crashes - 1)
            yield Transition("the reconciler is killed", killed)
        is_free = sum(phase in OPEN for phase in phases) < plan.concurrency
        for place, after in enumerate(self.state_table.before[moment.plan]):
            step = plan.steps[place]
            match phases[place]:
                case StepPhase.PENDING if is_free and all(
                    phases[one] is StepPhase.SUCCEEDED for one in after
                ):
                    yield self._looked(moment, place, step)
                case StepPhase.INTENT:
                    yield from self._sent(moment, place, step)
                case StepPhase.SENT:
                    yield self._concluded(moment, place, step)

    def _looked(self, moment: ModelState, place: int, step: Step) -> Transition[ModelState]:
        status = self._standing(moment, place)
        looked = moment._replace(struck=False)
        if status is StepStatus.READY and not step.waits_for_person:
            begun = _at(looked, place, StepPhase.INTENT)
            story = f"{step.id}: the nodes show that it may start; the intent is written"
            return Transition(story, begun, self._against(begun, place, step))
        if status is StepStatus.DONE:
            found = _at(looked, place, StepPhase.SUCCEEDED)
            return Transition(f"{step.id} is found done", found, self._lie_at(moment, place))
        return Transition(f"{step.id} is not performed ({status})", self._ended(looked, place))

    def _ended(self, moment: ModelState, place: int) -> ModelState:
        """The moment after a step has ended without success, with all steps that depend on it."""
        # In one transition: the scheduler skips the dependent steps before it starts anything else. A run
        # that is killed in between leaves steps that were never started, which the next run skips as well.
        phases = list(moment.phases)
        phases[place] = StepPhase.ENDED
        for one, after in enumerate(self.state_table.before[moment.plan]):
            if phases[one] is StepPhase.PENDING and any(
                phases[earlier] is StepPhase.ENDED for earlier in after
            ):
                phases[one] = StepPhase.ENDED
        return moment._replace(phases=tuple(phases))

    def _against(self, moment: ModelState, place: int, step: Step) -> str:
        """Why a step that has just started must not have: by the plan itself, or by the world."""
        plan, phases = self.state_table.plans[moment.plan], moment.phases
        if sum(phase in OPEN for phase in phases) > plan.concurrency:
            return f"{step.id} starts while the limit of {plan.concurrency} running steps is reached"
        for one in self.state_table.before[moment.plan][place]:
            if phases[one] is not StepPhase.SUCCEEDED:
                return f"{step.id} starts before {plan.steps[one].id}, on which it depends, is done"
        return self.state_table.model.against(self.state_table.worlds[moment.world], step)

    def _sent(self, moment: ModelState, place: int, step: Step) -> Iterator[Transition[ModelState]]:
        number, sent = self.state_table.first[moment.plan] + place, _at(moment, place, StepPhase.SENT)
        known = moment.phases[place] is StepPhase.INTENT
        blind = "" if known else f"{step.id} is called, and the journal does not know of it"
        call = self.state_table.called(moment.world, number)
        yield Transition(call.story, sent._replace(world=call.world), blind or call.broken)
        if not moment.faults or moment.struck:
            return
        hit = sent._replace(faults=moment.faults - 1, struck=True)
        if not moment.late:
            yield Transition(f"{step.id} is called and gets stuck on its way", hit._replace(late=1 + number))
        for half in self.state_table.halves(moment.world, number):
            yield Transition(half.story, hit._replace(world=half.world), half.broken)

    def _concluded(self, moment: ModelState, place: int, step: Step) -> Transition[ModelState]:
        done = self._standing(moment, place) is StepStatus.DONE  # what the call answered does not count
        read = moment._replace(struck=False)
        if done:
            number = self.state_table.first[moment.plan] + place
            read = read._replace(held=tuple(one for one in moment.held if one != number))
        ended = _at(read, place, StepPhase.SUCCEEDED) if done else self._ended(read, place)
        broken = self._lie_at(moment, place) if done else ""
        return Transition(f"{step.id} is recorded as {'done' if done else 'not done'}", ended, broken)

    def _resumed(self, moment: ModelState) -> Transition[ModelState]:
        """A new process settles the open steps by reading; the next pass plans again."""
        fresh = moment._replace(running=True, plan=-1, phases=(), struck=False, held=())
        _, broken = self._settled(moment.world, {*moment.held, *self._open(moment)})
        return Transition(
            "the reconciler is started again and settles what was open by reading", fresh, broken
        )

    def _open(self, moment: ModelState) -> set[int]:
        """The numbers of the current plan's steps that were started and have no outcome."""
        first = self.state_table.first[moment.plan]
        return {first + place for place, phase in enumerate(moment.phases) if phase in OPEN}

    def _lie_at(self, moment: ModelState, place: int) -> str:
        return self._lie(moment.world, self.state_table.first[moment.plan] + place)

    def _lie(self, world: int, number: int) -> str:
        """The broken invariant if the journal says that a step is done; empty if it is right."""
        step = self.state_table.steps[number]
        if self.state_table.model.effective(self.state_table.worlds[world], step):
            return ""
        return f"the journal says that {step.id} is done, and it is not"

    def _standing(self, moment: ModelState, place: int) -> StepStatus:
        return self.state_table.status(moment.world, self.state_table.first[moment.plan] + place)


def _at(moment: ModelState, place: int, phase: StepPhase) -> ModelState:
    return moment._replace(phases=(*moment.phases[:place], phase, *moment.phases[place + 1 :]))
