"""Clusters that earlier runs of this source applied, and that its fleet file no longer names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.core.guard import Violation
from reconciler.ports.records import Memory
from reconciler.store.sqlite.facts import NAMES, NODES, SOURCE

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet
    from reconciler.planning.plan_pass import Survey

CODE = "cluster-vanished"


def vanished(fleet: Fleet, memory: Memory) -> tuple[Violation, ...]:
    """A verdict for each cluster that was applied from this source and has no entry any more.

    Its nodes would keep what they have, and nobody would look after them. A store may serve several
    fleets: a cluster counts for the source it was applied from last, and not for others.
    """
    source = fleet.revision.source
    gone = [(name, past.nodes) for name, past in sorted(memory.past.items()) if past.source == source]
    return tuple(
        Violation(
            CODE,
            name,
            f"{name}: the fleet file no longer names this cluster, which was applied from {source} with "
            f"{count} nodes; nobody would look after them",
            "put it back; if it is meant to go, set an override for this cluster in the fleet file",
        )
        for name, count in gone
        if count and name not in fleet.clusters
    )


def forgotten(survey: Survey) -> dict[str, dict[str, dict[str, str]]]:
    """The facts to forget of clusters that went with an override: once is enough to be told."""
    gone = [violation.target for violation, _ in survey.overridden if violation.code == CODE]
    return {name: {"": {NODES: "", NAMES: "", SOURCE: ""}} for name in gone}
