"""Which refusals a process has written down already."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.planning.plan_pass import PlanResult


@dataclass(slots=True)
class RefusalMemory:
    """The refusals that one process has written down: one that repeats at every interval is written once."""

    _known: dict[frozenset[str], str] = field(default_factory=dict)

    def is_new(self, plan_result: PlanResult) -> bool:
        """Whether the same clusters were refused for something else, or not at all, the last time."""
        return self._known.get(_clusters(plan_result)) != _words_of(plan_result)

    def note(self, plan_result: PlanResult) -> None:
        """The refusal is written down."""
        self._known[_clusters(plan_result)] = _words_of(plan_result)

    def forget(self, plan_result: PlanResult) -> None:
        """The clusters were not refused this time."""
        self._known.pop(_clusters(plan_result), None)


def _words_of(plan_result: PlanResult) -> str:
    return "\n".join(
        [plan_result.plan.revision.id, *(violation.message for violation in plan_result.violations)]
    )


def _clusters(plan_result: PlanResult) -> frozenset[str]:
    return frozenset(case.plan.cluster for case in plan_result.cases)
