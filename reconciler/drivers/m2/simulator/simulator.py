"""Simulated M2 nodes, as the driver brings them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from reconciler.drivers.m2.choices import DEFAULTS, Choices
from reconciler.drivers.m2.simulator.cluster import M2SimulatedCluster
from reconciler.drivers.m2.simulator.oracle import M2Oracle
from reconciler.drivers.m2.simulator.sample_fleet import make_sample_fleet
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import Simulator, SocketAddress


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
