"""Guards: pure functions that look at every plan before the first write and say what must not happen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan
from reconciler.core.spec import ClusterEntry


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a plan is refused.

    Args:
        code: stable name, which `reconcile explain` knows and an override names.
        target: cluster, or cluster/node.
        message: target, number, limit and reason in one sentence.
        remedy: what a person can do.
    """

    code: str
    target: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Case:
    """What a guard looks at: one cluster's plan with all it was made from.

    `desired` and the values in `observed` are the product's own types.
    """

    plan: ClusterPlan
    entry: ClusterEntry
    desired: Any
    observed: Observed[Any]


Guard = Callable[[Case], Iterable[Violation]]


def verdicts(case: Case, guards: Iterable[Guard]) -> tuple[Violation, ...]:
    """The violations of all guards, sorted by code and target; none means the plan may be applied."""
    found = [violation for guard in guards for violation in guard(case)]
    return tuple(sorted(found, key=lambda violation: (violation.code, violation.target, violation.message)))
