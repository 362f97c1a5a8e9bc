"""The worlds, plans and steps of one model by number; what follows from a world is computed once.

The explorer keeps millions of states. As numbers they are small and quick to compare.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import cache
from typing import Generic, NamedTuple, TypeVar

from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.product_model import ProductModel, Weigh
from reconciler.core.step_status import StepStatus

W = TypeVar("W", bound=Hashable)


class WorldTransition(NamedTuple):
    """What can happen in a world: a sentence, the number of the world after it, and the broken invariant."""

    story: str
    world: int
    broken: str = ""


class StateTable(Generic[W]):
    """The tables of one model.

    Args:
        model: the product's.
        weigh: judges the plans of further passes.
        single_node: whether the product's nodes are independent, so that some can be left out.

    Attributes:
        worlds: by number.
        plans: by number.
        steps: of all plans, by number.
        first: plan -> the number of its first step.
        before: plan -> of each of its steps, the indices of the steps that it depends on.
    """

    def __init__(self, model: ProductModel[W], weigh: Weigh, *, single_node: bool) -> None:
        self.model = model
        self.single_node = single_node
        self.worlds: list[W] = []
        self.plans: list[ClusterPlan] = []
        self.steps: list[Step] = []
        self.first: list[int] = []
        self.before: list[tuple[tuple[int, ...], ...]] = []
        self._weigh = weigh
        self._numbers: dict[W, int] = {}
        # Millions of states share few worlds: each question about a world is answered once.
        self.planned = cache(self._plan)
        self.beside = cache(self._plan_beside)
        self.faults = cache(self._list_faults)
        self.returns = cache(self._list_returns)
        self.status = cache(self._judge)
        self.called = cache(self._call)
        self.halves = cache(self._list_halves)

    def number(self, world: W) -> int:
        """The number of a world."""
        if world not in self._numbers:
            self._numbers[world] = len(self.worlds)
            self.worlds.append(world)
        return self._numbers[world]

    def add_plan(self, plan: ClusterPlan) -> int:
        """The number of a plan; plans with the same steps are one."""
        # Equal steps give equal behaviour: findings differ from world to world and would multiply the states.
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

    def _plan(self, world: int) -> int:
        """The plan that a pass would apply now: without steps if a guard refuses it."""
        plan = self.model.plan(self.worlds[world])
        passed = not plan.steps or self._weigh(plan, self.model.observe(self.worlds[world]))
        return self.add_plan(plan if passed else replace(plan, steps=()))

    def _plan_beside(self, world: int, calls: tuple[int, ...]) -> int:
        """The plan that a pass would apply while calls of some steps are in flight; -1 for none.

        The nodes of these steps are left out, and all steps that depend on theirs. If nodes cannot be left
        out, nothing is applied.
        """
        if not self.single_node:
            return -1
        plan = self.plans[self.planned(world)]
        nodes = {self.steps[number].node for number in calls}
        gone: set[str] = set()
        kept: list[Step] = []
        for step in plan.steps:
            if step.node in nodes or gone & set(step.after):
                gone.add(step.id)
            else:
                kept.append(step)
        reduced = replace(plan, steps=tuple(kept))
        passed = bool(kept) and self._weigh(reduced, self.model.observe(self.worlds[world]))
        return self.add_plan(reduced) if passed else -1

    def _list_faults(self, world: int) -> tuple[WorldTransition, ...]:
        """The faults that may happen in a world."""
        found = self.model.list_faults(self.worlds[world])
        return tuple(WorldTransition(story, self.number(after)) for story, after in found)

    def _list_returns(self, world: int) -> tuple[WorldTransition, ...]:
        """What may recover by itself in a world."""
        found = self.model.list_returns(self.worlds[world])
        return tuple(WorldTransition(story, self.number(after)) for story, after in found)

    def _judge(self, world: int, step: int) -> StepStatus:
        """The status of a step by the nodes' answers."""
        return self.model.judge_step(self.worlds[world], self.steps[step])

    def _call(self, world: int, step: int) -> WorldTransition:
        """What a step's call does to a world."""
        before, own = self.worlds[world], self.steps[step]
        after = self.model.perform(before, own)
        broken = self.model.find_broken_invariant(before, own, after)
        return WorldTransition(f"{own.id} is called", self.number(after), broken)

    def _list_halves(self, world: int, step: int) -> tuple[WorldTransition, ...]:
        """Ways in which a step's call may fail halfway."""
        before, own = self.worlds[world], self.steps[step]
        return tuple(
            WorldTransition(story, self.number(half), self.model.find_broken_invariant(before, own, half))
            for story, half in self.model.list_partial_effects(before, own)
        )
