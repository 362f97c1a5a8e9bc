"""Place conflicts: contradictions about which node is at an address; each stops its cluster before any write.

Two nodes at one place would replace each other's state at every pass, each time as a success. Two fleets that
write to one place undo each other's work. Only a person can decide which entry is wrong.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.core.cluster_renames import CODE as RENAMED
from reconciler.core.endpoint import Endpoint, format_url_host, is_private_address
from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.memory import FleetMemory
from reconciler.core.observation import FileReading, Present
from reconciler.diagnostic import Diagnostic, Severity

TWICE = "one-address-twice"
"""Code of two nodes of a fleet at one place."""

ELSEWHERE = "another-fleet"
"""Code of a place that belongs to another fleet of this host."""

SHARED = "one-file-twice"
"""Code of a file of a machine that a fleet names twice."""

REASSIGNED = "address-reassigned"
"""Code of an instance at an address that was another node's."""

_ARCHIVE = re.compile(r"\.(tar|tgz|tar\.\w+|t\w?z2?|tzst|zip)(//.*)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NodePlace:
    """The endpoint of a node in the fleet file.

    Args:
        endpoint: with a port.
        addresses: what the host name resolves to; empty if it is an address, or does not resolve.
        via: the way to it; empty for none.
        keys: the place by every address, as `address:port/path`; two that share one are one place.
    """

    cluster: str
    node: str
    endpoint: Endpoint
    addresses: tuple[str, ...] = ()
    via: str = ""
    keys: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        hosts = dict.fromkeys((self.endpoint.host, *self.addresses))
        port, path = self.endpoint.port, self.endpoint.path
        keys = (f"{format_url_host(host)}:{port}{path}{self._tell_way(host)}" for host in hosts)
        object.__setattr__(self, "keys", tuple(keys))

    def _tell_way(self, host: str) -> str:
        """What tells a private address behind one bastion from the same one elsewhere."""
        return f" via {self.via}" if self.via and is_private_address(host) else ""


def find_shared_places(places: Iterable[NodePlace]) -> dict[str, list[Diagnostic]]:
    """Cluster -> a violation for each two nodes of the fleet at one place."""
    found: dict[str, list[Diagnostic]] = defaultdict(list)
    first: dict[str, NodePlace] = {}
    reported: set[tuple[str, str]] = set()
    for place in places:
        for key in place.keys:
            other = first.setdefault(key, place)
            # Two nodes that share several addresses are one conflict.
            pair = (other.node, place.node)
            if other is place or pair in reported:
                continue
            reported.add(pair)
            for cluster in dict.fromkeys((other.cluster, place.cluster)):
                found[cluster].append(_report_shared_place(cluster, other, place, key))
    return found


def _report_shared_place(cluster: str, first: NodePlace, second: NodePlace, key: str) -> Diagnostic:
    where = f"{first.node} at {first.endpoint}"
    if first.cluster != second.cluster:
        where = f"{first.node} of {first.cluster} at {first.endpoint}"
    return Diagnostic(
        Severity.ERROR,
        TWICE,
        f"{where} and {second.node} at {second.endpoint} have the same address, {key}: each would "
        "replace what was sent to the other",
        "give each node its own address in the fleet file, or keep one of the two",
        target=f"{cluster}/{(second if second.cluster == cluster else first).node}",
    )


def find_shared_files(
    readings: Mapping[str, Mapping[str, Mapping[str, FileReading]]],
) -> dict[str, list[Diagnostic]]:
    """Cluster -> a violation for each file that another cluster has too, or its node by another entry.

    Args:
        readings: cluster -> node -> entry of the host configuration -> what was read.
    """
    owners: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for cluster, nodes in readings.items():
        for node, entries in nodes.items():
            for entry, reading in entries.items():
                if isinstance(reading, Present) and reading.value.identity:
                    owners[reading.value.identity].append((cluster, node, entry))
    found: dict[str, list[Diagnostic]] = defaultdict(list)
    for file, named in owners.items():
        for own in named:
            if len(named) > 1:
                other = next(one for one in named if one != own)
                found[own[0]].append(_report_shared_file(own, other, file))
    return found


def _report_shared_file(own: tuple[str, str, str], other: tuple[str, str, str], file: str) -> Diagnostic:
    cluster, node, entry = own
    return Diagnostic(
        Severity.ERROR,
        SHARED,
        f"the file {entry} of {node} is also the file {other[2]} of {other[1]} in the cluster {other[0]} "
        f"({file}): each delivery would replace what the other has put there",
        "give one of the entries in `files` of the host configuration another path or way, or keep one of "
        "the two in the fleet file",
        target=f"{cluster}/{node}",
    )


def find_foreign_places(
    places: Iterable[NodePlace], memory: FleetMemory, fleet: str
) -> dict[str, list[Diagnostic]]:
    """Cluster -> a violation for each node at a place that belongs to another fleet of this host.

    Args:
        places: of this fleet.
        memory: of this fleet, with the claims of all fleets.
        fleet: this fleet's label.
    """
    found: dict[str, list[Diagnostic]] = defaultdict(list)
    claims = memory.claims
    for place in places:
        taken = [(key, claims[key]) for key in place.keys if key in claims]
        others = [(key, claim) for key, claim in taken if claim.fleet != memory.fleet]
        if others:
            key, claim = others[0]
            found[place.cluster].append(
                Diagnostic(
                    Severity.ERROR,
                    ELSEWHERE,
                    f"{place.node} at {key} belongs to two fleets: in {claim.label} it is {claim.node} of "
                    f"{claim.cluster}, and in {fleet} it is {place.node} of {place.cluster}",
                    _suggest_remedy(claim.label, place.cluster),
                    target=f"{place.cluster}/{place.node}",
                    hold=True,
                )
            )
    return found


def _suggest_remedy(other: str, cluster: str) -> str:
    override = f"set an override for another-fleet on {cluster} here"
    # An archive with a new name looks like a new fleet, and nobody edits the old one to release its nodes.
    if _ARCHIVE.search(other):
        return (
            "deploy each archive under the same path or URL, such as a link current.tgz, because a source "
            f"with another name is another fleet; to change to a new name once, {override}"
        )
    return (
        "remove it from one of the two; to move it to this fleet, remove it from "
        f"{other} and run that fleet once, or {override}"
    )


def find_reassigned_places(
    places: Iterable[NodePlace], memory: FleetMemory, instances: Mapping[str, Container[str]]
) -> dict[str, list[Diagnostic]]:
    """Cluster -> what is to be told about an address that was another node's when this fleet last used it.

    An error where that node is still listed: a private address stays with its instance, so that one of the
    two answers is wrong. Otherwise a warning: the instance took the place of one that is gone.

    Args:
        places: of all clusters of the fleet.
        memory: of this fleet, with the claims of all fleets.
        instances: cluster -> its nodes that an inventory gives.
    """
    places = list(places)
    listed = {(place.cluster, place.node) for place in places}
    found: dict[str, list[Diagnostic]] = defaultdict(list)
    for place in places:
        if place.node not in instances.get(place.cluster, ()):
            continue
        taken = [(key, memory.claims[key]) for key in place.keys if key in memory.claims]
        for key, claim in taken[:1]:
            if claim.fleet != memory.fleet or (claim.cluster, claim.node) == (place.cluster, place.node):
                continue
            is_listed = (claim.cluster, claim.node) in listed
            now = "which is still listed, at another address" if is_listed else "which is no longer listed"
            found[place.cluster].append(
                Diagnostic(
                    Severity.ERROR if is_listed else Severity.WARNING,
                    REASSIGNED,
                    f"{place.node} has the address {key}, which this fleet knew as that of {claim.node}, "
                    f"{now}; what is known of {claim.node} does not count for it",
                    "look which instance is at that address before anything is sent to it"
                    if is_listed
                    else "nothing to do if the instance was replaced",
                    target=f"{place.cluster}/{place.node}",
                )
            )
    return found


def find_released_places(places: Iterable[NodePlace], memory: FleetMemory) -> dict[str, list[str]]:
    """Cluster -> places that this fleet claimed and no longer names; a removed cluster keeps its places.

    Args:
        places: of all clusters of the pass.
        memory: of this fleet, with the claims of all fleets.
    """
    named: dict[str, set[str]] = defaultdict(set)
    for place in places:
        named[place.cluster].update(place.keys)
    found: dict[str, list[str]] = defaultdict(list)
    for key, claim in memory.claims.items():
        if claim.cluster in named and claim.fleet == memory.fleet and key not in named[claim.cluster]:
            found[claim.cluster].append(key)
    return {cluster: sorted(keys) for cluster, keys in found.items()}


@guard(TWICE, ELSEWHERE, RENAMED, SHARED, REASSIGNED)
def refuse_place_conflict(context: GuardContext) -> Iterator[Diagnostic]:
    """Conflicts between the places of this cluster and those of other clusters and fleets."""
    yield from context.place_conflicts


GUARDS: tuple[Guard, ...] = (refuse_place_conflict,)
