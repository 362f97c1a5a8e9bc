"""Guards of time and of people: windows, freezes, suspensions, rejected revisions, approvals."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.change_windows import find_active_freeze, find_closing_time, find_opening_time
from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.plan import ClusterPlan, Effect, Risk, Step
from reconciler.core.policy import Mark, Policy
from reconciler.core.timestamps import format_minute
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import SHORT_ID

APPROVAL_NEEDED = "approval-needed"
"""Code of the verdict on steps that the policy marks."""

PROOF_MISSING = "proof-missing"
"""Code of the verdict on steps of which nothing tells whether they were done before."""

APPROVED = frozenset({APPROVAL_NEEDED, PROOF_MISSING})
"""Codes of the verdicts that `reconcile approve` answers."""


@guard("outside-window")
def refuse_outside_window(case: GuardContext) -> Iterator[Diagnostic]:
    """Where there are windows, one of them has to be open."""
    windows = case.change_rules.windows
    if not windows or case.at is None or find_closing_time(windows, case.at):
        return
    following = find_opening_time(windows, case.at)
    then = (
        f"the next one opens at {format_minute(following)} UTC"
        if following
        else "none of them ever opens again"
    )
    yield Diagnostic(
        Severity.ERROR,
        "outside-window",
        f"{case.plan.cluster}: no change window is open, {then}",
        "run again then, or set an override with an expiry in the fleet file",
        target=case.plan.cluster,
        hold=True,
    )


@guard("frozen")
def refuse_in_freeze(case: GuardContext) -> Iterator[Diagnostic]:
    """During a freeze nothing is changed."""
    freeze = find_active_freeze(case.change_rules.freezes, case.at) if case.at else None
    if freeze is not None:
        yield Diagnostic(
            Severity.ERROR,
            "frozen",
            f"{case.plan.cluster}: changes are frozen until {format_minute(freeze.end)} UTC: {freeze.reason}",
            "run again then, or set an override with an expiry in the fleet file",
            target=case.plan.cluster,
            hold=True,
        )


@guard("suspended")
def refuse_suspended(case: GuardContext) -> Iterator[Diagnostic]:
    """What is suspended, by the fleet file or by `reconcile suspend`, is not changed."""
    if case.change_rules.suspend is not None:
        yield Diagnostic(
            Severity.ERROR,
            "suspended",
            f"{case.plan.cluster}: the fleet file suspends changes: {case.change_rules.suspend.reason}",
            "take `suspend` out of the fleet file when it is over",
            target=case.plan.cluster,
            hold=True,
        )
    for suspension in case.cluster_memory.suspended:
        whose = f" {suspension.cluster}" if suspension.cluster else ""
        yield Diagnostic(
            Severity.ERROR,
            "suspended",
            f"{case.plan.cluster}: {suspension.by or 'somebody'} suspended changes "
            f"{'of this cluster' if suspension.cluster else 'of the whole fleet'} "
            f"at {format_minute(suspension.since)} UTC: {suspension.reason}",
            f"`reconcile resume{whose}` when it is over",
            target=case.plan.cluster,
            hold=True,
        )


@guard("revision-rejected")
def refuse_rejected_revision(case: GuardContext) -> Iterator[Diagnostic]:
    """A revision that failed its gates in this cluster is not tried again."""
    why = case.cluster_memory.rejected.get(case.revision.id) if case.revision else None
    if why and case.revision:
        yield Diagnostic(
            Severity.ERROR,
            "revision-rejected",
            f"{case.plan.cluster}: revision {case.revision.short or case.revision.id} was rejected: {why}",
            "commit what mends it, or commit anew if the cause lay elsewhere; what a node refused is sent "
            f"again only if it changes, or after `reconcile resume {case.plan.cluster}`",
            target=case.plan.cluster,
        )


@guard("rolled-back")
def refuse_rolled_back(case: GuardContext) -> Iterator[Diagnostic]:
    """What somebody rolled back from is not applied again, by this commit or by one with the same content."""
    if case.revision is None:
        return
    for one in case.cluster_memory.rolled_back:
        if one.revision == case.revision.id or (one.content and one.content == case.content):
            name = case.revision.short or case.revision.id
            yield Diagnostic(
                Severity.ERROR,
                "rolled-back",
                f"{case.plan.cluster}: revision {name} gives it what was rolled back: {one.reason}",
                "commit a change of what it gets, or apply it on purpose: "
                f"`reconcile rollback {name} SOURCE`",
                target=case.plan.cluster,
            )
            return


@guard(APPROVAL_NEEDED)
def refuse_unapproved(case: GuardContext) -> Iterator[Diagnostic]:
    """Steps that the policy marks wait for an approval of exactly this plan."""
    marked = find_steps_to_approve(case)
    if not marked or case.digest in case.cluster_memory.approved:
        return
    marks = ", ".join(dict.fromkeys(mark for _, own in marked for mark in own))
    number = f"{len(marked)} steps need" if len(marked) > 1 else f"{marked[0][0].id} needs"
    yield Diagnostic(
        Severity.ERROR,
        APPROVAL_NEEDED,
        f"{case.plan.cluster}: {number} an approval ({marks}); this plan's id is {case.digest[:SHORT_ID]}",
        f"look at the plan, then `reconcile approve {case.digest}`; a plan that changes has another id",
        target=case.plan.cluster,
        hold=True,
    )


@guard(PROOF_MISSING)
def refuse_unproven_steps(case: GuardContext) -> Iterator[Diagnostic]:
    """Steps of which nothing proves that they were never done wait for an approval, without any policy.

    An approval is kept in the state of this host and is for one run, so that it cannot count twice.
    """
    doubtful = [step for step in case.plan.steps if step.doubt]
    if not doubtful or case.digest in case.cluster_memory.approved:
        return
    for step in doubtful:
        yield Diagnostic(
            Severity.ERROR,
            PROOF_MISSING,
            f"{step.id} waits for an approval: {step.doubt}; this plan's id is {case.digest[:SHORT_ID]}",
            f"look at the nodes; if it was never done, or what it made is gone for good, `reconcile approve "
            f"{case.digest}` on this host, and run again: an approval is for one run",
            target=case.plan.cluster,
            hold=True,
        )


def may_need_approval(plan: ClusterPlan, policy: Policy) -> bool:
    """Whether somebody may have to approve the plan, by the policy or by a step that asks for it."""
    return bool(policy.approve) or any(step.doubt for step in plan.steps)


def find_steps_to_approve(case: GuardContext) -> list[tuple[Step, list[Mark]]]:
    """The steps that the policy marks, each with what about it does."""
    found = [(step, [mark for mark in case.policy.approve if _has(step, mark)]) for step in case.plan.steps]
    return [(step, marks) for step, marks in found if marks]


@guard(*refuse_outside_window.codes, *refuse_in_freeze.codes, *refuse_suspended.codes)
def find_temporary_holds(case: GuardContext) -> Iterator[Diagnostic]:
    """What holds up any change now and may end by itself; asked again before each further wave."""
    for hold in (refuse_outside_window, refuse_in_freeze, refuse_suspended):
        yield from hold(case)


@guard(*find_temporary_holds.codes, *refuse_rejected_revision.codes, *refuse_rolled_back.codes)
def find_all_holds(case: GuardContext) -> Iterator[Diagnostic]:
    """What would hold up a change of this cluster, whether or not there is one to make."""
    yield from find_temporary_holds(case)
    yield from refuse_rejected_revision(case)
    yield from refuse_rolled_back(case)


@guard(*find_all_holds.codes)
def find_holds(case: GuardContext) -> Iterator[Diagnostic]:
    """What stands in the way of the plan's steps, where it has any."""
    if not case.is_idle or case.stalled or case.waits:
        yield from find_all_holds(case)


GUARDS: tuple[Guard, ...] = (find_holds, refuse_unapproved, refuse_unproven_steps)


def _has(step: Step, mark: Mark) -> bool:
    match mark:
        case "high":
            return step.risk is Risk.HIGH
        case "restart":
            return step.effect is Effect.RESTART
        case "membership":
            return step.effect is Effect.MEMBERSHIP
        case "point-of-no-return":
            return step.inverse.final
