"""The reading half of the pass: desired state, observations, plan and violations; it cannot write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from reconciler import __version__
from reconciler.core.bus_channels import ChannelIndex
from reconciler.core.canonical import fingerprint_with_key
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.guard import (
    GuardContext,
    GuardResult,
    apply_overrides,
    refuse_everything,
    run_guards,
)
from reconciler.core.host_entries import EntryKind, HostEntries
from reconciler.core.memory import ClusterMemory, FleetMemory
from reconciler.core.pins import PinState
from reconciler.core.plan import Plan
from reconciler.core.policy import Override
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.selection import Selection, select_nodes
from reconciler.desired.fleet import DesiredCluster, Fleet, add_desired_state
from reconciler.desired.holds import find_ended_holds
from reconciler.desired.overrides import find_expired_overrides
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import UsageError
from reconciler.guards.cluster_order import CODE as ORDER
from reconciler.guards.cluster_order import check_cluster_order
from reconciler.guards.merge_base import (
    report_leaving_nodes,
    report_missing_comparison,
    report_stale_branch,
)
from reconciler.guards.place_conflicts import find_shared_files
from reconciler.guards.registry import EVERYWHERE
from reconciler.guards.removed_clusters import CODE as VANISHED
from reconciler.guards.removed_clusters import find_removed_clusters
from reconciler.host.aio import gather_all
from reconciler.host.clock import utc_now
from reconciler.planning.cluster_plan import ClusterTarget, PassContext, find_revision, plan_cluster
from reconciler.planning.content_history import ContentHistory
from reconciler.planning.inventory_report import find_unread_clusters, report_inventory
from reconciler.planning.masked_transports import mask_transports
from reconciler.planning.node_places import locate_nodes
from reconciler.planning.routed_transports import route_transports
from reconciler.planning.unknown_entries import (
    UnknownEntries,
    find_unknown_buses,
    find_unknown_entries,
    report_unknown_sink,
)
from reconciler.planning.withheld_steps import fingerprint_content
from reconciler.ports.cluster_input import NamedChannel
from reconciler.ports.driver import Driver
from reconciler.ports.listener import SILENT, PassListener
from reconciler.ports.transport import Transports
from reconciler.secrets.redaction import TokenRedactor
from reconciler.text.one_line import join_some

if TYPE_CHECKING:
    from reconciler.ports.node_store import NodeReader

Drivers: TypeAlias = Mapping[str, Driver[Any, Any]]
"""Kind -> product."""

_SUGGESTIONS = 3

_DIGEST = 16
"""Digits of a node's fingerprint in the progress of a rollout."""


@dataclass(frozen=True, slots=True, repr=False)
class PlanResult:
    """The result of the reading half of a pass.

    It has no `repr`: `asyncio.run` makes one of its result, which takes long with thousands of nodes.

    Args:
        guard_contexts: what the guards looked at, in the plan's order.
        violations: the violations in force. Each keeps its own cluster back; one that is no hold, and about
            no cluster of the plan, refuses the whole plan.
        overridden: violations that an override of the fleet file sets aside, with the override.
        chosen: cluster -> the nodes that the pass was restricted to; without the clusters that it has whole.
        stale: step -> why it must not be performed: steps of a plan file that no longer fit the nodes.
        new_plan: of a plan file, what is planned now for what has changed; no steps if nothing has.
        identity: finds the fleet's memory; None if the caller gave a store that is bound to it.
        renames: cluster -> the name under which the store still has its history.
        all_or_nothing: whether the refusal of one cluster refuses the whole plan.
        first: cluster -> clusters of the plan that have to succeed before it begins, each with what is to do
            there.
    """

    fleet: Fleet
    plan: Plan
    guard_contexts: tuple[GuardContext, ...]
    violations: tuple[Diagnostic, ...]
    overridden: tuple[tuple[Diagnostic, Override], ...] = ()
    chosen: Mapping[str, frozenset[str]] = field(default_factory=dict)
    stale: Mapping[str, str] = field(default_factory=dict)
    new_plan: Plan | None = None
    identity: FleetIdentity | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    all_or_nothing: bool = False
    first: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def is_refused(self) -> bool:
        """Whether the plan as a whole must not be applied."""
        if self.all_or_nothing and self.removed_clusters:
            return True
        clusters = {context.plan.cluster for context in self.guard_contexts}
        return refuse_everything(self.violations, clusters, all_or_nothing=self.all_or_nothing)

    @property
    def refused_clusters(self) -> frozenset[str]:
        """The clusters whose plans guards refuse; a hold does not refuse one."""
        return frozenset(violation.cluster for violation in self.violations if not violation.hold)

    def is_partial(self, cluster: str) -> bool:
        """Whether the pass was restricted to some nodes of a cluster."""
        return cluster in self.chosen

    def is_chosen(self, cluster: str, node: str) -> bool:
        """Whether the pass was about a node of one of its clusters."""
        return cluster not in self.chosen or node in self.chosen[cluster]

    @property
    def removed_clusters(self) -> tuple[str, ...]:
        """The clusters that the fleet file no longer names, without an override that allows it."""
        return tuple(violation.target for violation in self.violations if violation.code == VANISHED)

    def select_released(self) -> PlanResult:
        """The same without the clusters that are refused or on hold."""
        return self._select(kept_back=False)

    def select_kept_back(self) -> PlanResult:
        """The clusters that are refused or on hold, with the reasons."""
        return self._select(kept_back=True)

    def _select(self, *, kept_back: bool) -> PlanResult:
        names = {violation.cluster for violation in self.violations}
        found = self.select_contexts(lambda context: (context.plan.cluster in names) == kept_back)
        return found if kept_back else replace(found, violations=())

    def select_contexts(self, is_chosen: Callable[[GuardContext], bool]) -> PlanResult:
        """The same with some of its clusters."""
        guard_contexts = tuple(context for context in self.guard_contexts if is_chosen(context))
        plan = replace(self.plan, clusters=tuple(context.plan for context in guard_contexts))
        return replace(self, plan=plan, guard_contexts=guard_contexts)


async def run_plan_pass(
    fleet: Fleet,
    *,
    drivers: Drivers,
    transports: Transports,
    recalled: FleetMemory | None = None,
    cluster: str = "",
    only: str | Selection = "",
    listener: PassListener = SILENT,
    commands: frozenset[str] | None = None,
    host_entries: HostEntries | None = None,
    content_history: ContentHistory | None = None,
    is_applying: bool = False,
    nodes: NodeReader | None = None,
    pins: Mapping[str, PinState] = MappingProxyType({}),
    reads_earlier: bool = True,
) -> PlanResult:
    """Observe, plan, and check with guards; the same fleet and the same answers give the same plan.

    Args:
        fleet: the desired state of all clusters.
        drivers: kind -> product.
        transports: the ways to the nodes.
        recalled: what is remembered of earlier runs, from `Store.recall`.
        cluster: plan this cluster alone; the addresses of all others still count. Empty for all.
        only: a cluster, a node or `cluster/node` to restrict the plan to, or a selection; empty for all.
        listener: called at each stage.
        commands: names of the commands of the host that applies; None if that is another host.
        host_entries: of the host that applies; None if that is another host.
        content_history: gives the content of other revisions whose stamps nodes show.
        is_applying: whether this host applies the plan.
        nodes: has the tokens of nodes that poll; None where there is no state.
        pins: cluster -> what the revision means for its pin; the fleet has its desired state accordingly.
        reads_earlier: whether clusters that others wait for are read although the plan leaves them out.

    Raises:
        InputError: with the problems of all clusters.
        UsageError: `only` names nothing, or a node that cannot be planned alone.
        MissingTransport: this program lacks a way to the nodes of a cluster; nothing was read.
    """
    memory = recalled or FleetMemory(at=utc_now())
    transports = mask_transports(route_transports(transports, fleet, drivers), fleet.secrets)
    whole = add_desired_state(fleet, drivers)
    fleet = whole.part(cluster) if cluster else whole
    selection = Selection.of(only)
    # Only a selection that names something is about the nodes of other clusters, too.
    selectable = fleet if selection.is_everything else whole
    entries = [one.entry for one in selectable.cluster_inputs]
    selected = select_nodes(selection, entries, is_lenient=bool(cluster))
    listed = list(_restrict(_list_targets(fleet, drivers, memory, pins), selected, selection))
    targets, tokens = await _assign_tokens(listed, nodes)
    if tokens:
        transports = mask_transports(transports, TokenRedactor(tokens))
    for target in targets:
        transports.refuse_missing(
            target.driver.list_transports(target.desired), target.cluster_input.entry.name
        )
    # Of the whole fleet, also if one cluster is planned: two clusters must not name one address.
    places = await locate_nodes(whole, transports.http, memory, cluster)
    context = PassContext(
        fleet, transports, memory, listener, places, content_history, is_applying=is_applying, pins=pins
    )
    planned = await gather_all([plan_cluster(target, context) for target in targets])
    shared = find_shared_files({one.plan.cluster: one.observed.files for one in planned})
    planned = [
        replace(one, place_conflicts=(*one.place_conflicts, *shared.get(one.plan.cluster, ())))
        for one in planned
    ]
    channels, listeners = _index_channels(whole.desired)
    guard_contexts = [
        _add_host(
            replace(guard_context, listeners=listeners),
            target,
            commands,
            host_entries,
            channels[target.cluster_input.entry.name],
        )
        for guard_context, target in zip(planned, targets, strict=True)
    ]
    plan = Plan(fleet.revision, __version__, tuple(guard_context.plan for guard_context in guard_contexts))
    listener.on_planned(plan)
    guarded = check_guards(fleet, guard_contexts, drivers, is_applying=is_applying)
    listener.on_guarded(plan, len(guarded.in_force))
    chosen = {target.cluster_input.entry.name: target.chosen for target in targets if target.chosen}
    found = PlanResult(fleet, plan, tuple(guard_contexts), guarded.in_force, guarded.overridden, chosen)
    others: dict[str, GuardContext] = {}
    if reads_earlier and (names := _list_earlier(found)):
        listed = [
            one
            for one in _list_targets(whole, drivers, memory, pins)
            if one.cluster_input.entry.name in names
        ]
        earlier, _ = await _assign_tokens(listed, nodes)
        read = await gather_all([plan_cluster(target, replace(context, fleet=whole)) for target in earlier])
        others = {one.plan.cluster: one for one in read}
    found = _check_order(found, others, memory.at.date())
    sink = report_unknown_sink(fleet, host_entries)
    found = replace(found, fleet=replace(found.fleet, warnings=(*sink, *found.fleet.warnings)))
    return _check_fleet(found, memory, whole=not selection.only)


def _add_host(
    guard_context: GuardContext,
    target: ClusterTarget,
    commands: frozenset[str] | None,
    host_entries: HostEntries | None,
    channels: Sequence[NamedChannel],
) -> GuardContext:
    """The case with what the host has of that which the fleet file and settings name."""
    unknown: UnknownEntries = {}
    if host_entries:
        unknown = {
            **find_unknown_entries(target.cluster_input, host_entries),
            **find_unknown_buses(channels, host_entries, target.cluster_input.entry.name),
        }
    needed = {name for step in guard_context.plan.steps for name in step.arguments.host_commands}
    # A command that no step needs now stops nothing, and would stop a later change halfway.
    later = tuple(
        replace(told, severity=Severity.WARNING)
        for (kind, name), told in unknown.items()
        if kind is EntryKind.COMMANDS and name not in needed
    )
    remarks = (*guard_context.remarks, *later)
    return replace(guard_context, commands=commands, unknown_entries=unknown, remarks=remarks)


@lru_cache(maxsize=1)  # once for a revision: each pass over one cluster asks who else listens
def _index_channels(
    desired: tuple[DesiredCluster, ...],
) -> tuple[Mapping[str, Sequence[NamedChannel]], ChannelIndex[str]]:
    """Cluster -> the channels of message buses that its settings name; and who in the fleet listens there."""
    channels = {one.cluster_input.entry.name: one.channels for one in desired}
    feeds = [(name, one) for name, named in channels.items() for one in named if one.is_feed]
    return channels, ChannelIndex((f"{name}/{one.node}", one.channel) for name, one in feeds)


def _check_fleet(found: PlanResult, memory: FleetMemory, *, whole: bool) -> PlanResult:
    """The result with what concerns no single cluster: removed clusters, expired overrides."""
    fleet, today = found.fleet, memory.at.date()
    named = fleet.clusters
    away = [*find_removed_clusters(memory, named)] if whole else []
    gone = apply_overrides(away, fleet.overrides, today)
    members: dict[str, frozenset[str]] = {}
    unread = find_unread_clusters(fleet)
    # Also nodes that the plan removes, or about which it has a finding; none leaves a cluster whose nodes are
    # not known.
    for guard_context in found.guard_contexts:
        if guard_context.plan.cluster in unread:
            continue
        nodes = {one.name for one in guard_context.entry.members()} | {
            step.node for step in guard_context.plan.steps
        }
        reported = {finding.target.partition("/")[2] for finding in guard_context.plan.findings}
        members[guard_context.plan.cluster] = frozenset(nodes | reported)
    remarks: list[Diagnostic] = []
    if whole:
        remarks += report_leaving_nodes(memory, members, named)
        remarks += report_stale_branch(memory.base, named)
    remarks += report_missing_comparison(memory.base, fleet.document.name)
    remarks += [remark for guard_context in found.guard_contexts for remark in guard_context.remarks]
    remarks += report_inventory(fleet, memory.at)
    refused = {violation.target for violation in found.violations}
    remarks += [
        replace(one, severity=Severity.WARNING, message=one.message.removeprefix(f"{name}: "))
        for name, one in unread.items()
        if name not in refused
    ]
    ended = [
        *find_expired_overrides(fleet.document, fleet.overrides, today),
        *find_ended_holds(fleet, memory.at),
    ]
    return replace(
        found,
        fleet=replace(fleet, warnings=(*remarks, *fleet.warnings, *ended)),
        renames=memory.renames,
        violations=(*found.violations, *gone.in_force),
        overridden=(*found.overridden, *gone.overridden),
    )


def _list_earlier(found: PlanResult) -> frozenset[str]:
    """Clusters that others with changes wait for, and that the plan does not have, or only in part."""
    known = {context.plan.cluster for context in found.guard_contexts} - found.chosen.keys()
    named = (context.entry.after for context in found.guard_contexts if context.plan.steps)
    return frozenset(name for names in named for name in names) - known


def _check_order(found: PlanResult, others: Mapping[str, GuardContext], today: date) -> PlanResult:
    """The result with the order between its clusters, and with notes about it."""
    order = check_cluster_order(found.guard_contexts, others, found.violations)
    judged = apply_overrides(order.violations, found.fleet.overrides, today)
    notes = [
        Diagnostic(
            Severity.NOTE,
            ORDER,
            f"{cluster} begins after {earlier} is as desired: {left}",
            target=cluster,
        )
        for cluster, before in sorted(order.first.items())
        for earlier, left in sorted(before.items())
    ]
    return replace(
        found,
        fleet=replace(found.fleet, warnings=(*notes, *found.fleet.warnings)),
        violations=(*found.violations, *judged.in_force),
        overridden=(*found.overridden, *judged.overridden),
        first=order.first,
    )


def check_guards(
    fleet: Fleet, guard_contexts: Iterable[GuardContext], drivers: Drivers, *, is_applying: bool = True
) -> GuardResult:
    """The violations of all guards in all clusters, with the fleet file's overrides applied; pure.

    Clusters whose nodes are not known are refused, whatever the overrides say; if another host applies the
    plan and asks the inventory, they are only left out.
    """
    found: list[Diagnostic] = []
    at: list[datetime] = []
    unread, refused = find_unread_clusters(fleet), []
    for guard_context in guard_contexts:
        at += [guard_context.now] if guard_context.now else []
        if (violation := unread.get(guard_context.plan.cluster)) is not None:
            refused += [violation] if is_applying or not _is_elsewhere(fleet, violation.target) else []
            continue
        found += run_guards(guard_context, (*EVERYWHERE, *drivers[guard_context.plan.kind].guards))
    judged = apply_overrides(found, fleet.overrides, max(at).date()) if at else GuardResult(tuple(found))
    return replace(judged, in_force=(*refused, *judged.in_force))


def _is_elsewhere(fleet: Fleet, cluster: str) -> bool:
    """Whether the inventory of a cluster is known to another host alone."""
    return any(
        one.unread is not None and one.unread.is_elsewhere
        for one in fleet.cluster_inputs
        if one.entry.name == cluster
    )


def _list_targets(
    fleet: Fleet, drivers: Drivers, memory: FleetMemory, pins: Mapping[str, PinState]
) -> list[ClusterTarget]:
    """Every cluster with its desired state and what is remembered of it, sorted by name."""
    targets: list[ClusterTarget] = []
    for one in fleet.desired:
        entry = one.cluster_input.entry
        driver, facts = drivers[entry.kind], memory.list_node_facts(entry.name)
        prior = memory.prior.get(entry.name, PriorRevisions())
        cluster_memory = memory.cluster_memory.get(entry.name, ClusterMemory())
        prior = replace(prior, references=prior.references | cluster_memory.references)
        desired = driver.add_history(one.state, facts, prior)
        revision = find_revision(entry.name, fleet, pins)
        content = fingerprint_with_key(memory.key, fingerprint_content(driver, desired) or revision.id)
        # Short: the store has one for each node of an open rollout, and only equality counts.
        digests = {
            node: fingerprint_with_key(memory.key, print_)[:_DIGEST]
            for node, print_ in driver.contents(desired).items()
        }
        targets.append(
            ClusterTarget(
                one.cluster_input, driver, desired, facts, content=content, digests=digests, prior=prior
            )
        )
    return targets


async def _assign_tokens(
    targets: list[ClusterTarget], nodes: NodeReader | None
) -> tuple[list[ClusterTarget], frozenset[str]]:
    """The targets with the tokens of nodes that report, and all these tokens in clear."""
    found: list[ClusterTarget] = []
    clear: set[str] = set()
    for target in targets:
        reporting = target.driver.list_reporting_nodes(target.desired)
        if nodes is None or not reporting:
            found.append(target)
            continue
        tokens = await nodes.tokens(target.cluster_input.entry.name, reporting)
        clear |= {str(one.value) for own in tokens.values() for one in (own.current, own.former) if one}
        found.append(replace(target, desired=target.driver.assign_tokens(target.desired, tokens)))
    return found, frozenset(clear)


def _restrict(
    targets: Iterable[ClusterTarget], selected: Mapping[str, frozenset[str]], selection: Selection
) -> Iterator[ClusterTarget]:
    """The targets with the selected nodes alone.

    Raises:
        UsageError: some nodes of a cluster are selected that is planned as a whole.
    """
    for target in targets:
        entry = target.cluster_input.entry
        members = frozenset(node.name for node in entry.members())
        chosen = selected.get(entry.name)
        if chosen is None:
            continue
        if chosen == members:
            yield target
            continue
        others = members - chosen
        if not target.driver.capabilities.single_node:
            raise _make_whole_error(target, chosen, others, selection)
        yield replace(target, desired=target.driver.exclude_nodes(target.desired, others), chosen=chosen)


def _make_whole_error(
    target: ClusterTarget, chosen: frozenset[str], others: frozenset[str], selection: Selection
) -> UsageError:
    cluster, title = target.cluster_input.entry.name, target.driver.title
    if len(chosen) < len(others) or not selection.skip:
        names, what = sorted(chosen), "planned alone"
        remedy = f"use --only {cluster}"
    else:
        names, what = sorted(others), "left out"
        remedy = f"use --skip {cluster}, or hold the node: `reconcile hold {names[0]}`"
    return UsageError(
        f"{join_some(names, _SUGGESTIONS)} cannot be {what}: a {title} cluster is planned as a whole",
        remedy=remedy,
    )
