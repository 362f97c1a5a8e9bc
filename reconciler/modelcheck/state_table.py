"""The worlds, plans and steps of one model by number; what follows from a world is computed once.

The explorer keeps millions of states. As numbers they are small and quick to compare.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Generic, NamedTuple, TypeVar

from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.product_model import ProductModel, Weigh
from reconciler.core.step import StepStatus

W = TypeVar("W", bound=Hashable)


class WorldTransition(NamedTuple):
    """What can happen in a world: a sentence, the number of the world after it, and the broken invariant."""

    story: str
    world: int
    broken: str = ""


@dataclass(slots=True)
class StateTable(Generic[W]):
    """The tables of one model.

    Args:
        model: the product's.
        weigh: judges the plans of further passes.
        single_node: whether the product's nodes are independent, so that some can be left out.
        worlds: by number.
        plans: by number.
        steps: of all plans, by number.
        first: plan -> the number of its first step.
        before: plan -> of each of its steps, the indices of the steps that it depends on.
    """

    model: ProductModel[W]
    weigh: Weigh
    single_node: bool
    worlds: list[W] = field(init=False, default_factory=list)
    plans: list[ClusterPlan] = field(init=False, default_factory=list)
    steps: list[Step] = field(init=False, default_factory=list)
    first: list[int] = field(init=False, default_factory=list)
    before: list[tuple[tuple[int, ...], ...]] = field(init=False, default_factory=list)
    _numbers: dict[W, int] = field(init=False, default_factory=dict)
    _planned: dict[int, int] = field(init=False, default_factory=dict)
    _beside: dict[tuple[int, tuple[int, ...]], int] = field(init=False, default_factory=dict)
    _statuses: dict[tuple[int, int], StepStatus] = field(init=False, default_factory=dict)
    _calls: dict[tuple[int, int], WorldTransition] = field(init=False, default_factory=dict)
    _halves: dict[tuple[int, int], tuple[WorldTransition, ...]] = field(init=False, default_factory=dict)
    _faults: dict[int, tuple[WorldTransition, ...]] = field(init=False, default_factory=dict)
    _returns: dict[int, tuple[WorldTransition, ...]] = field(init=False, default_factory=dict)

    def number(self, world: W) -> int:
        """The number of a world."""
        if world not in self._numbers:
            self._numbers[world] = len(self.worlds)
            self.worlds.append(world)
        return self._numbers[world]

    def kept(self, plan: ClusterPlan) -> int:
        """The number of a plan; plans with the same steps are one."""
        for index, known in enumerate(self.plans):
            if known.steps == plan.steps:
                return index
        places = {step.id: place for place, step in enumerate(plan.steps)}
        self.before.append(
            tuple(tuple(places[name] for name in step.after if name in places) for step in plan.steps)
        )
        self.plans.append(plan)
        self.first.append(len(self.steps))
        self.steps += plan.steps
        return len(self.plans) - 1

    def planned(self, world: int) -> int:
        """The plan that a pass would apply now: without steps if a guard refuses it."""
        if world not in self._planned:
            plan = self.model.plan(self.worlds[world])
            passed = not plan.steps or self.weigh(plan, self.model.observed(self.worlds[world]))
            self._planned[world] = self.kept(plan if passed else replace(plan, steps=()))
        return self._planned[world]

    def beside(self, world: int, calls: tuple[int, ...]) -> int:
        """The plan that a pass would apply while calls of some steps are in flight; -1 for none.

        The nodes of these steps are left out, and all steps that depend on theirs. If nodes cannot be left
        out, nothing is applied.
        """
        key = (world, calls)
        if key not in self._beside:
            plan = self.plans[self.planned(world)]
            nodes = {self.steps[number].node for number in calls}
            kept = self._without(plan, nodes) if self.single_node else ()
            reduced = replace(plan, steps=kept)
            passed = bool(kept) and self.weigh(reduced, self.model.observed(self.worlds[world]))
            self._beside[key] = self.kept(reduced) if passed else -1
        return self._beside[key]

    def _without(self, plan: ClusterPlan, nodes: set[str]) -> tuple[Step, ...]:
        gone: set[str] = set()
        kept: list[Step] = []
        for step in plan.steps:
            if step.node in nodes or gone & set(step.after):
                gone.add(step.id)
            else:
                kept.append(step)
        return tuple(kept)

    def faults(self, world: int) -> tuple[WorldTransition, ...]:
        """The faults that may happen in a world."""
        if world not in self._faults:
            found = self.model.faults(self.worlds[world])
            self._faults[world] = tuple(WorldTransition(story, self.number(after)) for story, after in found)
        return self._faults[world]

    def returns(self, world: int) -> tuple[WorldTransition, ...]:
        """What may recover by itself in a world."""
        if world not in self._returns:
            found = self.model.returns(self.worlds[world])
            self._returns[world] = tuple(WorldTransition(story, self.number(after)) for story, after in found)
        return self._returns[world]

    def status(self, world: int, step: int) -> StepStatus:
        """The status of a step by the nodes' answers."""
        key = (world, step)
        if key not in self._statuses:
            self._statuses[key] = self.model.status(self.worlds[world], self.steps[step])
        return self._statuses[key]

    def called(self, world: int, step: int) -> WorldTransition:
        """What a step's call does to a world."""
        key = (world, step)
        if key not in self._calls:
            before, own = self.worlds[world], self.steps[step]
            after = self.model.performed(before, own)
            broken = self.model.broken(before, own, after)
            self._calls[key] = WorldTransition(f"{own.id} is called", self.number(after), broken)
        return self._calls[key]

    def halves(self, world: int, step: int) -> tuple[WorldTransition, ...]:
        """Ways in which a step's call may fail halfway."""
        key = (world, step)
        if key not in self._halves:
            before, own = self.worlds[world], self.steps[step]
            self._halves[key] = tuple(
                WorldTransition(story, self.number(half), self.model.broken(before, own, half))
                for story, half in self.model.halves(before, own)
            )
        return self._halves[key]
