"""Takes a failed wave back: the inverse of each of its steps, journalled as a run of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconciler import __version__
from reconciler.core.guard import Case
from reconciler.core.outcome import SUCCESSES, Outcome, Report, State
from reconciler.core.plan import ClusterPlan, Finding, Payload, Plan, Revision, Step
from reconciler.core.ports import Undoes
from reconciler.core.problem import Severity
from reconciler.engine.perform import Bench
from reconciler.engine.record import Record
from reconciler.engine.schedule import Course
from reconciler.store.records import Ending

TRIGGER = "undo"
"""What asks for such a run, in the history."""


async def undo(steps: Sequence[Step], case: Case, bench: Bench, record: Record) -> tuple[Finding, ...]:
    """Undo steps that were done, last first, whatever else is asked to stop meanwhile.

    What a step's node had before is taken from the survey's observations, in memory; it is written
    nowhere. A step that was taken back ends as undone in the run that did it.

    Args:
        steps: done steps of one wave, in the plan's order.
        case: the cluster as it was surveyed.
        bench: what the steps were performed with; a product that has no way back undoes nothing.
        record: the run that did the steps.

    Returns:
        A finding for each step that was not undone.
    """
    plan, final = _planned(steps, case, bench.driver)
    findings = [_kept(step, step.inverse.words or "the product has no way back") for step in final]
    if not plan.steps:
        return tuple(findings)
    whole = Plan(_revision(record.revision), __version__, (plan,))
    own = await record.ledger.begin(TRIGGER, whole)
    back = Bench(bench.driver, bench.wire, plan.payloads, own.intend, asyncio.Event())

    async def take_up(step: Step) -> State:
        return await own.take_up(step, back)

    await Course(plan.steps, max(1, plan.concurrency), take_up, own.skip, asyncio.Event()).run()
    outcomes = tuple(own.outcomes[step.id] for step in plan.steps)
    await own.finish(Report(own.run, whole, outcomes).exit_status, f"takes back steps of run {record.run}")
    await record.conclude([_taken_back(step, own, record) for step in steps if _succeeded(own, step)])
    findings += [_kept(step, own.outcomes[_id(step)].reason) for step in _failed(steps, own)]
    return tuple(findings)


def _planned(steps: Sequence[Step], case: Case, driver: object) -> tuple[ClusterPlan, list[Step]]:
    """The way back, last step first, and the steps that have none."""
    made: list[Step] = []
    payloads: dict[str, Payload] = {}
    final: list[Step] = []
    for step in reversed(steps):
        found = driver.undo(step, case.observed, case.plan.payloads) if isinstance(driver, Undoes) else None
        if found is None:
            final.append(step)
            continue
        back, carried = found
        followers = [_id(other) for other in steps if step.id in other.after]
        ready = {one.id for one in made}
        after = tuple(name for name in followers if name in ready)
        made.append(replace(back, id=_id(step), after=after, changes=(), wave=0))
        payloads |= carried
    plan = replace(case.plan, unchanged=0, steps=tuple(made), findings=(), payloads=payloads)
    return plan, final


def _revision(rejected: Revision) -> Revision:
    name = rejected.short or rejected.id
    return replace(rejected, title=f"back from {name}" + (f": {rejected.title}" if rejected.title else ""))


def _id(step: Step) -> str:
    return f"{step.id}/undo"


def _succeeded(own: Record, step: Step) -> bool:
    outcome = own.outcomes.get(_id(step))
    return outcome is not None and outcome.state in SUCCESSES


def _failed(steps: Iterable[Step], own: Record) -> list[Step]:
    return [step for step in steps if _id(step) in own.outcomes and not _succeeded(own, step)]


def _taken_back(step: Step, own: Record, record: Record) -> Ending:
    before = record.outcomes[step.id]
    reason = f"its wave failed its gates; run {own.run} took it back"
    return Ending(Outcome(before.step, State.UNDONE, reason, before.seconds))


def _kept(step: Step, why: str) -> Finding:
    return Finding(
        Severity.ERROR,
        "not-undone",
        f"{step.cluster}/{step.node}",
        f"{step.id} stays as it is: {why}",
        "look at the node, then revert the commit, or undo it by hand",
    )
