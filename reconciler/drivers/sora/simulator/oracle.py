"""What really happened to a simulated Sora cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from reconciler.core.plan import Step
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
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import NodeRequest

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


class SoraOracle:
    """Judges by the state of the machine alone."""

    def __init__(self, cluster_input: ClusterInput, world: SoraWorld) -> None:
        self._entry: Any = cluster_input.entry
        self._world = world
        self._node_numbers = world.site.node_numbers

    def state(self) -> State:
        """The machine's state."""
        return self._world.state

    def find_affected_node(self, node: str, request: NodeRequest) -> str:
        """Of a purge its target, of everything else the node that was asked."""
        return str(_argument(request, "target_node_name")) if _call(request) == "PurgeClusterNode" else node

    def is_repetition(self, node: str, request: NodeRequest, before: State, after: State) -> bool:  # noqa: ARG002
        """Whether the cluster was there, the node in it, gone from it, or in the mode."""
        number, group = self._node_numbers.at(node), find_leading_group(before)
        listed = group.log.listed if group is not None else 0
        match _call(request):
            case "InitCluster":
                return any(one.usable for one in find_groups(before))
            case "RegisterClusterNode":
                return bool(group and group.nodes & listed & 1 << number)
            case "PurgeClusterNode":
                target = self._node_numbers.at(self.find_affected_node(node, request))
                return bool(group and not listed & 1 << target)
            case "ChangeMode":
                return bool(before[number].mode.value == _argument(request, "mode"))
        return False

    def find_broken_invariant(
        self, node: str, request: NodeRequest, before: State, after: State
    ) -> tuple[str, str]:
        """The majority, one initialisation, and no purge of what runs."""
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

    def is_effective(self, step: Step, seen: State) -> bool:
        """Whether the cluster had what the step is for."""
        if step.node not in self._node_numbers.names:
            return False
        number, group = self._node_numbers.at(step.node), find_leading_group(seen)
        node = seen[number]
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
            case RestartArguments():
                is_effective = not node.is_outdated
            case UpgradeArguments():
                is_effective = node.up and not node.is_old
            case ModeChangeArguments(mode=mode):
                is_effective = node.mode in {mode, Mode.BLOCK_NEW_CONNECTION}
            case _:
                raise AssertionError(step.action)
        return is_effective

    def list_differences(self) -> list[str]:
        """Members that are missing, away, or too many, and nodes in another mode."""
        return list(self._unlike(self._world.state))

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
        """None: Sora's API does not authenticate its callers."""
        return []


def _call(request: NodeRequest) -> str:
    return request.headers.get("x-sora-target", "").partition(".")[2]


def _argument(request: NodeRequest, name: str) -> Any:
    value = json.loads(request.body or b"{}")
    return value.get(name, "")
