"""A plan rehearsed: the executor, a cluster and its faults as one system for the model checker.

The executor is the one of the engine, move by move: it reads, writes its intent, calls, reads again and
records; it may be killed between any two moves, and then a new one settles what was left open by reading
and plans anew. A call may fail halfway, or get stuck and take effect long after it was given up. What the
cluster does, and what must never happen to it, is the product's.

Bounds: so many faults in all; at most one fault or return between a reading and the end of the call that
rests on it, which are milliseconds apart; a call that was given up takes effect, if ever, before the
executor settles it or begins another pass, for which it waits.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

from reconciler.core.explore import Move
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.verdict import Standing

W = TypeVar("W", bound=Hashable)


class Play(Protocol[W]):
    """What a product supplies; W is its world: all nodes at one moment, frozen. All of it is pure."""

    def faults(self, world: W) -> Iterable[tuple[str, W]]:
        """What may go wrong, one thing each: a sentence, and the world after it."""

    def returns(self, world: W) -> Iterable[tuple[str, W]]:
        """What may come back by itself, at no cost."""

    def plan(self, world: W) -> ClusterPlan:
        """What a pass that begins now would apply; without steps where a guard refuses."""

    def standing(self, world: W, step: Step) -> Standing:
        """How the step stands, judged from what the nodes answer in this world."""

    def performed(self, world: W, step: Step) -> W:
        """What the step's call makes of the world; the same where the cluster refuses it."""

    def halves(self, world: W, step: Step) -> Iterable[tuple[str, W]]:
        """Ways in which the call may fail halfway; each counts as a fault."""

    def broken(self, before: W, step: Step, after: W) -> str:
        """The invariant that this call breaks, a sentence; empty where all hold."""

    def effective(self, world: W, step: Step) -> bool:
        """Whether the step's effect is there, by the world itself and not by anybody's answer."""


class Phase(IntEnum):
    """How far the executor is with a step."""

    PENDING = 0
    INTENT = 1
    SENT = 2
    SUCCEEDED = 3
    ENDED = 4


OPEN = frozenset({Phase.INTENT, Phase.SENT})


class Moment(NamedTuple, Generic[W]):
    """Everything at one moment.

    Args:
        plan: index of the plan under way; -1 between two passes.
        phases: how far its steps are.
        running: whether the executor lives.
        faults: how many faults may still happen.
        struck: whether one, or a return, has happened since the reading that a call under way rests on.
        crashes: how often the executor may still be killed.
        passes: how many further passes it may begin.
        late: 1 + index of a step whose call may still take effect; 0 for none.
    """

    world: W
    plan: int = -1
    phases: tuple[Phase, ...] = ()
    running: bool = True
    faults: int = 1
    struck: bool = False
    crashes: int = 1
    passes: int = 2
    late: int = 0


@dataclass(slots=True)
class Rehearsal(Generic[W]):
    """The moves of one play; it remembers plans and judgements, which are the same for the same world."""

    play: Play[W]
    _plans: list[ClusterPlan] = field(init=False, default_factory=list)
    _steps: list[Step] = field(init=False, default_factory=list)
    _first: list[int] = field(init=False, default_factory=list)
    _plan_of: dict[W, int] = field(init=False, default_factory=dict)
    _standings: dict[tuple[W, int], Standing] = field(init=False, default_factory=dict)

    def under(self, plan: ClusterPlan, moment: Moment[W]) -> Moment[W]:
        """The moment in which the executor takes up a given plan."""
        return moment._replace(plan=self._kept(plan), phases=(Phase.PENDING,) * len(plan.steps))

    def moves(self, moment: Moment[W]) -> Iterator[Move[Moment[W]]]:
        """Whatever can happen next, each with the invariant that it breaks, if any."""
        yield from self._surroundings(moment)
        if moment.late:
            yield from self._stuck(moment)
        if moment.running and moment.plan >= 0:
            yield from self._executed(moment)
        elif moment.late:
            return  # settling by reading, and a new pass, wait until no call can be on its way any more
        elif not moment.running:
            yield self._resumed(moment)
        else:
            yield from self._planned(moment)

    def _stuck(self, moment: Moment[W]) -> Iterator[Move[Moment[W]]]:
        """A call that was given up takes effect after all, or never."""
        step, freed = self._steps[moment.late - 1], moment._replace(late=0)
        world = self.play.performed(moment.world, step)
        broken = self.play.broken(moment.world, step, world)
        yield Move(f"the stuck call of {step.id} takes effect", freed._replace(world=world), broken)
        yield Move(f"the stuck call of {step.id} is lost", freed)

    def _surroundings(self, moment: Moment[W]) -> Iterator[Move[Moment[W]]]:
        """Faults, and what comes back by itself."""
        resting = any(phase in OPEN for phase in moment.phases)
        if resting and moment.struck:
            return
        if moment.faults:
            for story, world in self.play.faults(moment.world):
                yield Move(story, moment._replace(world=world, faults=moment.faults - 1, struck=resting))
        for story, world in self.play.returns(moment.world):
            yield Move(story, moment._replace(world=world, struck=resting))

    def _planned(self, moment: Moment[W]) -> Iterator[Move[Moment[W]]]:
        if not moment.passes:
            return
        index = self._plan(moment.world)
        steps = self._plans[index].steps
        if steps:
            begun = moment._replace(
                plan=index, phases=(Phase.PENDING,) * len(steps), passes=moment.passes - 1, struck=False
            )
            yield Move("the reconciler reads all nodes and plans", begun)

    def _executed(self, moment: Moment[W]) -> Iterator[Move[Moment[W]]]:
        plan = self._plans[moment.plan]
        if all(phase >= Phase.SUCCEEDED for phase in moment.phases):
            yield Move("the run ends", moment._replace(plan=-1, phases=()))
            return
        if moment.crashes:
            killed = moment._replace(running=False, crashes=moment.crashes - 1)
            yield Move("the reconciler is killed", killed)
        under_way = sum(phase in OPEN for phase in moment.phases)
        places = {step.id: place for place, step in enumerate(plan.steps)}
        for place, step in enumerate(plan.steps):
            phase = moment.phases[place]
            before = [moment.phases[places[name]] for name in step.after]
            if phase is Phase.PENDING and Phase.ENDED in before:
                yield Move(f"{step.id} is skipped", _at(moment, place, Phase.ENDED))
            elif phase is Phase.PENDING and under_way < plan.concurrency:
                if all(one is Phase.SUCCEEDED for one in before):
                    yield self._looked(moment, place, step)
            elif phase is Phase.INTENT:
                yield from self._sent(moment, place, step)
            elif phase is Phase.SENT:
                yield self._concluded(moment, place, step)

    def _looked(self, moment: Moment[W], place: int, step: Step) -> Move[Moment[W]]:
        standing = self._standing(moment, place)
        looked = moment._replace(struck=False)
        if standing is Standing.READY and not step.waits_for_person:
            return Move(
                f"{step.id}: the nodes show that it may start; the intent is written",
                _at(looked, place, Phase.INTENT),
            )
        if standing is Standing.DONE:
            return Move(f"{step.id} is found done", _at(looked, place, Phase.SUCCEEDED))
        return Move(f"{step.id} is not performed ({standing})", _at(looked, place, Phase.ENDED))

    def _sent(self, moment: Moment[W], place: int, step: Step) -> Iterator[Move[Moment[W]]]:
        sent = _at(moment, place, Phase.SENT)
        world = self.play.performed(moment.world, step)
        yield Move(
            f"{step.id} is called", sent._replace(world=world), self.play.broken(moment.world, step, world)
        )
        if not moment.faults or moment.struck:
            return
        hit = sent._replace(faults=moment.faults - 1, struck=True)
        if not moment.late:
            late = 1 + self._first[moment.plan] + place
            yield Move(f"{step.id} is called and gets stuck on its way", hit._replace(late=late))
        for story, half in self.play.halves(moment.world, step):
            broken = self.play.broken(moment.world, step, half)
            yield Move(story, hit._replace(world=half), broken)

    def _concluded(self, moment: Moment[W], place: int, step: Step) -> Move[Moment[W]]:
        done = self._standing(moment, place) is Standing.DONE
        ended = _at(moment._replace(struck=False), place, Phase.SUCCEEDED if done else Phase.ENDED)
        lie = done and not self.play.effective(moment.world, step)
        broken = f"the journal says that {step.id} is done, and it is not" if lie else ""
        return Move(f"{step.id} is recorded as {'done' if done else 'not done'}", ended, broken)

    def _resumed(self, moment: Moment[W]) -> Move[Moment[W]]:
        """A new process settles what was open by reading; the next pass plans anew."""
        fresh = moment._replace(running=True, plan=-1, phases=(), struck=False)
        lies = [
            self._steps[self._first[moment.plan] + place].id
            for place, phase in enumerate(moment.phases)
            if phase in OPEN
            and self._standing(moment, place) is Standing.DONE
            and not self.play.effective(moment.world, self._plans[moment.plan].steps[place])
        ]
        broken = f"the journal says that {lies[0]} is done, and it is not" if lies else ""
        return Move("the reconciler is started again and settles what was open by reading", fresh, broken)

    def _standing(self, moment: Moment[W], place: int) -> Standing:
        index = self._first[moment.plan] + place
        key = (moment.world, index)
        if key not in self._standings:
            self._standings[key] = self.play.standing(moment.world, self._steps[index])
        return self._standings[key]

    def _plan(self, world: W) -> int:
        if world not in self._plan_of:
            self._plan_of[world] = self._kept(self.play.plan(world))
        return self._plan_of[world]

    def _kept(self, plan: ClusterPlan) -> int:
        for index, kept in enumerate(self._plans):
            if kept.steps == plan.steps:
                return index
        self._plans.append(plan)
        self._first.append(len(self._steps))
        self._steps += plan.steps
        return len(self._plans) - 1


def _at(moment: Moment[W], place: int, phase: Phase) -> Moment[W]:
    return moment._replace(phases=(*moment.phases[:place], phase, *moment.phases[place + 1 :]))
