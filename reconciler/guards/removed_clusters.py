"""Clusters that earlier runs of this fleet applied, and that its fleet file no longer names."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from reconciler.core.memory import FleetMemory
from reconciler.diagnostic import Diagnostic, Severity

CODE = "cluster-vanished"


def find_removed_clusters(memory: FleetMemory, clusters: AbstractSet[str]) -> tuple[Diagnostic, ...]:
    """A verdict for each cluster that was applied and has no entry any more; it holds up nothing else.

    Its nodes would keep what they have, and nobody would look after them.

    Args:
        memory: what earlier runs of the fleet left.
        clusters: the names that the fleet file has.
    """
    return tuple(
        Diagnostic(
            Severity.ERROR,
            CODE,
            f"{name}: the fleet file no longer names this cluster, which was applied"
            + (f" from {cluster_memory.source}" if cluster_memory.source else "")
            + f" with {cluster_memory.nodes} nodes; nobody would look after them",
            "put it back; if it has another name now, write `renamed_from` into its entry; if it is to go, "
            "set an override for this cluster in the fleet file",
            target=name,
            hold=True,
        )
        for name, cluster_memory in sorted(memory.cluster_memory.items())
        if cluster_memory.nodes and name not in clusters
    )
