"""Sora's cluster as one pure state machine: what each call and each fault does, and what a node then shows.

Rules of Sora's documents, "Cluster API" and "Cluster function"; where they are silent, `Choices` names
what may happen. A refused call gives a `CallRefusal`, an accepted one the next state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from reconciler.drivers.sora.choices import (
    DEFAULTS,
    Choices,
    MinorityListing,
    ModeAfterStart,
    RepeatedInit,
    ReturnedListing,
    UndocumentedCall,
    UninitialisedListing,
)
from reconciler.drivers.sora.cluster_state import (
    STARTS,
    ClusterLog,
    Mode,
    ReachableGroup,
    SoraNodeState,
    State,
    find_group,
    find_groups,
    list_members,
    replace_log,
    synchronise,
    to_bits,
)


@dataclass(frozen=True, slots=True)
class CallRefusal:
    """A call that was answered with an error and changed nothing."""

    error_type: str
    reason: str


class ListedNode(NamedTuple):
    """One line of ListClusterNodes, as seen by the node that answers."""

    node: int
    connected: bool
    temporary: bool


NOT_RUNNING: Final = CallRefusal("NODE-IS-NOT-RUNNING", "the node that should answer is stopped")
NOT_INITIALISED: Final = CallRefusal("CLUSTER-NOT-INITIALIZED", "the node is in no cluster")
NO_MAJORITY: Final = CallRefusal("CLUSTER-NOT-AVAILABLE", "half or fewer of the regular nodes are connected")
ALREADY_INITIALISED: Final = CallRefusal("CLUSTER-ALREADY-INITIALIZED", "a named node is in a live cluster")
ALREADY_REGISTERED: Final = CallRefusal("NODE-ALREADY-REGISTERED", "the cluster lists this node")
IN_ANOTHER_CLUSTER: Final = CallRefusal("NODE-IS-IN-CLUSTER", "the node holds the log of another cluster")
CONTACT_AWAY: Final = CallRefusal("CONTACT-NODE-NOT-CONNECTED", "the contact node cannot be reached")
MEMBER_AWAY: Final = CallRefusal("NODE-NOT-CONNECTED", "a named node cannot be reached")
BAD_LIST: Final = CallRefusal("INVALID-NODE-NAME-LIST", "the list must hold this node and regular nodes only")
UNKNOWN_TARGET: Final = CallRefusal("NODE-NOT-FOUND", "the cluster does not list the target")
IS_TEMPORARY: Final = CallRefusal("NODE-IS-TEMPORARY", "a temporary node cannot be purged")
IS_ALIVE: Final = CallRefusal("NODE-IS-ALIVE", "the target is running")
NOT_LISTED: Final = CallRefusal("NODE-STATUS-UNKNOWN", "the node does not list the nodes of a cluster")
IS_PURGED: Final = CallRefusal("NODE-IS-PURGED", "the cluster does not know this node any more")


def init(state: State, on: int, names: int, choices: Choices = DEFAULTS) -> State | CallRefusal:
    """InitCluster on node `on` for the bit set `names`."""
    if not state[on].up:
        return NOT_RUNNING
    wanted = list_members(names)
    temporary = to_bits(node for node in wanted if state[node].temporary)
    unfit = temporary and choices.init_with_temporary is UndocumentedCall.REFUSE
    if on not in wanted or unfit or not names & ~temporary:
        return BAD_LIST
    here = to_bits(node for node in wanted if _can_reach(state, on, node))
    if here != names and choices.init_with_away is UndocumentedCall.REFUSE:
        return MEMBER_AWAY
    live = [group for group in find_groups(state) if group.usable and group.nodes & here]
    if live and choices.repeated_init is not RepeatedInit.RESET:
        same = choices.repeated_init is RepeatedInit.ACCEPT_SAME and all(g.log.regular == names for g in live)
        return state if same else ALREADY_INITIALISED
    # Each InitCluster makes a cluster of its own: nodes of two epochs never merge, even with equal names.
    epoch = 1 + max((node.log.epoch for node in state if node.log is not None), default=-1)
    return synchronise(replace_log(state, here, ClusterLog(epoch, 0, names & ~temporary, temporary)))


def register(
    state: State, node: int, contact: int, choices: Choices = DEFAULTS, *, half: bool = False
) -> State | CallRefusal:
    """RegisterClusterNode, sent to the joining node; `half` raises R but leaves the node out of it."""
    if not state[node].up:
        return NOT_RUNNING
    if node == contact or not _can_reach(state, node, contact):
        return CONTACT_AWAY
    group = _find_serving_group(state, contact)
    if isinstance(group, CallRefusal):
        return group
    refusal = _find_joining_refusal(state, node, group, choices)
    if refusal is not None or group.nodes >> node & 1:
        return refusal or state
    one, log = 1 << node, group.log
    regular = log.regular | (0 if state[node].temporary else one)
    temporary = log.temporary | (one if state[node].temporary else 0)
    longer = ClusterLog(log.epoch, log.version + 1, regular, temporary)
    # The members learn of the node before the node learns of them, so a call that breaks off in between
    # raises R and leaves A: the majority must already hold for the larger R (see `preconditions`).
    if half:
        left_out = _replace_node(state, node, state[node]._replace(log=None))
        return synchronise(replace_log(left_out, group.nodes, longer))
    return synchronise(replace_log(state, group.nodes | one, longer))


def purge(state: State, on: int, target: int, choices: Choices = DEFAULTS) -> State | CallRefusal:
    """PurgeClusterNode of `target` on the member `on`; 2 -> 1 is impossible, for 1 of 2 is no majority."""
    group = _find_serving_group(state, on)
    if isinstance(group, CallRefusal):
        return group
    if not group.log.regular >> target & 1:
        return IS_TEMPORARY if group.log.temporary >> target & 1 else UNKNOWN_TARGET
    # The cluster cannot tell a stopped node from one that is cut off; whether it checks is not documented.
    if state[target].up and (
        _can_reach(state, on, target) or choices.purge_cut_off is UndocumentedCall.REFUSE
    ):
        return IS_ALIVE
    log = group.log
    shorter = ClusterLog(log.epoch, log.version + 1, log.regular & ~(1 << target), log.temporary)
    return synchronise(replace_log(state, group.nodes, shorter))


def change_mode(state: State, node: int, mode: Mode) -> State | CallRefusal:
    """ChangeMode: node-local, in a cluster or not."""
    return _replace_node(state, node, state[node]._replace(mode=mode)) if state[node].up else NOT_RUNNING


def stop(state: State, node: int) -> State:
    """The node stops or crashes: a regular one stays registered, a temporary one is erased."""
    stopped = state[node]._replace(up=False, log=None if state[node].temporary else state[node].log)
    return synchronise(_replace_node(state, node, stopped))


def start(state: State, node: int, choices: Choices = DEFAULTS) -> State:
    """The node starts: a regular one comes back by itself, a temporary one must register again."""
    mode = state[node].mode if choices.mode_after_start is ModeAfterStart.KEEP else Mode.NORMAL
    started = state[node]._replace(up=True, mode=mode, is_outdated=False, is_ours=False, restarts=0)
    if started.file is not None:
        started = started._replace(starts=(started.starts + 1) % STARTS)
    return synchronise(_replace_node(state, node, started))


def stop_for_restart(state: State, node: int, *, again: bool = False) -> State:
    """The node is stopped, or stays so, by a restart of a run that remembers it."""
    stopped = stop(state, node) if state[node].up else state
    return _replace_node(stopped, node, stopped[node]._replace(restarts=2 if again else 1))


def stop_for_upgrade(state: State, node: int) -> State:
    """The node is stopped by a run that remembers it."""
    stopped = stop(state, node) if state[node].up else state
    return _replace_node(stopped, node, stopped[node]._replace(is_ours=True))


def upgrade(state: State, node: int, choices: Choices = DEFAULTS) -> State:
    """The node is stopped, unless it is down, gets its new version, and is started."""
    stopped = stop_for_upgrade(state, node)
    return start(_replace_node(stopped, node, stopped[node]._replace(is_old=False)), node, choices)


def partition(state: State, sides: Sequence[int]) -> State:
    """The network falls apart: node i is on side `sides[i]`."""
    return synchronise(tuple(node._replace(side=side) for node, side in zip(state, sides, strict=True)))


def heal(state: State) -> State:
    """All nodes reach each other again, and nodes that were cut off come back by themselves."""
    return partition(state, (0,) * len(state))


def list_nodes(state: State, node: int, choices: Choices = DEFAULTS) -> tuple[ListedNode, ...] | CallRefusal:
    """What ListClusterNodes answers on a node: `connected` is as the asked node sees it."""
    if not state[node].up:
        return NOT_RUNNING
    log, group = state[node].log, find_group(state, node)
    if log is None or group is None:
        return _list_outside(state, node, choices)
    if not group.usable:
        is_purged = any(
            other.usable and other.log.epoch == log.epoch and not other.log.listed >> node & 1
            for other in find_groups(state)
            if state[list_members(other.nodes)[0]].side == state[node].side
        )
        if choices.list_after_purge is not ReturnedListing.STALE and is_purged:
            return IS_PURGED if choices.list_after_purge is ReturnedListing.ERROR else ()
        if choices.list_without_majority is not MinorityListing.SHOW:
            return NO_MAJORITY if choices.list_without_majority is MinorityListing.ERROR else NOT_LISTED
    return tuple(
        ListedNode(one, connected=bool(group.nodes >> one & 1), temporary=bool(log.temporary >> one & 1))
        for one in list_members(log.listed)
    )


def _list_outside(state: State, node: int, choices: Choices) -> tuple[ListedNode, ...] | CallRefusal:
    match choices.list_uninitialised:
        case UninitialisedListing.ERROR:
            return NOT_INITIALISED
        case UninitialisedListing.OTHER_ERROR:
            return NOT_LISTED
        case UninitialisedListing.SELF:
            return (ListedNode(node, connected=True, temporary=state[node].temporary),)
        case UninitialisedListing.EMPTY:
            return ()


def _find_serving_group(state: State, node: int) -> ReachableGroup | CallRefusal:
    """The group of a node that can change the membership, or why it cannot."""
    if not state[node].up:
        return NOT_RUNNING
    group = find_group(state, node)
    if group is None:
        return NOT_INITIALISED
    return group if group.usable else NO_MAJORITY


def _find_joining_refusal(
    state: State, node: int, group: ReachableGroup, choices: Choices
) -> CallRefusal | None:
    mine = find_group(state, node)
    if mine is not None and mine.usable and mine != group:
        return IN_ANOTHER_CLUSTER
    if (group.log.regular | group.nodes) >> node & 1:
        return ALREADY_REGISTERED if choices.repeated_register is UndocumentedCall.REFUSE else None
    if mine is not None and choices.returned_register is UndocumentedCall.REFUSE:
        return IN_ANOTHER_CLUSTER
    return None


def _can_reach(state: State, one: int, other: int) -> bool:
    return state[one].up and state[other].up and state[one].side == state[other].side


def _replace_node(state: State, number: int, node: SoraNodeState) -> State:
    return (*state[:number], node, *state[number + 1 :])
