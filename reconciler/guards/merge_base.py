"""What a revision takes out of the fleet, and what the branch lacks that it is to be merged into.

Before it stands the base that a pull request names, and what was applied last, as far as either is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

from reconciler.core.memory import ClusterMemory, FleetMemory
from reconciler.core.prior_revisions import MergeBase
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.guards.removed_clusters import CODE as GONE

LEAVES: Final = "no-longer-managed"
"""Code of the remark that nodes are named no more."""

BEHIND: Final = "behind-base"
"""Code of what is said where the base has changed a cluster since the revision left it."""

UNKNOWN: Final = "base-unknown"
"""Code of what is said where the base cannot be compared with."""

_MOST_NAMED: Final = 10


def report_leaving_nodes(
    memory: FleetMemory, members: Mapping[str, AbstractSet[str]], clusters: AbstractSet[str]
) -> Iterator[Diagnostic]:
    """A warning for each cluster of which nodes, or all, are named no more.

    Args:
        memory: what was applied last, and the base.
        members: cluster -> names of its nodes, of the clusters that are looked at.
        clusters: all that the fleet file has.
    """
    base = memory.base.clusters if memory.base else {}
    for name in sorted(
        name for name in {*base, *memory.cluster_memory} if name in members or name not in clusters
    ):
        before = base.get(name, frozenset()) | memory.cluster_memory.get(name, ClusterMemory()).names
        if gone := sorted(before - members.get(name, frozenset())):
            shown = ", ".join(gone[:_MOST_NAMED])
            more = f" and {len(gone) - _MOST_NAMED} more" if len(gone) > _MOST_NAMED else ""
            whole = (
                "" if name in clusters else "with its cluster, " if len(gone) == 1 else "with their cluster, "
            )
            node = "node is" if len(gone) == 1 else "nodes are"
            yield Diagnostic(
                Severity.WARNING,
                LEAVES,
                f"{len(gone)} {node} no longer managed: {whole}{shown}{more}",
                "they keep what they have, and nobody looks after them; put them back if that is not meant",
                target=name,
            )


def report_vanishing_clusters(memory: FleetMemory, clusters: AbstractSet[str]) -> Iterator[Diagnostic]:
    """A verdict for each cluster that the base names and the fleet file does not."""
    base = memory.base
    for name, nodes in sorted(base.clusters.items()) if base else ():
        if name not in clusters and not memory.cluster_memory.get(name, ClusterMemory()).nodes:
            assert base is not None
            yield Diagnostic(
                Severity.ERROR,
                GONE,
                f"{name}: the fleet file no longer names this cluster, which {base.ref} names with "
                f"{len(nodes)} nodes; nobody would look after them",
                "put it back; if it has another name now, write `renamed_from` into its entry; if it is to "
                "go, set an override for this cluster in the fleet file",
                target=name,
            )


def report_stale_branch(base: MergeBase | None, clusters: AbstractSet[str]) -> Iterator[Diagnostic]:
    """A warning for each cluster that the base has changed since the revision left it."""
    for name in sorted(base.changed & clusters) if base else ():
        assert base is not None
        yield Diagnostic(
            Severity.WARNING,
            BEHIND,
            f"{base.ref} changes this cluster in commits that this revision lacks, up to {base.tip}: the "
            "plan is that of the revision alone, and not of the merge",
            f"merge {base.ref} into the branch, or rebase it, and plan again",
            target=name,
        )


def report_missing_comparison(base: MergeBase | None, fleet_file: str) -> Iterator[Diagnostic]:
    """A warning where nobody knows what the revision takes out, or what it lacks."""
    if base is not None and base.unread:
        how = "wholly compared" if base.left else "compared"
        yield Diagnostic(
            Severity.WARNING,
            UNKNOWN,
            f"the revision is not {how} with {base.ref}: {base.unread}",
            "fetch the whole history and the target branch: `fetch-depth: 0` in GitHub Actions, "
            '`GIT_DEPTH: "0"` in GitLab CI',
            position=Position(fleet_file),
        )


def add_merge_base(cluster_memory: ClusterMemory, base: MergeBase | None, cluster: str) -> ClusterMemory:
    """A cluster's past, in which the base's nodes count as those that stood before.

    Args:
        cluster_memory: what the store remembers of it.
        base: what the revision is to be merged into.
        cluster: its name.
    """
    names = base.clusters.get(cluster, frozenset()) if base else frozenset[str]()
    if not names or (cluster_memory.nodes and not cluster_memory.names):
        return cluster_memory
    both = cluster_memory.names | names
    return replace(cluster_memory, names=both, nodes=len(both))
