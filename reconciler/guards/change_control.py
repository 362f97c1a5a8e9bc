"""Guards of time and of people: windows, freezes, suspensions, rejected revisions, approvals."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.change_windows import closes, frozen, opens
from reconciler.core.guard import Case, Guard, guard
from reconciler.core.plan import ClusterPlan, Effect, Risk, Step
from reconciler.core.policy import Mark, Policy
from reconciler.core.timestamps import minute
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import SHORT_ID

APPROVAL_NEEDED = "approval-needed"
"""Code of the verdict on steps that the policy marks."""

PROOF_MISSING = "proof-missing"
"""Code of the verdict on steps of which nothing tells whether they were done before."""

APPROVED = frozenset({APPROVAL_NEEDED, PROOF_MISSING})
"""Codes of the verdicts that `reconcile approve` answers."""


@guard("outside-window")
def outside_window(case: Case) -> Iterator[Diagnostic]:
    """Where there are windows, one of them has to be open."""
    windows = case.conduct.windows
    if not windows or case.at is None or closes(windows, case.at):
        return
    following = opens(windows, case.at)
    then = f"the next one opens at {minute(following)} UTC" if following else "none of them ever opens again"
    yield Diagnostic(
        Severity.ERROR,
        "outside-window",
        f"{case.plan.cluster}: no change window is open, {then}",
        "run again then, or set an override with an expiry in the fleet file",
        target=case.plan.cluster,
        hold=True,
    )


@guard("frozen")
def in_freeze(case: Case) -> Iterator[Diagnostic]:
    """During a freeze nothing is changed."""
    freeze = frozen(case.conduct.freezes, case.at) if case.at else None
    if freeze is not None:
        yield Diagnostic(
            Severity.ERROR,
            "frozen",
            f"{case.plan.cluster}: changes are frozen until {minute(freeze.end)} UTC: {freeze.reason}",
            "run again then, or set an override with an expiry in the fleet file",
            target=case.plan.cluster,
            hold=True,
        )


@guard("suspended")
def suspended(case: Case) -> Iterator[Diagnostic]:
    """What is suspended, by the fleet file or by `reconcile suspend`, is not changed."""
    if case.conduct.suspend is not None:
        yield Diagnostic(
            Severity.ERROR,
            "suspended",
            f"{case.plan.cluster}: the fleet file suspends changes: {case.conduct.suspend.reason}",
            "take `suspend` out of the fleet file when it is over",
            target=case.plan.cluster,
            hold=True,
        )
    for suspension in case.past.suspended:
        whose = f" {suspension.cluster}" if suspension.cluster else ""
        yield Diagnostic(
            Severity.ERROR,
            "suspended",
            f"{case.plan.cluster}: {suspension.by or 'somebody'} suspended changes "
            f"{'of this cluster' if suspension.cluster else 'of the whole fleet'} "
            f"at {minute(suspension.since)} UTC: {suspension.reason}",
            f"`reconcile resume{whose}` when it is over",
            target=case.plan.cluster,
            hold=True,
        )


@guard("revision-rejected")
def rejected(case: Case) -> Iterator[Diagnostic]:
    """A revision that failed its gates in this cluster is not tried again."""
    why = case.past.rejected.get(case.revision.id) if case.revision else None
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
def rolled_back(case: Case) -> Iterator[Diagnostic]:
    """What somebody rolled back from is not applied again, by this commit or by one with the same content."""
    if case.revision is None:
        return
    for one in case.past.rolled_back:
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
def unapproved(case: Case) -> Iterator[Diagnostic]:
    """Steps that the policy marks wait for an approval of exactly this plan."""
    marked = marked_steps(case)
    if not marked or case.digest in case.past.approved:
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
def unproven(case: Case) -> Iterator[Diagnostic]:
    """Steps of which nothing proves that they were never done wait for an approval, without any policy.

    An approval is kept in the state of this host and is for one run, so that it cannot count twice.
    """
    doubtful = [step for step in case.plan.steps if step.doubt]
    if not doubtful or case.digest in case.past.approved:
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


def needs_id(plan: ClusterPlan, policy: Policy) -> bool:
    """Whether somebody may have to approve the plan, by the policy or by a step that asks for it."""
    return bool(policy.approve) or any(step.doubt for step in plan.steps)


def marked_steps(case: Case) -> list[tuple[Step, list[Mark]]]:
    """The steps that the policy marks, each with what about it does."""
    found = [(step, [mark for mark in case.policy.approve if _has(step, mark)]) for step in case.plan.steps]
    return [(step, marks) for step, marks in found if marks]


@guard(*outside_window.codes, *in_freeze.codes, *suspended.codes)
def held(case: Case) -> Iterator[Diagnostic]:
    """What holds up any change now and may end by itself; asked again before each further wave."""
    for hold in (outside_window, in_freeze, suspended):
        yield from hold(case)


@guard(*held.codes, *rejected.codes, *rolled_back.codes)
def standing(case: Case) -> Iterator[Diagnostic]:
    """What would hold up a change of this cluster, whether or not there is one to make."""
    yield from held(case)
    yield from rejected(case)
    yield from rolled_back(case)


@guard(*standing.codes)
def holding(case: Case) -> Iterator[Diagnostic]:
    """What stands in the way of the plan's steps, where it has any."""
    if not case.is_idle or case.stalled or case.waits:
        yield from standing(case)


GUARDS: tuple[Guard, ...] = (holding, unapproved, unproven)


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
