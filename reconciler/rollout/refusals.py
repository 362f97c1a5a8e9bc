"""Which refusals a process has written down already."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.planning.plan_pass import Survey


@dataclass(slots=True)
class Refusals:
    """The refusals that one process has written down: one that repeats at every interval is written once."""

    _known: dict[frozenset[str], str] = field(default_factory=dict)

    def is_new(self, survey: Survey) -> bool:
        """Whether the same clusters were refused for something else, or not at all, the last time."""
        return self._known.get(_clusters(survey)) != _words_of(survey)

    def note(self, survey: Survey) -> None:
        """The refusal is written down."""
        self._known[_clusters(survey)] = _words_of(survey)

    def forget(self, survey: Survey) -> None:
        """The clusters were not refused this time."""
        self._known.pop(_clusters(survey), None)


def _words_of(survey: Survey) -> str:
    return "\n".join([survey.plan.revision.id, *(violation.message for violation in survey.violations)])


def _clusters(survey: Survey) -> frozenset[str]:
    return frozenset(case.plan.cluster for case in survey.cases)
