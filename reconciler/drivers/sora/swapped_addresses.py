"""Addresses in the fleet file that contradict the cluster's own list of its nodes; pure.

A call to the address of another node changes the wrong node: it is drained or registered in place of the
first. An `external_api_url` that merely differs from `api` is no contradiction: other nodes may reach the
node by another way than this host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.core.endpoint import Endpoint, InvalidAddress, parse_api
from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.observation import Present, Stale
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.addresses import find_endpoints

SWAPPED = "addresses-swapped"


@guard("addresses-swapped")
def find_swapped_addresses(context: GuardContext) -> Iterator[Diagnostic]:
    """A node whose `external_api_url`, by the cluster's own list, is the `api` of another node."""
    named = find_endpoints(context.desired.entry)
    listed = _read_listed_urls(context)
    for name, (url, lister) in sorted(listed.items()):
        if name not in named:
            continue
        other = _find_owner(name, url, named, {node: place for node, (place, _) in listed.items()})
        if other:
            yield Diagnostic(
                Severity.ERROR,
                SWAPPED,
                f"the fleet file says that the API of {other} is at {named[other]} and that of {name} at "
                f"{named[name]}, but {lister} lists {url} as the external_api_url of {name}",
                "correct `api` of both in the fleet file, or external_api_url in the node's sora.conf",
                target=f"{context.plan.cluster}/{name}",
            )


def _read_listed_urls(context: GuardContext) -> dict[str, tuple[Endpoint, str]]:
    """Node -> its `external_api_url`, and who lists it: itself, where it does."""
    found: dict[str, tuple[Endpoint, str]] = {}
    for lister, answer in sorted(context.observed.nodes.items()):
        if not isinstance(answer, Present | Stale):
            continue
        for row in answer.value.rows:
            if row.api is None or (row.node_name in found and row.node_name != lister):
                continue
            try:
                found[row.node_name] = (parse_api(row.api), lister)
            except InvalidAddress:
                continue
    return found


def _find_owner(
    name: str, url: Endpoint, named: Mapping[str, Endpoint], listed: Mapping[str, Endpoint]
) -> str:
    """The other node of the file whose `api` is the URL of this node; empty for none."""
    if url.host == named[name].host and url.place != named[name].place:
        exact = [node for node, place in named.items() if node != name and place.place == url.place]
        return exact[0] if exact else ""
    for node, place in sorted(named.items()):
        if node == name or url.place == named[name].place:
            continue
        # If the ports differ, the hosts decide, but only if the other node's own URL is not on its own host
        # either: then the two are swapped, and not merely behind one proxy.
        is_swapped = place.host == url.host and node in listed and listed[node].host != place.host
        if place.place == url.place or is_swapped:
            return node
    return ""


GUARDS: tuple[Guard, ...] = (find_swapped_addresses,)
"""All of them."""
