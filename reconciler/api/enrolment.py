"""Enrolment by hand of nodes that poll or report: their tokens, the file to install, who was never heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reconciler.api.fleet_store import open_fleet_store
from reconciler.api.reader import Reader
from reconciler.core.actor import Actor
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.desired.fleet import DesiredCluster, Fleet, add_desired_state
from reconciler.errors import UsageError
from reconciler.ports.driver import Driver, InstallationFile
from reconciler.ports.store import Store, StoreReader
from reconciler.text.one_line import join_some
from reconciler.text.suggestions import find_similar

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class CallingNode:
    """A node that polls or reports, and when it last called.

    Args:
        polls: whether it polls; else it is called, and only reports.
        heard: time of its last call of any kind; None if it never called.
        label: the version that it said last; empty if it did not say.
    """

    cluster: str
    node: str
    polls: bool
    heard: datetime | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Enroller:
    """Enrols nodes by hand, for those that this host cannot call.

    Args:
        reader: reads the source; never a node.
        store: opened by the caller, with the key of this host.
    """

    reader: Reader
    store: Store

    async def make_file(self, fleet: Fleet, node: str) -> InstallationFile:
        """The file to install on a node, once its token counts; holds its secrets in clear.

        Args:
            fleet: one that was read before.
            node: `node` or `cluster/node`.

        Raises:
            UsageError: no node that polls or reports has this name, or several have.
            SecretError: a secret of its setting is not known here.
        """
        cluster, driver, name = self._find(fleet, node)
        store, entry = await open_fleet_store(self.reader, self.store, fleet), cluster.cluster_input.entry
        memory = await store.read_memory()
        desired = driver.add_history(cluster.state, memory.list_node_facts(entry.name), PriorRevisions())
        calling = driver.list_reporting_nodes(desired)
        # Of the whole cluster: the tokens of nodes that are not named end.
        await store.enrol(entry.name, entry.kind, calling)
        tokens = await store.tokens(entry.name, calling)
        return driver.make_installation_file(driver.assign_tokens(desired, tokens), name)

    async def rotate(self, fleet: Fleet, node: str, by: Actor) -> tuple[str, str]:
        """Give a node a new token, which the next pass puts into its setting; gives its cluster and name.

        Raises:
            UsageError: no node that polls or reports has this name, several have, or it has no token yet.
        """
        cluster, _, name = self._find(fleet, node)
        store, own = await open_fleet_store(self.reader, self.store, fleet), cluster.cluster_input.entry.name
        await store.rotate(own, name, by)
        return own, name

    def _find(self, fleet: Fleet, node: str) -> tuple[DesiredCluster, Driver[Any, Any], str]:
        found: dict[str, tuple[DesiredCluster, Driver[Any, Any], str]] = {}
        for cluster in add_desired_state(fleet, self.reader.products).desired:
            driver, own = (
                self.reader.products[cluster.cluster_input.entry.kind],
                cluster.cluster_input.entry.name,
            )
            for name in driver.list_reporting_nodes(cluster.state):
                found[f"{own}/{name}"] = cluster, driver, name
        named = [one for whole, one in found.items() if node in {whole, one[2]}]
        if len(named) == 1:
            return named[0]
        if named:
            raise UsageError(f"several clusters have a node {node}", remedy="name it as CLUSTER/NODE")
        near = find_similar(node, [one[2] for one in found.values()]) or list(found)
        raise UsageError(
            f"the fleet has no node {node!r} that polls or reports",
            remedy=f"nodes that poll or report: {join_some(near, _MOST_NAMED)}"
            if found
            else "nodes poll in a cluster with `deliver: poll`, and report in one with `reports`",
        )


async def list_calling_nodes(fleet: Fleet, reader: Reader, store: StoreReader) -> tuple[CallingNode, ...]:
    """All nodes of a fleet that poll or report, sorted; `store` is limited to the fleet."""
    contacts = {(one.cluster, one.node): one for one in await store.contacts()}
    found: list[CallingNode] = []
    for cluster in add_desired_state(fleet, reader.products).desired:
        entry, driver = cluster.cluster_input.entry, reader.products[cluster.cluster_input.entry.kind]
        polling = frozenset(driver.list_polling_nodes(cluster.state))
        for name in sorted(driver.list_reporting_nodes(cluster.state)):
            contact = contacts.get((entry.name, name))
            heard = max(contact.heard.values(), default=None) if contact else None
            label = contact.label if contact else ""
            found.append(CallingNode(entry.name, name, name in polling, heard, label))
    return tuple(found)


def list_nodes_never_heard(nodes: Sequence[CallingNode]) -> tuple[CallingNode, ...]:
    """The nodes that never called."""
    return tuple(one for one in nodes if one.heard is None)
