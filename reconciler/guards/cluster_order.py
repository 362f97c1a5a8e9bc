"""The order between clusters: one with `after` is changed only once the earlier ones are as desired; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from reconciler.core.guard import GuardContext
from reconciler.core.observation import Absent, Present
from reconciler.core.pins import PinEffect
from reconciler.core.waves import sort_by_dependency
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import join_some

CODE: Final = "waits-for-cluster"
"""Code of the violation of a cluster that waits for another one."""

_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class ClusterOrder:
    """What the order between clusters means for a plan.

    Args:
        violations: of clusters that wait for one that this plan does not bring to its desired state.
        first: cluster -> clusters of this plan that have to succeed before it begins, each with what is left
            to do there.
    """

    violations: tuple[Diagnostic, ...] = ()
    first: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def check_cluster_order(
    contexts: Sequence[GuardContext], others: Mapping[str, GuardContext], violations: Iterable[Diagnostic]
) -> ClusterOrder:
    """Which clusters of a plan wait for others, and which begin after others of the same plan.

    A cluster that is as desired holds up nobody, whether or not it is suspended. One without changes waits
    for nobody.

    Args:
        contexts: of the plan.
        others: name -> earlier clusters that the plan does not have, or only in part, as they are now.
        violations: of the plan.
    """
    known = {context.plan.cluster: context for context in contexts}
    kept_back: dict[str, str] = {}
    for violation in violations:
        word = "on hold" if violation.hold else "refused"
        kept_back.setdefault(violation.cluster, f"it is {word}: {violation.message} [{violation.code}]")
    found: list[Diagnostic] = []
    first: dict[str, dict[str, str]] = {}
    for name in sort_by_dependency({name: known[name].entry.after for name in known} | _add_missing(known)):
        context = known.get(name)
        if context is None or not context.plan.steps:
            continue
        for earlier in context.entry.after:
            if earlier in others:
                why = describe_unfinished(others[earlier])
                why = why and f"{why}, and this run does not change it"
            elif earlier in known:
                blocked = _describe_blocked(known[earlier])
                left = describe_unfinished(known[earlier])
                why = blocked or (left and kept_back.get(earlier, ""))
                if left and not why:
                    first.setdefault(name, {})[earlier] = left
            else:
                continue
            if why:
                violation = _make_violation(name, earlier, why)
                found.append(violation)
                kept_back.setdefault(name, f"it is on hold: {violation.message} [{CODE}]")
    return ClusterOrder(tuple(found), {name: own for name, own in first.items() if name not in kept_back})


def describe_unfinished(context: GuardContext) -> str:
    """Why a cluster is not as desired, in words; empty if it is."""
    if blocked := _describe_blocked(context):
        return blocked
    if context.plan.steps:
        count = len(context.plan.steps)
        return f"{count} {'change is' if count == 1 else 'changes are'} planned for it"
    if context.progress is not None and context.progress.wave:
        return f"wave {context.progress.number} of its rollout has not passed its gates yet"
    return ""


def _describe_blocked(context: GuardContext) -> str:
    """Why a plan leaves its cluster short of what is desired; empty if it does not."""
    is_pinned = context.pin is not None and context.pin.effect is PinEffect.HOLDS
    if context.unread or is_pinned:
        reason = f"its nodes are not known: {context.unread}" if context.unread else ""
        return reason or f"it is pinned {context.pin.pin.describe() if context.pin else ''}"
    unread = [
        node.name
        for node in context.entry.members()
        if not isinstance(context.observed.nodes.get(node.name), Present | Absent)
    ]
    if unread:
        return f"{join_some(unread, _NAMED)} could not be read"
    if context.withheld_nodes:
        held = sorted(context.reserved.held.intersection(context.withheld_nodes))
        if held:
            verb = "is" if len(held) == 1 else "are"
            return f"{join_some(held, _NAMED)} {verb} held, and not as desired"
        return f"{join_some(sorted(context.withheld_nodes), _NAMED)} cannot be changed now"
    drifted = sorted(node for node, one in context.drift.items() if one.is_kept)
    if drifted:
        verb = "was" if len(drifted) == 1 else "were"
        return f"{join_some(drifted, _NAMED)} {verb} changed behind our back, which is only reported"
    error = next((one for one in context.plan.findings if one.severity is Severity.ERROR), None)
    return f"{error.message} [{error.code}]" if error is not None else ""


def _add_missing(known: Mapping[str, GuardContext]) -> dict[str, tuple[str, ...]]:
    """The earlier clusters that the plan does not have: each name is a key of what is sorted."""
    named = {earlier for context in known.values() for earlier in context.entry.after}
    return dict.fromkeys(sorted(named - known.keys()), ())


def _make_violation(cluster: str, earlier: str, why: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        CODE,
        f"{cluster} waits for {earlier}: {why}",
        f"bring {earlier} to its desired state; then {cluster} follows by itself, or with the next run",
        target=cluster,
        hold=True,
    )
