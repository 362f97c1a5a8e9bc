"""Simulated M2 clusters for the host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_network
from typing import Any

from reconciler.core.endpoint import SocketAddress, parse_endpoint
from reconciler.core.secret import reveal
from reconciler.drivers.m2.choices import DEFAULTS, Choices
from reconciler.drivers.m2.desired_state import API_PORT, make_desired, stamp_document
from reconciler.drivers.m2.feed_rendering import assign_tokens
from reconciler.drivers.m2.feed_topology import get_node_ids
from reconciler.drivers.m2.machine import lookup
from reconciler.drivers.m2.schema import M2Cluster
from reconciler.drivers.m2.simulator.activities import NodeActivities
from reconciler.drivers.m2.simulator.oracle import M2Oracle
from reconciler.drivers.m2.simulator.sample_fleet import make_polling_fleet, make_sample_fleet
from reconciler.drivers.m2.simulator.world import M2World
from reconciler.errors import UsageError
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import (
    BusSubscription,
    NodeActivity,
    NodeRequest,
    Reply,
    SimulatedCluster,
    SimulatedCommand,
    SimulationStart,
    Simulator,
    keep_address,
)


class M2SimulatedCluster(SimulatedCluster):
    """A cluster of M2 nodes."""

    def __init__(self, cluster_input: ClusterInput, *, start: SimulationStart, choices: Choices) -> None:
        documents = _make_documents(cluster_input, start)
        self._world = M2World.from_entry(
            cluster_input.entry,
            documents,
            converged=start.converged,
            resources=cluster_input.resources,
            fresh=start.fresh,
            choices=choices,
        )
        self._world.first_start = start.starts
        self.keeps_connections = choices.keeps_connection
        self.addresses = {}
        for node in cluster_input.entry.members():
            if node.name not in documents or not getattr(node, "address", ""):
                continue  # behind a firewall: it calls, and nobody can call it
            place = parse_endpoint(getattr(node, "address", ""))
            port = place.port or lookup(documents[node.name], "env.management.api.port") or API_PORT
            self.addresses[node.name] = keep_address(node.name, place.scheme, SocketAddress(place.host, port))
        entries = (start.applied.entry if start.applied is not None else None, cluster_input.entry)
        self._restarts = [one.restart for one in entries if isinstance(one, M2Cluster) and one.restart]
        for restart in self._restarts:
            self.commands = {
                restart.command: SimulatedCommand(tuple(sorted(restart.arguments))),
                restart.started.command: SimulatedCommand(
                    tuple(sorted(restart.started.arguments)), reads=True
                ),
                **self.commands,
            }
        self._activities = NodeActivities(
            self._world, _choose_addresses(documents, self.addresses), get_node_ids(cluster_input.entry)
        )

    @property
    def world(self) -> M2World:
        return self._world

    def answer(self, node: str, request: NodeRequest) -> Reply:
        return self._world.answer(node, request)

    def run_command(self, node: str, command: str, values: Mapping[str, str]) -> str:
        if any(command == restart.started.command for restart in self._restarts):
            return f"start {self._world.get_starts(node)}"
        if not any(command == restart.command for restart in self._restarts):
            return super().run_command(node, command, values)
        self._world.kill(node)
        self._world.start(node)
        return "restarted"

    def describe_request(self, request: NodeRequest) -> str:
        return request.target.partition("?")[0]

    def is_change(self, request: NodeRequest) -> bool:
        path = self.describe_request(request)
        return path.startswith(("/setting/deploy/", "/command/")) or path in {
            "/setting/upload",
            "/setting/import",
        }

    def build_refusal(self) -> Reply:
        body = b'{"version":"1.1.0","method":"reloadall","status":"Fail","result":"E0004 refused on request"}'
        return 500, {"Content-Type": "application/json"}, body

    def get_new_port(self, node: str) -> int | None:
        return self._world.moved(node)

    def list_complaints(self) -> list[str]:
        return [f"{node}: {sentence}" for node, sentence in self._world.complaints]

    def take_due_activities(self, now: datetime) -> list[NodeActivity]:
        return list(self._activities.take_due(now))

    def list_subscriptions(self) -> list[BusSubscription]:
        return self._activities.list_subscriptions()

    def receive_message(self, subscription: BusSubscription, body: bytes) -> list[NodeActivity]:
        return list(self._activities.receive_message(subscription, body))


def _make_documents(cluster_input: ClusterInput, start: SimulationStart) -> dict[str, Any]:
    """Node -> the setting.json that it gets; nodes with equal ones share one object."""
    entry = cluster_input.entry
    assert isinstance(entry, M2Cluster)
    nodes = start.select(cluster_input.documents)
    if entry.polling is None:
        stamped: dict[int, Any] = {}
        for node in nodes:
            document = cluster_input.documents[node]
            if id(document) not in stamped:
                stamped[id(document)] = stamp_document(reveal(document.value), cluster_input)
        return {node: stamped[id(cluster_input.documents[node])] for node in nodes}
    unknown = [node for node in nodes if node not in start.tokens and node not in start.fresh]
    if start.converged and unknown:
        raise UsageError(
            f"{unknown[0]}: its token is not known, so it cannot start with its setting",
            remedy="name the state folder of its watch by --state, or simulate without --converged",
        )
    tokens = {node: start.tokens[node] for node in nodes if node in start.tokens}
    desired = assign_tokens(make_desired(cluster_input), tokens)
    selected = frozenset(nodes)
    return {
        target.node: reveal(target.content.document) for target in desired.targets if target.node in selected
    }


def _choose_addresses(nodes: Iterable[str], addresses: Mapping[str, SocketAddress]) -> dict[str, str]:
    """Node -> the address that it reports: its own one, or a private one where it has none."""
    private = ip_network("10.0.0.0/8")
    return {
        node: addresses[node].host if node in addresses else str(private[number])
        for number, node in enumerate(nodes, start=1)
    }


class M2Simulator(Simulator):
    """See `ports.simulator.Simulator`."""

    options = DEFAULTS

    def serve(
        self, cluster_input: ClusterInput, *, start: SimulationStart, options: Choices
    ) -> M2SimulatedCluster:
        return M2SimulatedCluster(cluster_input, start=start, choices=options)

    def oracle(self, cluster_input: ClusterInput, world: Any) -> M2Oracle:
        return M2Oracle(cluster_input, world)

    def sample_fleet(self, addresses: Sequence[SocketAddress], *, same_port: bool) -> Mapping[str, str]:
        return make_sample_fleet(addresses, same_port=same_port)

    def make_polling_fleet(self, count: int, server: str) -> Mapping[str, str]:
        return make_polling_fleet(count, server)


SIMULATOR = M2Simulator()
"""The simulator that the driver loads."""
