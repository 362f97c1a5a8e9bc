"""What live nodes show, as the desired state would say it: what a product tells `reconcile import`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from reconciler.core.observation import Observed
from reconciler.ports.driver import Wire


@dataclass(frozen=True, slots=True)
class Shown:
    """What a cluster's nodes show.

    Args:
        documents: node -> its settings, plain; empty for products without settings files.
        nodes: the cluster's nodes as entries of the fleet file, sorted by name; None where the nodes do not
            tell who belongs to the cluster.
        missing: why not everything is known, one sentence each; then nothing may be written.
    """

    documents: Mapping[str, Any] = field(default_factory=dict)
    nodes: tuple[Mapping[str, Any], ...] | None = None
    missing: tuple[str, ...] = ()


@runtime_checkable
class Adopts(Protocol):
    """What a driver also has whose clusters can be written down as they are."""

    async def entry_of(self, name: str, addresses: Sequence[str], wire: Wire) -> dict[str, Any]:
        """The fleet file's entry of a cluster that no file names yet, as plain data.

        Args:
            name: what the cluster is to be called.
            addresses: of its nodes, or of one that tells the others.
            wire: the way to them.

        Raises:
            NodeError: nobody told enough.
            UsageError: an address is none.
        """

    def shown(self, desired: Any, observed: Observed[Any]) -> Shown:
        """What the nodes show, for the fleet file and its settings files. Pure."""
