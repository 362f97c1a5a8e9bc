"""The cluster as one pure state machine: who runs, with which peers, and what each node then shows.

The planner asks it before it writes an order down, guards ask it again, the checker explores it, and the
simulated nodes behave by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from reconciler.drivers.gocluster.choices import CAUTIOUS, Choices, UnknownNames
from reconciler.drivers.gocluster.quorum import ALWAYS, count_needed, describe_quorum, has_quorum


class GoNodeState(NamedTuple):
    """One node.

    Args:
        up: whether its process runs.
        peers: that the process has; of a node that is down, those of its file.
        auth: which secret, and whether TLS, the process has; nodes talk only to their like.
        file_peers: in its file, which the next start loads.
        file_auth: in its file.
        is_cut: whether the network separates it from all others.
        is_deaf: whether it accepts no connections any more, because somebody came with another secret.
        is_counted: whether its view counts: not of a node that leaves, which nobody can read.
        is_outdated: whether its process runs since before its file was changed.
    """

    name: str
    up: bool
    peers: frozenset[str]
    auth: int = 0
    file_peers: frozenset[str] = frozenset()
    file_auth: int = 0
    is_cut: bool = False
    is_deaf: bool = False
    is_counted: bool = True
    is_outdated: bool = False


class MeshState(NamedTuple):
    """All nodes at one moment.

    Args:
        nodes: sorted by name.
        broken: pairs of names, sorted, whose link does not work.
        known: pairs whose link a view has shown, so that it counts whoever names whom.
    """

    nodes: tuple[GoNodeState, ...]
    broken: frozenset[tuple[str, str]] = frozenset()
    known: frozenset[tuple[str, str]] = frozenset()

    def node(self, name: str) -> GoNodeState:
        """One node.

        Raises:
            KeyError: there is none of this name.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(node.name for node in self.nodes)


def make_state(
    nodes: Iterable[GoNodeState],
    broken: Iterable[tuple[str, str]] = (),
    known: Iterable[tuple[str, str]] = (),
) -> MeshState:
    """A state, in its one form."""
    return MeshState(tuple(sorted(nodes)), frozenset(broken), frozenset(known) - frozenset(broken))


def replace_node(state: MeshState, node: GoNodeState) -> MeshState:
    """The same with one node changed."""
    return state._replace(nodes=tuple(node if one.name == node.name else one for one in state.nodes))


def can_link(state: MeshState, one: GoNodeState, other: GoNodeState, choices: Choices = CAUTIOUS) -> bool:
    """Whether two nodes are connected: one of them calls, and the other accepts."""
    if not (one.up and other.up) or one.is_cut or other.is_cut or one.auth != other.auth:
        return False
    pair = (min(one.name, other.name), max(one.name, other.name))
    if pair in state.broken or pair in state.known:
        return pair in state.known
    return _can_call(one, other, choices) or _can_call(other, one, choices)


def _can_call(caller: GoNodeState, other: GoNodeState, choices: Choices) -> bool:
    if other.name not in caller.peers or other.is_deaf:
        return False
    return caller.name in other.peers or choices.unknown_names is UnknownNames.JOIN


def get_shown(state: MeshState, name: str, choices: Choices = CAUTIOUS) -> frozenset[str]:
    """The configured peers that a node is connected to, as its API shows them."""
    own = state.node(name)
    return frozenset(
        one.name
        for one in state.nodes
        if one.name != name and one.name in own.peers and can_link(state, own, one, choices)
    )


def keeps_quorum(state: MeshState, name: str, choices: Choices = CAUTIOUS) -> bool:
    """Whether a node has the quorum in its own view, by what it shows."""
    return has_quorum(len(state.node(name).peers), len(get_shown(state, name, choices)))


def describe_view(state: MeshState, name: str, choices: Choices = CAUTIOUS) -> str:
    """The numbers of one view, for people."""
    return describe_quorum(len(state.node(name).peers), len(get_shown(state, name, choices)))


def stop(state: MeshState, name: str) -> MeshState:
    """The process ends: by a command, a crash or a kill, which others see at once."""
    return replace_node(state, state.node(name)._replace(up=False))


def start(state: MeshState, name: str) -> MeshState:
    """The process starts with its file; where it meets another secret, listeners stop for good."""
    node = state.node(name)
    own = node._replace(up=True, peers=node.file_peers, auth=node.file_auth, is_deaf=False, is_outdated=False)
    # Its connections are new.
    state = MeshState(
        state.nodes,
        frozenset(pair for pair in state.broken if name not in pair),
        frozenset(pair for pair in state.known if name not in pair),
    )
    state = replace_node(state, own)
    for other in state.nodes:
        if other.name == name or not other.up or other.auth == own.auth or own.is_cut or other.is_cut:
            continue
        if other.name in own.peers:
            state = replace_node(state, other._replace(is_deaf=True))
        if name in other.peers:
            state = replace_node(state, state.node(name)._replace(is_deaf=True))
    return state


def switch_file(state: MeshState, name: str, peers: frozenset[str], auth: int = 0) -> MeshState:
    """The file of a node gets another content; a running process goes on with the former one."""
    return replace_node(state, state.node(name)._replace(file_peers=peers, file_auth=auth))


def find_lost_quorum(state: MeshState, without: Collection[str]) -> Iterator[tuple[str, str]]:
    """The views that have the quorum now and lose it if some nodes go down: name, numbers."""
    after = state
    for name in without:
        after = stop(after, name)
    for node in state.nodes:
        if node.name in without or not node.up or not node.is_counted or not keeps_quorum(state, node.name):
            continue
        if not keeps_quorum(after, node.name):
            yield node.name, describe_view(after, node.name)


def count_spare(state: MeshState, target: str) -> int:
    """How many further failures every other view survives while a node is away; 0 also if none does."""
    found = [
        len(get_shown(state, node.name) - {target}) - count_needed(len(node.peers))
        for node in state.nodes
        if node.up and node.is_counted and node.name != target and len(node.peers) > ALWAYS
    ]
    return max(0, min(found, default=0))


def find_stop_obstacle(state: MeshState, target: str) -> str:
    """Why a node must not go down now; empty if every view keeps its quorum without it.

    A view without a quorum holds back every other node: it may be in the middle of a failure. Only that node
    itself may be restarted then, and a cluster in which no view has a quorum has none to lose.
    """
    lost = list(find_lost_quorum(state, [target]))
    if lost:
        name, numbers = lost[0]
        return f"without {target}, {name} would lose the quorum in its view: {numbers}"
    counted = [node for node in state.nodes if node.up and node.is_counted]
    without = [node for node in counted if not keeps_quorum(state, node.name)]
    if not without or len(without) == len(counted):
        return ""
    for node in without:
        # Not all others name a node that is just being added: it gets its quorum as they get their files.
        is_new = not all(node.name in one.peers for one in counted if one.name != node.name)
        if node.name != target and not is_new:
            return f"{node.name} has no quorum in its view: {describe_view(state, node.name)}"
    return ""
