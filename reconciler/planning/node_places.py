"""Locates the nodes of all clusters, with names resolved once, and finds place conflicts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.core.cluster_renames import find_left_behind, find_refused_renames
from reconciler.core.endpoint import is_ip_address
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
    from reconciler.desired.fleet import Fleet

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


async def locate_nodes(fleet: Fleet, http: Http, memory: FleetMemory) -> FleetPlaces:
    """The places of all nodes of a fleet, also of clusters that this pass does not plan.

    Args:
        fleet: with the desired state of all its clusters.
        http: resolves names, where it can.
        memory: has the claims of other fleets of this host.
    """
    hosts = {endpoint.host for one in fleet.desired for endpoint in one.endpoints.values()}
    addresses = await _resolve_names(hosts, http)
    # Two names may lead to the same address, so places are compared by name and by every address.
    places = [
        NodePlace(
            one.cluster_input.entry.name, node, endpoint, addresses.get(endpoint.host, ()), ways.get(node, "")
        )
        for one in fleet.desired
        for ways in [one.cluster_input.entry.ways]
        for node, endpoint in one.endpoints.items()
    ]
    found = find_shared_places(places)
    entries = [one.cluster_input.entry for one in fleet.desired]
    for cluster, foreign in find_foreign_places(places, memory, fleet.label).items():
        found[cluster].extend(foreign)
    keys: dict[str, dict[str, tuple[str, ...]]] = {}
    for place in places:
        keys.setdefault(place.cluster, {})[place.node] = place.keys
    violations = {**find_left_behind(memory, keys), **find_refused_renames(memory, entries)}
    for cluster, violation in violations.items():
        found[cluster].append(violation)
    inputs = [one.cluster_input for one in fleet.desired]
    instances = {one.entry.name: one.inventory for one in inputs if one.inventory}
    told: dict[str, list[Diagnostic]] = {}
    for cluster, reassigned in find_reassigned_places(places, memory, instances).items():
        found[cluster].extend(one for one in reassigned if one.severity is Severity.ERROR)
        told[cluster] = [one for one in reassigned if one.severity is not Severity.ERROR]
    return FleetPlaces(keys, found, find_released_places(places, memory), told)


async def _resolve_names(hosts: Iterable[str], http: Http) -> dict[str, tuple[str, ...]]:
    """The addresses of the names among some hosts, each resolved once."""
    names = sorted(host for host in hosts if not is_ip_address(host))
    # The resolver may use a thread for each name. With more names than threads, some would wait for a thread
    # until their time limit is over, and so have no address.
    gate = asyncio.Semaphore(AT_ONCE)

    async def resolve(name: str) -> tuple[str, ...]:
        async with gate:
            return await http.resolve(name)

    return dict(zip(names, await asyncio.gather(*(resolve(name) for name in names)), strict=True))
