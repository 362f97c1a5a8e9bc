"""What clusters must not say of each other: equal names and addresses, wrong renames, a wrong order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from reconciler.core.endpoint import InvalidAddress, is_private_address, parse_api, parse_endpoint
from reconciler.core.waves import DependencyCycle, sort_by_dependency
from reconciler.desired.clusters import ParsedCluster
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document, make_diagnostic
from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest

_Node: TypeAlias = tuple[str, str, ParsedCluster]
"""A node's JSON pointer, its name and its cluster."""


def find_repeated_clusters(fleet: Document, raw: Sequence[Any]) -> Iterator[Diagnostic]:
    """Clusters with the name of an earlier one, valid or not."""
    first: dict[str, str] = {}
    for index, cluster in enumerate(raw):
        name = cluster.get("name") if isinstance(cluster, Mapping) else None
        if not isinstance(name, str):
            continue
        place = f"/clusters/{index}/name"
        if first.setdefault(name, place) != place:
            where = fleet.position(first[name])
            message = f"two clusters have the name {quote_text(name)}, first at {where}"
            remedy = "give each its own name"
            yield make_diagnostic(fleet, place, "duplicate-cluster", message, remedy, related=(where,))


def find_wrong_renames(fleet: Document, raw: Sequence[Any]) -> Iterator[Diagnostic]:
    """Clusters whose `renamed_from` is the name, or the `renamed_from`, of another cluster."""
    names = (one.get("name") if isinstance(one, Mapping) else None for one in raw)
    named = {name: index for index, name in enumerate(names) if isinstance(name, str)}
    first: dict[str, int] = {}
    for index, cluster in enumerate(raw):
        former = cluster.get("renamed_from") if isinstance(cluster, Mapping) else None
        if not isinstance(former, str):
            continue
        # State is kept by name. With two claimants one would act on the locks and approvals of the other.
        if former in named:
            where = fleet.position(f"/clusters/{named[former]}/name")
            claim = f"a cluster has the name {quote_text(former)}, at {where}"
            remedy = "remove `renamed_from`; it has no use after every host has applied the rename"
        elif first.setdefault(former, index) != index:
            where = fleet.position(f"/clusters/{first[former]}/renamed_from")
            claim = f"two clusters have `renamed_from` {quote_text(former)}, first at {where}"
            remedy = "keep it in the cluster that was renamed; the other one is new"
        else:
            continue
        place = f"/clusters/{index}/renamed_from"
        message = f"{claim}, so this one cannot take over its history"
        yield make_diagnostic(fleet, place, "wrong-rename", message, remedy, related=(where,))


def find_wrong_order(fleet: Document, raw: Sequence[Any]) -> Iterator[Diagnostic]:
    """Entries of `after` that name no cluster, the cluster itself, or close a circle."""
    after: dict[str, list[str]] = {}
    places: dict[tuple[str, str], str] = {}
    for index, cluster in enumerate(raw):
        name = cluster.get("name") if isinstance(cluster, Mapping) else None
        own = cluster.get("after") if isinstance(cluster, Mapping) else None
        if not isinstance(name, str):
            continue
        after.setdefault(name, [])
        for position, earlier in enumerate(own if isinstance(own, list) else ()):
            if isinstance(earlier, str):
                after[name].append(earlier)
                places.setdefault((name, earlier), f"/clusters/{index}/after/{position}")
    for (name, earlier), place in places.items():
        if earlier == name:
            message = f"{quote_text(name)} cannot wait for itself"
            yield make_diagnostic(fleet, place, "wrong-order", message, "remove it")
        elif earlier not in after:
            near = find_nearest(earlier, after)
            remedy = f"did you mean `{near}`?" if near else f"the clusters are {', '.join(sorted(after))}"
            message = f"{quote_text(earlier)} is not a cluster of this file"
            yield make_diagnostic(fleet, place, "wrong-order", message, remedy)
    known = {name: [one for one in own if one in after and one != name] for name, own in after.items()}
    try:
        sort_by_dependency(known)
    except DependencyCycle as error:
        circle = tuple(reversed(error.members))
        place = next(places[pair] for pair in pairwise(circle) if pair in places)
        message = f"clusters wait for each other: {' after '.join(map(quote_text, circle))}"
        yield make_diagnostic(fleet, place, "wrong-order", message, "remove one of these entries of `after`")


def find_repeated_nodes(fleet: Document, clusters: Iterable[ParsedCluster]) -> Iterator[Diagnostic]:
    """Nodes with the name or the address of an earlier one, in any cluster."""
    names: dict[str, _Node] = {}
    addresses: dict[tuple[Any, ...], _Node] = {}
    for cluster in clusters:
        for node, place in cluster.members():
            here = (place, node.name, cluster)
            earlier = names.setdefault(node.name, here)
            if earlier != here:
                claim = f"the fleet already has a node {quote_text(node.name)}"
                # Its address is not compared as well: a node that was written twice is one mistake.
                yield _make_duplicate(fleet, f"{place}/name", claim, earlier, "keep one of the two")
                continue
            if node.name in cluster.inventory:  # no fault of the files: a guard refuses its cluster alone
                continue
            address = _normalize_address(node.endpoint(), node.via or cluster.entry.via or "")
            earlier = addresses.setdefault(address, here) if address else here
            if earlier != here:
                claim = f"{quote_text(node.name)} uses the same address as {quote_text(earlier[1])}"
                remedy = "give each node its own address, or keep one of them"
                yield _make_duplicate(fleet, place, claim, earlier, remedy)


def _make_duplicate(fleet: Document, place: str, claim: str, earlier: _Node, remedy: str) -> Diagnostic:
    first, _, cluster = earlier
    there = fleet.position(first)
    message = f"{claim} (cluster {quote_text(cluster.entry.name)}, {there})"
    return make_diagnostic(fleet, place, "duplicate-node", message, remedy, related=(there,))


def _normalize_address(address: str, via: str) -> tuple[Any, ...]:
    """One value for all spellings of an address; an invalid address, reported elsewhere, is its own value.

    Behind two bastions, one private address is that of two machines.
    """
    address = address.rstrip("/")
    try:
        # With a path it is the URL of an API.
        found = parse_api(address) if address.count("/") > 2 else parse_endpoint(address)  # noqa: PLR2004
        return (*found.place, via) if is_private_address(found.host) else found.place
    except InvalidAddress:
        return (address,) if address else ()
