"""What a plan says about the inventory of its nodes: where they come from, its age, what is not known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from reconciler.core.timestamps import format_age, format_second
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.ports.cluster_input import InventoryNode
from reconciler.ports.inventory import InventoryList

READ: Final = "inventory"
"""Code of the note about where nodes come from."""

STALE: Final = "inventory-stale"
"""Code of the warning that an earlier list is used."""

OUTSIDE: Final = "instance-outside"
"""Code of the warning about an instance that does not count."""

UNREAD: Final = "inventory-unread"
"""Code of a cluster whose nodes are not known."""


@dataclass(frozen=True, slots=True)
class InventoryUse:
    """A list of instances that a cluster uses.

    Args:
        query: the cloud expression, with its account if the fleet file names one.
        account: entry of the host configuration that was asked.
        instances: id -> address, of those that are nodes.
        failure: why there is no newer list; empty if the cloud answered.
        refused: sentences about instances that do not count.
    """

    cluster: str
    query: str
    account: str
    instances: Mapping[str, str]
    read_at: datetime
    failure: str = ""
    refused: tuple[str, ...] = ()

    def measure_age(self, now: datetime) -> float:
        """Seconds since the cloud answered."""
        return max(0.0, (now - self.read_at).total_seconds())


def list_inventory_uses(fleet: Fleet) -> tuple[InventoryUse, ...]:
    """The lists that clusters use, by cluster and query."""
    found: dict[tuple[str, str], InventoryUse] = {}
    for cluster_input in fleet.cluster_inputs:
        for query in dict.fromkeys(node.query for node in cluster_input.inventory.values()):
            listed = fleet.inventory.find(query)
            # A cluster that is pinned to another revision has its nodes by an earlier list.
            if isinstance(listed, InventoryList):
                key = (cluster_input.entry.name, str(query))
                found[key] = InventoryUse(
                    *key, listed.account, listed.addresses, listed.read_at, listed.failure, listed.refused
                )
    return tuple(use for _, use in sorted(found.items()))


def describe_origin(fleet: Fleet, node: InventoryNode) -> str:
    """Where a node comes from, in words."""
    listed, named = fleet.inventory.find(node.query), f" ({node.instance.name})" if node.instance.name else ""
    if not isinstance(listed, InventoryList):
        return f"an example of the instances of {node.query}, which were not asked for here"
    when = format_second(listed.read_at)
    account = f" in the account {listed.account}" if listed.account else ""
    return (
        f"instance{named} of {node.query.expression}{account} at {node.instance.address}, by the list of "
        f"{when} UTC"
    )


def find_unread_clusters(fleet: Fleet) -> dict[str, Diagnostic]:
    """Cluster -> that its nodes are not known; no override sets this aside.

    With an override, the cluster would be planned without nodes, and all that is known of them forgotten.
    """
    return {
        one.entry.name: Diagnostic(
            Severity.ERROR,
            UNREAD,
            f"{one.entry.name}: its nodes are not known: {one.unread.message}",
            one.unread.remedy or "nothing is sent to it until the inventory answers; the others continue",
            target=one.entry.name,
        )
        for one in fleet.cluster_inputs
        if one.unread is not None
    }


def report_inventory(fleet: Fleet, now: datetime) -> Iterator[Diagnostic]:
    """A note or a warning about each list that a cluster uses, and about instances that do not count.

    No part of the plan: its id must not depend on the moment.
    """
    for use in list_inventory_uses(fleet):
        age, count = format_age(use.measure_age(now)), len(use.instances)
        what = f"{count} {'instance' if count == 1 else 'instances'} of {use.query}"
        where = f" ({use.account})" if use.account and f" of {use.account}" not in use.query else ""
        if use.failure:
            yield Diagnostic(
                Severity.WARNING,
                STALE,
                f"{use.cluster}: {what}{where}, by the last known list, which is {age} old: {use.failure}",
                "an instance that was started or stopped since then is not seen; repair the access",
                target=use.cluster,
            )
        else:
            message = f"{use.cluster}: {what}{where}, read {age} ago"
            yield Diagnostic(Severity.NOTE, READ, message, target=use.cluster)
        for sentence in use.refused:
            yield Diagnostic(
                Severity.WARNING,
                OUTSIDE,
                f"{use.cluster}: {sentence}; it does not count",
                "remove its tag, or add its network to the account in the host configuration",
                target=use.cluster,
            )
