"""The simulators of the products that a fleet has, each loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.ports.driver import Driver
    from reconciler.ports.simulator import Simulator


def find_simulator(kind: str, cluster: str, drivers: Mapping[str, Driver[Any, Any]]) -> Simulator:
    """The simulator of a cluster's product.

    Raises:
        UsageError: nodes of this kind cannot be simulated.
    """
    found = drivers[kind].simulator() if kind in drivers else None
    if found is None:
        raise UsageError(f"{cluster}: nodes of kind {kind!r} cannot be simulated")
    return found


def list_simulated_kinds(drivers: Mapping[str, Driver[Any, Any]]) -> list[str]:
    """The kinds whose nodes can be simulated, sorted."""
    return sorted(kind for kind, driver in drivers.items() if driver.capabilities.simulation)
