"""Clusters that earlier runs of this source applied, and that its fleet file no longer names."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from reconciler.core.history import Memory
from reconciler.diagnostic import Diagnostic, Severity

CODE = "cluster-vanished"


def vanished(memory: Memory, source: str, clusters: AbstractSet[str]) -> tuple[Diagnostic, ...]:
    """A verdict for each cluster that was applied from this source and has no entry any more.

    Its nodes would keep what they have, and nobody would look after them. A store may serve several
    fleets: a cluster counts for the source it was applied from last, and not for others.

    Args:
        memory: what earlier runs left.
        source: of the fleet file at hand.
        clusters: the names that it has.
    """
    gone = [(name, past.nodes) for name, past in sorted(memory.past.items()) if past.source == source]
    return tuple(
        Diagnostic(
            Severity.ERROR,
            CODE,
            f"{name}: the fleet file no longer names this cluster, which was applied from {source} with "
            f"{count} nodes; nobody would look after them",
            "put it back; if it is meant to go, set an override for this cluster in the fleet file",
            target=name,
        )
        for name, count in gone
        if count and name not in clusters
    )
