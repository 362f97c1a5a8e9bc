"""Nodes that a revision removes from the fleet, and commits of the merge target that it lacks.

It is compared with the base of a pull request and with what was applied last, as far as they are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

from reconciler.core.memory import ClusterMemory, FleetMemory
from reconciler.core.prior_revisions import MergeBase
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.text.one_line import join_some

LEAVES: Final = "no-longer-managed"
"""Code of the warning that the fleet file no longer names nodes."""

BEHIND: Final = "behind-base"
"""Code for a cluster that the base has changed since the revision branched off."""

UNKNOWN: Final = "base-unknown"
"""Code for a base that the revision cannot be compared with."""

_MOST_NAMED: Final = 10


def report_leaving_nodes(
    memory: FleetMemory, members: Mapping[str, AbstractSet[str]], clusters: AbstractSet[str]
) -> Iterator[Diagnostic]:
    """A warning for each cluster of which the fleet file no longer names some nodes, or all.

    Args:
        memory: what was applied last, and the base.
        members: cluster -> names of its nodes, for the clusters of this pass.
        clusters: all clusters of the fleet file.
    """
    base = memory.base.clusters if memory.base else {}
    for name in sorted({*base, *memory.cluster_memory}):
        if name in clusters and name not in members:
            continue  # it is not part of this pass
        before = base.get(name, frozenset()) | memory.cluster_memory.get(name, ClusterMemory()).names
        if gone := sorted(before - members.get(name, frozenset())):
            node, its = ("node is", "its") if len(gone) == 1 else ("nodes are", "their")
            whole = "" if name in clusters else f"with {its} cluster, "
            yield Diagnostic(
                Severity.WARNING,
                LEAVES,
                f"{len(gone)} {node} no longer managed: {whole}{join_some(gone, _MOST_NAMED)}",
                "they keep their settings and are no longer managed; put them back if this is a mistake",
                target=name,
            )


def report_stale_branch(base: MergeBase | None, clusters: AbstractSet[str]) -> Iterator[Diagnostic]:
    """A warning for each cluster that the base has changed since the revision branched off."""
    for name in sorted(base.changed & clusters) if base else ():
        assert base is not None
        yield Diagnostic(
            Severity.WARNING,
            BEHIND,
            f"{base.ref} changes this cluster in commits that this revision lacks, up to {base.tip}; the "
            "plan shows the revision alone, not the merge",
            f"merge {base.ref} into the branch, or rebase it, and plan again",
            target=name,
        )


def report_missing_comparison(base: MergeBase | None, fleet_file: str) -> Iterator[Diagnostic]:
    """A warning if it is unknown what the revision removes or lacks."""
    if base is not None and base.unread:
        how = "fully compared" if base.left else "compared"
        yield Diagnostic(
            Severity.WARNING,
            UNKNOWN,
            f"the revision was not {how} with {base.ref}: {base.unread}",
            "fetch the whole history and the target branch: `fetch-depth: 0` in GitHub Actions, "
            '`GIT_DEPTH: "0"` in GitLab CI',
            position=Position(fleet_file),
        )


def add_merge_base(cluster_memory: ClusterMemory, base: MergeBase | None, cluster: str) -> ClusterMemory:
    """The memory of a cluster, to which its nodes in the merge target of the revision are added."""
    names = base.clusters.get(cluster, frozenset()) if base else frozenset[str]()
    # Memory of an older version is a number without names: nothing can be added to it by name.
    if not names or (cluster_memory.nodes and not cluster_memory.names):
        return cluster_memory
    both = cluster_memory.names | names
    return replace(cluster_memory, names=both, nodes=len(both))
