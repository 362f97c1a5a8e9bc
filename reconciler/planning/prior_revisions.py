"""Reads prior revisions: the clusters of earlier fleet files, from the source's history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.cluster_renames import translate_prior_names
from reconciler.core.memory import FleetMemory
from reconciler.core.prior_revisions import MergeBase, PriorCluster, PriorFile, PriorFiles, PriorRevisions
from reconciler.core.revision import shorten_commit
from reconciler.core.revision import strip_uncommitted as commit_of
from reconciler.desired.fleet_file import NAMES
from reconciler.documents.document import parse_document
from reconciler.errors import InputError, SourceError, SourceUnreachable, UsageError
from reconciler.planning.content_ancestry import ContentAncestry
from reconciler.ports.driver import Driver
from reconciler.ports.source import Source
from reconciler.secrets.references import list_reference_places
from reconciler.secrets.resolver import SecretResolver

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet

MOST: Final = 2_000
"""Nodes of one cluster that are read from one earlier fleet file."""

_Clusters = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Cluster -> node -> entry."""

_Kinds = Mapping[str, str]
"""Cluster -> kind."""


@dataclass(frozen=True, slots=True)
class MergeTarget:
    """What the revision is to be merged into.

    Args:
        ref: branch, tag or commit; empty for none: then the first parent is the base.
        told: the variable of the CI system that named it, which may mean another repository; empty if it was
            named on the command line.
        instead: another one that a CI system named, in case this one does not exist.
    """

    ref: str = ""
    told: str = ""
    instead: MergeTarget | None = None


NO_BASE: Final = MergeTarget()


async def read_prior_revisions(
    memory: FleetMemory,
    fleet: Fleet,
    source: Source,
    *,
    drivers: Mapping[str, Driver[Any, Any]],
    base: MergeTarget = NO_BASE,
    resolver: SecretResolver | None = None,
) -> FleetMemory:
    """The same memory, with earlier revisions' entries of each cluster whose product needs them.

    Three fleet files are read: that of the revision that was applied last, if the source still has it; that
    of the base revision; and older ones. Of every cluster, the places where the first two refer to secrets.

    Args:
        memory: what the store remembers.
        fleet: the desired state at the revision.
        source: where it was read.
        drivers: kind -> product.
        base: what the revision is to be merged into.
        resolver: gives the values of secrets, which are part of what the base and the revision differ in.

    Raises:
        SourceError: the base that the command line named does not exist, or the source is not usable.
        SourceUnreachable: the source does not answer.
    """
    every = [cluster_input.entry.name for cluster_input in fleet.cluster_inputs]
    names = [
        cluster_input.entry.name
        for cluster_input in fleet.cluster_inputs
        if drivers[cluster_input.entry.kind].capabilities.history
    ]
    applied = {
        name: commit_of(cluster_memory.applied.id)
        for name in every
        if (cluster_memory := memory.cluster_memory.get(name)) is not None
        and cluster_memory.applied is not None
    }
    asked = NAMES if names or base.ref else ()
    found, trouble = await _earlier(source, fleet.revision.id, base, sorted(set(applied.values())), asked)
    renames = {**fleet.renames, **memory.renames}
    kinds = {cluster_input.entry.name: cluster_input.entry.kind for cluster_input in fleet.cluster_inputs}
    others = ((file.name, file.data) for file in found.others)
    references = list_reference_places(others, fleet.secrets.documents)

    def since(file: PriorFile) -> dict[str, str]:
        """The renames since an earlier file; a cluster of another kind is another cluster."""
        then = _kinds(file)
        return {name: former for name, former in renames.items() if then.get(former) == kinds[name]}

    def by_name(file: PriorFile) -> _Clusters | None:
        """The clusters of an earlier file, those that were renamed since under the name of today."""
        clusters = _clusters(file)
        return clusters if clusters is None else translate_prior_names(clusters, since(file))

    versions = [(file, by_name(file)) for file in found.before]
    at = {commit: by_name(file) for commit, file in found.applied.items()}
    before = translate_prior_names(_kinds(found.before[0]), since(found.before[0])) if found.before else {}
    unread = found.unread or ("" if found.tip else trouble)
    prior = {
        name: replace(
            _prior(name, versions, applied.get(name, ""), at, unread),
            replaced=_replaced(name, fleet, before),
        )
        for name in names
    }
    for name in every:
        prior[name] = replace(prior.get(name, PriorRevisions()), references=references)
    lineage = ContentAncestry(fleet, source, drivers, resolver, renames)
    return replace(memory, prior=prior, base=await _merge_base(lineage, base.ref, found, trouble, by_name))


async def _merge_base(
    lineage: ContentAncestry,
    ref: str,
    found: PriorFiles,
    trouble: str,
    by_name: Callable[[PriorFile], _Clusters | None],
) -> MergeBase | None:
    """The base as it stands to the revision; None where none is named, or nothing stood before."""
    unread = trouble or found.unread
    if not ref or not (found.before or unread):
        return None
    clusters = by_name(found.before[0]) if found.before and found.tip else None
    if clusters is None:
        return MergeBase(ref, unread=unread or _unreadable(found.before[0]))
    named = {name: frozenset(nodes) for name, nodes in clusters.items()}
    for further in filter(None, map(by_name, found.bases)):
        named |= {name: named.get(name, frozenset()) | nodes.keys() for name, nodes in further.items()}
    revision, source = commit_of(lineage.fleet.revision.id), lineage.source
    before, tips = await source.ancestors(revision), await source.ancestors(found.tip)
    if before is None or tips is None:
        unread = unread or f"this clone is shallow, so it is unknown which commits of {ref} are missing here"
    lacking = tips - before if before is not None and tips is not None else frozenset[str]()
    left, changed = found.before[0].commit, frozenset[str]()
    if lacking:
        changed = await lineage.differing(found.tip, left) & await lineage.differing(found.tip, revision)
    return MergeBase(
        ref, named, shorten_commit(found.tip), frozenset(map(shorten_commit, lacking)), changed, left, unread
    )


def _replaced(name: str, fleet: Fleet, before: _Kinds) -> tuple[str, ...]:
    """The clusters that went as this one came."""
    kind = next(
        cluster_input.entry.kind for cluster_input in fleet.cluster_inputs if cluster_input.entry.name == name
    )
    gone = (one for one, its in before.items() if its == kind and one not in fleet.clusters)
    return () if name in before else tuple(sorted(gone))


async def _earlier(
    source: Source, revision: str, base: MergeTarget, applied: Sequence[str], names: Sequence[str]
) -> tuple[PriorFiles, str]:
    """What the source has of earlier revisions, and why it has nothing."""
    if not source.has_history:
        if base.ref and not base.told:
            raise UsageError(
                f"--base {base.ref} requires a git source, but this source has no history",
                remedy="remove --base, or use a git repository as the source",
            )
        return PriorFiles(), ""
    try:
        return await source.earlier(revision, names, base=base.ref, applied=applied), ""
    except SourceUnreachable:
        raise
    except UsageError:  # a folder without a repository: a CI system speaks of the one around it
        if not base.told:
            raise
        return await source.earlier(revision, names, applied=applied), ""
    except SourceError as error:
        if not base.told:
            raise
        why = f"{base.told} names {base.ref}, and {error.message}"
        if base.instead is not None and base.instead.ref:
            return (await _earlier(source, revision, base.instead, applied, names))[0], why
        return await source.earlier(revision, names, applied=applied), why


def _prior(
    name: str,
    versions: Sequence[tuple[PriorFile, _Clusters | None]],
    applied: str,
    at: Mapping[str, _Clusters | None],
    unread: str,
) -> PriorRevisions:
    found: list[PriorCluster] = []
    if named := (at.get(applied) or {}).get(name):
        found.append(PriorCluster(named, shorten_commit(applied), applied=True))
    nearest = False
    for file, clusters in versions:
        if clusters and (named := clusters.get(name)):
            found.append(PriorCluster(named, shorten_commit(file.commit), older=nearest))
            nearest = True
    if found:
        return PriorRevisions(tuple(found))
    wrong = next((file for file, clusters in versions if clusters is None), None)
    if not unread and wrong is not None:
        unread = _unreadable(wrong)
    return PriorRevisions((), unread)


def _unreadable(file: PriorFile) -> str:
    return f"{file.name} of the revision {shorten_commit(file.commit)} cannot be read"


def _clusters(file: PriorFile) -> _Clusters | None:
    """The clusters of an earlier fleet file, as plain data; None where it cannot be read.

    It is not held against today's schema: what was right then still tells who the nodes were.
    """
    listed = _listed(file)
    if listed is None:
        return None
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for cluster in listed:
        if isinstance(cluster, Mapping) and isinstance(name := cluster.get("name"), str):
            nodes = cluster.get("nodes")
            found.setdefault(name, {}).update(
                (node["name"], node)
                for node in (nodes if isinstance(nodes, list) else [])[:MOST]
                if isinstance(node, Mapping) and isinstance(node.get("name"), str)
            )
    return found


def _kinds(file: PriorFile) -> _Kinds:
    """The kind of each cluster that an earlier fleet file names; none where it cannot be read."""
    named = [cluster for cluster in _listed(file) or () if isinstance(cluster, Mapping)]
    return {
        cluster["name"]: str(cluster.get("kind")) for cluster in named if isinstance(cluster.get("name"), str)
    }


def _listed(file: PriorFile) -> list[Any] | None:
    try:
        value = parse_document(file.name, file.data).value
    except InputError:
        return None
    listed = value.get("clusters") if isinstance(value, Mapping) else None
    return listed if isinstance(listed, list) else None
