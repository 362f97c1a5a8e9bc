"""The ancestry of a revision: whether it is newer or older than the applied one, by source and history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler.core.memory import ClusterMemory, FleetMemory
from reconciler.core.revision import COMMIT, Ancestry, compare_revisions, shorten_commit, strip_uncommitted
from reconciler.planning.content_history import ContentHistory
from reconciler.ports.driver import Driver
from reconciler.ports.source import Source
from reconciler.secrets.resolver import SecretResolver

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet


async def add_ancestry(
    memory: FleetMemory,
    fleet: Fleet,
    source: Source,
    *,
    drivers: Mapping[str, Driver[Any, Any]],
    resolver: SecretResolver | None = None,
    named: bool = False,
) -> FleetMemory:
    """The same memory, with the ancestry of the fleet's revision for each cluster.

    Args:
        memory: what the store remembers.
        fleet: the desired state at the revision.
        source: where it was read.
        drivers: kind -> product.
        resolver: gives the values of secrets, which are part of what is compared.
        named: the operator named this revision, so that it may be older.

    Raises:
        SourceError: the source does not give its history.
    """
    revision = fleet.revision.id
    applied = {one.applied.id for one in memory.cluster_memory.values() if one.applied} - {revision}
    entries = [cluster_input.entry for cluster_input in fleet.cluster_inputs]
    if not applied and not any(drivers[entry.kind].has_stamps(entry) for entry in entries):
        return memory  # reading the history of a large repository takes seconds, and nobody needs it
    before = await _list_ancestors(source, revision)
    others = sorted(applied - before) if before else []
    known = {one: await _list_ancestors(source, one) for one in others}
    applied_ids = [id_ for id_, _ in memory.applied_revisions]
    newer = {one: await source.is_newer(revision, one) for one in applied} if source.keeps_revisions else {}

    def compare(applied_id: str) -> Ancestry:
        found = compare_revisions(revision, applied_id, before, known.get(strip_uncommitted(applied_id)))
        if found is Ancestry.UNKNOWN and (is_newer := newer.get(applied_id)) is not None:
            return Ancestry.NEWER if is_newer else Ancestry.OLDER
        # Only the history of this host dates such a source: what was applied before is older.
        if (
            found is Ancestry.UNKNOWN
            and source.is_dated_by_use
            and {revision, applied_id} <= set(applied_ids)
        ):
            return Ancestry.OLDER if applied_ids.index(revision) < applied_ids.index(applied_id) else found
        return found

    cluster_memory = {
        cluster: cluster_memory
        if named or cluster_memory.applied is None
        else replace(cluster_memory, ancestry=compare(cluster_memory.applied.id))
        for cluster, cluster_memory in memory.cluster_memory.items()
    }
    content_history = ContentHistory(fleet, source, drivers, resolver, {**fleet.renames, **memory.renames})
    return replace(
        memory,
        cluster_memory={**cluster_memory, **await _find_continued(cluster_memory, content_history, known)},
        ancestors=None if before is None else frozenset(map(shorten_commit, before)),
    )


async def _list_ancestors(source: Source, revision: str) -> frozenset[str] | None:
    """Ids of a revision and of all its ancestors; None if they are not known."""
    if not COMMIT.fullmatch(strip_uncommitted(revision)) or not source.has_history:
        return None
    return await source.ancestors(strip_uncommitted(revision))


async def _find_continued(
    cluster_memory: Mapping[str, ClusterMemory],
    content_history: ContentHistory,
    known: Mapping[str, frozenset[str] | None],
) -> dict[str, ClusterMemory]:
    """Clusters whose content continues, although the revision does not descend from the applied one."""
    diverged: dict[str, set[str]] = defaultdict(set)
    for cluster, one in cluster_memory.items():
        if one.ancestry is Ancestry.DIVERGED and one.applied is not None:
            diverged[strip_uncommitted(one.applied.id)].add(cluster)
    found: dict[str, ClusterMemory] = {}
    for applied, clusters in sorted(diverged.items()):
        if before := known.get(applied):
            same = await content_history.find_continued_clusters(applied, before, clusters)
            found |= {cluster: replace(cluster_memory[cluster], ancestry=Ancestry.NEWER) for cluster in same}
    return found
