"""Simulated M2 clusters for the host."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from reconciler.core.endpoint import parse_endpoint
from reconciler.core.secret import reveal
from reconciler.drivers.m2.choices import DEFAULTS, Choices
from reconciler.drivers.m2.desired_state import stamp_document
from reconciler.drivers.m2.machine import lookup
from reconciler.drivers.m2.simulator import M2World
from reconciler.drivers.m2.simulator.oracle import M2Oracle
from reconciler.drivers.m2.simulator.reports import Reporter
from reconciler.drivers.m2.simulator.sample_fleet import make_sample_fleet
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import (
    NodeMessage,
    NodeRequest,
    Reply,
    SimulatedCluster,
    Simulator,
    SocketAddress,
    keep_address,
)


class M2SimulatedCluster(SimulatedCluster):
    """M2: requests differ by path."""

    def __init__(
        self, cluster_input: ClusterInput, *, converged: bool, choices: Choices, fresh: Collection[str]
    ) -> None:
        shown: dict[int, Any] = {}
        for document in cluster_input.documents.values():
            shown.setdefault(id(document), stamp_document(reveal(document.value), cluster_input))
        documents = {node: shown[id(document)] for node, document in cluster_input.documents.items()}
        self._world = M2World.from_entry(
            cluster_input.entry,
            documents,
            converged=converged,
            resources=cluster_input.resources,
            fresh=fresh,
            choices=choices,
        )
        self.addresses = {
            node.name: _place(node.name, getattr(node, "address", ""), documents[node.name])
            for node in cluster_input.entry.members()
        }
        hosts = {node: address.host for node, address in self.addresses.items()}
        self._reporter = Reporter(self._world, hosts)

    @property
    def world(self) -> M2World:
        """The nodes."""
        return self._world

    def answer(self, node: str, request: NodeRequest) -> Reply:
        """What the node answers, and the change it makes."""
        return self._world.answer(
            node,
            request.method,
            request.target,
            headers=request.headers,
            body=request.body,
            peer=request.peer,
        )

    def asked(self, request: NodeRequest) -> str:
        """The path."""
        return request.target.partition("?")[0]

    def changes(self, request: NodeRequest) -> bool:
        """Whether it is an upload, a deployment or a purge."""
        path = self.asked(request)
        return path.startswith(("/setting/deploy/", "/command/")) or path in {
            "/setting/upload",
            "/setting/import",
        }

    def refusal(self) -> Reply:
        """How a node says no to a change."""
        body = b'{"version":"1.1.0","method":"reloadall","status":"Fail","result":"E0004 refused on request"}'
        return 500, {"Content-Type": "application/json"}, body

    def moved(self, node: str) -> int | None:
        """The port a node listens on from its last restart on, where it is another one."""
        return self._world.moved(node)

    def due(self, now: datetime) -> list[NodeMessage]:
        """Heartbeats by their cron, and feedbacks after a change."""
        return list(self._reporter.due(now))


def _place(node: str, address: str, document: Any) -> SocketAddress:
    """Where a node is reached: a host with a port, or a host alone, whose port is its setting's."""
    where = parse_endpoint(address)
    port = where.port or lookup(document, "env.management.api.port") or 10040
    return keep_address(node, where.scheme, SocketAddress(where.host, port))


class M2Simulator(Simulator):
    """See `ports.simulator.Simulator`."""

    options = DEFAULTS

    def serve(
        self, cluster_input: ClusterInput, *, converged: bool, options: Choices, fresh: Collection[str]
    ) -> M2SimulatedCluster:
        """A simulated cluster."""
        return M2SimulatedCluster(cluster_input, converged=converged, choices=options, fresh=fresh)

    def oracle(self, cluster_input: ClusterInput, world: Any) -> M2Oracle:
        """Who judges it."""
        return M2Oracle(cluster_input, world)

    def sample_fleet(self, addresses: Sequence[SocketAddress], *, same_port: bool) -> Mapping[str, str]:
        """One cluster of nodes that share a setting."""
        return make_sample_fleet(addresses, same_port=same_port)


SIMULATOR = M2Simulator()
"""The one that the driver brings."""
