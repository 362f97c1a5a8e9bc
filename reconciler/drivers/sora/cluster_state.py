"""A Sora cluster at one moment, as small frozen data, and which of its groups has the majority.

R registered regular nodes, down ones included; A of them up, in reach of each other and in the same
cluster. A group is usable only while A >= floor(R/2) + 1; temporary nodes never count (Sora's documents,
"Cluster function"). Nodes are numbers, sets of nodes are bit sets, and a state is a tuple of tuples, so
that a model checker can walk millions of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from reconciler.file_delivery.model import ModelFile

STARTS: Final = 3
"""Starts of a node that are told apart: more than happen between a plan and the last reading of a step."""


class Mode(StrEnum):
    """What a node still accepts (Sora's documents, "Mode")."""

    NORMAL = "normal"
    BLOCK_NEW_SESSION = "block_new_session"
    BLOCK_NEW_CONNECTION = "block_new_connection"


class ClusterLog(NamedTuple):
    """What a node knows of its cluster.

    Args:
        epoch: which InitCluster it stems from.
        version: how many changes it has seen since.
        regular: bit set of the registered regular nodes.
        temporary: bit set of the registered temporary nodes.
    """

    epoch: int
    version: int
    regular: int
    temporary: int

    @property
    def listed(self) -> int:
        """Bit set of all registered nodes."""
        return self.regular | self.temporary


class SoraNodeState(NamedTuple):
    """One node.

    Args:
        side: nodes on the same side reach each other.
        log: None before any cluster.
        is_outdated: whether its process was started before its sora.conf was changed.
        is_old: whether it has another version than desired.
        is_ours: whether it is down because a run of ours stopped it for its upgrade, and remembers that.
        restarts: how often a run of ours has tried to start it since it is down by a restart of ours, at
            most twice; 0 if it is not down by one.
        file: its sora.conf, where that is explored; the next two are counted for it only.
        starts: how often it was started, of three.
        noted: the start that the store remembers as the one before its file was changed; -1 for none.
    """

    up: bool = True
    temporary: bool = False
    side: int = 0
    mode: Mode = Mode.NORMAL
    log: ClusterLog | None = None
    is_outdated: bool = False
    is_old: bool = False
    is_ours: bool = False
    restarts: int = 0
    file: ModelFile | None = None
    starts: int = 0
    noted: int = -1


State: TypeAlias = tuple[SoraNodeState, ...]
"""All nodes, by their number."""


class ReachableGroup(NamedTuple):
    """Running nodes in reach of each other that share one log."""

    nodes: int
    log: ClusterLog

    @property
    def alive(self) -> int:
        """A: how many registered regular nodes are in it."""
        return (self.nodes & self.log.regular).bit_count()

    @property
    def usable(self) -> bool:
        """Whether it holds the majority; a group of half or fewer refuses everything."""
        return self.alive >= compute_quorum(self.log.regular.bit_count())


def compute_quorum(registered: int) -> int:
    """How many of `registered` regular nodes must be connected: more than half, floor(R/2) + 1."""
    # Half of an even number is not enough: both halves of a split would then act as the cluster.
    return registered // 2 + 1


def to_bits(nodes: Iterable[int]) -> int:
    """The bit set of some nodes."""
    return sum(1 << node for node in set(nodes))


def list_members(bit_set: int) -> tuple[int, ...]:
    """The nodes of a bit set, in ascending order."""
    return tuple(node for node in range(bit_set.bit_length()) if bit_set >> node & 1)


def make_fresh_state(temporary: Iterable[bool]) -> State:
    """Running nodes that were never in a cluster, one for each item, which says if it is temporary."""
    return tuple(SoraNodeState(temporary=kind) for kind in temporary)


def make_formed_state(temporary: Sequence[bool], *, outside: int = 0) -> State:
    """The same nodes in one healthy cluster, but for those of the bit set `outside`."""
    inside = [node for node in range(len(temporary)) if not outside >> node & 1]
    regular = to_bits(node for node in inside if not temporary[node])
    log = ClusterLog(0, 0, regular, to_bits(inside) & ~regular)
    return replace_log(make_fresh_state(temporary), to_bits(inside), log)


@lru_cache(maxsize=4096)  # one state is asked about many times in a row
def find_groups(state: State) -> tuple[ReachableGroup, ...]:
    """Every group of running nodes that are in a cluster; a node that was purged is alone in its own."""
    parts: dict[tuple[int, int], list[tuple[ClusterLog, int]]] = {}
    for number, node in enumerate(state):
        if node.up and node.log is not None:
            parts.setdefault((node.side, node.log.epoch), []).append((node.log, 1 << number))
    found: list[ReachableGroup] = []
    for part in parts.values():
        # Connected members exchange logs, so a moment later all of them have the longest one.
        newest = max(part)[0]
        listed = newest.listed
        inside = 0
        for log, bit in part:
            if listed & bit:
                inside |= bit
            else:
                found.append(ReachableGroup(bit, log))
        found.append(ReachableGroup(inside, newest))
    return tuple(found)


def find_group(state: State, node: int) -> ReachableGroup | None:
    """The group a running node is in; None where it is stopped or in no cluster."""
    return next((group for group in find_groups(state) if group.nodes >> node & 1), None)


def find_leading_group(state: State) -> ReachableGroup | None:
    """The group with a majority, else the one with the newest log; None if no node is in a group."""
    return max(find_groups(state), key=lambda group: (group.usable, group.log, group.alive), default=None)


def has_majority(state: State) -> bool:
    """Whether a group of nodes has the majority, so that the cluster serves."""
    return any(group.usable for group in find_groups(state))


def has_running_majority(state: State) -> bool:
    """Whether a majority of the newest cluster's nodes runs with its data, in reach of each other or not.

    Such a cluster has not collapsed: it serves again once its nodes reach each other.
    """
    logs = [node.log for node in state if node.log is not None]
    if not logs:
        return False
    newest = max(logs)
    holding = to_bits(
        number
        for number, node in enumerate(state)
        if node.up and node.log is not None and node.log.epoch == newest.epoch
    )
    total = newest.regular.bit_count()
    return (holding & newest.regular).bit_count() >= compute_quorum(total)


def get_registered(state: State) -> int:
    """R as a bit set: the regular nodes that the cluster lists, up or down."""
    # Stopped nodes keep their log: while none runs, R is what the last of them would come back with.
    group = find_leading_group(state)
    if group is not None:
        return group.log.regular
    return max((node.log for node in state if node.log is not None), default=ClusterLog(0, 0, 0, 0)).regular


def get_alive(state: State) -> int:
    """A as a bit set: the registered regular nodes in the leading group."""
    group = find_leading_group(state)
    return group.nodes & group.log.regular if group is not None else 0


def compute_margin(state: State) -> int:
    """How many further failures of regular nodes the majority survives; negative once it is lost."""
    return get_alive(state).bit_count() - compute_quorum(get_registered(state).bit_count())


def synchronise(state: State) -> State:
    """The state after usable groups gave all their nodes one log and erased stopped temporary nodes."""
    for group in find_groups(state):
        # A minority must not erase anyone: the nodes it misses may be the majority on the other side.
        if group.usable:
            side, log = state[list_members(group.nodes)[0]].side, group.log
            gone = log.temporary and to_bits(
                n for n in list_members(log.temporary) if not state[n].up and state[n].side == side
            )
            if gone:
                log = ClusterLog(log.epoch, log.version + 1, log.regular, log.temporary & ~gone)
            state = replace_log(state, group.nodes, log)
    return state


def replace_log(state: State, nodes: int, log: ClusterLog) -> State:
    """The state with this log on every node of a bit set."""
    if all(state[number].log == log for number in list_members(nodes)):
        return state
    return tuple(
        SoraNodeState(node.up, node.temporary, node.side, node.mode, log, *node[5:])
        if nodes >> number & 1
        else node
        for number, node in enumerate(state)
    )
