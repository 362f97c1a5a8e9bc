"""Simulated Sora clusters for the host."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from reconciler.drivers.sora.choices import Choices
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import NodeRequest, Reply, SimulatedCluster, SocketAddress, keep_address


class SoraSimulatedCluster(SimulatedCluster):
    """Sora: one path, requests differ by the header `x-sora-target`."""

    def __init__(
        self, cluster_input: ClusterInput, *, converged: bool, choices: Choices, fresh: Collection[str]
    ) -> None:
        outside = [node.name for node in cluster_input.entry.members() if node.name in fresh]
        self._world = SoraWorld.from_entry(
            cluster_input.entry, converged=converged, outside=outside, choices=choices
        )
        self.addresses = {
            node.name: _place(node.name, getattr(node, "api", "")) for node in cluster_input.entry.members()
        }

    @property
    def world(self) -> SoraWorld:
        """The nodes."""
        return self._world

    def answer(self, node: str, request: NodeRequest) -> Reply:
        """What the node answers, and the change it makes."""
        return self._world.answer(
            node, request.headers.get("x-sora-target", ""), request.method, request.body
        )

    def asked(self, request: NodeRequest) -> str:
        """The value of `x-sora-target`."""
        return request.headers.get("x-sora-target", "")

    def changes(self, request: NodeRequest) -> bool:
        """Whether it is anything but a getter or a list."""
        return not self.asked(request).partition(".")[2].startswith(("Get", "List"))

    def refusal(self) -> Reply:
        """How a node says no to a change."""
        return 400, {"Content-Type": "application/json"}, b'{"error_type":"REFUSED-ON-REQUEST"}'


def _place(node: str, url: str) -> SocketAddress:
    parts = urlsplit(url)
    return keep_address(node, parts.scheme, SocketAddress(parts.hostname or url, parts.port or 80))
