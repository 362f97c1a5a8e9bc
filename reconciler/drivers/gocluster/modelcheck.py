"""The model of the Go cluster for the model checker: its nodes, their files, its faults, and the quorum.

The cluster is `machine`; planner, guards and judgement are the real ones; only the wire and the delays are
left out. Files are in it by the peers that they name: the checker of `file_delivery` explores their bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from reconciler.core.file_state import FileState
from reconciler.core.observation import FileReading, Liveness, Observation, Observed, Present, Unreachable
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.product_model import ModelSetup
from reconciler.core.step_status import StepStatus
from reconciler.drivers.gocluster import machine, planner
from reconciler.drivers.gocluster.arguments import (
    RESTART,
    START,
    STOP,
    StopArguments,
    read_node_arguments,
)
from reconciler.drivers.gocluster.choices import DEFAULTS, Choices
from reconciler.drivers.gocluster.cluster_view import ClusterView
from reconciler.drivers.gocluster.desired_state import GoDesired
from reconciler.drivers.gocluster.judge import judge
from reconciler.drivers.gocluster.machine import MeshState
from reconciler.drivers.gocluster.steps import OUTDATED_START, SEEN, STOPPED_FOR
from reconciler.drivers.gocluster.view import NEVER, OFFLINE, ONLINE, NodeView, PeerRow
from reconciler.file_delivery.steps import is_file_step

_OLD: Final = "before"
_NEW: Final = "again"


def make_setups(
    desired: GoDesired, observed: Observed[NodeView | None], plan: ClusterPlan
) -> tuple[ModelSetup[MeshState], ...] | str:
    """The world that the nodes' answers show, or why they show none."""
    if not desired.entry.observe:
        return "no node is read, because `observe: true` is missing"
    if desired.entry.restart is None:
        return "no step of it changes a running node"
    own = [step for step in plan.steps if not is_file_step(step)]
    if any(isinstance(one, StopArguments) and one.at_once for one in map(read_node_arguments, own)):
        return "a change of the secret stops all nodes, so there is no quorum to explore"
    cluster_view = ClusterView(desired.members, observed)
    members = frozenset(desired.members)
    world = cluster_view.make_state({name: members - {name} for name in members})
    changed = {step.node for step in own if step.action == RESTART}
    nodes = [node._replace(is_outdated=node.up and node.name in changed) for node in world.nodes]
    world = machine.make_state(nodes, world.broken, world.known)
    starting = frozenset(step.node for step in own if step.action == START)
    model = GoModel(_recall(desired, starting), starting)
    return (ModelSetup(model, (world,), model.desired, model.plan(world)),)


def _recall(desired: GoDesired, starting: frozenset[str]) -> GoDesired:
    """The cluster as if every file was delivered already: only processes concern the quorum."""
    recalled = {}
    for name in desired.members:
        known = {OUTDATED_START: _OLD, **({} if name in starting else {SEEN: "yes"})}
        if stopped := desired.recall(name, STOPPED_FOR):
            known[STOPPED_FOR] = stopped
        recalled[name] = known
    return replace(desired, recalled={**desired.recalled, **recalled})


@dataclass(slots=True)
class GoModel:
    """One cluster under one desired state; see `core.product_model.ProductModel`.

    Args:
        desired: what every pass plans for; the files are in place.
        starting: nodes that the plan starts.
        choices: how the cluster behaves where the documents are silent.
    """

    desired: GoDesired
    starting: frozenset[str]
    choices: Choices = DEFAULTS

    def list_faults(self, world: MeshState) -> Iterator[tuple[str, MeshState]]:
        for node in world.nodes:
            if node.up:
                yield f"{node.name} fails", machine.stop(world, node.name)
                if not node.is_cut:
                    cut = machine.replace_node(world, node._replace(is_cut=True))
                    yield f"{node.name} is cut off from the others", cut

    def list_returns(self, world: MeshState) -> Iterator[tuple[str, MeshState]]:
        for node in world.nodes:
            if node.is_cut:
                yield (
                    f"{node.name} is reached again",
                    machine.replace_node(world, node._replace(is_cut=False)),
                )
            elif not node.up and node.is_counted and node.name not in self.starting:
                yield f"{node.name} is started", machine.start(world, node.name)

    def observe(self, world: MeshState) -> Observed[NodeView | None]:
        nodes: dict[str, Observation[NodeView | None]] = {
            name: self._answer(world, name) for name in self.desired.members
        }
        return Observed(nodes, files=self._list_files(), starts=self._list_starts(world))

    def _list_files(self) -> dict[str, dict[str, FileReading]]:
        entry = self.desired.entry.config.file
        return {
            name: {entry: Present(FileState(file.content.render(None)))}
            for name, file in self.desired.files.items()
        }

    def plan(self, world: MeshState) -> ClusterPlan:
        return planner.plan(self.desired, self.observe(world))

    def judge_step(self, world: MeshState, step: Step) -> StepStatus:
        own = read_node_arguments(step)
        seen = {name: self._answer(world, name) for name in own.apis}
        return judge(step, Observed(seen, starts=self._list_starts(world))).status

    def perform(self, world: MeshState, step: Step) -> MeshState:
        if step.node not in world.names:
            return world
        if step.action != START:
            world = machine.stop(world, step.node)
        return world if step.action == STOP else machine.start(world, step.node)

    def list_partial_effects(self, world: MeshState, step: Step) -> Iterator[tuple[str, MeshState]]:
        if step.action == RESTART and step.node in world.names:
            yield f"{step.id} stops the node, and it does not start", machine.stop(world, step.node)

    def find_obstacle(self, world: MeshState, step: Step) -> str:  # noqa: ARG002  (of `ProductModel`)
        return ""

    def find_leftover(self, world: MeshState, plan: ClusterPlan) -> str:  # noqa: ARG002  (of `ProductModel`)
        return ""

    def find_broken_invariant(self, before: MeshState, step: Step, after: MeshState) -> str:  # noqa: ARG002
        """The quorum in every view: no call takes it from a node that had it."""
        if step.action == START:
            return ""
        if self._is_in_window(before, step):
            return ""
        for name, numbers in self._find_lost(before, step.node):
            return f"{step.id} takes the quorum from {name}: {numbers}"
        return ""

    def _is_in_window(self, before: MeshState, step: Step) -> bool:
        """Whether the step announced that it leaves no reserve, and a node failed after the last reading.

        In a cluster of three or four no order of restarts leaves a reserve. The node comes back by itself.
        """
        own = read_node_arguments(step)
        failed = [name for name in own.relies_on if not before.node(name).up or before.node(name).is_cut]
        return own.spare == 0 and bool(failed)

    def _find_lost(self, world: MeshState, target: str) -> Iterable[tuple[str, str]]:
        """By the true links, not by what a plan assumes of them."""
        after = machine.stop(world, target) if target in world.names else world
        for node in world.nodes:
            if node.name == target or not node.up or not node.is_counted:
                continue
            had = machine.keeps_quorum(world, node.name, self.choices)
            if had and not machine.keeps_quorum(after, node.name, self.choices):
                yield node.name, machine.describe_view(after, node.name, self.choices)

    def is_effective(self, world: MeshState, step: Step) -> bool:
        if step.node not in world.names:
            return step.action == STOP
        node = world.node(step.node)
        if step.action == STOP:
            # Cut off, it is gone for the cluster: no view shows more of a node that leaves.
            return not node.up or node.is_cut
        return node.up and not node.is_outdated

    def _list_starts(self, world: MeshState) -> dict[str, str]:
        return {node.name: _OLD if node.is_outdated else _NEW for node in world.nodes if node.up}

    def _answer(self, world: MeshState, name: str) -> Observation[NodeView | None]:
        if name not in world.names:
            return Unreachable("connection refused", Liveness.SILENT)
        own = world.node(name)
        if not own.up:
            return Unreachable("connection refused", Liveness.SILENT)
        shown = machine.get_shown(world, name, self.choices)
        rows = []
        for peer in sorted(own.peers):
            joined = _tell_join(world, name, peer) if peer in shown else NEVER
            address = self.desired.members.get(peer, "192.0.2.99:1")
            rows.append(PeerRow(peer, address, ONLINE if peer in shown else OFFLINE, "", joined))
        return Present(NodeView(tuple(rows)))


def _tell_join(world: MeshState, one: str, other: str) -> str:
    """A text that differs after each of two nodes was started again."""
    again = [name for name in (one, other) if not world.node(name).is_outdated]
    return f"2026-01-0{1 + len(again)}T00:00:00Z"
