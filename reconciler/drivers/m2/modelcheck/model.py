"""The model of M2 for the model checker: nodes, their faults, and the invariants of a run; pure.

The state machine, the planner, the guards and the judgement are the real ones; only HTTP is left out. Nodes
affect each other only in that the nodes of a cluster have to find each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from reconciler.core.observation import Absent, Observation, Observed, Present, Unauthorized, Unreachable
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.step_status import StepStatus
from reconciler.drivers.m2 import machine, planner
from reconciler.drivers.m2.arguments import (
    CheckoutArguments,
    OfferArguments,
    UploadArguments,
    is_restart,
    read_delivery,
    read_restart,
)
from reconciler.drivers.m2.caller_permissions import GET_PERMISSION, SETTING_PERMISSION
from reconciler.drivers.m2.choices import Choices, PortChange
from reconciler.drivers.m2.feed_topology import find_ring
from reconciler.drivers.m2.judge import has_files, judge_delivery, judge_restart
from reconciler.drivers.m2.modelcheck.node_contents import NodeContents
from reconciler.drivers.m2.schema import Content, ExpectedSetting, LoadedSetting, M2Desired, NodeTarget


class ModelNode(NamedTuple):
    """One node.

    Args:
        shape: number of its content, see `NodeContents`.
        at: the URL at which it answers.
        far: whether this host cannot reach it.
        ours: whether its setting is one that the reconciler delivered.
        again: whether the reconciler delivered that setting twice.
        starts: how often it was started; counted only where the reconciler may restart nodes.
    """

    shape: int
    at: str
    up: bool = True
    far: bool = False
    ours: bool = False
    again: bool = False
    starts: int = 0


class ModelWorld(NamedTuple):
    """All nodes, and the index of the choices by which they behave."""

    rule: int
    model_nodes: tuple[ModelNode, ...]


@dataclass(frozen=True, slots=True)
class NodeConstants:
    """What does not change about a node.

    Args:
        hosts: the management hosts as it sees them; empty where they are unknown: this host then always has
            access.
        direct: whether it answers at its own port, without a translation on the way.
        caller: the address of this host towards the node.
    """

    target: NodeTarget
    hosts: tuple[str, ...]
    direct: bool
    caller: str = ""

    @property
    def name(self) -> str:
        """The node's name."""
        return self.target.node


def change_node(world: ModelWorld, place: int, **changes: Any) -> ModelWorld:
    """The world with other values of one node."""
    nodes = world.model_nodes
    changed = nodes[place]._replace(**changes)
    return ModelWorld(world.rule, (*nodes[:place], changed, *nodes[place + 1 :]))


_CLUSTER: Final = "/env/management/cluster"


@dataclass(slots=True)
class M2Model:
    """Some nodes of one cluster under one desired state; see `core.product_model.ProductModel`.

    Args:
        desired: the target of every pass, for these nodes only.
        constants_by_node: in the order of the nodes of a world.
        rules: the possible behaviours where M2's pages say nothing.
        shapes: the contents of nodes, by number.
        backups: whether nodes show which files they have.
    """

    desired: M2Desired
    constants_by_node: tuple[NodeConstants, ...]
    rules: tuple[Choices, ...]
    shapes: NodeContents
    backups: bool = True
    _places: Mapping[str, int] = field(init=False)
    _answers: dict[
        tuple[int, ModelNode, int, ExpectedSetting, tuple[str, ...], frozenset[str]],
        Observation[LoadedSetting],
    ] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._places = {constants.name: place for place, constants in enumerate(self.constants_by_node)}

    def list_faults(self, world: ModelWorld) -> Iterator[tuple[str, ModelWorld]]:
        for place, (constants, node) in enumerate(self._list_nodes(world)):
            if not node.up:
                continue
            yield f"{constants.name} fails", change_node(world, place, up=False)
            if not node.far:
                yield f"{constants.name} is cut off from this host", change_node(world, place, far=True)
            for story, shape in self.shapes.foreign(node.shape, constants.target.content):
                after = change_node(world, place, shape=shape, ours=False, again=False)
                yield f"somebody else {story} {constants.name}", after

    def list_returns(self, world: ModelWorld) -> Iterator[tuple[str, ModelWorld]]:
        for place, (constants, node) in enumerate(self._list_nodes(world)):
            if not node.up:
                yield f"{constants.name} is started", self._restart(world, place)
            elif self.shapes.waiting(node.shape):
                after = self._restart(world, place)
                yield f"somebody restarts {constants.name}, which waits for it", after
            if node.far:
                yield f"{constants.name} is reached again", change_node(world, place, far=False)

    def observe(self, world: ModelWorld) -> Observed[LoadedSetting]:
        return Observed(
            {
                target.node: self._answer(world, place, self.desired.expected(target.content), target.bases)
                for place, target in enumerate(constants.target for constants in self.constants_by_node)
            },
            starts=self._list_starts(world),
        )

    def plan(self, world: ModelWorld) -> ClusterPlan:
        return planner.plan(self.desired, self.observe(world))

    def judge_step(self, world: ModelWorld, step: Step) -> StepStatus:
        place = self._places[step.node]
        if is_restart(step):
            wanted = read_restart(step)
            expected = ExpectedSetting(wanted.after, wanted.unstamped)
            answer = self._answer(world, place, expected, wanted.bases, frozenset({step.id}))
            seen = Observed({step.node: answer}, starts=self._list_starts(world))
            return judge_restart(step, seen).status
        own = read_delivery(step)
        planned = frozenset({own.before, own.after}) - {""}
        return judge_delivery(
            step, self._answer(world, place, ExpectedSetting(own.after), own.bases, planned)
        ).status

    def perform(self, world: ModelWorld, step: Step) -> ModelWorld:
        if is_restart(step):
            # A machine that this host does not reach is not restarted; a node that is down is started.
            place = self._places[step.node]
            return world if world.model_nodes[place].far else self._restart(world, place)
        place, own = self._places[step.node], read_delivery(step)
        model_node, constants = world.model_nodes[place], self.constants_by_node[place]
        if not model_node.up or model_node.far or model_node.at != own.bases[0]:
            return world
        if SETTING_PERMISSION not in self._rights(world, place):
            return world
        shape = self.shapes.shape(model_node.shape)
        result: machine.ChangeAccepted | machine.ChangeRefused
        match own:
            case UploadArguments():
                payload = self.desired.payloads[own.payload]
                result = machine.upload(
                    shape.node, self.shapes.package(constants.target.content, payload.resources)
                )
            case CheckoutArguments():
                result = machine.checkout(shape.node)
            case OfferArguments():
                return world  # the node is not called
            case _:
                result = machine.deploy_local(shape.node)
        if isinstance(result, machine.ChangeRefused):
            return world
        number = self.shapes.number(result.node, self.desired.resources or shape.held)
        content = self.shapes.loaded(number)
        ours = content is not None and content.fingerprint == own.after
        again = ours and model_node.ours and number == model_node.shape
        return change_node(world, place, shape=number, ours=ours, again=again)

    def list_partial_effects(self, world: ModelWorld, step: Step) -> Iterator[tuple[str, ModelWorld]]:
        # A node loads a setting completely or not at all.
        place = self._places[step.node]
        if is_restart(step) and not world.model_nodes[place].far:
            yield f"{step.node} is stopped and does not come back", change_node(world, place, up=False)

    def find_obstacle(self, world: ModelWorld, step: Step) -> str:
        if is_restart(step):
            number = world.model_nodes[self._places[step.node]].shape
            if not self.shapes.waiting(number):
                return f"{step.id} starts, and nothing waits for a restart"
            return ""
        # The loaded setting and the one in effect both count: which one a node shows is not documented.
        model_node, own = world.model_nodes[self._places[step.node]], read_delivery(step)
        has = {
            content.fingerprint
            for content in (self.shapes.loaded(model_node.shape), self.shapes.running(model_node.shape))
            if content is not None
        } or {""}
        bare = has_files(self.shapes.shape(model_node.shape).held, own.resources) is False
        if own.before in has or (bare and own.after in has):
            return ""
        return f"{step.id} starts, and would overwrite a change by somebody else"

    def find_broken_invariant(self, before: ModelWorld, step: Step, after: ModelWorld) -> str:
        place = self._places[step.node]
        old, new = before.model_nodes[place], after.model_nodes[place]
        if new.again and not old.again:
            return f"{step.id} delivers the same setting again"
        if old.shape == new.shape:
            return ""
        return self._find_lost_access(before.rule, place, step, new.shape, old.shape) or self._find_split(
            before, step, after
        )

    def find_leftover(self, world: ModelWorld, plan: ClusterPlan) -> str:
        # A change at a place above the cluster, such as `/env`, may contain changes of the cluster.
        moved = {
            step.node
            for step in plan.steps
            for change in step.changes
            if change.pointer.startswith(_CLUSTER) or _CLUSTER.startswith(f"{change.pointer}/")
        }
        apart = [pair for pair in self.apart(world) if moved & {*pair}]
        return f"the run leaves {' and '.join(min(apart))} unable to find each other" if apart else ""

    def is_effective(self, world: ModelWorld, step: Step) -> bool:
        number = world.model_nodes[self._places[step.node]].shape
        content = self.shapes.loaded(number)
        if is_restart(step):
            wanted = read_restart(step)
            expected = ExpectedSetting(wanted.after, wanted.unstamped)
            is_loaded = content is not None and expected.is_met_by(content.fingerprint, content.unstamped)
            return is_loaded and not self.shapes.waiting(number)
        own = read_delivery(step)
        held = has_files(self.shapes.shape(number).held, own.resources)
        return content is not None and content.fingerprint == own.after and held is True

    def _find_lost_access(self, rule: int, place: int, step: Step, new: int, old: int) -> str:
        choices, constants = self.rules[rule], self.constants_by_node[place]
        if host := self._find_lost_host(rule, place, new, old):
            return f"{step.id} locks {host} out of {constants.name}, so that it cannot change it again"
        if self.shapes.repairable(old, choices) and not self.shapes.repairable(new, choices):
            return f"after {step.id} nobody may change {constants.name} again"
        base = (read_restart(step) if is_restart(step) else read_delivery(step)).bases[0]
        at = self._find_address(rule, constants, new, base)
        if at not in (base, *constants.target.bases):
            return f"after a restart {constants.name} answers at {at}, where no later pass looks for it"
        return ""

    def find_lost_host(self, place: int, before: Content, after: Content) -> str:
        """A management host that may change a node now, and possibly not after a change; empty for none."""
        old, new = (self.shapes.begun(LoadedSetting(one), machine.M2NodeState()) for one in (before, after))
        found = (self._find_lost_host(rule, place, new, old) for rule in range(len(self.rules)))
        return next(filter(None, found), "")

    def _find_lost_host(self, rule: int, place: int, new: int, old: int) -> str:
        choices = self.rules[rule]
        for host in self.constants_by_node[place].hosts:
            may = (SETTING_PERMISSION in self.shapes.rights(number, host, choices) for number in (old, new))
            if tuple(may) == (True, False):
                return host
        return ""

    def _find_address(self, rule: int, constants: NodeConstants, shape: int, at: str) -> str:
        """The URL of a node after a restart with this setting."""
        moves = self.rules[rule].port is PortChange.RESTART and constants.direct
        return f"{at.rpartition(':')[0]}:{self.shapes.port(shape)}" if moves else at

    def _find_split(self, before: ModelWorld, step: Step, after: ModelWorld) -> str:
        apart = self.apart(after) - self.apart(before)
        if not apart:
            return ""
        rings = [
            (self.shapes.ring(node.shape), find_ring(constants.target.content.canonical))
            for constants, node in self._list_nodes(before)
        ]
        moving = sum(bool(old and new and not old.meets(new)) for old, new in rings)
        # As in the guard: a split for as long as simultaneous calls take is accepted.
        if step.wave == 0 and moving <= self.desired.entry.concurrency:
            return ""
        return f"{step.id} splits the cluster: {' and '.join(min(apart))} no longer find each other"

    def apart(self, world: ModelWorld) -> frozenset[tuple[str, str]]:
        """The pairs of running nodes of the cluster that do not find each other."""
        rings = [
            (constants.name, self.shapes.ring(node.shape))
            for constants, node in self._list_nodes(world)
            if node.up
        ]
        return frozenset(
            (one, other)
            for index, (one, here) in enumerate(rings)
            for other, there in rings[index + 1 :]
            if here is not None and there is not None and not here.meets(there)
        )

    def _restart(self, world: ModelWorld, place: int) -> ModelWorld:
        node, constants = world.model_nodes[place], self.constants_by_node[place]
        number = self.shapes.restarted(node.shape)
        at = self._find_address(world.rule, constants, number, node.at)
        # A restart may load another file from the disk; that one was not delivered by the reconciler.
        kept = number == node.shape
        starts = node.starts + (self.desired.entry.restart is not None)
        ours, again = node.ours and kept, node.again and kept
        return change_node(world, place, shape=number, at=at, up=True, ours=ours, again=again, starts=starts)

    def _list_starts(self, world: ModelWorld) -> dict[str, str]:
        """Node -> text of its last start, where a command of this host reads it."""
        if self.desired.entry.restart is None:
            return {}
        nodes = self._list_nodes(world)
        return {constants.name: f"start {node.starts}" for constants, node in nodes if not node.far}

    def _list_nodes(self, world: ModelWorld) -> Iterator[tuple[NodeConstants, ModelNode]]:
        return zip(self.constants_by_node, world.model_nodes, strict=True)

    def _rights(self, world: ModelWorld, place: int) -> frozenset[str]:
        """What this host, or any other management host, may do on the node."""
        hosts, shape = self.constants_by_node[place].hosts, world.model_nodes[place].shape
        if not hosts:
            return frozenset({SETTING_PERMISSION, GET_PERMISSION})
        rule = self.rules[world.rule]
        return frozenset[str]().union(*(self.shapes.rights(shape, host, rule) for host in hosts))

    def _answer(
        self,
        world: ModelWorld,
        place: int,
        expected: ExpectedSetting,
        bases: tuple[str, ...],
        planned: frozenset[str] = frozenset(),
    ) -> Observation[LoadedSetting]:
        """What the client would read from a node; each answer is made once, because most worlds share it."""
        key = (place, world.model_nodes[place], world.rule, expected, bases, planned)
        if key not in self._answers:
            self._answers[key] = self._make_answer(world, place, expected, bases, planned)
        return self._answers[key]

    def _make_answer(
        self,
        world: ModelWorld,
        place: int,
        expected: ExpectedSetting,
        bases: tuple[str, ...],
        planned: frozenset[str],
    ) -> Observation[LoadedSetting]:
        model_node, rule = world.model_nodes[place], self.rules[world.rule]
        if not model_node.up or model_node.far or model_node.at not in bases:
            return Unreachable("connection refused" if not model_node.up else "it did not answer in time")
        rights, caller = self._rights(world, place), self.constants_by_node[place].caller
        delivered = self.shapes.loaded(model_node.shape) if GET_PERMISSION in rights else None
        if delivered is not None and delivered.fingerprint in planned:
            loaded = LoadedSetting(delivered, model_node.at, caller=caller)
        else:
            if SETTING_PERMISSION not in rights:
                return Unauthorized("this host may not read its setting (401)")
            content = self.shapes.shown(model_node.shape, rule)
            if content is None:
                return Absent("it answered 404: no setting is loaded yet")
            waiting, asked = None, None
            if GET_PERMISSION in rights:
                wanted = None if planned else self.constants_by_node[place].target.content
                waiting, asked = self.shapes.open_questions(model_node.shape, rule, expected, wanted)
            loaded = LoadedSetting.of(content, model_node.at, waiting, asked, caller)
            if waiting and asked is None:
                loaded = replace(loaded, running=self.shapes.running(model_node.shape))
        if self.backups and self.desired.resources and loaded.shows(expected):
            loaded = replace(loaded, held=self.shapes.shape(model_node.shape).held)
        return Present(loaded)
