"""What really happened to a simulated Go cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from reconciler.core.command_reference import NamedCommand
from reconciler.core.file_state import compute_file_digest
from reconciler.core.plan import Step
from reconciler.core.secret import reveal
from reconciler.drivers.gocluster import machine
from reconciler.drivers.gocluster.arguments import RestartArguments, StartArguments, read_node_arguments
from reconciler.drivers.gocluster.desired_state import GoDesired, find_changed_authentication, make_files
from reconciler.drivers.gocluster.machine import MeshState
from reconciler.drivers.gocluster.schema import GoCluster
from reconciler.drivers.gocluster.simulator.world import GoWorld
from reconciler.file_delivery.steps import DISCARD, is_file_step, read_file_arguments
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import NodeRequest, RequestWay, SimulatedCommand

QUORUM: Final = "quorum"
LISTENERS: Final = "listeners"

INVARIANTS: Final = {
    QUORUM: "no node loses the quorum in its own view by a call, but for a change of the secret",
    LISTENERS: "no node stops to accept connections because nodes with two secrets ran side by side",
}
"""What a single change can break."""

NOTHING: Final = ("", "")


class CommandEffect(StrEnum):
    """What a command of the host does to a simulated node."""

    STOP = "stop"
    START = "start"
    RESTART = "restart"
    SHOW_START = "show start"


def list_commands(entries: list[GoCluster]) -> dict[str, tuple[CommandEffect, SimulatedCommand]]:
    """Name -> what it does, of all commands that the clusters name."""
    found: dict[str, tuple[CommandEffect, SimulatedCommand]] = {}

    def add(command: NamedCommand | None, effect: CommandEffect) -> None:
        if command is not None:
            known = SimulatedCommand(
                tuple(sorted(command.arguments)), reads=effect is CommandEffect.SHOW_START
            )
            found.setdefault(command.command, (effect, known))

    for entry in entries:
        add(entry.restart, CommandEffect.RESTART)
        add(entry.restart.started if entry.restart else None, CommandEffect.SHOW_START)
        add(entry.start, CommandEffect.START)
        add(entry.stop, CommandEffect.STOP)
    return found


class NodeTruth(NamedTuple):
    """What the machine of a node has, and what its process was started with."""

    content: bytes | None
    staged: bytes | None
    loaded: bytes | None
    starts: int


class SiteState(NamedTuple):
    """All of a simulated cluster."""

    cluster: MeshState
    nodes: tuple[NodeTruth, ...]
    shown: MeshState | None = None
    """The cluster as the nodes themselves know it: a cut is noticed only when ReadTimeout is over."""


class GoOracle:
    """Judges by the state of the cluster and of the machines alone."""

    def __init__(self, cluster_input: ClusterInput, world: GoWorld) -> None:
        entry = cluster_input.entry
        assert isinstance(entry, GoCluster)
        self._entry, self._world = entry, world
        self._commands = list_commands([entry])
        self._desired = GoDesired(entry, make_files(cluster_input)[0])

    def state(self) -> SiteState:
        nodes = []
        for name in self._world.names:
            own = self._world.machines[name]
            file = own.files[self._world.site.entry]
            loaded = own.loaded.get(self._world.site.entry)
            nodes.append(NodeTruth(file.content, file.staged, loaded, own.starts))
        return SiteState(self._world.state, tuple(nodes), self._world.noticed_state)

    def find_affected_node(self, node: str, request: NodeRequest) -> str:  # noqa: ARG002
        return node

    def is_repetition(self, node: str, request: NodeRequest, before: SiteState, after: SiteState) -> bool:  # noqa: ARG002
        own = before.nodes[before.cluster.names.index(node)]
        is_up = before.cluster.node(node).up
        match self._get_effect(request):
            case CommandEffect.RESTART:
                return is_up and own.loaded == own.content
            case CommandEffect.START:
                return is_up
            case CommandEffect.STOP:
                return not is_up
        return False

    def find_broken_invariant(
        self, node: str, request: NodeRequest, before: SiteState, after: SiteState
    ) -> tuple[str, str]:
        deaf = [one.name for one in after.cluster.nodes if one.is_deaf]
        if deaf and not any(one.is_deaf for one in before.cluster.nodes):
            return LISTENERS, f"{request.target} at {node} made {deaf[0]} stop to accept connections"
        if self._get_effect(request) not in {CommandEffect.STOP, CommandEffect.RESTART}:
            return NOTHING
        loaded = before.nodes[before.cluster.names.index(node)].loaded
        if find_changed_authentication(self._desired, node, loaded):
            return NOTHING  # all nodes at once: no quorum survives that
        for name, numbers in machine.find_lost_quorum(before.shown or before.cluster, [node]):
            if self._entry.node(name) is not None:
                return QUORUM, f"{request.target} at {node} took the quorum from {name}: {numbers}"
        return NOTHING

    def _get_effect(self, request: NodeRequest) -> CommandEffect | None:
        if request.way is not RequestWay.COMMAND or request.target not in self._commands:
            return None
        return self._commands[request.target][0]

    def is_effective(self, step: Step, seen: SiteState) -> bool:
        if step.node not in seen.cluster.names:
            return False
        own = seen.nodes[seen.cluster.names.index(step.node)]
        if is_file_step(step):
            arguments = read_file_arguments(step)
            has_content = compute_file_digest(own.content) == arguments.after
            if step.action == DISCARD:
                return own.staged is None
            return has_content or (
                step.action == "stage-file" and compute_file_digest(own.staged) == arguments.after
            )
        is_up = seen.cluster.node(step.node).up
        match read_node_arguments(step):
            case RestartArguments():
                return is_up and own.loaded == own.content
            case StartArguments():
                return is_up
        return not is_up

    def list_differences(self) -> list[str]:
        return list(self._find_differences())

    def _find_differences(self) -> Iterator[str]:
        wanted: Mapping[str, bytes] = {
            name: file.content.render(None) for name, file in self._desired.files.items()
        }
        for name in sorted(self._desired.members):
            own = self._world.machines[name]
            content = own.files[self._world.site.entry].content
            if reveal(wanted.get(name)) != content:
                yield f"{name} of {self._entry.name} has another file"
            elif not self._world.running(name):
                yield f"{name} of {self._entry.name} does not run"
            elif own.loaded.get(self._world.site.entry) != content:
                yield f"{name} of {self._entry.name} does not use its file"
        for name in self._world.names:
            if name not in self._desired.members and self._world.running(name):
                yield f"{name} runs and is not in the fleet file"

    def list_unmanageable_nodes(self, peer: str) -> list[str]:  # noqa: ARG002
        return []
