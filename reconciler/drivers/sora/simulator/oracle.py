"""What really happened to a simulated Sora cluster."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from reconciler.core.plan import Step
from reconciler.core.secret import reveal
from reconciler.documents.key_values import Scalar
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.arguments import (
    InitArguments,
    ModeChangeArguments,
    PurgeArguments,
    RegisterArguments,
    RestartArguments,
    StopArguments,
    UpgradeArguments,
    read_cluster_arguments,
)
from reconciler.drivers.sora.cluster_state import (
    Mode,
    State,
    find_groups,
    find_leading_group,
    has_majority,
    has_running_majority,
)
from reconciler.drivers.sora.conf import make_conf_targets
from reconciler.drivers.sora.schema import SoraCluster
from reconciler.drivers.sora.simulator.api import VERSION
from reconciler.drivers.sora.simulator.machines import (
    CommandEffect,
    InvalidConf,
    format_start,
    list_commands,
    read_conf,
)
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import FILES_KEPT, NodeRequest, RequestWay

MAJORITY: Final = "majority"
INIT_ONCE: Final = "init-once"
PURGE_STOPPED: Final = "purge-stopped"

INVARIANTS: Final = {
    MAJORITY: "no cluster loses its majority by a call of the reconciler",
    INIT_ONCE: "no cluster is initialised a second time",
    PURGE_STOPPED: "no node that runs, and no temporary one, is purged",
}
"""What a single change can break."""

NOTHING: Final = ("", "")


class NodeTruth(NamedTuple):
    """What a node's machine has.

    Args:
        files: the entry and the content of each file, sorted.
        loaded: the same of what its process was started with; empty while it is stopped.
        starts: how often it was started.
        version: that its process runs.
    """

    files: tuple[tuple[str, bytes | None], ...]
    loaded: tuple[tuple[str, bytes | None], ...]
    starts: int
    version: str


class SiteState(NamedTuple):
    """All of a simulated cluster; both have the nodes in the same order."""

    cluster: State
    nodes: tuple[NodeTruth, ...] = ()


class SoraOracle:
    """Judges by the state of the cluster and of the machines alone."""

    def __init__(self, cluster_input: ClusterInput, world: SoraWorld) -> None:
        entry = cluster_input.entry
        assert isinstance(entry, SoraCluster)
        self._entry = entry
        self._world = world
        self._node_numbers = world.site.node_numbers
        self._commands = list_commands([entry])
        self._confs = make_conf_targets(cluster_input)

    def state(self) -> SiteState:
        return SiteState(self._world.state, tuple(map(self._get_truth, self._world.names)))

    def _get_truth(self, name: str) -> NodeTruth:
        own = self._world.machines[name]
        files = tuple((entry, file.content) for entry, file in sorted(own.files.items()))
        version = self._world.site.versions.get(name, VERSION)
        return NodeTruth(files, tuple(sorted(own.loaded.items())), own.starts, version)

    def find_affected_node(self, node: str, request: NodeRequest) -> str:
        return str(_argument(request, "target_node_name")) if _call(request) == "PurgeClusterNode" else node

    def is_repetition(self, node: str, request: NodeRequest, before: SiteState, after: SiteState) -> bool:  # noqa: ARG002
        number, group = self._node_numbers.at(node), find_leading_group(before.cluster)
        if self._get_effect(request) is CommandEffect.RESTART:
            # A restart ends sessions: one that brings nothing in should not have been.
            own = before.nodes[number]
            return before.cluster[number].up and own.loaded == own.files
        listed = group.log.listed if group is not None else 0
        match _call(request):
            case "InitCluster":
                return any(one.usable for one in find_groups(before.cluster))
            case "RegisterClusterNode":
                return bool(group and group.nodes & listed & 1 << number)
            case "PurgeClusterNode":
                target = self._node_numbers.at(self.find_affected_node(node, request))
                return bool(group and not listed & 1 << target)
            case "ChangeMode":
                return bool(before.cluster[number].mode.value == _argument(request, "mode"))
        return False

    def find_broken_invariant(
        self, node: str, request: NodeRequest, before: SiteState, after: SiteState
    ) -> tuple[str, str]:
        if request.way is RequestWay.FILE:
            return self._find_lost_lines(node, request, before, after)
        effect = self._get_effect(request)
        if effect in {CommandEffect.STOP, CommandEffect.RESTART}:
            stopped = machine.stop(before.cluster, self._node_numbers.at(node))
            if has_majority(before.cluster) and not has_majority(stopped):
                return MAJORITY, f"the command {request.target} took the majority while {node} was down"
        if request.way is not RequestWay.HTTP:
            return NOTHING
        return self._find_broken_call(node, request, before.cluster, after.cluster)

    def _find_lost_lines(
        self, node: str, request: NodeRequest, before: SiteState, after: SiteState
    ) -> tuple[str, str]:
        """Lines of a sora.conf that are nobody's but the node's own, and are gone."""
        conf, number = self._entry.conf, self._node_numbers.at(node)
        if conf is None or conf.own != "keys" or request.target != conf.file or node not in self._confs:
            return NOTHING
        ours = self._confs[node].values
        old, new = (
            list_foreign_lines(dict(state.nodes[number].files).get(conf.file), ours)
            for state in (before, after)
        )
        if all(new.count(line) >= old.count(line) for line in old):
            return NOTHING
        return FILES_KEPT, f"{request.method} of {conf.file} on {node} lost lines that are not ours"

    def _find_broken_call(
        self, node: str, request: NodeRequest, before: State, after: State
    ) -> tuple[str, str]:
        asked = _call(request)
        if has_majority(before) and not has_majority(after):
            # By the states right before and after the call: a fault at another moment is not its doing.
            return MAJORITY, f"{asked} on {node} removed an existing majority"
        if after == before:
            return NOTHING
        if asked == "InitCluster" and (
            has_running_majority(before) or any(one.usable for one in find_groups(before))
        ):
            return INIT_ONCE, f"InitCluster on {node} initialised an existing cluster again"
        if asked == "PurgeClusterNode":
            target = self.find_affected_node(node, request)
            one = before[self._node_numbers.at(target)]
            if one.up or one.temporary:
                return PURGE_STOPPED, f"{target} was purged while it ran"
        return NOTHING

    def is_effective(self, step: Step, seen: SiteState) -> bool:
        if step.node not in self._node_numbers.names:
            return False
        number, group = self._node_numbers.at(step.node), find_leading_group(seen.cluster)
        node, own = seen.cluster[number], seen.nodes[number]
        match read_cluster_arguments(step):
            case InitArguments(names=names):
                bits = self._node_numbers.bits(names)
                is_effective = group is not None and group.usable and group.log.regular == bits
            case RegisterArguments():
                is_effective = group is not None and bool(group.nodes & group.log.listed & 1 << number)
            case PurgeArguments():
                is_effective = group is not None and not group.log.listed & 1 << number
            case StopArguments():
                is_effective = not node.up
            case RestartArguments(started=started):
                is_effective = node.up and started != format_start(own.starts)
            case UpgradeArguments(version=version):
                is_effective = node.up and version in {"", own.version}
            case ModeChangeArguments(mode=mode):
                is_effective = node.mode in {mode, Mode.BLOCK_NEW_CONNECTION}
            case _:
                raise AssertionError(step.action)
        return is_effective

    def list_differences(self) -> list[str]:
        return [*self._unlike(self._world.state), *self._list_machine_differences()]

    def _list_machine_differences(self) -> Iterator[str]:
        """Nodes with another sora.conf or version, in the file or in their process."""
        entry = self._entry
        for node in sorted(entry.nodes, key=lambda one: one.name):
            own, number = self._get_truth(node.name), self._node_numbers.at(node.name)
            if entry.conf is not None and node.name in self._confs:
                wanted = reveal(self._confs[node.name].values)
                held = self._read_values(own.files, entry.conf.file)
                if not wanted.items() <= held.items():
                    yield f"{node.name} has another sora.conf than the fleet file gives it"
                used = self._read_values(own.loaded, entry.conf.file)
                is_used = wanted.items() <= used.items() or not self._world.state[number].up
                if entry.restart is not None and not is_used:
                    yield f"{node.name} still uses its former sora.conf"
            if entry.upgrade is not None and own.version != entry.version:
                yield f"{node.name} has version {own.version}, not {entry.version}"

    @staticmethod
    def _read_values(files: Iterable[tuple[str, bytes | None]], entry: str) -> Mapping[str, Scalar]:
        try:
            return read_conf(dict(files).get(entry))
        except InvalidConf:
            return {}

    def _unlike(self, state: State) -> Iterator[str]:
        membership, group = self._node_numbers.membership(state), find_leading_group(state)
        wanted = {node.name: node for node in self._entry.nodes}
        for name in sorted({*membership.names} - wanted.keys()):
            yield f"{name} is a member of {self._entry.name}, but is not in the fleet file"
        for name, node in sorted(wanted.items()):
            number = self._node_numbers.at(name)
            if name not in (membership.temporary if node.temporary else membership.regular):
                yield f"{name} is not a member of {self._entry.name}"
            elif group is None or not group.nodes & 1 << number:
                yield f"{name} is not connected to the others of {self._entry.name}"
            elif node.mode is not None and state[number].mode.value != node.mode:
                yield f"{name} is in the mode {state[number].mode.value}, not {node.mode}"

    def list_unmanageable_nodes(self, peer: str) -> list[str]:  # noqa: ARG002  (the contract's parameter)
        return []  # Sora's API does not authenticate its callers

    def _get_effect(self, request: NodeRequest) -> CommandEffect | None:
        if request.way is not RequestWay.COMMAND or request.target not in self._commands:
            return None
        return self._commands[request.target][0]


def list_foreign_lines(content: bytes | None, ours: Collection[str]) -> list[str]:
    """The lines of a file that belong to none of our keys."""
    lines = (content or b"").decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.strip() and line.partition("=")[0].strip() not in ours]


def _call(request: NodeRequest) -> str:
    return request.headers.get("x-sora-target", "").partition(".")[2]


def _argument(request: NodeRequest, name: str) -> Any:
    value = json.loads(request.body or b"{}")
    return value.get(name, "")
