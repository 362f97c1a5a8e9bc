"""How a revision stands to what was applied before: asked of its source, and of the history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler.core.history import Memory, Past
from reconciler.core.revision import COMMIT, Descent, base, descent, short
from reconciler.planning.earlier_content import Lineage
from reconciler.ports.driver import Driver
from reconciler.ports.source import Source
from reconciler.secrets.resolver import Vault

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet


async def traced(
    memory: Memory,
    fleet: Fleet,
    source: Source,
    *,
    drivers: Mapping[str, Driver[Any, Any]],
    vault: Vault | None = None,
    named: bool = False,
) -> Memory:
    """The same memory, in which each cluster's past says how the fleet's revision stands to it.

    The source is asked for its history only where another revision was applied, or where nodes tell which
    revision they run.

    Args:
        memory: what the store remembers.
        fleet: the desired state at the revision.
        source: where it was read.
        drivers: kind -> product.
        vault: gives the values of secrets, which are part of what is compared.
        named: somebody asked for this very revision, so that it may be any.

    Raises:
        SourceError: the source does not give its history.
    """
    revision = fleet.revision.id
    applied = {past.applied.id for past in memory.past.values() if past.applied} - {revision}
    stamped = any(drivers[desk.entry.kind].stamped(desk.entry) for desk in fleet.desks)
    if not applied and not stamped:
        return memory
    before = await _before(source, revision)
    known = (
        {one: await _before(source, one) for one in sorted(applied - (before or frozenset()))}
        if before
        else {}
    )

    def stands(past: str) -> Descent:
        found = descent(revision, past, before, known.get(base(past)))
        if found is Descent.UNKNOWN and source.dated_by_use:
            return _by_use(revision, past, [id_ for id_, _ in memory.acted])
        return found

    past = {
        cluster: past if named or past.applied is None else replace(past, descent=stands(past.applied.id))
        for cluster, past in memory.past.items()
    }
    lineage = Lineage(fleet, source, drivers, vault, {**fleet.renames, **memory.renames})
    return replace(
        memory,
        past={**past, **await _by_content(past, lineage, known)},
        lineage=None if before is None else frozenset(map(short, before)),
    )


async def _before(source: Source, revision: str) -> frozenset[str] | None:
    """Ids of a revision and of all that it descends from; None where that is not known."""
    if not COMMIT.fullmatch(base(revision)) or not source.has_history:
        return None
    return await source.ancestors(base(revision))


async def _by_content(
    past: Mapping[str, Past], lineage: Lineage, known: Mapping[str, frozenset[str] | None]
) -> dict[str, Past]:
    """Clusters that go on by their content, though the revision does not descend from the applied one."""
    diverged: dict[str, set[str]] = defaultdict(set)
    for cluster, one in past.items():
        if one.descent is Descent.DIVERGED and one.applied is not None:
            diverged[base(one.applied.id)].add(cluster)
    found: dict[str, Past] = {}
    for applied, clusters in sorted(diverged.items()):
        if before := known.get(applied):
            same = await lineage.continues(applied, before, clusters)
            found |= {cluster: replace(past[cluster], descent=Descent.NEWER) for cluster in same}
    return found


def _by_use(revision: str, applied: str, acted: list[str]) -> Descent:
    """Where nothing but this host's history dates a revision: what was applied before is older."""
    if revision in acted and applied in acted and acted.index(revision) < acted.index(applied):
        return Descent.OLDER
    return Descent.UNKNOWN
