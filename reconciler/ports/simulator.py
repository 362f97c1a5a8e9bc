"""What a product brings so that its nodes can be simulated, and put on trial."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from reconciler.core.endpoint import format_url_host
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.core.plan import Step
    from reconciler.ports.cluster_input import ClusterInput
    from reconciler.ports.transport import Http

Reply: TypeAlias = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body of an answer; status 0: the connection is closed without one."""


class SocketAddress(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{format_url_host(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """One request, as every product's simulator may want it.

    Args:
        target: path and query as they stand in the request line.
        headers: names in lower case.
        peer: the caller's IP address.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    peer: str


@dataclass(frozen=True, slots=True)
class NodeMessage:
    """What a node sends by itself.

    Args:
        url: where it is POSTed.
        content: as plain JSON.
        timeout: seconds for the whole of it.
    """

    node: str
    url: str
    content: Mapping[str, Any]
    timeout: float


class SimulatedWorld(ABC):
    """The nodes of one simulated cluster, of any product."""

    @abstractmethod
    def kill(self, node: str) -> None:
        """The node goes down."""

    @abstractmethod
    def start(self, node: str) -> None:
        """The node comes up."""

    def isolate(self, node: str) -> None:
        """The other nodes do not reach it any more, nor it them; for products that are `joined`."""
        raise NotImplementedError

    def rejoin(self, node: str) -> None:
        """It reaches the other nodes again."""
        raise NotImplementedError

    def join_halfway(self, times: int = 1) -> None:
        """The next nodes that join are listed as members and left out."""
        raise NotImplementedError


class SimulatedCluster(ABC):
    """How the host asks a product's world.

    Args:
        addresses: node name -> where it listens.
    """

    addresses: Mapping[str, SocketAddress]

    @property
    @abstractmethod
    def world(self) -> SimulatedWorld:
        """The product's own world."""

    @abstractmethod
    def answer(self, node: str, request: NodeRequest) -> Reply:
        """What the node answers, and the change it makes."""

    @abstractmethod
    def asked(self, request: NodeRequest) -> str:
        """What the request asks for, in a word or two."""

    @abstractmethod
    def changes(self, request: NodeRequest) -> bool:
        """Whether the request may change something."""

    @abstractmethod
    def refusal(self) -> Reply:
        """How a node of this product says no to a change."""

    def moved(self, node: str) -> int | None:
        """The port the node listens on from its last restart on, where it is another one."""
        return None

    def due(self, now: datetime) -> Sequence[NodeMessage]:
        """What the nodes send by themselves since they were asked last; the first time, nothing is."""
        return ()


class Oracle(Protocol):
    """Judges one simulated cluster by its own state; what it is given as `seen` is a former `state`."""

    def state(self) -> Any:
        """All nodes at this moment, frozen; two that are equal are the same."""

    def about(self, node: str, request: NodeRequest) -> str:
        """The node that a change is about; mostly the one that was asked."""

    def repeated(self, node: str, request: NodeRequest, before: Any, after: Any) -> bool:
        """Whether a change asked for what was so already."""

    def broken(self, node: str, request: NodeRequest, before: Any, after: Any) -> tuple[str, str]:
        """Which of `Simulator.invariants` a change broke, and how; two empty texts where all hold."""

    def effective(self, step: Step, seen: Any) -> bool:
        """Whether a step's effect was there."""

    def unlike(self) -> Sequence[str]:
        """Sentences on nodes that are not as desired now."""

    def unmanageable(self, peer: str) -> Sequence[str]:
        """Running nodes that no longer let this host manage them."""


class Simulator(ABC):
    """A product's nodes, simulated: the one object by which a driver brings all of it."""

    options: Any = None
    """Where the product's documents are silent: a frozen dataclass of every behaviour, at its default."""

    joined: bool = False
    """Whether nodes talk to each other, so that something can happen between them."""

    invariants: Mapping[str, str] = MappingProxyType({})
    """What a single change can break: name -> what has to hold, in a line."""

    @abstractmethod
    def serve(
        self, cluster_input: ClusterInput, *, converged: bool, options: Any, fresh: Collection[str]
    ) -> SimulatedCluster:
        """A simulated cluster.

        Args:
            cluster_input: the cluster.
            converged: whether its nodes are as the fleet says already.
            options: like `options`.
            fresh: nodes that are not, all the same.
        """

    @abstractmethod
    def oracle(self, cluster_input: ClusterInput, world: Any) -> Oracle:
        """Who judges a simulated cluster.

        Args:
            cluster_input: what the cluster is to become.
            world: its nodes, as `serve` made them.
        """

    @abstractmethod
    def sample_fleet(self, addresses: Sequence[SocketAddress], *, same_port: bool) -> Mapping[str, str]:
        """A fleet of nodes at these addresses, for trying things out: path -> text of its files.

        Args:
            addresses: one for each node.
            same_port: whether they differ by host, not by port.
        """

    async def run(self, command: str, values: Mapping[str, str], *, node: str, http: Http) -> str | None:
        """What a command of the host writes that is run for a simulated node, in a trial; None: it stops it.

        Args:
            command: its name.
            values: placeholder -> text.
            node: its name.
            http: the way to simulated nodes.

        Raises:
            NodeError: as a command that is really run.
        """
        return None


def keep_address(node: str, scheme: str, address: SocketAddress) -> SocketAddress:
    """The same address.

    Raises:
        UsageError: the scheme is not plain HTTP.
    """
    if scheme != "http":
        raise UsageError(
            f"{node}: a simulated node speaks plain HTTP, its address says {scheme}",
            remedy="write http:// in a copy of the fleet file",
        )
    return address
