"""Simulated Sora nodes, as the driver brings them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from reconciler.drivers.sora.choices import DEFAULTS, Choices
from reconciler.drivers.sora.simulator.cluster import SoraSimulatedCluster
from reconciler.drivers.sora.simulator.oracle import INVARIANTS, SoraOracle
from reconciler.drivers.sora.simulator.sample_fleet import make_sample_fleet
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import Simulator, SocketAddress


class SoraSimulator(Simulator):
    """See `ports.simulator.Simulator`."""

    options = DEFAULTS
    joined = True
    invariants = INVARIANTS

    def serve(
        self, cluster_input: ClusterInput, *, converged: bool, options: Choices, fresh: Collection[str]
    ) -> SoraSimulatedCluster:
        """A simulated cluster."""
        return SoraSimulatedCluster(cluster_input, converged=converged, choices=options, fresh=fresh)

    def oracle(self, cluster_input: ClusterInput, world: Any) -> SoraOracle:
        """Who judges it."""
        return SoraOracle(cluster_input, world)

    def sample_fleet(self, addresses: Sequence[SocketAddress], *, same_port: bool) -> Mapping[str, str]:  # noqa: ARG002
        """Clusters of about five nodes."""
        return make_sample_fleet(addresses)


SIMULATOR = SoraSimulator()
"""The one that the driver brings."""
