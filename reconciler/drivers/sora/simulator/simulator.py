"""Simulated Sora nodes, as the driver brings them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from reconciler.drivers.sora.choices import DEFAULTS, Choices
from reconciler.drivers.sora.simulator.sample_fleet import sample_fleet
from reconciler.drivers.sora.simulator.served import SoraServed
from reconciler.drivers.sora.simulator.witness import INVARIANTS, SoraWitness
from reconciler.ports.desk import Desk
from reconciler.ports.simulator import Address, Simulator


class SoraSimulator(Simulator):
    """See `ports.simulator.Simulator`."""

    options = DEFAULTS
    joined = True
    invariants = INVARIANTS

    def serve(self, desk: Desk, *, converged: bool, options: Choices, fresh: Collection[str]) -> SoraServed:
        """A simulated cluster."""
        return SoraServed(desk, converged=converged, choices=options, fresh=fresh)

    def witness(self, desk: Desk, world: Any) -> SoraWitness:
        """Who judges it."""
        return SoraWitness(desk, world)

    def sample_fleet(self, addresses: Sequence[Address], *, same_port: bool) -> Mapping[str, str]:  # noqa: ARG002
        """Clusters of about five nodes."""
        return sample_fleet(addresses)


SIMULATOR = SoraSimulator()
"""The one that the driver brings."""
