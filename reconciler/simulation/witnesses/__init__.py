"""Witnesses: what really happened to simulated nodes, told apart from what anybody was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final, Protocol

from reconciler.core.plan import Step
from reconciler.errors import UsageError
from reconciler.ports.desk import Desk
from reconciler.ports.simulator import Request


class Witness(Protocol):
    """Judges one simulated cluster by its own state; what it is given as `seen` is a former `state`."""

    def state(self) -> Any:
        """All nodes at this moment, frozen; two that are equal are the same."""

    def about(self, node: str, request: Request) -> str:
        """The node that a change is about; mostly the one that was asked."""

    def repeated(self, node: str, request: Request, before: Any, after: Any) -> bool:
        """Whether a change asked for what was so already."""

    def broken(self, node: str, request: Request, before: Any, after: Any) -> tuple[str, str]:
        """The invariant that a change broke, and how; two empty texts where all hold."""

    def effective(self, step: Step, seen: Any) -> bool:
        """Whether a step's effect was there."""

    def unlike(self) -> Sequence[str]:
        """Sentences on nodes that are not as desired now."""

    def unmanageable(self, peer: str) -> Sequence[str]:
        """Running nodes that no longer let this host manage them."""


MAJORITY: Final = "majority"
INIT_ONCE: Final = "init-once"
PURGE_STOPPED: Final = "purge-stopped"
"""Names of invariants that a single change can break."""

_WITNESSES: Final[Mapping[str, tuple[str, str]]] = {
    "m2": ("reconciler.drivers.m2.simulator.witness", "M2Witness"),
    "sora": ("reconciler.drivers.sora.simulator.witness", "SoraWitness"),
}
"""Kind -> the module and the class of its witness."""


def witness(desk: Desk, world: Any) -> Witness:
    """The witness of a cluster.

    Args:
        desk: what the cluster is to become.
        world: its simulated nodes.

    Raises:
        UsageError: there is none for this kind.
    """
    kind = desk.entry.kind
    if kind not in _WITNESSES:
        raise UsageError(f"{desk.entry.name}: nodes of kind {kind!r} cannot be put on trial")
    module, name = _WITNESSES[kind]
    found: Witness = getattr(import_module(module), name)(desk, world)
    return found
