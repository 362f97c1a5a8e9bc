"""Simulated M2 nodes, as the driver brings them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from reconciler.drivers.m2.choices import DEFAULTS, Choices
from reconciler.drivers.m2.simulator.sample_fleet import sample_fleet
from reconciler.drivers.m2.simulator.served import M2Served
from reconciler.drivers.m2.simulator.witness import M2Witness
from reconciler.ports.desk import Desk
from reconciler.ports.simulator import Address, Simulator


class M2Simulator(Simulator):
    """See `ports.simulator.Simulator`."""

    options = DEFAULTS

    def serve(self, desk: Desk, *, converged: bool, options: Choices, fresh: Collection[str]) -> M2Served:
        """A simulated cluster."""
        return M2Served(desk, converged=converged, choices=options, fresh=fresh)

    def witness(self, desk: Desk, world: Any) -> M2Witness:
        """Who judges it."""
        return M2Witness(desk, world)

    def sample_fleet(self, addresses: Sequence[Address], *, same_port: bool) -> Mapping[str, str]:
        """One cluster of nodes that share a setting."""
        return sample_fleet(addresses, same_port=same_port)


SIMULATOR = M2Simulator()
"""The one that the driver brings."""
