"""Compares the stamps that nodes show with the source: whose content they have, and which files it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler.core.memory import FleetMemory
from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan, Revision
from reconciler.core.policy import Override
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.diagnostic import Diagnostic
from reconciler.guards.foreign_changes import (
    RevisionTraces,
    find_foreign_changes,
    find_foreign_stamps,
    report_assumed_stamps,
    report_unknown_stamps,
)
from reconciler.planning.content_history import ContentHistory
from reconciler.ports.driver import Driver, Facts

MOST: Final = 30
"""Different stamps in one cluster that are looked up, each in the source; an open rollout leaves a few."""


@dataclass(frozen=True, slots=True)
class ClusterReading:
    """One cluster as its nodes answered.

    Args:
        desired: the desired state, with what is remembered of the nodes.
        facts: what the store remembers of the nodes.
        prior: the cluster in earlier revisions.
        stamps: node -> the stamp that it shows; empty if this cluster has no stamps.
        revision: of the desired state.
        overrides: of the fleet file.
        is_elsewhere: whether another host applies, and this one remembers nothing: then that host may have
            written what this one does not know.
    """

    driver: Driver[Any, Any]
    cluster: str
    desired: Any
    observed: Observed[Any]
    facts: Facts
    prior: PriorRevisions
    stamps: Mapping[str, str]
    revision: Revision
    overrides: Sequence[Override]
    is_elsewhere: bool


@dataclass(frozen=True, slots=True)
class StampedCluster:
    """The cluster without the nodes that somebody else has changed, by their stamps.

    Args:
        desired: without these nodes.
        plan: for it.
        findings: about the nodes that are left out; part of the plan.
        remarks: about what is not known here; not part of the plan.
    """

    desired: Any
    plan: ClusterPlan
    findings: tuple[Diagnostic, ...] = ()
    remarks: tuple[Diagnostic, ...] = ()


async def compare_stamps(
    reading: ClusterReading, memory: FleetMemory, content_history: ContentHistory | None
) -> StampedCluster:
    """The plan of a cluster, without the nodes whose stamps show that somebody else has changed them.

    Without a source, `content_history` is None, and each unknown stamp counts as such.

    Raises:
        SourceUnreachable: the source does not answer.
    """
    driver, cluster, revision = reading.driver, reading.cluster, reading.revision
    planned = driver.plan(reading.desired, reading.observed)
    suspects, remarks = _find_suspects(reading, planned), tuple[Diagnostic, ...]()
    if content_history is not None and suspects:
        reading, planned, remarks = await _add_delivered_files(reading, planned, memory, content_history)
        suspects = _find_suspects(reading, planned)
    given = find_foreign_stamps(cluster, suspects, memory, revision=revision, overrides=reading.overrides)
    traces = (
        await _trace_stamps(reading, frozenset(given.values()), content_history)
        if content_history
        else RevisionTraces()
    )
    found = tuple(find_foreign_changes(cluster, given, memory, revision=revision, traces=traces))
    remarks = (*remarks, *report_unknown_stamps(cluster, given, traces))
    if not found:
        return StampedCluster(reading.desired, planned, remarks=remarks)
    left = driver.exclude_nodes(reading.desired, frozenset(one.target.partition("/")[2] for one in found))
    return StampedCluster(left, driver.plan(left, reading.observed), found, remarks)


def _find_suspects(reading: ClusterReading, planned: ClusterPlan) -> dict[str, str]:
    # Only nodes that the plan changes: one that has the content already may show any stamp.
    differing = {step.node for step in planned.steps}
    return {node: stamp for node, stamp in sorted(reading.stamps.items()) if node in differing}


async def _trace_stamps(
    reading: ClusterReading, stamps: AbstractSet[str], content_history: ContentHistory
) -> RevisionTraces:
    """What the source knows of revisions that are no ancestors and were not applied here."""
    # Bounded: nodes choose what they show, and thousands of made-up stamps would keep this host busy. A stamp
    # that is not looked up is not known to continue, so that its node is left unchanged.
    looked_up = sorted(stamps)[:MOST]
    known = {stamp: await content_history.find_commit(stamp) for stamp in looked_up}
    continued = {
        stamp
        for stamp, id_ in known.items()
        if id_ and await content_history.is_continued(id_, reading.cluster)
    }
    missing = stamps - {stamp for stamp, id_ in known.items() if id_}
    return RevisionTraces(frozenset(continued), frozenset(missing) if reading.is_elsewhere else frozenset())


async def _add_delivered_files(
    reading: ClusterReading, planned: ClusterPlan, memory: FleetMemory, content_history: ContentHistory
) -> tuple[ClusterReading, ClusterPlan, tuple[Diagnostic, ...]]:
    """The same, with the files that came with the settings, for nodes that do not show them.

    They come from the revision whose stamp the node shows. If it is not in this source and another host
    applies, the commit before this revision is assumed.
    """
    driver, own = reading.driver, reading.driver.list_delivered_facts(reading.desired)
    asked = {
        node: stamp
        for node, stamp in _find_suspects(reading, planned).items()
        if node in own and not own[node].keys() & reading.facts.get(node, {}).keys()
    }
    if not asked:
        return reading, planned, ()
    found: dict[str, Mapping[str, str]] = {}
    unsure: set[str] = set()
    start = (
        await content_history.find_base_commit(memory.base.left if memory.base else "")
        if reading.is_elsewhere
        else ""
    )
    # Without this, the first plan of a new state folder would send its package to every node again.
    for stamp in sorted(set(asked.values()))[:MOST]:
        id_ = await content_history.find_commit(stamp)
        facts = (
            await content_history.list_delivered_facts(id_ or start, reading.cluster)
            if id_ or start
            else None
        )
        if facts is None and reading.is_elsewhere:
            facts = own
        nodes = {node for node, its in asked.items() if its == stamp}
        found |= {node: facts[node] for node in nodes if facts is not None and node in facts}
        unsure |= set() if id_ else nodes
    merged = {
        **reading.facts,
        **{node: {**reading.facts.get(node, {}), **its} for node, its in found.items()},
    }
    desired = driver.add_history(reading.desired, merged, reading.prior)
    again = driver.plan(desired, reading.observed)
    settled = unsure - {step.node for step in again.steps}
    remarks = tuple(report_assumed_stamps(reading.cluster, {node: asked[node] for node in sorted(settled)}))
    return replace(reading, desired=desired), again, remarks
