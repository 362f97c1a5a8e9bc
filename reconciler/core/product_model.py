"""What a product supplies to the model checker: its world, its faults, and what must never happen to it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.step_status import StepStatus

W = TypeVar("W", bound=Hashable)


class ProductModel(Protocol[W]):
    """What a product supplies; W is its world: all nodes at one moment, frozen. All of it is pure."""

    def list_faults(self, world: W) -> Iterable[tuple[str, W]]:
        """What may go wrong, one thing each: a sentence, and the world after it."""

    def list_returns(self, world: W) -> Iterable[tuple[str, W]]:
        """What may come back by itself, at no cost."""

    def observe(self, world: W) -> Observed[Any]:
        """What a pass that begins now would see."""

    def plan(self, world: W) -> ClusterPlan:
        """What that pass would plan, before any guard has judged it."""

    def judge_step(self, world: W, step: Step) -> StepStatus:
        """The status of the step by the answers of the nodes in this world."""

    def perform(self, world: W, step: Step) -> W:
        """What the step's call makes of the world; the same where the cluster refuses it."""

    def list_partial_effects(self, world: W, step: Step) -> Iterable[tuple[str, W]]:
        """Ways in which the call may fail halfway; each counts as a fault."""

    def find_obstacle(self, world: W, step: Step) -> str:
        """Why the step must not begin in this world, by the world itself; empty if it may."""

    def find_broken_invariant(self, before: W, step: Step, after: W) -> str:
        """The invariant that this call breaks, a sentence; empty if all hold."""

    def find_leftover(self, world: W, plan: ClusterPlan) -> str:
        """What a run whose steps all succeeded must not leave behind, a sentence; empty if there is none."""

    def is_effective(self, world: W, step: Step) -> bool:
        """Whether the step's effect is there, by the world itself and not by an answer of a node."""


@dataclass(frozen=True, slots=True)
class ModelSetup(Generic[W]):
    """What a product sets up for one plan.

    Args:
        worlds: in which it may begin; several if the answers leave something open.
        desired: what every further pass plans for.
        plan: the plan, or the part of it that these worlds are about.
        words: what of the cluster was left out, for people; empty if nothing was.
    """

    model: ProductModel[W]
    worlds: tuple[W, ...]
    desired: Any
    plan: ClusterPlan
    words: str = ""


Weigh = Callable[[ClusterPlan, Observed[Any]], bool]
"""Whether all guards accept a plan, given what it was made from."""
