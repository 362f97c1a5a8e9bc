"""Locates the nodes of all clusters, with names resolved once, and finds place conflicts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from reconciler.core.cluster_renames import find_left_behind, find_refused_renames
from reconciler.core.memory import FleetMemory
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards.place_conflicts import (
    NodePlace,
    find_foreign_places,
    find_reassigned_places,
    find_released_places,
    find_shared_places,
)
from reconciler.ports.transport import Http

if TYPE_CHECKING:
    from reconciler.desired.fleet import DesiredCluster, Fleet

AT_ONCE = 32
"""Names that are resolved at the same time."""


@dataclass(frozen=True, slots=True)
class FleetPlaces:
    """The places of a fleet's nodes.

    Args:
        places: cluster -> node -> its place by every address.
        violations: cluster -> its place conflicts.
        released: cluster -> places that it no longer names.
        findings: cluster -> what is to be told of its places, without stopping it.
    """

    places: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    violations: Mapping[str, Sequence[Diagnostic]] = field(default_factory=dict)
    released: Mapping[str, Sequence[str]] = field(default_factory=dict)
    findings: Mapping[str, Sequence[Diagnostic]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _PlaceIndex:
    """The places of all nodes of a fleet, in the order of its clusters.

    Args:
        keys: cluster -> node -> its place by every address.
        shared: key -> index of each place that has it, of keys that several have.
    """

    places: tuple[NodePlace, ...]
    by_cluster: Mapping[str, Sequence[NodePlace]]
    keys: Mapping[str, Mapping[str, tuple[str, ...]]]
    shared: Mapping[str, Sequence[int]]

    def find_near(self, own: Sequence[NodePlace]) -> tuple[NodePlace, ...]:
        """The places of one cluster, and all that share a key with one of them, in the order of the fleet."""
        indices = {index for place in own for key in place.keys for index in self.shared.get(key, ())}
        # A place of its own that shares no key with any other has no conflict.
        return tuple(self.places[index] for index in sorted(indices))


@lru_cache(maxsize=1)  # once for a revision: each pass over one cluster is about the places of all
def _index_places(
    desired: tuple[DesiredCluster, ...], addresses: tuple[tuple[str, tuple[str, ...]], ...]
) -> _PlaceIndex:
    # Two names may lead to the same address, so places are compared by name and by every address.
    known = {host: found for host, found in addresses if found}
    located = {
        one.cluster_input.entry.name: [
            replace(place, addresses=known[place.endpoint.host]) if place.endpoint.host in known else place
            for place in one.places
        ]
        if one.host_names
        else one.places
        for one in desired
    }
    places = tuple(place for some in located.values() for place in some)
    indices: dict[str, list[int]] = {}
    for index, place in enumerate(places):
        for key in place.keys:
            indices.setdefault(key, []).append(index)
    return _PlaceIndex(
        places,
        located,
        {name: {place.node: place.keys for place in some} for name, some in located.items()},
        {key: some for key, some in indices.items() if len(some) > 1},
    )


async def locate_nodes(fleet: Fleet, http: Http, memory: FleetMemory, cluster: str = "") -> FleetPlaces:
    """The places of all nodes of a fleet, also of clusters that this pass does not plan.

    Args:
        fleet: with the desired state of all its clusters.
        http: resolves names, where it can.
        memory: has the claims of other fleets of this host.
        cluster: of which conflicts are looked for; empty for all. A watch asks this for each of its clusters,
            and would else compare all with all as often as it has clusters.
    """
    hosts = {name for one in fleet.desired for name in one.host_names}
    index = _index_places(fleet.desired, tuple((await _resolve_names(hosts, http)).items()))
    own, near = index.places, index.places
    if cluster:
        own = tuple(index.by_cluster.get(cluster, ()))
        near = index.find_near(own)
    found = find_shared_places(near)
    entries = [one.cluster_input.entry for one in fleet.desired]
    for name, foreign in find_foreign_places(own, memory, fleet.label).items():
        found[name].extend(foreign)
    violations = {**find_left_behind(memory, index.keys), **find_refused_renames(memory, entries)}
    for name, violation in violations.items():
        found[name].append(violation)
    inputs = [one.cluster_input for one in fleet.desired]
    instances = {one.entry.name: one.inventory for one in inputs if one.inventory}
    told: dict[str, list[Diagnostic]] = {}
    reassigned = find_reassigned_places(index.places, memory, instances) if instances else {}
    for name, some_told in reassigned.items():
        found[name].extend(one for one in some_told if one.severity is Severity.ERROR)
        told[name] = [one for one in some_told if one.severity is not Severity.ERROR]
    return FleetPlaces(index.keys, found, find_released_places(own, memory), told)


async def _resolve_names(hosts: Iterable[str], http: Http) -> dict[str, tuple[str, ...]]:
    """The addresses of some names, each resolved once."""
    names = sorted(hosts)
    # The resolver may use a thread for each name. With more names than threads, some would wait for a thread
    # until their time limit is over, and so have no address.
    gate = asyncio.Semaphore(AT_ONCE)

    async def resolve(name: str) -> tuple[str, ...]:
        async with gate:
            return await http.resolve(name)

    return dict(zip(names, await asyncio.gather(*(resolve(name) for name in names)), strict=True))
