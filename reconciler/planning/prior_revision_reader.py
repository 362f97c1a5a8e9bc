"""Reads prior revisions: the clusters of earlier fleet files, from the source's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.cluster_renames import translate_prior_names
from reconciler.core.memory import FleetMemory
from reconciler.core.prior_revisions import MergeBase, PriorCluster, PriorFile, PriorFiles, PriorRevisions
from reconciler.core.revision import shorten_commit, strip_uncommitted
from reconciler.documents.document import parse_document
from reconciler.errors import InputError, SourceError, SourceUnreachable, UsageError
from reconciler.planning.content_history import ContentHistory
from reconciler.ports.driver import Driver
from reconciler.ports.source import FLEET_FILES, Source
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
    """The target into which the revision is to be merged.

    Args:
        ref: branch, tag or commit; empty for none: then the first parent is the base.
        ci_variable: the variable of the CI system that named it, which may mean another repository; empty if
            it was named on the command line.
        instead: another target that a CI system named, if this one does not exist.
    """

    ref: str = ""
    ci_variable: str = ""
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
    kinds = {cluster_input.entry.name: cluster_input.entry.kind for cluster_input in fleet.cluster_inputs}
    names = {name for name, kind in kinds.items() if drivers[kind].capabilities.history}
    applied = {
        name: strip_uncommitted(cluster_memory.applied.id)
        for name in kinds
        if (cluster_memory := memory.cluster_memory.get(name)) is not None
        and cluster_memory.applied is not None
    }
    asked = FLEET_FILES if names or base.ref else ()
    found, trouble = await _read_earlier_files(
        source, fleet.revision.id, base, sorted(set(applied.values())), asked
    )
    renames = {**fleet.renames, **memory.renames}

    def read(file: PriorFile) -> tuple[_Clusters | None, _Kinds]:
        """The clusters of an earlier file, and their kinds, by today's names."""
        clusters, then = _parse_clusters(file)
        # A cluster of another kind is another cluster, whatever `renamed_from` says.
        since = {name: former for name, former in renames.items() if then.get(former) == kinds[name]}
        return clusters and translate_prior_names(clusters, since), translate_prior_names(then, since)

    before = [(file, *read(file)) for file in found.before]
    versions = [(file, clusters) for file, clusters, _ in before]
    base_kinds = before[0][2] if before else {}
    at = {commit: read(file)[0] for commit, file in found.applied.items()}
    unread = found.unread or ("" if found.tip else trouble)
    others = ((file.name, file.data) for file in found.others)
    references = list_reference_places(others, fleet.secrets.documents)
    prior = {name: PriorRevisions(references=references) for name in kinds}
    for name in names:
        clusters, why = _collect_prior(name, versions, applied.get(name, ""), at, unread)
        gone = sorted(
            one for one, kind in base_kinds.items() if kind == kinds[name] and one not in fleet.clusters
        )
        prior[name] = PriorRevisions(clusters, why, () if name in base_kinds else tuple(gone), references)
    content_history = ContentHistory(fleet, source, drivers, resolver, renames)
    # Merges in both directions leave several commits where the branch left its base: all of them count.
    bases = [clusters for _, clusters in versions[:1]] + [read(file)[0] for file in found.bases]
    merge_base = await _find_merge_base(content_history, base.ref, found, trouble, bases)
    return replace(memory, prior=prior, base=merge_base)


async def _find_merge_base(
    content_history: ContentHistory,
    ref: str,
    found: PriorFiles,
    trouble: str,
    bases: Sequence[_Clusters | None],
) -> MergeBase | None:
    """The base, compared with the revision; None if no base is named, or there was nothing before."""
    unread = trouble or found.unread
    if not ref or not (found.before or unread):
        return None
    clusters = bases[0] if found.before and found.tip else None
    if clusters is None:
        return MergeBase(ref, unread=unread or _explain_unreadable(found.before[0]))
    named = {name: frozenset(nodes) for name, nodes in clusters.items()}
    for further in filter(None, bases[1:]):
        named |= {name: named.get(name, frozenset()) | nodes.keys() for name, nodes in further.items()}
    revision, source = strip_uncommitted(content_history.fleet.revision.id), content_history.source
    before, tips = await source.ancestors(revision), await source.ancestors(found.tip)
    if before is None or tips is None:
        unread = unread or f"this clone is shallow, so it is unknown which commits of {ref} are missing here"
    lacking = tips - before if before is not None and tips is not None else frozenset[str]()
    left, changed = found.before[0].commit, frozenset[str]()
    if lacking:
        changed = await content_history.list_differing_clusters(
            found.tip, left
        ) & await content_history.list_differing_clusters(found.tip, revision)
    return MergeBase(
        ref, named, shorten_commit(found.tip), frozenset(map(shorten_commit, lacking)), changed, left, unread
    )


async def _read_earlier_files(
    source: Source, revision: str, base: MergeTarget, applied: Sequence[str], names: Sequence[str]
) -> tuple[PriorFiles, str]:
    """The files of earlier revisions, and why the source does not have them; empty if it has."""
    if not source.has_history:
        if base.ref and not base.ci_variable:
            raise UsageError(
                f"--base {base.ref} requires a git source, but this source has no history",
                remedy="remove --base, or use a git repository as the source",
            )
        return PriorFiles(), ""
    try:
        return await source.read_prior_files(revision, names, base=base.ref, applied=applied), ""
    except SourceUnreachable:
        raise
    except UsageError:  # a folder without a repository: the CI system means the repository around it
        if not base.ci_variable:
            raise
        return await source.read_prior_files(revision, names, applied=applied), ""
    except SourceError as error:
        if not base.ci_variable:
            raise
        why = f"{base.ci_variable} names {base.ref}, and {error.message}"
        if base.instead is not None and base.instead.ref:
            return (await _read_earlier_files(source, revision, base.instead, applied, names))[0], why
        return await source.read_prior_files(revision, names, applied=applied), why


def _collect_prior(
    name: str,
    versions: Sequence[tuple[PriorFile, _Clusters | None]],
    applied: str,
    at: Mapping[str, _Clusters | None],
    unread: str,
) -> tuple[tuple[PriorCluster, ...], str]:
    """One cluster in earlier revisions; if none of them has it, why one could not be read."""
    found: list[PriorCluster] = []
    if named := (at.get(applied) or {}).get(name):
        found.append(PriorCluster(named, shorten_commit(applied), is_applied=True))
    has_nearest = False
    for file, clusters in versions:
        if clusters and (named := clusters.get(name)):
            found.append(PriorCluster(named, shorten_commit(file.commit), is_older=has_nearest))
            has_nearest = True
    wrong = next((file for file, clusters in versions if clusters is None), None)
    if found:
        return tuple(found), ""
    return (), unread or (_explain_unreadable(wrong) if wrong else "")


def _explain_unreadable(file: PriorFile) -> str:
    return f"{file.name} of the revision {shorten_commit(file.commit)} cannot be read"


def _parse_clusters(file: PriorFile) -> tuple[_Clusters | None, _Kinds]:
    """The clusters of an earlier fleet file as plain data (None if it cannot be read), and their kinds."""
    # Not validated with today's schema: an entry that was valid then still tells which nodes there were.
    value: Any = None
    with suppress(InputError):
        value = parse_document(file.name, file.data).value
    listed = value.get("clusters") if isinstance(value, Mapping) else None
    if not isinstance(listed, list):
        return None, {}
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    kinds: dict[str, str] = {}
    for cluster in listed:
        if isinstance(cluster, Mapping) and isinstance(name := cluster.get("name"), str):
            kinds[name] = str(cluster.get("kind"))
            nodes = cluster.get("nodes")
            found.setdefault(name, {}).update(
                (node["name"], node)
                for node in (nodes if isinstance(nodes, list) else [])[:MOST]
                if isinstance(node, Mapping) and isinstance(node.get("name"), str)
            )
    return found, kinds
