"""Guards of time and of operators: windows, freezes, suspensions, rejected revisions, approvals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from reconciler.core.change_windows import (
    FREEZE_HOLD,
    SUSPENSION_HOLD,
    find_active_freeze,
    find_closing_time,
    find_opening_time,
)
from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.memory import Suspension
from reconciler.core.pins import ROLLED_BACK
from reconciler.core.plan import ClusterPlan, Effect, Risk, Step
from reconciler.core.policy import ChangeRules, Mark, Override, Policy
from reconciler.core.reservations import HELD
from reconciler.core.timestamps import format_minute
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import SHORT_ID

APPROVAL_NEEDED = "approval-needed"
"""Code of the violation for steps that need an approval by the policy."""

PROOF_MISSING = "proof-missing"
"""Code of the violation for steps that may have been done before."""

ROLLBACK_ASIDE = "a rollback is not held by a suspension, which stays in force for all other changes"
"""Reason of the override of suspensions that a rollback has."""

APPROVED = frozenset({APPROVAL_NEEDED, PROOF_MISSING})
"""Codes of the violations that `reconcile approve` lifts."""


@guard("outside-window")
def refuse_outside_window(context: GuardContext) -> Iterator[Diagnostic]:
    """If the cluster has change windows, one of them must be open."""
    # Nodes that a killed run has stopped for a change stay down until that has ended.
    if any(step.arguments.ends_outage for step in context.plan.steps):
        return
    windows = context.change_rules.windows
    if not windows or context.now is None or find_closing_time(windows, context.now):
        return
    following = find_opening_time(windows, context.now)
    then = f"the next one opens at {format_minute(following)} UTC" if following else "none will open again"
    yield context.violation(
        "outside-window",
        f"no change window is open; {then}",
        "run again then, or set an override with an expiry in the fleet file",
        hold=True,
        ends=following,
    )


@guard(FREEZE_HOLD)
def refuse_in_freeze(context: GuardContext) -> Iterator[Diagnostic]:
    """No change during a freeze."""
    freeze = find_active_freeze(context.change_rules.freezes, context.now) if context.now else None
    if freeze is not None:
        yield context.violation(
            FREEZE_HOLD,
            f"changes are frozen until {format_minute(freeze.end)} UTC: {freeze.reason}",
            "run again then, or set an override with an expiry in the fleet file",
            hold=True,
            ends=freeze.end,
        )


@guard(SUSPENSION_HOLD)
def refuse_suspended(context: GuardContext) -> Iterator[Diagnostic]:
    """No change while the fleet file or `reconcile suspend` suspends the cluster or the fleet."""
    if context.change_rules.suspend is not None:
        yield context.violation(
            SUSPENSION_HOLD,
            f"the fleet file suspends changes: {context.change_rules.suspend.reason}",
            "to continue, remove `suspend` from the fleet file",
            hold=True,
        )
    for suspension in context.cluster_memory.suspended:
        argument = f" {suspension.cluster}" if suspension.cluster else ""
        yield context.violation(
            SUSPENSION_HOLD,
            f"{suspension.by or 'somebody'} suspended changes "
            f"{'of this cluster' if suspension.cluster else 'of the whole fleet'} "
            f"at {format_minute(suspension.since)} UTC: {suspension.reason}",
            f"to continue, run `reconcile resume{argument}`",
            hold=True,
        )


@guard("revision-rejected")
def refuse_rejected_revision(context: GuardContext) -> Iterator[Diagnostic]:
    """A revision that failed its gates in this cluster is not applied again, nor another with its content."""
    if context.revision is None:
        return
    memory, name = context.cluster_memory, context.revision.short or context.revision.id
    why = memory.rejected.get(context.revision.id)
    words = f"revision {name} was rejected: {why}" if why else ""
    # By content: a commit that changes nothing for this cluster, such as one of a README, is no fix.
    if not words and context.content in memory.rejected_contents:
        words = f"revision {name} gives it rejected content: {memory.rejected_contents[context.content]}"
    if words:
        yield context.violation(
            "revision-rejected",
            words,
            "commit a fix; if the cause was elsewhere, such as nodes that were away, run "
            f"`reconcile retry {context.plan.cluster}`",
        )


@guard(ROLLED_BACK)
def refuse_rolled_back(context: GuardContext) -> Iterator[Diagnostic]:
    """A cluster that is pinned by a rollback gets nothing else than the revision where it is pinned."""
    pin, state = context.cluster_memory.pin, context.pin
    if pin is None or context.revision is None:
        return
    if state is not None and state.pin == pin:
        # Without an obstacle, the plan is for the pinned revision, or for one that ends the pin.
        why = state.obstacle
    elif pin.revision is not None and pin.revision.id == context.revision.id:
        why = ""
    else:
        why = "the rollback came after this plan was made"
    if why:
        yield context.violation(
            ROLLED_BACK,
            f"the cluster is pinned {pin.describe()}; nothing is sent to it: {why}",
            "commit a change of what the cluster gets, or end the pin: "
            f"`reconcile unpin {context.plan.cluster}`",
            hold=True,
        )


@guard(APPROVAL_NEEDED)
def refuse_unapproved(context: GuardContext) -> Iterator[Diagnostic]:
    """Steps that need an approval by the policy wait until exactly this plan is approved."""
    # A rollout of nodes that poll takes a run for each wave: one approval is for all of them.
    approved = frozenset(context.progress.approved if context.progress else ())
    marked = [one for one in find_steps_to_approve(context) if one[0].id not in approved]
    if not marked or context.digest in context.cluster_memory.approved:
        return
    marks = ", ".join(dict.fromkeys(mark for _, step_marks in marked for mark in step_marks))
    subject = f"{len(marked)} steps need" if len(marked) > 1 else f"{marked[0][0].id} needs"
    yield context.violation(
        APPROVAL_NEEDED,
        f"{subject} an approval ({marks}); this plan's id is {context.digest[:SHORT_ID]}",
        f"read the plan, then run `reconcile approve {context.digest}`; if the plan changes, its id changes",
        hold=True,
    )


@guard(PROOF_MISSING)
def refuse_unproven_steps(context: GuardContext) -> Iterator[Diagnostic]:
    """Steps that may have been done before need an approval, whatever the policy says."""
    # An entry in the fleet file would count again on another host, or after the state of this one is lost.
    # An approval is in the state of this host and is for one run.
    doubtful = [step for step in context.plan.steps if step.arguments.doubt]
    if not doubtful or context.digest in context.cluster_memory.approved:
        return
    for step in doubtful:
        yield Diagnostic(
            Severity.ERROR,
            PROOF_MISSING,
            f"{step.id} waits for an approval: {step.arguments.doubt}; this plan's id is "
            f"{context.digest[:SHORT_ID]}",
            "look at the nodes; if the step was never done, or its result is permanently lost, run "
            f"`reconcile approve {context.digest}` on this host and run again; an approval is for one run",
            target=context.plan.cluster,
            hold=True,
        )


def find_hiding_holds(rules: ChangeRules, node: str, now: datetime) -> frozenset[str]:
    """Codes of the holds by a fleet file that hide a node's open offers, unless they were set aside for them.

    A change window needs none: an offer closes with the window in which it was made.
    """
    holds = {SUSPENSION_HOLD} if rules.suspend is not None else set()
    if find_active_freeze(rules.freezes, now) is not None:
        holds.add(FREEZE_HOLD)
    if node in rules.holds and now < rules.holds[node].end:
        holds.add(HELD)
    return frozenset(holds)


def select_current_overrides(
    overrides: Iterable[Override], suspensions: Iterable[Suspension], planned: datetime | None
) -> tuple[Override, ...]:
    """The overrides that apply now: that of a rollback ends with a suspension made after its plan.

    Args:
        overrides: of the run.
        suspensions: in force now.
        planned: when the plan was made.
    """
    # Whoever suspends while a rollback runs means the rollback.
    is_outdated = planned is not None and any(one.since > planned for one in suspensions)
    return tuple(one for one in overrides if not (is_outdated and one.reason == ROLLBACK_ASIDE))


def may_need_approval(plan: ClusterPlan, policy: Policy) -> bool:
    """Whether the plan may need an approval, by the policy or because of a doubtful step or an outage."""
    steps = plan.steps
    return bool(policy.approve) or any(step.arguments.doubt or step.arguments.outage for step in steps)


def find_steps_to_approve(context: GuardContext) -> list[tuple[Step, list[str]]]:
    """The steps that need an approval, each with the marks of the policy that it has, or its outage."""
    found = [
        (
            step,
            [
                *(mark for mark in context.policy.approve if _has_mark(step, mark)),
                *filter(None, (step.arguments.outage,)),
            ],
        )
        for step in context.plan.steps
    ]
    return [(step, marks) for step, marks in found if marks]


@guard(*refuse_outside_window.codes, *refuse_in_freeze.codes, *refuse_suspended.codes)
def find_temporary_holds(context: GuardContext) -> Iterator[Diagnostic]:
    """Holds on any change that may end by themselves; checked again before each further wave."""
    for hold in (refuse_outside_window, refuse_in_freeze, refuse_suspended):
        yield from hold(context)


@guard(*find_temporary_holds.codes, *refuse_rejected_revision.codes, *refuse_rolled_back.codes)
def find_change_holds(context: GuardContext) -> Iterator[Diagnostic]:
    """Holds on changes of this cluster, whether or not the plan has any."""
    yield from find_temporary_holds(context)
    yield from refuse_rejected_revision(context)
    yield from refuse_rolled_back(context)


@guard(*find_change_holds.codes)
def refuse_held_changes(context: GuardContext) -> Iterator[Diagnostic]:
    """Holds on the plan, if it has steps, stalled nodes, or calls in flight."""
    # An idle cluster has nothing to hold back: a closed window must not fail each pass of the watch.
    if not context.is_idle or context.stalled or context.is_waiting:
        yield from find_change_holds(context)


GUARDS: tuple[Guard, ...] = (refuse_held_changes, refuse_unapproved, refuse_unproven_steps)


def _has_mark(step: Step, mark: Mark) -> bool:
    match mark:
        case "high":
            return step.risk is Risk.HIGH
        case "restart":
            return step.effect is Effect.RESTART
        case "membership":
            return step.effect is Effect.MEMBERSHIP
        case "point-of-no-return":
            return step.inverse.final
