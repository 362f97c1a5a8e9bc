"""The port of simulators: what a product supplies to simulate its nodes, also for fault trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from reconciler.core.endpoint import SocketAddress
from reconciler.errors import NodeRefused, UsageError

if TYPE_CHECKING:
    from reconciler.core.plan import Step
    from reconciler.ports.cluster_input import ClusterInput
    from reconciler.ports.node_store import NodeTokens
    from reconciler.ports.simulated_machine import SimulatedMachine

FILES_KEPT: Final = "files-kept"
"""An invariant of all products with files: no call loses lines that are not ours, or leaves half a file."""

BY_HAND: Final = b"# changed by hand\n"
"""What a person adds to a file."""

Reply: TypeAlias = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body of an answer; status 0 closes the connection without one."""


class RequestWay(StrEnum):
    """How a request reaches a simulated node."""

    HTTP = "http"
    """Over HTTP, at its address."""

    STREAM = "stream"
    """As bytes over TCP, at its address."""

    COMMAND = "command"
    """As a command of the host, on its machine."""

    FILE = "file"
    """As a call about one of its files, on its machine."""


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """One request to a simulated node.

    Args:
        method: the HTTP verb; of a command `run` or `read`, of a file the name of the method of
            `ports.transport.Files`.
        target: path and query of the request line; name of the command, or of the entry of `files`.
        headers: names in lower case.
        body: of a command its values as a JSON object, of a file the content to stage.
        peer: the caller's IP address.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    peer: str
    way: RequestWay = RequestWay.HTTP


@dataclass(frozen=True, slots=True)
class SimulatedCommand:
    """A command of the host for simulated nodes.

    Args:
        placeholders: the values that it gets, but for the node's name.
        reads: whether it only reads.
    """

    placeholders: tuple[str, ...] = ()
    reads: bool = False


class NodeSession(Protocol):
    """A conversation over TCP with a node that speaks no HTTP; without any input and output of its own."""

    def receive(self, data: bytes) -> bytes:
        """What the node answers to some more bytes, which may end anywhere; empty if it waits for more.

        Args:
            data: what has come since the last call.
        """

    @property
    def is_over(self) -> bool:
        """Whether the node closes the connection after its answer."""


@dataclass(frozen=True, slots=True)
class OutgoingCall:
    """A request that a node sends by itself.

    Args:
        purpose: in a word or two, such as `setting feed`.
        timeout: seconds for the whole call.
    """

    purpose: str
    url: str
    timeout: float
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


PUBLISH: Final = "PUBLISH"
"""Method of an `OutgoingCall` that publishes its body to a message bus; its URL is that of a channel."""


@dataclass(frozen=True, slots=True)
class BusSubscription:
    """A channel of a message bus to which a node listens.

    Args:
        url: such as `kafka://127.0.0.1:9092/topic`; several brokers with commas between them.
        group: of consumers; empty for none.
        from_beginning: whether it begins with the first message that is there, and not with the next one.
        resumes: whether it continues where its group was the last time.
    """

    node: str
    url: str
    group: str = ""
    from_beginning: bool = False
    resumes: bool = True


@dataclass(frozen=True, slots=True)
class LocalChange:
    """A change that a node makes to itself, such as loading a setting that it has downloaded.

    Args:
        request: the call of its API that has the same effect.
        perform: makes the change; gives the answer that a caller of the API would get.
    """

    request: NodeRequest
    perform: Callable[[], Reply]


Activity: TypeAlias = Generator[OutgoingCall | LocalChange, Reply, None]
"""What a node does by itself, step by step: each step gets its reply; status 0 means that no answer came.

Names of headers in a reply to an `OutgoingCall` are in lower case.
"""


@dataclass(frozen=True, slots=True)
class NodeActivity:
    """One activity of a node.

    Args:
        name: such as `setting`.
        is_periodic: whether it comes again; it is left out while an earlier one of the same name runs.
        delay: seconds until it begins.
    """

    node: str
    name: str
    steps: Activity
    is_periodic: bool = True
    delay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationStart:
    """In which state the nodes of a cluster start.

    Args:
        converged: whether they are in the desired state.
        fresh: nodes that are in factory state even so.
        tokens: of nodes that poll: without its token, such a node cannot start in the desired state.
        applied: the cluster in the fleet file that is applied to the nodes, if it is another one: their
            machines have its files and commands, too.
        starts: how often each node counts as started. A store that outlives a simulation must not take the
            first start of the next one for an earlier one.
        nodes: that are simulated; None for all. Only for products whose nodes do not talk to each other.
    """

    converged: bool = False
    fresh: Collection[str] = ()
    tokens: Mapping[str, NodeTokens] = field(default_factory=dict)
    nodes: frozenset[str] | None = None
    applied: ClusterInput | None = None
    starts: int = 1

    def select(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are simulated."""
        return [name for name in names if self.nodes is None or name in self.nodes]


class SimulatedWorld(ABC):
    """The nodes of one simulated cluster, of any product."""

    @abstractmethod
    def kill(self, node: str) -> None:
        """The node goes down."""

    @abstractmethod
    def start(self, node: str) -> None:
        """The node comes up, unless it cannot start with what its machine has."""

    @abstractmethod
    def running(self, node: str) -> bool:
        """Whether the node is up; one that is not answers nothing."""

    def install(self, node: str, package: bytes) -> None:
        """Put a package on a node by hand, and start the node with it; for products that have packages.

        Raises:
            UsageError: the node refuses it.
        """
        raise NotImplementedError

    def isolate(self, node: str) -> None:
        """The node and the other nodes cannot reach each other; for products that are `joined`."""
        raise NotImplementedError

    def rejoin(self, node: str) -> None:
        """The node reaches the other nodes again."""
        raise NotImplementedError

    def join_halfway(self, times: int = 1) -> None:
        """The next nodes that join are listed as members but do not take part."""
        raise NotImplementedError


class SimulatedCluster(ABC):
    """The adapter between the simulation and a product's simulated world.

    Args:
        addresses: node name -> its address; a node without one cannot be called.
    """

    addresses: Mapping[str, SocketAddress]

    streaming: Collection[str] = frozenset()
    """Names of the nodes whose addresses speak no HTTP; see `open_session`."""

    commands: Mapping[str, SimulatedCommand] = MappingProxyType({})
    """Name -> what a host needs to know of a command that `run_command` performs."""

    keeps_connections: bool = True
    """Whether a node uses a connection again for the next call that it makes by itself."""

    @property
    @abstractmethod
    def world(self) -> SimulatedWorld:
        """The states of the product's nodes."""

    @abstractmethod
    def answer(self, node: str, request: NodeRequest) -> Reply:
        """Perform a request at a node and give its answer."""

    def open_session(self, node: str, peer: str) -> NodeSession:
        """A new connection to a node of `streaming`.

        Args:
            node: its name.
            peer: the caller's IP address.
        """
        raise NotImplementedError

    def run_command(self, node: str, command: str, values: Mapping[str, str]) -> str:
        """Do what a command of the host does to a node; gives its output.

        The node may be up or down afterwards, which `SimulatedWorld.running` tells.

        Args:
            node: its name.
            command: one of `commands`.
            values: placeholder -> text.

        Raises:
            NodeRefused: there is no such command, or its status is not 0.
        """
        raise refuse_command(node, f"this host has no command {command!r}")

    def get_machine(self, node: str) -> SimulatedMachine | None:
        """The machine of a node, with its files; None if the product has none."""
        return None

    def check_file(self, node: str, entry: str, content: bytes) -> str:
        """What the product's own check says against a new content of a file; empty if it is good."""
        return ""

    def edit_file(self, node: str, entry: str, content: bytes) -> bytes:
        """A file as a person leaves it who changes something that is not ours; a valid file stays valid.

        By default with a comment more, which begins with `#`.
        """
        gap = b"" if not content or content.endswith(b"\n") else b"\n"
        return content + gap + BY_HAND

    @abstractmethod
    def describe_request(self, request: NodeRequest) -> str:
        """The purpose of a request to the node's address, in a word or two."""

    @abstractmethod
    def is_change(self, request: NodeRequest) -> bool:
        """Whether a request to the node's address may change something."""

    @abstractmethod
    def build_refusal(self) -> Reply:
        """The answer with which a node of this product refuses a change."""

    def get_new_port(self, node: str) -> int | None:
        """The node's new port after a restart; None if it has not changed."""
        return None

    def list_complaints(self) -> Sequence[str]:
        """Sentences about answers to nodes that are not as the product documents them, the latest ones."""
        return ()

    def take_due_activities(self, now: datetime) -> Sequence[NodeActivity]:
        """What nodes begin to do by themselves since the last call; the first call gives none."""
        return ()

    def list_subscriptions(self) -> Sequence[BusSubscription]:
        """The channels of message buses to which nodes that are up listen now."""
        return ()

    def receive_message(self, subscription: BusSubscription, body: bytes) -> Sequence[NodeActivity]:
        """What a node does with a message."""
        return ()


class Oracle(Protocol):
    """Judges one simulated cluster by its true state, not by what the reconciler says."""

    # From the simulated world itself, not from answers of nodes: a client that misreads an answer must not
    # have its error confirmed here.
    def state(self) -> Any:
        """The current state of all nodes, frozen and comparable."""

    def find_affected_node(self, node: str, request: NodeRequest) -> str:
        """The node that a change affects; usually the one that got the request."""

    def is_repetition(self, node: str, request: NodeRequest, before: Any, after: Any) -> bool:
        """Whether a change requested a state that existed already."""

    def find_broken_invariant(
        self, node: str, request: NodeRequest, before: Any, after: Any
    ) -> tuple[str, str]:
        """Which of `Simulator.invariants` a change broke, and how; two empty texts if none."""

    def is_effective(self, step: Step, seen: Any) -> bool:
        """Whether the effect of a step is in `seen`, an earlier `state`."""

    def list_differences(self) -> Sequence[str]:
        """Sentences about nodes that differ from the desired state now."""

    def list_unmanageable_nodes(self, peer: str) -> Sequence[str]:
        """Running nodes that this host can no longer manage."""


class Simulator(ABC):
    """Everything that a driver supplies to simulate its nodes."""

    options: Any = None
    """Behaviours that the product's documents leave open: a frozen dataclass with defaults."""

    has_peer_links: bool = False
    """Whether nodes talk to each other, so that faults between them are possible."""

    invariants: Mapping[str, str] = MappingProxyType({})
    """What a single change can break: name -> the rule, in one line."""

    @abstractmethod
    def serve(self, cluster_input: ClusterInput, *, start: SimulationStart, options: Any) -> SimulatedCluster:
        """A simulated cluster.

        Args:
            cluster_input: the cluster.
            start: the state of its nodes at first.
            options: of the type of `options`.
        """

    @abstractmethod
    def oracle(self, cluster_input: ClusterInput, world: Any) -> Oracle:
        """The oracle of a simulated cluster.

        Args:
            cluster_input: its desired state.
            world: its nodes, from `serve`.
        """

    @abstractmethod
    def sample_fleet(self, addresses: Sequence[SocketAddress], *, same_port: bool) -> Mapping[str, str]:
        """A sample fleet with nodes at these addresses: path -> text of its files.

        Args:
            addresses: one for each node.
            same_port: whether they differ in host, not in port.
        """

    def make_polling_fleet(self, count: int, server: str) -> Mapping[str, str]:
        """A sample fleet whose nodes only poll: path -> text of its files; for products whose nodes can.

        Args:
            count: number of nodes.
            server: URL of the central server.

        Raises:
            UsageError: nodes of this product do not poll.
        """
        raise UsageError(
            "nodes of this kind do not poll a central server", remedy="leave --poll out, or use --kind m2"
        )


def refuse_command(node: str, why: str) -> NodeRefused:
    """The refusal of a command that failed or that does not exist."""
    return NodeRefused(node, why, status=0, code="COMMAND", again=True)


def split_sample(nodes: int, size: int, fewest: int) -> list[int]:
    """The sizes of the clusters of a sample fleet.

    Args:
        nodes: number of all nodes.
        size: of most clusters.
        fewest: nodes of which a cluster of its own is made; fewer ones go into the last cluster.
    """
    clusters, rest = divmod(nodes, size)
    sizes = [size] * clusters
    if rest >= fewest or not clusters:
        sizes.append(rest)
    else:
        sizes[-1] += rest
    return sizes


def keep_address(node: str, scheme: str, address: SocketAddress) -> SocketAddress:
    """The same address.

    Raises:
        UsageError: the scheme is not plain HTTP.
    """
    if scheme != "http":
        raise UsageError(
            f"{node}: simulated nodes support only plain HTTP, got {scheme}",
            remedy="use http:// in a copy of the fleet file",
        )
    return address
