"""The worlds in which a plan for M2 nodes may begin: few nodes that stand for all; pure.

Nodes that do the same in every case are of one kind, and the model checker walks a few of each: all of
them where there are few, three of a kind where there is one kind, otherwise every two kinds together,
because nodes have to do with each other in pairs only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.observation import Absent, Observed, Present
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.product_model import ModelSetup
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.access import GET_PERMISSION, SETTING_PERMISSION, AccessTable
from reconciler.drivers.m2.address_range import AddressRange
from reconciler.drivers.m2.choices import DEFAULTS, AllowListMatch, Choices, PortChange, SettingAnswer
from reconciler.drivers.m2.feed_topology import find_ring
from reconciler.drivers.m2.judge import has_files
from reconciler.drivers.m2.management_access import RULES, extract_access, find_callers
from reconciler.drivers.m2.modelcheck.model import M2Model, ModelNode, ModelWorld, NodeConstants
from reconciler.drivers.m2.modelcheck.node_contents import NodeContents
from reconciler.drivers.m2.risk import find_restart_fields
from reconciler.drivers.m2.schema import Content, Deliver, LoadedSetting, M2Desired, NodeTarget

FEW: Final = 3
"""Nodes that are walked together at most."""

MOST: Final = 45
"""Pairs of kinds that are walked at most: those of nine kinds."""

_PORT: Final = "env.management.api.port"


def make_setups(
    desired: M2Desired, observed: Observed[LoadedSetting], plan: ClusterPlan
) -> tuple[ModelSetup[ModelWorld], ...] | str:
    """What stands for a plan, or why nothing can.

    Args:
        desired: what the plan was made for.
        observed: what it was made from.
        plan: one that has steps.
    """
    steps = {step.node: step for step in plan.steps}
    if any(desired.payloads[target.payload].missing for target in desired.targets if target.node in steps):
        return "a secret is not available here, so the deliveries are unknown"
    read = [one for one in desired.targets if isinstance(observed.nodes.get(one.node), Present | Absent)]
    if len(read) <= FEW and len(read) == len(desired.targets) == len(desired.entry.nodes):
        return (_stage(desired, observed, plan, read, ""),)
    kinds: dict[tuple[Any, ...], list[NodeTarget]] = {}
    tell = _Kinds(desired)
    for target in read:
        kind = tell.of(target, _loaded(observed, target), steps.get(target.node))
        if kind is not None:
            kinds.setdefault(kind, []).append(target)
    chosen = list(_chosen(list(kinds.values()), steps.keys()))
    words = _words(len(kinds), sum(map(len, kinds.values())), len(chosen[0]))
    return tuple(_stage(desired, observed, plan, nodes, words) for nodes in chosen[:MOST])


def _words(kinds: int, nodes: int, walked: int) -> str:
    if kinds == 1 and walked == nodes:
        return "nodes that do not change, or were not read, are left out"
    if kinds == 1:
        return f"{walked} nodes represent {nodes} of one kind"
    pairs = kinds * (kinds + 1) // 2
    cut = f", the first {MOST} of {pairs} pairs" if pairs > MOST else ""
    return f"all pairs of {kinds} kinds of nodes represent {nodes} nodes{cut}"


def _chosen(kinds: Sequence[Sequence[NodeTarget]], planned: Iterable[str]) -> Iterator[list[NodeTarget]]:
    """Which nodes are walked together; two that stay as they are need no walk."""
    changed = frozenset(planned)
    if len(kinds) == 1:
        yield list(kinds[0][:FEW])
        return
    for kind in kinds:
        if kind[0].node in changed:
            yield list(kind[:2])
    for one, other in combinations(kinds, 2):
        if one[0].node in changed or other[0].node in changed:
            yield [one[0], other[0]]


@dataclass(slots=True)
class _Kinds:
    """Tells nodes apart by all that decides what may become of them; what settings share is weighed once."""

    desired: M2Desired
    _known: dict[tuple[Any, ...], tuple[Any, ...]] = field(init=False, default_factory=dict)

    def of(
        self, target: NodeTarget, loaded: LoadedSetting | None, step: Step | None
    ) -> tuple[Any, ...] | None:
        """The kind of a node; none where it neither changes nor is in a cluster."""
        before, after = loaded.content if loaded else None, target.content
        envs = tuple(content.fingerprints.get("env") if content else "" for content in (before, after))
        key = (loaded is None, *envs, loaded.caller if loaded else "")
        if key not in self._known:
            self._known[key] = self._traits(before, after, _hosts(self.desired, loaded))
        rings = self._known[key][0]
        if step is None and rings[0] is None:
            return None
        return (
            step is None,
            loaded is None,
            _direct(target, loaded),
            bool(loaded and loaded.waiting),
            has_files(loaded.held if loaded else None, self.desired.resources),
            step.wave if step else 0,
            *self._known[key],
        )

    def _traits(self, before: Content | None, after: Content, hosts: tuple[str, ...]) -> tuple[Any, ...]:
        both = (before, after)
        rings = (find_ring(content.canonical) if content else None for content in both)
        ports = {machine.lookup(content.canonical, _PORT) for content in both if content}
        return (
            tuple((one.port, one.base, one.members) if one else None for one in rings),
            len(ports) > 1,
            tuple(_powers(content, hosts) for content in both),
            bool(find_restart_fields(before, after)) if before else False,
        )


def _powers(content: Content | None, hosts: tuple[str, ...]) -> tuple[Any, ...]:
    """What a setting lets the hosts do under every rule, and whether it lets anybody."""
    table = AccessTable(extract_access(content) if content else None)
    rights = [table.access(host, rule).permissions for rule in RULES for host in hosts]
    return bool(table.find_allowed(SETTING_PERMISSION)), tuple(
        (SETTING_PERMISSION in granted, GET_PERMISSION in granted) for granted in rights
    )


def _hosts(desired: M2Desired, loaded: LoadedSetting | None) -> tuple[str, ...]:
    """The hosts that manage a node: the known ones, or else one address for each entry that may."""
    before, caller = (loaded.content, loaded.caller) if loaded else (None, "")
    known = find_callers(before, desired.entry.management, caller)
    if known.rules or before is None:
        return known.addresses
    spans = AccessTable(extract_access(before)).find_allowed(SETTING_PERMISSION)[:FEW]
    return tuple(str(AddressRange(span.version, span.low, span.low)) for span in spans)


def _at(target: NodeTarget, loaded: LoadedSetting | None) -> str:
    """Where a node answers."""
    return loaded.base if loaded and loaded.base else target.bases[0]


def _direct(target: NodeTarget, loaded: LoadedSetting | None) -> bool:
    """Whether the port at which a node answers is its own, and not translated on the way."""
    port = machine.lookup(loaded.content.canonical, _PORT) if loaded else None
    return urlsplit(_at(target, loaded)).port == port


def _loaded(observed: Observed[LoadedSetting], target: NodeTarget) -> LoadedSetting | None:
    answer = observed.nodes[target.node]
    return answer.value if isinstance(answer, Present) else None


def _stage(
    desired: M2Desired,
    observed: Observed[LoadedSetting],
    plan: ClusterPlan,
    targets: Sequence[NodeTarget],
    words: str,
) -> ModelSetup[ModelWorld]:
    """A play of some nodes, with as much at once as fits: all where all is, otherwise one less."""
    shapes, model_nodes, constants_by_node, backups = NodeContents(), [], [], True
    for target in targets:
        loaded = _loaded(observed, target)
        told = loaded.caller if loaded else ""
        constants_by_node.append(
            NodeConstants(target, _hosts(desired, loaded), _direct(target, loaded), told)
        )
        model_nodes.append(
            ModelNode(shapes.begun(loaded, _delivered(desired, target, shapes)), _at(target, loaded))
        )
        here = loaded is not None and loaded.shows(desired.expected(target.content))
        backups = backups and not (here and loaded is not None and loaded.held is None)
    names = {target.node for target in targets}
    fits = len(plan.steps) <= plan.concurrency
    at_once = len(targets) if fits else max(1, min(plan.concurrency, len(targets) - 1))
    nodes = tuple(node for node in desired.entry.nodes if node.name in names)
    entry = desired.entry.model_copy(update={"nodes": nodes, "concurrency": at_once})
    part = replace(desired, entry=entry, targets=tuple(targets), notes=())
    rules = tuple(_rules(constants_by_node, model_nodes, shapes)) or (DEFAULTS,)
    model = M2Model(part, tuple(constants_by_node), rules, shapes, backups=backups)
    worlds = tuple(ModelWorld(number, tuple(model_nodes)) for number in range(len(rules)))
    steps = tuple(step for step in plan.steps if step.node in names)
    reduced = replace(plan, steps=steps, nodes=len(nodes), unchanged=0, findings=(), concurrency=at_once)
    return ModelSetup(model, worlds, part, reduced, words)


def _delivered(desired: M2Desired, target: NodeTarget, shapes: NodeContents) -> machine.M2NodeState:
    """A node with what lies ready for it, on its disk or in its repository."""
    package = shapes.package(target.content)
    match desired.entry.deliver:
        case Deliver.LOCAL:
            return machine.M2NodeState(local=package)
        case Deliver.CHECKOUT:
            return machine.M2NodeState(repository=package)
        case _:
            return machine.M2NodeState()


def _rules(
    constants_by_node: Sequence[NodeConstants], model_nodes: Sequence[ModelNode], shapes: NodeContents
) -> Iterator[Choices]:
    """The ways in which the nodes may behave, given that they have just been read; one of each effect."""
    known: set[tuple[Any, ...]] = set()
    pairs = [
        (model_node.shape, shapes.wanted(constants.target.content))
        for constants, model_node in zip(constants_by_node, model_nodes, strict=True)
    ]
    waiting = any(shapes.may_wait(*pair) for pair in pairs)
    moved = any(
        constants.direct and len({shapes.port(shape) for shape in pair}) > 1
        for constants, pair in zip(constants_by_node, pairs, strict=True)
    )
    for match, free, shown, port in product(AllowListMatch, (True, False), SettingAnswer, PortChange):
        rule = Choices(match=match, open_without_list=free, shown=shown, port=port)
        rights = tuple(
            tuple(shapes.rights(shape, host, rule) for shape in pair for host in constants.hosts)
            for constants, pair in zip(constants_by_node, pairs, strict=True)
        )
        barred = any(
            constants.hosts
            and not any(
                SETTING_PERMISSION in shapes.rights(model_node.shape, host, rule) for host in constants.hosts
            )
            for constants, model_node in zip(constants_by_node, model_nodes, strict=True)
        )
        effect = (rights, shown if waiting else None, port if moved else None)
        if not barred and effect not in known:
            known.add(effect)
            yield rule
