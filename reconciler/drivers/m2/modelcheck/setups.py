"""The worlds in which a plan for M2 nodes may start: a few nodes represent all; pure.

Nodes that behave alike in every case are of one kind. The model checker explores all nodes of a small
cluster, three nodes where there is one kind, and otherwise every pair of kinds: nodes affect each other in
pairs only.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.observation import Absent, Observed, Present
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.pointer_pattern import Pattern
from reconciler.core.polled_model import PolledSetup
from reconciler.core.product_model import ModelSetup
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.address_range import AddressRange
from reconciler.drivers.m2.arguments import is_restart, read_restart
from reconciler.drivers.m2.caller_permissions import GET_PERMISSION, SETTING_PERMISSION, AccessTable
from reconciler.drivers.m2.choices import DEFAULTS, AllowListMatch, Choices, PortChange, SettingAnswer
from reconciler.drivers.m2.feed_topology import find_ring
from reconciler.drivers.m2.judge import has_files
from reconciler.drivers.m2.lock_out import RULES, extract_access, find_callers
from reconciler.drivers.m2.modelcheck.model import M2Model, ModelNode, ModelWorld, NodeConstants
from reconciler.drivers.m2.modelcheck.node_contents import NodeContents
from reconciler.drivers.m2.modelcheck.polled_model import M2PolledModel
from reconciler.drivers.m2.risk import find_restart_fields
from reconciler.drivers.m2.schema import Content, Deliver, LoadedSetting, M2Desired, NodeTarget

FEW: Final = 3
"""Highest number of nodes in one world. The number of states grows with the power of the nodes."""

MOST_POLLED: Final = 5
"""Highest number of kinds of nodes that poll that are explored: they influence each other by waves only."""

MOST: Final = 45
"""Highest number of pairs of kinds that are explored: those of nine kinds."""

_PORT: Final = "env.management.api.port"


def make_setups(
    desired: M2Desired, observed: Observed[LoadedSetting], plan: ClusterPlan
) -> tuple[ModelSetup[ModelWorld] | PolledSetup, ...] | str:
    """The setups that represent a plan, or why there can be none.

    Args:
        desired: of the cluster.
        observed: what the plan was made from.
        plan: has at least one step.
    """
    steps = _list_first_steps(plan.steps)
    if any(desired.payloads[target.payload].missing for target in desired.targets if target.node in steps):
        return "a secret is not available here, so the deliveries are unknown"
    if len({target.unmanaged for target in desired.targets}) > 1:
        return "its nodes have different unmanaged fields, and a model has the same for all"
    offers = {step.node: step for step in plan.steps if step.action == "offer"}
    polled = _make_polled_setups(desired, observed, plan, offers)
    # A node that polls is restarted by a later run than the one that offers it something.
    restarted = {name for name, step in steps.items() if is_restart(step) and read_restart(step).fresh}
    if len(offers) + len(restarted) < len(steps):
        return (*_make_called_setups(desired, observed, plan, offers.keys() | restarted), *polled)
    return polled or "restarts of nodes that poll are not explored"


def _get_unmanaged(desired: M2Desired) -> tuple[Pattern, ...]:
    """The unmanaged fields of all nodes."""
    return desired.targets[0].unmanaged if desired.targets else ()


def _list_first_steps(steps: Iterable[Step]) -> dict[str, Step]:
    """Node -> its first step: the delivery, where it is restarted after one."""
    found: dict[str, Step] = {}
    for step in steps:
        found.setdefault(step.node, step)
    return found


def _make_called_setups(
    desired: M2Desired, observed: Observed[LoadedSetting], plan: ClusterPlan, offers: Container[str]
) -> tuple[ModelSetup[ModelWorld], ...]:
    """The setups of the nodes that are called."""
    plan = replace(plan, steps=tuple(step for step in plan.steps if step.node not in offers))
    steps = _list_first_steps(plan.steps)
    restarted = {step.node for step in plan.steps if is_restart(step)}
    read = [
        one
        for one in desired.targets
        if one.node not in offers and isinstance(observed.nodes.get(one.node), Present | Absent)
    ]
    if len(read) <= FEW and len(read) == len(desired.targets) == len(desired.entry.nodes):
        return (_make_setup(desired, observed, plan, read, ""),)
    kinds: dict[tuple[Any, ...], list[NodeTarget]] = {}
    classifier = _KindClassifier(desired)
    for target in read:
        kind = classifier.classify(target, _get_loaded(observed, target), steps.get(target.node))
        if kind is not None:
            kinds.setdefault((*kind, target.node in restarted), []).append(target)
    chosen = list(_choose_nodes(list(kinds.values()), steps.keys()))
    count, explored = sum(map(len, kinds.values())), len(chosen[0])
    pairs = len(kinds) * (len(kinds) + 1) // 2
    if len(kinds) > 1:
        words = f"all pairs of {len(kinds)} kinds of nodes represent {count} nodes"
        words += f", the first {MOST} of {pairs} pairs" if pairs > MOST else ""
    elif explored == count:
        words = "nodes that do not change, or were not read, are left out"
    else:
        words = f"{explored} nodes represent {count} of one kind"
    return tuple(_make_setup(desired, observed, plan, nodes, words) for nodes in chosen[:MOST])


def _make_polled_setups(
    desired: M2Desired, observed: Observed[LoadedSetting], plan: ClusterPlan, offers: Mapping[str, Step]
) -> tuple[PolledSetup, ...]:
    """The setups of the nodes that are offered something: two of each kind."""
    kinds: dict[tuple[Any, ...], list[NodeTarget]] = {}
    classifier = _KindClassifier(desired)
    for target in desired.targets:
        loaded = _get_loaded(observed, target)
        if target.node in offers and loaded is not None:
            kind = classifier.classify(target, loaded, offers[target.node])
            # The wave is that of the rollout: of two nodes, one is in a later wave than the other.
            kinds.setdefault(kind[:5] + kind[6:] if kind else (), []).append(target)
    found: list[PolledSetup] = []
    for targets in list(kinds.values())[:MOST_POLLED]:
        two = targets[:2]
        setup = _make_setup(desired, observed, plan, two, "")
        assert isinstance(setup.model, M2Model)
        hosts = desired.entry.management if two[0].bases else ()
        access = replace(
            setup.model,
            constants_by_node=tuple(replace(one, hosts=hosts) for one in setup.model.constants_by_node),
        )
        before = [shown for target in two if (shown := _get_loaded(observed, target)) is not None]
        words = f"{len(two)} nodes that poll represent {len(targets)}" if len(targets) > len(two) else ""
        found.append(PolledSetup(M2PolledModel(setup.desired, before, access), setup.desired, plan, words))
    return tuple(found)


def _choose_nodes(
    kinds: Sequence[Sequence[NodeTarget]], planned: Iterable[str]
) -> Iterator[list[NodeTarget]]:
    """The groups of nodes that are explored together, without pairs in which neither node changes."""
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
class _KindClassifier:
    """Classifies nodes by everything that decides how they may behave; equal settings are compared once."""

    desired: M2Desired
    _known: dict[tuple[Any, ...], tuple[Any, ...]] = field(init=False, default_factory=dict)

    def classify(
        self, target: NodeTarget, loaded: LoadedSetting | None, step: Step | None
    ) -> tuple[Any, ...] | None:
        """The kind of a node; None where it neither changes nor is in a cluster."""
        before, after = loaded.content if loaded else None, target.content
        # Access, ports and discovery are in `env`; other differences do not change how a node behaves.
        # Without the token of the node, where it has one.
        pair = tuple(content.common or content if content else None for content in (before, after))
        envs = tuple(content.fingerprints.get("env") if content else "" for content in pair)
        key = (loaded is None, *envs, loaded.caller if loaded else "")
        if key not in self._known:
            self._known[key] = self._list_traits(before, after, _find_hosts(self.desired, loaded))
        rings = self._known[key][0]
        if step is None and rings[0] is None:
            return None
        return (
            step is None,
            loaded is None,
            _is_direct(target, loaded),
            bool(loaded and loaded.waiting),
            has_files(loaded.held if loaded else None, self.desired.resources),
            step.wave if step else 0,
            *self._known[key],
        )

    def _list_traits(self, before: Content | None, after: Content, hosts: tuple[str, ...]) -> tuple[Any, ...]:
        both = (before, after)
        rings = (find_ring(content.canonical) if content else None for content in both)
        ports = {machine.lookup(content.canonical, _PORT) for content in both if content}
        return (
            tuple((one.port, one.base, one.members) if one else None for one in rings),
            len(ports) > 1,
            tuple(_list_rights(content, hosts) for content in both),
            bool(find_restart_fields(before, after)) if before else False,
        )


def _list_rights(content: Content | None, hosts: tuple[str, ...]) -> tuple[Any, ...]:
    """What the hosts may do under every rule, and whether anybody may deliver a setting."""
    table = AccessTable(extract_access(content) if content else None)
    rights = [table.access(host, rule).permissions for rule in RULES for host in hosts]
    return bool(table.find_allowed(SETTING_PERMISSION)), tuple(
        (SETTING_PERMISSION in granted, GET_PERMISSION in granted) for granted in rights
    )


def _find_hosts(desired: M2Desired, loaded: LoadedSetting | None) -> tuple[str, ...]:
    """The hosts that manage a node: the known ones, or else one address of each entry with the permission."""
    before, caller = (loaded.content, loaded.caller) if loaded else (None, "")
    known = find_callers(before, desired.entry.management, caller)
    if known.rules or before is None:
        return known.addresses
    spans = AccessTable(extract_access(before)).find_allowed(SETTING_PERMISSION)[:FEW]
    return tuple(str(AddressRange(span.version, span.low, span.low)) for span in spans)


def _find_base(target: NodeTarget, loaded: LoadedSetting | None) -> str:
    """The URL at which a node answers; empty if it is not called."""
    return loaded.base if loaded and loaded.base else next(iter(target.bases), "")


def _is_direct(target: NodeTarget, loaded: LoadedSetting | None) -> bool:
    """Whether a node answers at its own port, without a translation on the way."""
    port = machine.lookup(loaded.content.canonical, _PORT) if loaded else None
    return urlsplit(_find_base(target, loaded)).port == port


def _get_loaded(observed: Observed[LoadedSetting], target: NodeTarget) -> LoadedSetting | None:
    answer = observed.nodes[target.node]
    return answer.value if isinstance(answer, Present) else None


def _make_setup(
    desired: M2Desired,
    observed: Observed[LoadedSetting],
    plan: ClusterPlan,
    targets: Sequence[NodeTarget],
    words: str,
) -> ModelSetup[ModelWorld]:
    """The setup of some nodes."""
    shapes, model_nodes, constants_by_node, backups = NodeContents(_get_unmanaged(desired)), [], [], True
    for target in targets:
        loaded = _get_loaded(observed, target)
        hosts, caller = _find_hosts(desired, loaded), loaded.caller if loaded else ""
        constants_by_node.append(NodeConstants(target, hosts, _is_direct(target, loaded), caller))
        # With `deliver: local` or `checkout`, the new setting is on the node before the step.
        package = shapes.package(target.content)
        state = machine.M2NodeState(
            local=package if desired.entry.deliver is Deliver.LOCAL else None,
            repository=package if desired.entry.deliver is Deliver.CHECKOUT else None,
        )
        model_nodes.append(ModelNode(shapes.begun(loaded, state), _find_base(target, loaded)))
        # One node that hides its files is enough: the model then never shows any.
        if loaded and loaded.held is None and loaded.shows(desired.expected(target.content)):
            backups = False
    names = {target.node for target in targets}
    # A run in which all steps start together stays one; in any other run at least one node waits for another.
    fits = len({step.node for step in plan.steps}) <= plan.concurrency
    at_once = len(targets) if fits else max(1, min(plan.concurrency, len(targets) - 1))
    nodes = tuple(node for node in desired.entry.nodes if node.name in names)
    entry = desired.entry.model_copy(update={"nodes": nodes, "concurrency": at_once})
    part = replace(desired, entry=entry, targets=tuple(targets), notes=())
    rules = tuple(_find_rules(constants_by_node, model_nodes, shapes)) or (DEFAULTS,)
    model = M2Model(part, tuple(constants_by_node), rules, shapes, backups=backups)
    worlds = tuple(ModelWorld(number, tuple(model_nodes)) for number in range(len(rules)))
    steps = tuple(step for step in plan.steps if step.node in names)
    reduced = replace(plan, steps=steps, nodes=len(nodes), unchanged=0, findings=(), concurrency=at_once)
    return ModelSetup(model, worlds, part, reduced, words)


def _find_rules(
    constants_by_node: Sequence[NodeConstants], model_nodes: Sequence[ModelNode], shapes: NodeContents
) -> Iterator[Choices]:
    """The possible behaviours of nodes that were just read; one of each effect."""
    known: set[tuple[Any, ...]] = set()
    nodes = [
        (constants, (node.shape, shapes.wanted(constants.target.content)))
        for constants, node in zip(constants_by_node, model_nodes, strict=True)
    ]
    may_wait = any(shapes.may_wait(*pair) for _, pair in nodes)
    may_move = any(
        constants.direct and len({shapes.port(shape) for shape in pair}) > 1 for constants, pair in nodes
    )
    for match, free, shown, port in product(AllowListMatch, (True, False), SettingAnswer, PortChange):
        rule = Choices(match=match, open_without_list=free, shown=shown, port=port)
        # A reading needs the same permission as a delivery: a rule that denies it to all hosts is not the
        # rule of this node.
        if any(
            constants.hosts
            and all(SETTING_PERMISSION not in shapes.rights(now, host, rule) for host in constants.hosts)
            for constants, (now, _) in nodes
        ):
            continue
        rights = tuple(
            tuple(shapes.rights(shape, host, rule) for shape in pair for host in constants.hosts)
            for constants, pair in nodes
        )
        effect = (rights, shown if may_wait else None, port if may_move else None)
        if effect not in known:
            known.add(effect)
            yield rule
