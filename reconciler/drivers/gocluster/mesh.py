"""Every node's view merged into one picture of the mesh: what is missing, wrong, one-sided or late; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from reconciler.core.endpoint import InvalidAddress, parse_endpoint
from reconciler.drivers.gocluster.quorum import describe_quorum, has_quorum
from reconciler.drivers.gocluster.view import NodeView, PeerRow


class Problem(StrEnum):
    """What is wrong with one link or one view; each is the code of a finding."""

    MISSING = "peer-missing"
    EXTRA = "peer-extra"
    ADDRESS = "peer-address"
    ONE_SIDED = "link-one-sided"
    OFFLINE = "peer-offline"
    LAGGING = "peer-lagging"
    QUORUM = "quorum-lost"


@dataclass(frozen=True, slots=True)
class MeshProblem:
    """One problem.

    Args:
        node: whose view shows it.
        peer: that it is about; empty for the view as a whole.
        words: one sentence.
    """

    problem: Problem
    node: str
    peer: str
    words: str


@dataclass(frozen=True, slots=True)
class Mesh:
    """What the nodes that answered show, together.

    Args:
        members: node -> its address, of the nodes that the fleet file names.
        views: node -> its view, of the nodes that answered just now.
        away: nodes that count as not connected whatever views show, because somebody may stop them.
    """

    members: Mapping[str, str]
    views: Mapping[str, NodeView]
    away: frozenset[str] = frozenset()

    def get_connected(self, node: str, without: frozenset[str] = frozenset()) -> frozenset[str]:
        """The configured peers that a node is connected to."""
        return self.views[node].connected - self.away - without

    def keeps_quorum(self, node: str, without: frozenset[str] = frozenset()) -> bool:
        """Whether a node has the quorum in its own view, also without some nodes."""
        return has_quorum(len(self.views[node].peers), len(self.get_connected(node, without)))

    def describe_view(self, node: str, without: frozenset[str] = frozenset()) -> str:
        """The numbers of one view, for people."""
        return describe_quorum(len(self.views[node].peers), len(self.get_connected(node, without)))

    def is_seen_online(self, node: str) -> bool:
        """Whether a view of another node shows it Online."""
        return any(node in view.connected for name, view in self.views.items() if name != node)

    def is_listed(self, node: str) -> bool:
        """Whether a view of another node has it among its peers."""
        return any(view.peer(node) is not None for name, view in self.views.items() if name != node)

    def list_extra(self) -> tuple[str, ...]:
        """Peers that views show and the fleet file does not name."""
        listed = {row.name for view in self.views.values() for row in view.peers}
        return tuple(sorted(listed - self.members.keys()))

    def find_problems(self, max_lag: int) -> Iterator[MeshProblem]:
        """Everything that is not as it should be, by node.

        Args:
            max_lag: nanoseconds of lag that are normal.
        """
        for node, view in sorted(self.views.items()):
            yield from self._find_unlike_peers(node, view)
            for row in view.peers:
                yield from self._find_link_problems(node, row, max_lag)
            if not self.keeps_quorum(node):
                words = f"{node} has no quorum in its own view: {self.describe_view(node)}"
                yield MeshProblem(Problem.QUORUM, node, "", words)

    def _find_unlike_peers(self, node: str, view: NodeView) -> Iterator[MeshProblem]:
        for name, address in sorted(self.members.items()):
            row = view.peer(name)
            if name == node:
                if row is not None:
                    yield MeshProblem(Problem.EXTRA, node, name, f"{node} has itself among its peers")
            elif row is None:
                yield MeshProblem(Problem.MISSING, node, name, f"{node} does not have {name} among its peers")
            elif not is_same_address(row.address, address):
                words = f"{node} has {name} at {row.address or '(no address)'}, not at {address}"
                yield MeshProblem(Problem.ADDRESS, node, name, words)
        for row in view.peers:
            if row.name not in self.members:
                words = f"{node} has {row.name} among its peers, which the fleet file does not name"
                yield MeshProblem(Problem.EXTRA, node, row.name, f"{words} ({row.status})")

    def _find_link_problems(self, node: str, row: PeerRow, max_lag: int) -> Iterator[MeshProblem]:
        if row.name not in self.members or row.name == node:
            return
        if row.is_online:
            back = self.views[row.name].peer(node) if row.name in self.views else None
            if back is not None and not back.is_online:
                words = f"{node} shows {row.name} Online, but {row.name} shows {node} as {back.status}"
                yield MeshProblem(Problem.ONE_SIDED, node, row.name, words)
            if row.lag > max_lag:
                words = f"{node} shows a lag of {row.lag / 1e9:.3g} s of {row.name}"
                yield MeshProblem(Problem.LAGGING, node, row.name, words)
            return
        why = f": {row.error}" if row.error else ""
        words = f"{node} shows {row.name} as {row.status}{why}"
        yield MeshProblem(Problem.OFFLINE, node, row.name, words)


def is_same_address(one: str, other: str) -> bool:
    """Whether two addresses of the fleet file or of a view are the same place."""
    try:
        return parse_endpoint(one).place == parse_endpoint(other).place
    except InvalidAddress:
        return one == other
