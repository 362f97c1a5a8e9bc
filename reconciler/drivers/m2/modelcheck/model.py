"""M2 on the model checker's stage: nodes, what may happen to them, and what must never happen by our act.

Each node is `machine`; the planner, the guards and the judgement are the real ones; only the wire is left
out. Nodes have nothing to do with each other but that those of a cluster have to find each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from reconciler.core.diff import Change
from reconciler.core.observation import Absent, Observation, Observed, Present, Unauthorized, Unreachable
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.step import StepStatus
from reconciler.drivers.m2 import machine, planner
from reconciler.drivers.m2.access import GET_PERMISSION, SETTING_PERMISSION
from reconciler.drivers.m2.arguments import CheckoutArguments, UploadArguments, read_delivery
from reconciler.drivers.m2.choices import Choices, PortChange
from reconciler.drivers.m2.feed_topology import find_ring
from reconciler.drivers.m2.judge import has_files, judge
from reconciler.drivers.m2.modelcheck.node_contents import NodeContents
from reconciler.drivers.m2.schema import ExpectedSetting, LoadedSetting, M2Desired, NodeTarget


class ModelNode(NamedTuple):
    """One node.

    Args:
        shape: the number of what it has.
        at: the URL at which it answers.
        far: whether this host does not reach it.
        ours: whether what it has is what the reconciler delivered.
        again: whether that was delivered once more.
    """

    shape: int
    at: str
    up: bool = True
    far: bool = False
    ours: bool = False
    again: bool = False


class ModelWorld(NamedTuple):
    """All nodes, and the number of the rules by which they behave."""

    rule: int
    model_nodes: tuple[ModelNode, ...]


@dataclass(frozen=True, slots=True)
class NodeConstants:
    """What does not change about a node.

    Args:
        hosts: the management hosts as it sees them; none where that is not known, and then this one is
            always let in.
        direct: whether the port at which it answers is its own, and not translated on the way.
        caller: what its answers say of this host's address.
    """

    target: NodeTarget
    hosts: tuple[str, ...]
    direct: bool
    caller: str = ""

    @property
    def name(self) -> str:
        """The node's name."""
        return self.target.node


def replace_node(world: ModelWorld, place: int, model_node: ModelNode) -> ModelWorld:
    """The world with another seat at one place."""
    return ModelWorld(world.rule, (*world.model_nodes[:place], model_node, *world.model_nodes[place + 1 :]))


_CLUSTER: Final = "/env/management/cluster"


@dataclass(slots=True)
class M2Model:
    """Some nodes of one cluster under one desired state; see `core.product_model.ProductModel`.

    Args:
        desired: what every pass plans for, of these nodes alone.
        constants_by_node: in the order of a world's seats.
        rules: the ways in which nodes may behave where M2's pages are silent.
        shapes: what the nodes have, by number.
        backups: whether nodes tell which files they have.
    """

    desired: M2Desired
    constants_by_node: tuple[NodeConstants, ...]
    rules: tuple[Choices, ...]
    shapes: NodeContents
    backups: bool = True
    _places: Mapping[str, int] = field(init=False)
    _answers: dict[
        tuple[int, ModelNode, int, ExpectedSetting, tuple[str, ...]], Observation[LoadedSetting]
    ] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._places = {constants.name: place for place, constants in enumerate(self.constants_by_node)}

    def faults(self, world: ModelWorld) -> Iterator[tuple[str, ModelWorld]]:
        """A node fails or is cut off from this host, or somebody else changes its setting."""
        for place, (constants, model_node) in enumerate(
            zip(self.constants_by_node, world.model_nodes, strict=True)
        ):
            if not model_node.up:
                continue
            yield f"{constants.name} fails", replace_node(world, place, model_node._replace(up=False))
            if not model_node.far:
                yield (
                    f"{constants.name} is cut off from this host",
                    replace_node(world, place, model_node._replace(far=True)),
                )
            for story, shape in self.shapes.foreign(model_node.shape, constants.target.content):
                after = model_node._replace(shape=shape, ours=False, again=False)
                yield f"somebody else {story} {constants.name}", replace_node(world, place, after)

    def returns(self, world: ModelWorld) -> Iterator[tuple[str, ModelWorld]]:
        """A stopped node is started, one that was cut off is reached again, one that waits is restarted."""
        for place, (constants, model_node) in enumerate(
            zip(self.constants_by_node, world.model_nodes, strict=True)
        ):
            if not model_node.up:
                yield (
                    f"{constants.name} is started",
                    replace_node(world, place, self._restarted(world, constants, model_node)),
                )
            elif self.shapes.waiting(model_node.shape):
                after = self._restarted(world, constants, model_node)
                yield (
                    f"somebody restarts {constants.name}, which waits for it",
                    replace_node(world, place, after),
                )
            if model_node.far:
                yield (
                    f"{constants.name} is reached again",
                    replace_node(world, place, model_node._replace(far=False)),
                )

    def observed(self, world: ModelWorld) -> Observed[LoadedSetting]:
        """What the driver's `observe` would see."""
        targets = [constants.target for constants in self.constants_by_node]
        return Observed(
            {
                target.node: self._answer(world, place, self.desired.expected(target.content), target.bases)
                for place, target in enumerate(targets)
            }
        )

    def plan(self, world: ModelWorld) -> ClusterPlan:
        """What a pass that begins now would plan."""
        return planner.plan(self.desired, self.observed(world))

    def status(self, world: ModelWorld, step: Step) -> StepStatus:
        """How a delivery stands, judged from what its node answers."""
        place, own = self._places[step.node], read_delivery(step)
        return judge(step, self._answer(world, place, ExpectedSetting(own.after), own.bases)).status

    def performed(self, world: ModelWorld, step: Step) -> ModelWorld:
        """What a delivery makes of its node; the same where it does not arrive or is not taken."""
        place, own = self._places[step.node], read_delivery(step)
        model_node, constants = world.model_nodes[place], self.constants_by_node[place]
        if not self._reached(world, place) or model_node.at != own.bases[0]:
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
            case _:
                result = machine.deploy_local(shape.node)
        if isinstance(result, machine.ChangeRefused):
            return world
        number = self.shapes.number(result.node, self.desired.resources or shape.held)
        content = self.shapes.loaded(number)
        ours = content is not None and content.fingerprint == own.after
        again = ours and model_node.ours and number == model_node.shape
        return replace_node(world, place, model_node._replace(shape=number, ours=ours, again=again))

    def halves(self, world: ModelWorld, step: Step) -> Iterator[tuple[str, ModelWorld]]:  # noqa: ARG002  (see Play)
        """A node takes a setting whole or not at all."""
        return iter(())

    def against(self, world: ModelWorld, step: Step) -> str:
        """A node that has not the setting any more that was planned from."""
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

    def broken(self, before: ModelWorld, step: Step, after: ModelWorld) -> str:
        """A node nobody could change again, a delivery made twice, a cluster in two parts."""
        place = self._places[step.node]
        old, new = before.model_nodes[place], after.model_nodes[place]
        if new.again and not old.again:
            return f"{step.id} delivers the same setting again"
        if old.shape == new.shape:
            return ""
        return self._shut(before.rule, place, step, new.shape, old.shape) or self._parting(
            before, step, after
        )

    def left(self, world: ModelWorld, plan: ClusterPlan) -> str:
        """A cluster in two parts because of steps that change whom a node finds."""
        moved = {step.node for step in plan.steps if any(map(_of_ring, step.changes))}
        apart = [pair for pair in self.apart(world) if moved & {*pair}]
        return f"the run leaves {' and '.join(min(apart))} unable to find each other" if apart else ""

    def effective(self, world: ModelWorld, step: Step) -> bool:
        """Whether the node has what was to be delivered."""
        number, own = world.model_nodes[self._places[step.node]].shape, read_delivery(step)
        content = self.shapes.loaded(number)
        held = has_files(self.shapes.shape(number).held, own.resources)
        return content is not None and content.fingerprint == own.after and held is True

    def _shut(self, rule: int, place: int, step: Step, new: int, old: int) -> str:
        choices, constants = self.rules[rule], self.constants_by_node[place]
        for host in constants.hosts:
            may = (SETTING_PERMISSION in self.shapes.rights(number, host, choices) for number in (old, new))
            if tuple(may) == (True, False):
                return f"{step.id} locks {host} out of {constants.name}, so that it cannot change it again"
        if self.shapes.repairable(old, choices) and not self.shapes.repairable(new, choices):
            return f"after {step.id} nobody may change {constants.name} again"
        base = read_delivery(step).bases[0]
        at = self._moved(rule, constants, new, base)
        if at not in (base, *constants.target.bases):
            return f"after a restart {constants.name} answers at {at}, where no later pass looks for it"
        return ""

    def _moved(self, rule: int, constants: NodeConstants, shape: int, at: str) -> str:
        """Where a node answers that is restarted with this setting."""
        moves = self.rules[rule].port is PortChange.RESTART and constants.direct
        return f"{at.rpartition(':')[0]}:{self.shapes.port(shape)}" if moves else at

    def _parting(self, before: ModelWorld, step: Step, after: ModelWorld) -> str:
        """A step parts a cluster, but where all that have to move do so at once."""
        apart = self.apart(after) - self.apart(before)
        if not apart:
            return ""
        moving = sum(
            not self._meets(model_node.shape, constants)
            for constants, model_node in zip(self.constants_by_node, before.model_nodes, strict=True)
        )
        if step.wave == 0 and moving <= self.desired.entry.concurrency:
            return ""
        return f"{step.id} splits the cluster: {' and '.join(min(apart))} no longer find each other"

    def _meets(self, shape: int, constants: NodeConstants) -> bool:
        """Whether a node finds, as it is, what it is to find."""
        old, new = self.shapes.ring(shape), find_ring(constants.target.content.canonical)
        return old is None or new is None or old.meets(new)

    def apart(self, world: ModelWorld) -> frozenset[tuple[str, str]]:
        """The pairs of running nodes of the cluster that do not find each other."""
        rings = [
            (constants.name, self.shapes.ring(model_node.shape))
            for constants, model_node in zip(self.constants_by_node, world.model_nodes, strict=True)
            if model_node.up
        ]
        return frozenset(
            (one, other)
            for index, (one, here) in enumerate(rings)
            for other, there in rings[index + 1 :]
            if here is not None and there is not None and not here.meets(there)
        )

    def _restarted(self, world: ModelWorld, constants: NodeConstants, model_node: ModelNode) -> ModelNode:
        number = self.shapes.restarted(model_node.shape)
        at = self._moved(world.rule, constants, number, model_node.at)
        kept = number == model_node.shape
        return model_node._replace(
            shape=number, at=at, up=True, ours=model_node.ours and kept, again=model_node.again and kept
        )

    def _reached(self, world: ModelWorld, place: int) -> bool:
        return world.model_nodes[place].up and not world.model_nodes[place].far

    def _rights(self, world: ModelWorld, place: int) -> frozenset[str]:
        """What this host, or any other that manages the node, may do there."""
        hosts, shape = self.constants_by_node[place].hosts, world.model_nodes[place].shape
        if not hosts:
            return frozenset({SETTING_PERMISSION, GET_PERMISSION})
        rule = self.rules[world.rule]
        return frozenset[str]().union(*(self.shapes.rights(shape, host, rule) for host in hosts))

    def _answer(
        self, world: ModelWorld, place: int, expected: ExpectedSetting, bases: tuple[str, ...]
    ) -> Observation[LoadedSetting]:
        """What the client would read from a node; each answer is made once, because most worlds share it."""
        key = (place, world.model_nodes[place], world.rule, expected, bases)
        if key not in self._answers:
            self._answers[key] = self._make_answer(world, place, expected, bases)
        return self._answers[key]

    def _make_answer(
        self, world: ModelWorld, place: int, expected: ExpectedSetting, bases: tuple[str, ...]
    ) -> Observation[LoadedSetting]:
        model_node, rule = world.model_nodes[place], self.rules[world.rule]
        if not self._reached(world, place) or model_node.at not in bases:
            return Unreachable("connection refused" if not model_node.up else "it did not answer in time")
        rights = self._rights(world, place)
        if SETTING_PERMISSION not in rights:
            return Unauthorized("this host may not read its setting (401)")
        content = self.shapes.shown(model_node.shape, rule)
        if content is None:
            return Absent("it answered 404: no setting is loaded yet")
        waiting, asked = None, None
        if GET_PERMISSION in rights:
            waiting, asked = self.shapes.open_questions(model_node.shape, rule, expected)
        loaded = LoadedSetting.of(
            content, model_node.at, waiting, asked, self.constants_by_node[place].caller
        )
        if self.backups and self.desired.resources and loaded.shows(expected):
            loaded = replace(loaded, held=self.shapes.shape(model_node.shape).held)
        return Present(loaded)


def _of_ring(change: Change) -> bool:
    """Whether a change, or one of those that are told together at its place, touches the cluster."""
    place = change.pointer
    return place.startswith(_CLUSTER) or _CLUSTER.startswith(f"{place}/")
