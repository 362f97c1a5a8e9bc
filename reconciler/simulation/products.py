"""The simulators of products, each loaded when needed."""

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
        UsageError: there is no simulator for this kind.
    """
    found = drivers[kind].simulator() if kind in drivers else None
    if found is None:
        raise UsageError(f"{cluster}: there is no simulator for kind {kind!r}")
    return found


def list_simulated_kinds(drivers: Mapping[str, Driver[Any, Any]]) -> list[str]:
    """The kinds with a simulator, sorted."""
    return sorted(kind for kind, driver in drivers.items() if driver.capabilities.simulation)
