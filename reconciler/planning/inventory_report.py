"""What a plan says about the inventory of its nodes: where they come from, its age, what is not known."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field, with_config
from typing_extensions import TypedDict

from reconciler.core.diagnostic_json import EXTENSIBLE
from reconciler.core.fields import Number
from reconciler.core.timestamps import format_age, format_second, format_timestamp
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import UsageError
from reconciler.ports.cluster_input import InventoryNode
from reconciler.ports.inventory import InventoryList

STALE: Final = "inventory-stale"
"""Code of the warning that an earlier list is used."""

OUTSIDE: Final = "instance-outside"
"""Code of the warning about an instance that does not count."""

UNREAD: Final = "inventory-unread"
"""Code of a cluster whose nodes are not known."""


@with_config(EXTENSIBLE)
class InventoryShape(TypedDict):
    """A list of instances that a cluster uses."""

    cluster: Annotated[str, Field(description="Name of the cluster.")]
    query: Annotated[str, Field(description="The cloud expression.", examples=["aws:vm:tag=m2-edge"])]
    account: Annotated[str, Field(description="Entry of the host configuration that was asked.")]
    read_at: Annotated[str, Field(description="When the cloud answered, in UTC.")]
    age: Annotated[Number, Field(description="Seconds since then.")]
    failure: Annotated[str, Field(description="Why there is no newer list; empty if the cloud answered now.")]
    instances: Annotated[dict[str, str], Field(description="Id of each instance -> its address.")]


@dataclass(frozen=True, slots=True)
class InventoryUse:
    """A list of instances that a cluster uses.

    Args:
        query: the cloud expression, with its account if the fleet file names one.
        account: entry of the host configuration that was asked.
        instances: id -> address.
        age: seconds since the cloud answered.
        failure: why there is no newer list; empty if the cloud answered.
        refused: sentences about instances that do not count.
    """

    cluster: str
    query: str
    account: str
    instances: Mapping[str, str]
    read_at: datetime
    age: float
    failure: str = ""
    refused: tuple[str, ...] = ()

    def describe(self) -> str:
        """Where nodes of the cluster come from, and how old that is."""
        count, age = len(self.instances), format_age(self.age)
        where = f" ({self.account})" if self.account and f" of {self.account}" not in self.query else ""
        what = f"{count} {'instance' if count == 1 else 'instances'} of {self.query}{where}"
        return f"{what}, by a list that is {age} old" if self.failure else f"{what}, read {age} ago"

    def plain(self) -> InventoryShape:
        """As plain JSON."""
        return {
            "cluster": self.cluster,
            "query": self.query,
            "account": self.account,
            "read_at": format_timestamp(self.read_at),
            "age": round(self.age, 1),
            "failure": self.failure,
            "instances": dict(self.instances),
        }


def list_inventory_uses(fleet: Fleet, now: datetime) -> tuple[InventoryUse, ...]:
    """The lists that clusters use, by cluster and query.

    Args:
        fleet: with its inventory.
        now: for their ages.
    """
    found: dict[tuple[str, str], InventoryUse] = {}
    for cluster_input in fleet.cluster_inputs:
        for query in dict.fromkeys(node.query for node in cluster_input.inventory.values()):
            listed = fleet.inventory.find(query)
            # A cluster that is pinned to another revision has its nodes by an earlier list.
            if isinstance(listed, InventoryList):
                key = (cluster_input.entry.name, str(query))
                age = max(0.0, (now - listed.read_at).total_seconds())
                found[key] = InventoryUse(
                    *key,
                    listed.account,
                    listed.addresses,
                    listed.read_at,
                    age,
                    listed.failure,
                    listed.refused,
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


def refuse_unread_clusters(fleet: Fleet, clusters: Collection[str], what: str) -> None:
    """Refuse what needs to know all nodes of some clusters.

    Args:
        fleet: with its inventory.
        clusters: their names.
        what: needs them, as the subject of a sentence.

    Raises:
        UsageError: the nodes of one of them are not known.
    """
    for name, problem in find_unread_clusters(fleet).items():
        if name in clusters:
            raise UsageError(f"{what} needs to know all nodes. {problem.message}", remedy=problem.remedy)


def report_inventory(fleet: Fleet, now: datetime) -> Iterator[Diagnostic]:
    """A warning about each list that is not new, and about instances that do not count.

    No part of the plan: its id must not depend on the moment.
    """
    for use in list_inventory_uses(fleet, now):
        if use.failure:
            yield Diagnostic(
                Severity.WARNING,
                STALE,
                f"{use.describe()}: {use.failure}",
                "an instance that was started or stopped since then is not seen; repair the access",
                target=use.cluster,
            )
        for sentence in use.refused:
            yield Diagnostic(
                Severity.WARNING,
                OUTSIDE,
                f"{sentence}; it does not count",
                "remove its tag, or add its network to the account in the host configuration",
                target=use.cluster,
            )
