"""Facts that contradict each other about which node is where; each stops its cluster before anything is done.

Two nodes at one place would replace each other's state at every pass, each counted as a success. Two fleets
that write to one place undo each other's work. Which of the facts is wrong, only a person can say.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reconciler.core.cluster_renames import CODE as RENAMED
from reconciler.core.endpoint import Endpoint, format_url_host
from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.memory import FleetMemory
from reconciler.diagnostic import Diagnostic, Severity

TWICE = "one-address-twice"
"""Code of two nodes of a fleet at one place."""

ELSEWHERE = "another-fleet"
"""Code of a place that another fleet of this host looks after."""

_ARCHIVE = re.compile(r"\.(tar|tgz|tar\.\w+|t\w?z2?|tzst|zip)(//.*)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NodePlace:
    """Where the fleet file says that a node is reached.

    Args:
        endpoint: with a port.
        addresses: what the host name resolves to; empty where it is an address, or does not resolve.
    """

    cluster: str
    node: str
    endpoint: Endpoint
    addresses: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The place by every address, as `address:port/path`; two that share one are one place."""
        hosts = dict.fromkeys((self.endpoint.host, *self.addresses))
        port, path = self.endpoint.port, self.endpoint.path
        return tuple(f"{format_url_host(host)}:{port}{path}" for host in hosts)


def find_shared_places(places: Iterable[NodePlace]) -> dict[str, list[Diagnostic]]:
    """Cluster -> a verdict for each two nodes of the fleet that are at one place."""
    found: dict[str, list[Diagnostic]] = defaultdict(list)
    first: dict[str, NodePlace] = {}
    told: set[tuple[str, str]] = set()
    for place in places:
        for key in place.keys:
            other = first.setdefault(key, place)
            pair = (other.node, place.node)
            if other is place or pair in told:
                continue
            told.add(pair)
            for cluster in dict.fromkeys((other.cluster, place.cluster)):
                found[cluster].append(_twice(cluster, other, place, key))
    return found


def _twice(cluster: str, first: NodePlace, second: NodePlace, key: str) -> Diagnostic:
    where = f"{first.node} at {first.endpoint}"
    if first.cluster != second.cluster:
        where = f"{first.node} of {first.cluster} at {first.endpoint}"
    return Diagnostic(
        Severity.ERROR,
        TWICE,
        f"{where} and {second.node} at {second.endpoint} are one place, {key}: what is sent to the one "
        "replaces what was sent to the other",
        "give each node its own address in the fleet file, or keep one of the two",
        target=f"{cluster}/{(second if second.cluster == cluster else first).node}",
    )


def find_foreign_places(
    places: Iterable[NodePlace], memory: FleetMemory, fleet: str
) -> dict[str, list[Diagnostic]]:
    """Cluster -> a verdict for each node at a place that another fleet of this host looks after.

    Args:
        places: of this fleet.
        memory: of this fleet, which knows who has written where.
        fleet: this fleet as people know it.
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
                    f"{place.node} at {key} belongs to two fleets: {claim.label} looks after it as "
                    f"{claim.node} of {claim.cluster}, and {fleet} names it as {place.node} of "
                    f"{place.cluster}",
                    _remedy(claim.label, place.cluster),
                    target=f"{place.cluster}/{place.node}",
                    hold=True,
                )
            )
    return found


def _remedy(other: str, cluster: str) -> str:
    """How to hand a node over. An archive cannot give a node up, because nobody changes it any more."""
    override = f"set an override for another-fleet on {cluster} here"
    if _ARCHIVE.search(other):
        return (
            "deploy each archive under the same path or URL, such as a link current.tgz, because a source by "
            f"another name is another fleet; to change to a new name once, {override}"
        )
    return (
        "take it out of one of the two; to hand it over to this one, remove it from "
        f"{other} and run that once, or {override}"
    )


def find_released_places(places: Iterable[NodePlace], memory: FleetMemory) -> dict[str, list[str]]:
    """Cluster -> places that this fleet wrote to and names no more; those of a cluster that is gone stay its.

    Args:
        places: of all clusters that are looked at.
        memory: of this fleet, which knows who has written where.
    """
    named: dict[str, set[str]] = defaultdict(set)
    for place in places:
        named[place.cluster].update(place.keys)
    found: dict[str, list[str]] = defaultdict(list)
    for key, claim in sorted(memory.claims.items()):
        if claim.fleet == memory.fleet and claim.cluster in named and key not in named[claim.cluster]:
            found[claim.cluster].append(key)
    return found


@guard(TWICE, ELSEWHERE, RENAMED)
def refuse_place_conflict(case: GuardContext) -> Iterator[Diagnostic]:
    """What was found of the cluster's nodes and their addresses, across clusters and fleets."""
    yield from case.contradictions


GUARDS: tuple[Guard, ...] = (refuse_place_conflict,)
"""All of them."""
