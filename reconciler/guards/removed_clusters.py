"""Clusters that this host applied, or that the merge target has, and the fleet file no longer names."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from reconciler.core.memory import ClusterMemory, FleetMemory
from reconciler.diagnostic import Diagnostic, Severity

CODE = "cluster-vanished"


def find_removed_clusters(memory: FleetMemory, clusters: AbstractSet[str]) -> Iterator[Diagnostic]:
    """A violation for each cluster that has no entry any more; its nodes would no longer be managed.

    Each holds itself alone, whoever knows of it: no step is planned for its nodes, and the others have
    nothing to do with them.

    Args:
        memory: what earlier runs of the fleet left, and the merge target.
        clusters: names of the clusters in the fleet file.
    """
    for name, cluster_memory in sorted(memory.cluster_memory.items()):
        if cluster_memory.nodes and name not in clusters:
            source = f" from {cluster_memory.source}" if cluster_memory.source else ""
            known = f"which was applied{source} with {_count_nodes(cluster_memory.nodes)}"
            yield _make_violation(name, known)
    base = memory.base
    for name, nodes in sorted(base.clusters.items()) if base else ():
        if name not in clusters and not memory.cluster_memory.get(name, ClusterMemory()).nodes:
            assert base is not None
            yield _make_violation(name, f"which {base.ref} names with {_count_nodes(len(nodes))}")


def _count_nodes(number: int) -> str:
    return f"{number:,} node" if number == 1 else f"{number:,} nodes"


def _make_violation(name: str, known: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        CODE,
        f"{name}: the fleet file no longer names this cluster, {known}; its nodes would no longer be managed",
        "put it back; if it has a new name, write `renamed_from` into its entry; to remove it, set an "
        "override for this cluster in the fleet file",
        target=name,
        hold=True,
    )
