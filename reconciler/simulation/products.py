"""The one table of products that can be simulated, each loaded when a fleet has it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, Final

from reconciler.errors import UsageError
from reconciler.ports.desk import Desk
from reconciler.ports.simulator import Served

PRODUCTS: Final[Mapping[str, tuple[str, str]]] = {
    "m2": ("reconciler.drivers.m2.simulator.served", "M2Served"),
    "sora": ("reconciler.drivers.sora.simulator.served", "SoraServed"),
}
"""Kind -> the module and the class that serve a cluster of it."""

JOINED: Final = frozenset({"sora"})
"""Kinds whose nodes talk to each other: their worlds are `served.Joined`."""


def serve(desk: Desk, *, converged: bool, choices: Any, fresh: Collection[str] = ()) -> Served:
    """A simulated cluster.

    Args:
        desk: the cluster.
        converged: whether its nodes are as the fleet says already.
        choices: the product's own `Choices`; None for its defaults.
        fresh: nodes that are not, all the same.

    Raises:
        UsageError: nodes of this kind cannot be simulated.
    """
    entry = desk.entry
    if entry.kind not in PRODUCTS:
        raise UsageError(f"{entry.name}: nodes of kind {entry.kind!r} cannot be simulated")
    module, name = PRODUCTS[entry.kind]
    served: Served = getattr(import_module(module), name)(
        desk, converged=converged, choices=choices, fresh=fresh
    )
    return served
