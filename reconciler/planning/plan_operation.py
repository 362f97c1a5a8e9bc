"""Plans an operation: which nodes get it, in which waves, and what holds it back; it cannot write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from reconciler.core.actor import Actor
from reconciler.core.canonical import fingerprint
from reconciler.core.diagnostic_json import to_plain_violation
from reconciler.core.endpoint import Endpoint
from reconciler.core.guard import GuardContext, apply_overrides
from reconciler.core.memory import FleetMemory
from reconciler.core.observation import Observed
from reconciler.core.operations import Operation, divide_into_waves, load_operation
from reconciler.core.plan import ClusterPlan
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.reservations import find_moved_holds, find_reserved_nodes, list_file_holds
from reconciler.desired.fleet import Fleet, add_desired_state
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import UsageError
from reconciler.guards.change_control import APPROVAL_NEEDED, find_temporary_holds
from reconciler.guards.place_conflicts import NodePlace
from reconciler.planning.inventory_report import refuse_unread_clusters
from reconciler.planning.plan_pass import Drivers
from reconciler.ports.operations import OperationNode, OperationTarget, ProductOperation
from reconciler.text.one_line import SHORT_ID, join_some

CALL_PATIENCE: Final = timedelta(seconds=60)
"""How long a node that is called may stay without an answer before it is overdue."""

_MOST_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """What an operator asks for.

    Args:
        kind: such as `purge`.
        targets: as they were given.
        cluster: name of the only cluster; empty for all clusters whose product has the operation.
        direct: whether nodes that poll are called all the same.
    """

    kind: str
    targets: tuple[str, ...]
    cluster: str = ""
    direct: bool = False


@dataclass(frozen=True, slots=True)
class OperationCluster:
    """A cluster as operations need it.

    Args:
        nodes: name -> how it is reached, in the order of the fleet file.
        holds: why nothing is sent to it now; a low risk does not wait for a change window.
        held_nodes: nodes that nothing is sent to by order of a person, each with the reason.
    """

    name: str
    product: ProductOperation[Any]
    desired: Any
    nodes: Mapping[str, OperationNode]
    concurrency: int
    max_unknown: str
    holds: tuple[Diagnostic, ...] = ()
    holds_of_high_risk: tuple[Diagnostic, ...] = ()
    held_nodes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """An operation on one cluster that was not recorded yet.

    Args:
        operation: without id and actor.
        remarks: what is odd about it, one sentence each.
        violations: what holds it back.
        is_approved: whether an operator approved exactly this request, for one time.
    """

    operation: Operation
    remarks: tuple[str, ...] = ()
    violations: tuple[Diagnostic, ...] = ()
    is_approved: bool = False


@dataclass(frozen=True, slots=True)
class OperationPlan:
    """An operation on all its clusters, sorted by name."""

    kind: str
    targets: tuple[OperationTarget, ...]
    clusters: tuple[PlannedOperation, ...]

    def plain(self) -> dict[str, Any]:
        """As plain JSON; `load_operation_plan` reads it."""
        return {
            "kind": self.kind,
            "targets": [{"target": one.text, "extent": one.extent} for one in self.targets],
            "high_risk": self.is_high_risk,
            "id": self.digest,
            "clusters": [
                {
                    "id": planned.operation.digest,
                    "operation": planned.operation.plain(),
                    "remarks": list(planned.remarks),
                    "violations": [to_plain_violation(one) for one in planned.violations],
                    "approved": planned.is_approved,
                }
                for planned in self.clusters
            ],
        }

    @property
    def is_high_risk(self) -> bool:
        """Whether a target covers at least a whole host."""
        return any(target.extent for target in self.targets)

    @property
    def violations(self) -> tuple[Diagnostic, ...]:
        """What holds any of the clusters back."""
        return tuple(violation for planned in self.clusters for violation in planned.violations)

    @property
    def polling_nodes(self) -> tuple[str, ...]:
        """The nodes that get it at their next poll, as `cluster/node`; only of clusters that may get it."""
        operations = (planned.operation for planned in self.clusters if not planned.violations)
        return tuple(f"{one.cluster}/{node}" for one in operations if not one.direct for node in one.nodes)

    @property
    def digest(self) -> str:
        """Fingerprint of what it does; another one needs another consent."""
        return fingerprint([planned.operation.digest for planned in self.clusters])


def load_operation_plan(plain: Mapping[str, Any]) -> OperationPlan:
    """The plan that `OperationPlan.plain` gave."""
    return OperationPlan(
        plain["kind"],
        tuple(OperationTarget(one["target"], one["extent"]) for one in plain["targets"]),
        tuple(
            PlannedOperation(
                load_operation(one["operation"]),
                tuple(one["remarks"]),
                tuple(
                    Diagnostic(
                        Severity.ERROR,
                        violation["code"],
                        violation["message"],
                        violation["remedy"],
                        target=violation["target"],
                        hold=True,
                    )
                    for violation in one["violations"]
                ),
                one["approved"],
            )
            for one in plain["clusters"]
        ),
    )


def list_operation_clusters(
    fleet: Fleet, drivers: Drivers, memory: FleetMemory, kind: str
) -> dict[str, OperationCluster]:
    """The clusters whose product has an operation, sorted by name.

    Args:
        fleet: the desired state.
        drivers: kind of a cluster -> product.
        memory: has suspensions, and what is known of nodes.
        kind: of the operation.
    """
    found: dict[str, OperationCluster] = {}
    for one in add_desired_state(fleet, drivers).desired:
        entry = one.cluster_input.entry
        driver = drivers[entry.kind]
        product = driver.operations().get(kind)
        if product is None:
            continue
        desired = driver.add_history(one.state, memory.list_node_facts(entry.name), PriorRevisions())
        rules = fleet.change_rules(entry.name)
        context = GuardContext(
            plan=ClusterPlan(entry.name, entry.kind, len(entry.members()), 0),
            entry=entry,
            desired=desired,
            observed=Observed({}),
            cluster_memory=memory.get_cluster_memory(entry.name),
            change_rules=rules,
            revision=fleet.revision,
            now=memory.at,
        )
        # A purge of one page is no change of a node: it does not wait for a window. A whole host is one, by
        # the load that it puts on the origin.
        calm = replace(context, change_rules=replace(rules, windows=()))
        found[entry.name] = OperationCluster(
            name=entry.name,
            product=product,
            desired=desired,
            nodes={node.name: node for node in product.list_nodes(desired)},
            concurrency=entry.concurrency,
            max_unknown=rules.rollout.max_unknown if rules.rollout else "0",
            holds=_find_holds(calm, fleet, memory.at),
            holds_of_high_risk=_find_holds(context, fleet, memory.at),
            held_nodes=_find_held_nodes(context, memory, one.endpoints),
        )
    return dict(sorted(found.items()))


def plan_operation(
    fleet: Fleet, request: OperationRequest, *, drivers: Drivers, memory: FleetMemory
) -> OperationPlan:
    """The operation on each of its clusters; the same arguments give the same plan.

    Raises:
        UsageError: a target is invalid, no cluster has the operation, or a node cannot be called.
    """
    clusters = list_operation_clusters(fleet, drivers, memory, request.kind)
    chosen = _choose_clusters(fleet, clusters, request)
    refuse_unread_clusters(fleet, {cluster.name for cluster in chosen}, f"a {request.kind}")
    # Of one kind, all products read targets alike; each cluster's own product has the last word.
    targets = chosen[0].product.read_targets(request.targets)
    for other in chosen[1:]:
        other.product.read_targets(request.targets)
    is_high_risk = any(target.extent for target in targets)
    texts = tuple(target.text for target in targets)
    planned = []
    for cluster in chosen:
        direct = request.direct or not any(node.polls for node in cluster.nodes.values())
        _refuse_uncallable(cluster, direct=direct)
        rollout = fleet.change_rules(cluster.name).rollout
        # Held nodes last: nothing is sent to them, so that none of them may be the one that proves a wave.
        ordered = tuple(sorted(cluster.nodes, key=lambda node: node in cluster.held_nodes))
        waves = divide_into_waves(ordered, rollout, is_high_risk=is_high_risk)
        if not direct:
            _refuse_shared_channels(cluster, waves)
        operation = Operation(
            id="",
            kind=request.kind,
            cluster=cluster.name,
            targets=texts,
            actor=Actor(),
            at=memory.at,
            deadline=memory.at + len(waves) * find_patience(cluster, direct=direct),
            direct=direct,
            waves=waves,
        )
        planned.append(_guard_operation(operation, cluster, fleet, memory, is_high_risk=is_high_risk))
    return OperationPlan(request.kind, targets, tuple(planned))


def _refuse_shared_channels(cluster: OperationCluster, waves: Sequence[Sequence[str]]) -> None:
    """Refuse what a message without an addressee cannot do: reach one of several listeners, or one wave."""
    wave_of = {node: number for number, wave in enumerate(waves) for node in wave}
    groups: dict[tuple[tuple[str, ...], str], OperationNode] = {}
    first: dict[tuple[str, ...], OperationNode] = {}
    for node in cluster.nodes.values():
        if node.channel is None:
            continue
        other = groups.setdefault((node.channel.meeting, node.group), node)
        if other is not node and node.group:
            raise UsageError(
                f"{cluster.name}: {other.name} and {node.name} have the groupId {node.group} on "
                f"{node.channel.label}, so that only one of them would get it",
                remedy="give each node a groupId of its own in its setting",
            )
        other = first.setdefault(node.channel.meeting, node)
        if wave_of.get(other.name) != wave_of.get(node.name):
            raise UsageError(
                f"{cluster.name}: {other.name} and {node.name} listen on {node.channel.label} and are in "
                "different waves: both would get it in the first one",
                remedy="give each node a topic of its own, or use targets of less than a whole host",
            )


def find_patience(cluster: OperationCluster, *, direct: bool) -> timedelta:
    """How long one wave may take before its silent nodes are overdue."""
    if direct:
        return CALL_PATIENCE
    seconds = [node.period * node.overdue for node in cluster.nodes.values()]
    return timedelta(seconds=max(seconds)) if any(seconds) else CALL_PATIENCE


def _choose_clusters(
    fleet: Fleet, clusters: Mapping[str, OperationCluster], request: OperationRequest
) -> Sequence[OperationCluster]:
    if request.cluster and request.cluster not in fleet.clusters:
        raise UsageError(
            f"the fleet has no cluster {request.cluster!r}", remedy="`reconcile status` lists the clusters"
        )
    chosen = [one for one in clusters.values() if request.cluster in {"", one.name}]
    if not chosen:
        subject = f"cluster {request.cluster}" if request.cluster else "the fleet"
        raise UsageError(
            f"{subject} has no nodes with the operation {request.kind!r}",
            remedy="name another cluster; `reconcile status` lists them",
        )
    return chosen


def _refuse_uncallable(cluster: OperationCluster, *, direct: bool) -> None:
    silent = [node.name for node in cluster.nodes.values() if direct and not node.is_callable]
    if silent:
        raise UsageError(
            f"{cluster.name}: no address of {join_some(silent, _MOST_NAMED)} to call",
            remedy="leave out --direct, or give them an `address` in the fleet file",
        )


def _guard_operation(
    operation: Operation, cluster: OperationCluster, fleet: Fleet, memory: FleetMemory, *, is_high_risk: bool
) -> PlannedOperation:
    digest, name = operation.digest, cluster.name
    is_approved = digest in memory.get_cluster_memory(name).approved
    violations = list(cluster.holds_of_high_risk if is_high_risk else cluster.holds)
    if is_high_risk and "high" in fleet.policy(name).approve and not is_approved:
        needed = Diagnostic(
            Severity.ERROR,
            APPROVAL_NEEDED,
            f"{name}: this {operation.kind} needs an approval (high); its id is {digest[:SHORT_ID]}",
            f"run `reconcile approve {digest}`, then the same command again",
            target=name,
            hold=True,
        )
        violations += apply_overrides([needed], fleet.overrides, memory.at.date()).in_force
    held = [f"{node} {why}: nothing is sent to it" for node, why in sorted(cluster.held_nodes.items())]
    remarks = (*cluster.product.remark(cluster.desired, operation.targets), *held)
    return PlannedOperation(operation, remarks, tuple(violations), is_approved)


def _find_holds(context: GuardContext, fleet: Fleet, now: datetime) -> tuple[Diagnostic, ...]:
    return apply_overrides(find_temporary_holds(context), fleet.overrides, now.date()).in_force


def _find_held_nodes(
    context: GuardContext, memory: FleetMemory, endpoints: Mapping[str, Endpoint]
) -> dict[str, str]:
    """Held node -> why nothing is sent to it."""
    entry = context.entry
    members = frozenset(node.name for node in entry.members())
    places = {
        node: NodePlace(entry.name, node, endpoint, (), entry.ways.get(node, "")).keys
        for node, endpoint in endpoints.items()
    }
    known = (
        *(one for one in context.cluster_memory.reservations if one.is_hold),
        *find_moved_holds(memory.list_holds(), entry.name, places),
        *list_file_holds(entry.name, context.change_rules),
    )
    found = find_reserved_nodes(known, context.observed, memory.at, members=members)
    return {one.node: f"is {one.description}" for one in found.holds if one.node in members}
