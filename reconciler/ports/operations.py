"""The port of a product's operations: what an operator can ask of nodes beside desired state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from reconciler.core.bus_channels import BusChannel
from reconciler.core.offers import OfferFeed
from reconciler.core.operations import OperationResult
from reconciler.ports.transport import Transports

D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class OperationTarget:
    """One thing that an operation is about.

    Args:
        text: in its one normal form, as nodes get it.
        extent: why it is of high risk, such as `everything on www.site1.com`; empty for a low risk.
    """

    text: str
    extent: str = ""


@dataclass(frozen=True, slots=True)
class OperationNode:
    """How an operation reaches one node.

    Args:
        period: seconds between two polls; 0 for a node that does not poll this program.
        channel: of a message bus, on which it listens for operations; None for a node that polls.
        group: of consumers, of which one gets each message; empty for none.
        is_callable: whether this host can call it.
        overdue: polls after which a node without a result is overdue.
    """

    name: str
    period: float = 0.0
    channel: BusChannel | None = None
    group: str = ""
    is_callable: bool = True
    overdue: int = 20
    reports: bool = False

    @property
    def polls(self) -> bool:
        """Whether it polls this program."""
        return self.period > 0


class ProductOperation(ABC, Generic[D]):
    """One kind of operation of one product. D: the product's desired state.

    A node gets an operation at least once: all methods must allow repetition.
    """

    kind: str
    """Its name in commands and records, such as `purge`."""

    feed: OfferFeed
    """The feed by which nodes that poll get it."""

    @abstractmethod
    def read_targets(self, texts: Sequence[str]) -> tuple[OperationTarget, ...]:
        """The targets in their normal form, each once, in the given order; pure.

        Raises:
            UsageError: a target is invalid; names the first ones, without secret parts.
        """

    @abstractmethod
    def remark(self, desired: D, targets: Sequence[str]) -> tuple[str, ...]:
        """What is odd about these targets in this cluster, one sentence each; pure."""

    @abstractmethod
    def list_nodes(self, desired: D) -> tuple[OperationNode, ...]:
        """The nodes of a cluster, in the order of the fleet file; pure."""

    @abstractmethod
    def pack(self, targets: Sequence[str]) -> tuple[bytes, ...]:
        """The parts of an offer for nodes that poll; equal for all nodes, so that they are stored once."""

    @abstractmethod
    async def call(
        self, desired: D, node: str, targets: Sequence[str], transports: Transports
    ) -> OperationResult:
        """Call a node; gives what it reports, `DONE` or `FAILED`.

        Raises:
            NodeUnreachable: no complete answer; it may have done it, and is called again.
        """
