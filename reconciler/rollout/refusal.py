"""A run that guards refuse: written into the history, and what it waits for is remembered."""

from __future__ import annotations

from reconciler.core.guard import Case
from reconciler.guards.change_control import APPROVAL_NEEDED, marked_steps
from reconciler.planning.plan_pass import Survey
from reconciler.ports.store import Opening, Store


async def refuse(survey: Survey, journal: Store, trigger: str) -> None:
    """Write down a refused run with its verdicts, and each plan of a cluster that waits for an approval."""
    verdicts = "\n".join(violation.message for violation in survey.violations)
    await journal.refuse(Opening(trigger, survey.plan), verdicts)
    waiting = {violation.target for violation in survey.violations if violation.code == APPROVAL_NEEDED}
    short = survey.plan.revision.short or survey.plan.revision.id
    for case in survey.cases:
        if case.plan.cluster in waiting:
            await journal.request_approval(case.plan.cluster, case.digest, short, _words(case))


def _words(case: Case) -> str:
    marked = [f"{step.id} ({', '.join(marks)})" for step, marks in marked_steps(case)]
    more = f" and {len(marked) - 3} more" if len(marked) > 3 else ""  # noqa: PLR2004  (enough for a line)
    return f"{len(case.plan.steps)} steps, of which {', '.join(marked[:3])}{more} wait for an approval"
