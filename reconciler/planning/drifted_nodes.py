"""The nodes of a cluster that have drifted, and their part of the plan where drift is only reported; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.core.canonical import fingerprint_with_key
from reconciler.core.drift import DRIFT, Drift, describe_places, join_shown, judge_drift
from reconciler.core.guard import GuardContext
from reconciler.core.observation import Observed, Present
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.timestamps import format_minute
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.ports.driver import Driver, Facts
from reconciler.text.node_names import format_node_names


@dataclass(frozen=True, slots=True)
class DriftedCluster:
    """A cluster with what is known of its drift.

    Args:
        desired: without the nodes whose drift is only reported.
        plan: for it.
        drift: node -> its drift.
        findings: about the nodes whose drift is only reported; no part of `plan`, which is made again where
            steps are withheld.
        shown: node -> what it shows, see `join_shown`.
    """

    desired: Any
    plan: ClusterPlan
    drift: Mapping[str, Drift] = field(default_factory=dict)
    shown: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Diagnostic, ...] = ()


def find_drift(
    plan: ClusterPlan,
    desired: Any,
    observed: Observed[Any],
    driver: Driver[Any, Any],
    *,
    facts: Facts,
    contents: Mapping[str, str],
    key: bytes,
    keeps: bool,
) -> DriftedCluster:
    """The drift of a cluster; where it is only reported, nothing is planned for it.

    Where nodes depend on each other, the plan is for the whole cluster: it is kept back only if all of it is
    drift.

    Args:
        plan: all that is to be done.
        desired: what it was made for.
        observed: what it was made from.
        driver: the product.
        facts: node -> what is remembered of it.
        contents: node -> keyed fingerprint of its desired content.
        key: of this host.
        keeps: whether drift is only reported.
    """
    is_single = driver.capabilities.single_node
    shown = {
        node: join_shown(fingerprint_with_key(key, digest) for digest in driver.digest_shown(answer))
        for node, answer in (observed.nodes.items() if is_single else ())
        if isinstance(answer, Present)
    }
    # What failed by itself was changed by nobody, and is brought back whatever becomes of drift.
    changing = [step for step in plan.steps if not step.arguments.is_repair]
    differing = dict.fromkeys(step.node for step in changing)
    found: dict[str, Drift] = {}
    for node in differing:
        own = judge_drift(
            node,
            facts.get(node, {}),
            content=contents.get(node, ""),
            shown=shown.get(node, ""),
            keeps=keeps,
        )
        if own is not None and isinstance(observed.nodes.get(node), Present):
            changes = [change for step in changing if step.node == node for change in step.changes]
            found[node] = replace(own, places=describe_places(changes))
    kept = frozenset(node for node, one in found.items() if one.is_kept)
    if is_single and kept:
        desired = driver.exclude_nodes(desired, kept)
        plan = driver.plan(desired, observed)
    elif kept and kept >= differing.keys():
        plan = replace(plan, steps=tuple(_list_repairs(plan.steps)))
    elif kept:
        found = {node: replace(one, is_kept=False, has_commit=True) for node, one in found.items()}
        kept = frozenset()
    findings = tuple(_report_kept(plan.cluster, found[node]) for node in sorted(kept))
    return DriftedCluster(desired, plan, found, shown, findings)


def _list_repairs(steps: Sequence[Step]) -> Iterator[Step]:
    """The repairs that wait for no other step; steps are in an order that respects `after`."""
    kept: set[str] = set()
    for step in steps:
        if step.arguments.is_repair and kept.issuperset(step.after):
            kept.add(step.id)
            yield step


def _report_kept(cluster: str, drift: Drift) -> Diagnostic:
    # Without the time: a finding is part of the plan's id, which is the same for each reader.
    return Diagnostic(
        Severity.WARNING,
        DRIFT,
        f"{drift.node} was changed behind our back since it was last as desired{drift.quoted_places}; it is "
        "only reported, by `drift: report`, and a commit that changes what the node gets is applied all the "
        "same",
        "undo the change on the node, commit it (`reconcile import`), or write `drift: undo`",
        target=f"{cluster}/{drift.node}",
    )


def remark_drift(cluster: str, drift: Mapping[str, Drift]) -> tuple[Diagnostic, ...]:
    """What somebody who reads a plan should know of the drift that it undoes; no part of the plan."""
    remarks = []
    for has_commit, fate in (
        (False, "a run undoes that"),
        (True, "a commit changes the same nodes: it is applied as a whole, which also undoes the drift"),
    ):
        own = [one for one in drift.values() if not one.is_kept and one.has_commit is has_commit]
        if own:
            names = format_node_names([one.node for one in own])
            first = min((one.since for one in own if one.since is not None), default=None)
            since = f" (seen since {format_minute(first)} UTC)" if first else ""
            words = f"changed behind our back since last as desired{since}: {names}; {fate}"
            remedy = "to keep such changes and only report them, set `drift: report` for the cluster"
            remarks.append(Diagnostic(Severity.NOTE, DRIFT, words, remedy, target=cluster))
    return tuple(remarks)


def report_undone_drift(context: GuardContext, done: frozenset[str]) -> tuple[Diagnostic, ...]:
    """For the history of a run: the nodes whose drift it has undone.

    Args:
        context: of the cluster.
        done: nodes whose steps succeeded.
    """
    names = sorted(node for node, one in context.drift.items() if node in done and not one.is_kept)
    if not names:
        return ()
    words = f"undid drift of {format_node_names(names)}: changed behind our back since last as desired"
    return (Diagnostic(Severity.NOTE, DRIFT, words, target=context.plan.cluster),)
