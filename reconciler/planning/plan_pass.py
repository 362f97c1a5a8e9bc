"""The reading half of the pass: desired state, observations, plan and verdicts; it cannot write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

from reconciler import __version__
from reconciler.core.canonical import fingerprint_with_key
from reconciler.core.fleet_identity import FleetIdentity
from reconciler.core.guard import GuardContext, GuardResult, apply_overrides, run_guards
from reconciler.core.memory import ClusterMemory, FleetMemory
from reconciler.core.observation import Observed
from reconciler.core.plan import Plan, compute_plan_id
from reconciler.core.policy import Override
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.rollout_progress import RolloutProgress
from reconciler.core.waves import assign_waves
from reconciler.desired.fleet import Fleet, add_desired_state
from reconciler.desired.overrides import find_expired_overrides
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import UsageError
from reconciler.guards import change_control
from reconciler.guards.merge_base import (
    add_merge_base,
    report_leaving_nodes,
    report_missing_comparison,
    report_stale_branch,
)
from reconciler.guards.registry import EVERYWHERE
from reconciler.guards.removed_clusters import CODE as VANISHED
from reconciler.guards.removed_clusters import find_removed_clusters
from reconciler.host.aio import gather_all
from reconciler.host.clock import utc_now
from reconciler.planning.content_ancestry import ContentAncestry
from reconciler.planning.masked_transports import mask_transports
from reconciler.planning.node_places import FleetPlaces, locate_nodes
from reconciler.planning.read_only import restrict_to_reading
from reconciler.planning.stamped_nodes import ClusterReading, StampedCluster, compare_stamps
from reconciler.planning.withheld_steps import WAITING, fingerprint_content, withhold_steps
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Driver, Facts
from reconciler.ports.listener import SILENT, PassListener
from reconciler.ports.transport import Transports
from reconciler.text.suggestions import find_similar

Drivers: TypeAlias = Mapping[str, Driver[Any, Any]]
"""Kind -> product."""

_NEAREST = 3


@dataclass(frozen=True, slots=True, repr=False)
class PlanResult:
    """All that a pass found out before it writes anything.

    It has no `repr` of its own: `asyncio.run` makes one of its result, and thousands of nodes take long.

    Args:
        cases: what the guards looked at, in the plan's order.
        violations: verdicts that stand. One that is no hold is enough for the whole plan to be refused; a
            hold leaves its own cluster as it is.
        overridden: verdicts that an override of the fleet file sets aside, with the override.
        node: the one node that the survey was narrowed to; empty for whole clusters.
        stale: step -> why it must not be performed: of a plan file, what no longer fits the nodes.
        anew: of a plan file, what is planned now for what has changed; without steps where nothing has.
        identity: by what the fleet's memory is found; None where the caller gave a store that is bound to it.
        renames: cluster -> the name under which the store has its past still.
    """

    fleet: Fleet
    plan: Plan
    cases: tuple[GuardContext, ...]
    violations: tuple[Diagnostic, ...]
    overridden: tuple[tuple[Diagnostic, Override], ...] = ()
    node: str = ""
    stale: Mapping[str, str] = field(default_factory=dict)
    anew: Plan | None = None
    identity: FleetIdentity | None = None
    renames: Mapping[str, str] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether the plan as a whole must not be applied."""
        return any(not violation.hold for violation in self.violations)

    @property
    def vanished(self) -> tuple[str, ...]:
        """The clusters that the fleet file names no more, without a word that they may go."""
        return tuple(violation.target for violation in self.violations if violation.code == VANISHED)

    def released(self) -> PlanResult:
        """The same without the clusters that something holds up for now."""
        held = {violation.cluster for violation in self.violations if violation.hold}
        return self._of([case for case in self.cases if case.plan.cluster not in held], held=False)

    def held_up(self) -> PlanResult:
        """The clusters that something holds up for now, with what does."""
        held = {violation.cluster for violation in self.violations if violation.hold}
        return self._of([case for case in self.cases if case.plan.cluster in held], held=True)

    def _of(self, cases: Sequence[GuardContext], *, held: bool) -> PlanResult:
        plan = replace(self.plan, clusters=tuple(case.plan for case in cases))
        violations = tuple(violation for violation in self.violations if violation.hold == held)
        return replace(self, plan=plan, cases=tuple(cases), violations=violations)


@dataclass(frozen=True, slots=True)
class _Aim:
    """One cluster to look at."""

    cluster_input: ClusterInput
    driver: Driver[Any, Any]
    desired: Any
    recalled: Facts
    node: str = ""
    content: str = ""
    prior: PriorRevisions = field(default_factory=PriorRevisions)


@dataclass(frozen=True, slots=True)
class _Setting:
    """What every cluster of a survey is looked at with."""

    fleet: Fleet
    transports: Transports
    memory: FleetMemory
    listener: PassListener
    places: FleetPlaces
    lineage: ContentAncestry | None
    is_applying: bool = False


async def run_plan_pass(
    fleet: Fleet,
    *,
    drivers: Drivers,
    transports: Transports,
    recalled: FleetMemory | None = None,
    cluster: str = "",
    only: str = "",
    listener: PassListener = SILENT,
    commands: frozenset[str] | None = None,
    lineage: ContentAncestry | None = None,
    is_applying: bool = False,
) -> PlanResult:
    """Load, observe, plan and guard; the same fleet and the same answers give the same plan.

    Args:
        fleet: the desired state of all clusters.
        drivers: kind -> product.
        transports: the ways to the nodes.
        recalled: what earlier runs left, from `Store.recall`.
        cluster: look at this cluster alone; the addresses of all others still count. Empty for all.
        only: a cluster, a node or `cluster/node` to keep to; empty for all.
        listener: hears of each stage.
        commands: names of the commands of the host that applies; None where that is another one.
        lineage: tells what other revisions give to nodes that show their stamps.
        is_applying: whether this very host applies the plan.

    Raises:
        InputError: with the problems of all clusters.
        UsageError: `only` names nothing, or several nodes, or a node that cannot be planned alone.
        MissingTransport: this program lacks a way to the nodes of a cluster; nothing was asked.
    """
    memory = recalled or FleetMemory(at=utc_now())
    transports = mask_transports(transports, fleet.secrets)
    whole = add_desired_state(fleet, drivers)
    fleet = whole.part(cluster) if cluster else whole
    aims = _narrowed(_aims(fleet, drivers, memory), only)
    for aim in aims:
        transports.refuse_missing(aim.driver.capabilities.transports, aim.cluster_input.entry.name)
    places = await locate_nodes(whole, transports.http, memory)
    setting = _Setting(fleet, transports, memory, listener, places, lineage, is_applying=is_applying)
    seen = await gather_all([_case(aim, setting) for aim in aims])
    cases = [replace(case, commands=commands) for case in seen]
    plan = Plan(fleet.revision, __version__, tuple(case.plan for case in cases))
    listener.planned(plan)
    sorted_out = judge_plans(fleet, cases, drivers)
    node = aims[0].node if aims else ""
    found = PlanResult(fleet, plan, tuple(cases), sorted_out.in_force, sorted_out.overridden, node)
    return _fleetwide(found, memory, whole=not only)


def _fleetwide(found: PlanResult, memory: FleetMemory, *, whole: bool) -> PlanResult:
    """The survey with what concerns no single cluster: clusters that are gone, overrides that have ended."""
    fleet, today = found.fleet, memory.at.date()
    named = fleet.clusters
    away = [*find_removed_clusters(memory, named)] if whole else []
    gone = apply_overrides(away, fleet.overrides, today)
    members = {case.plan.cluster: _looked_after(case) for case in found.cases}
    remarks = (
        [*report_leaving_nodes(memory, members, named), *report_stale_branch(memory.base, named)]
        if whole
        else []
    )
    remarks += report_missing_comparison(memory.base, fleet.document.name)
    remarks += [remark for case in found.cases for remark in case.remarks]
    ended = find_expired_overrides(fleet.document, fleet.overrides, today)
    return replace(
        found,
        fleet=replace(fleet, warnings=(*remarks, *fleet.warnings, *ended)),
        renames=memory.renames,
        violations=(*found.violations, *gone.in_force),
        overridden=(*found.overridden, *gone.overridden),
    )


def _looked_after(case: GuardContext) -> frozenset[str]:
    """The nodes that the fleet file names, and those that the plan takes out of the cluster or speaks of."""
    told = {finding.target.partition("/")[2] for finding in case.plan.findings}
    named = {one.name for one in case.entry.members()}
    return frozenset(named | {step.node for step in case.plan.steps} | told)


def judge_plans(fleet: Fleet, cases: Iterable[GuardContext], drivers: Drivers) -> GuardResult:
    """The verdicts of all guards on all cases, sorted out by the fleet file's overrides; pure."""
    found: list[Diagnostic] = []
    at: list[datetime] = []
    for case in cases:
        found += run_guards(case, (*EVERYWHERE, *drivers[case.plan.kind].guards))
        at += [case.at] if case.at else []
    return apply_overrides(found, fleet.overrides, max(at).date()) if at else GuardResult(tuple(found))


def _aims(fleet: Fleet, drivers: Drivers, memory: FleetMemory) -> list[_Aim]:
    """Every cluster with its desired state and what is remembered of it, sorted by name."""
    aims: list[_Aim] = []
    for one in fleet.desired:
        entry = one.cluster_input.entry
        driver, facts = drivers[entry.kind], memory.recalled(entry.name)
        prior = memory.prior.get(entry.name, PriorRevisions())
        cluster_memory = memory.cluster_memory.get(entry.name, ClusterMemory())
        prior = replace(prior, references=prior.references | cluster_memory.references)
        desired = driver.recall(one.state, facts, prior)
        content = fingerprint_with_key(memory.key, fingerprint_content(driver, desired) or fleet.revision.id)
        aims.append(_Aim(one.cluster_input, driver, desired, facts, content=content, prior=prior))
    return aims


async def _case(aim: _Aim, setting: _Setting) -> GuardContext:
    fleet, memory, places = setting.fleet, setting.memory, setting.places
    entry, listener = aim.cluster_input.entry, setting.listener
    listener.observing(entry.name, 1 if aim.node else len(entry.members()))
    observed = await aim.driver.observe(
        aim.desired, restrict_to_reading(setting.transports, aim.driver.reads)
    )
    listener.observed(entry.name, observed)
    policy, change_rules = fleet.policy(entry.name), fleet.change_rules(entry.name)
    stamps = aim.driver.stamps(aim.desired, observed) if aim.driver.stamped(entry) else {}
    stood = await _stamped(aim, setting, observed, stamps)
    cluster_memory, rollout = (
        add_merge_base(_past(memory, entry.name), memory.base, entry.name),
        change_rules.rollout,
    )
    kept = withhold_steps(
        stood.plan,
        stood.desired,
        observed,
        aim.driver,
        memory=memory,
        content=aim.content,
        in_waves=rollout is not None,
        only=aim.node,
    )
    planned = replace(kept.plan, findings=(*kept.plan.findings, *stood.findings))
    progress = _continued(cluster_memory.progress, aim) if rollout else None
    plan = assign_waves(planned, entry, rollout, progress)
    if progress and progress.wave:
        plan = replace(plan, findings=(*plan.findings, _open_wave(entry.name, progress)))
    return GuardContext(
        plan=plan,
        entry=entry,
        desired=kept.desired,
        observed=observed,
        policy=policy,
        cluster_memory=cluster_memory,
        change_rules=change_rules,
        content=aim.content,
        attempts=kept.attempts,
        noted=kept.noted,
        stalled=kept.stalled,
        kept_back=kept.kept_back,
        uncounted=aim.driver.uncounted(kept.desired, observed),
        by_node=aim.driver.capabilities.single_node,
        progress=progress,
        waits=any(finding.code in WAITING for finding in kept.plan.findings),
        revision=fleet.revision,
        at=memory.at,
        recalled=aim.recalled,
        contradictions=tuple(places.violations.get(entry.name, ())),
        places=places.of(entry.name),
        stamps=stamps,
        released=places.left(entry.name),
        remarks=stood.remarks,
        digest=compute_plan_id(plan, fleet.revision, __version__)
        if change_control.may_need_approval(plan, policy)
        else "",
    )


def _past(memory: FleetMemory, cluster: str) -> ClusterMemory:
    """What is remembered of a cluster; git has the names of its nodes where the store has their number alone.

    A commit that nobody is known to have applied says nothing of what may shrink.
    """
    cluster_memory = memory.of(cluster)
    applied = (one.nodes for one in memory.prior.get(cluster, PriorRevisions()).clusters if one.applied)
    named = next(applied, None)
    return (
        replace(cluster_memory, names=frozenset(named))
        if named and cluster_memory.nodes and not cluster_memory.names
        else cluster_memory
    )


def _continued(progress: RolloutProgress | None, aim: _Aim) -> RolloutProgress | None:
    """The rollout to go on with: of the same content, and of the whole cluster."""
    return progress if progress and progress.content == aim.content and not aim.node else None


def _open_wave(cluster: str, progress: RolloutProgress) -> Diagnostic:
    return Diagnostic(
        Severity.NOTE,
        "wave-unfinished",
        f"{cluster}: wave {progress.number} of a rollout was interrupted before its gates were judged; "
        "the next run goes on with it",
        target=cluster,
    )


async def _stamped(
    aim: _Aim, setting: _Setting, observed: Observed[Any], stamps: Mapping[str, str]
) -> StampedCluster:
    """What is desired of the nodes that nobody else has changed, its plan, and what is said of the others."""
    memory = setting.memory
    reading = ClusterReading(
        driver=aim.driver,
        cluster=aim.cluster_input.entry.name,
        desired=aim.desired,
        observed=observed,
        facts=aim.recalled,
        prior=aim.prior,
        stamps=stamps,
        fleet=setting.fleet,
        is_elsewhere=not setting.is_applying and not memory.acted,
    )
    return await compare_stamps(reading, memory, setting.lineage)


def _narrowed(aims: list[_Aim], only: str) -> list[_Aim]:
    if not only:
        return aims
    if chosen := [aim for aim in aims if aim.cluster_input.entry.name == only]:
        return chosen
    nodes = [
        (aim, node.name)
        for aim in aims
        for node in aim.cluster_input.entry.members()
        if only in {node.name, f"{aim.cluster_input.entry.name}/{node.name}"}
    ]
    if not nodes:
        raise _nothing_named(aims, only)
    aim, node = nodes[0]
    if not aim.driver.capabilities.single_node:
        raise UsageError(
            f"{node} cannot be looked at alone: a {aim.driver.title} cluster is planned as a whole",
            remedy=f"use --only {aim.cluster_input.entry.name}",
        )
    others = frozenset(other.name for other in aim.cluster_input.entry.members()) - {node}
    return [replace(aim, desired=aim.driver.without(aim.desired, others), node=node)]


def _nothing_named(aims: list[_Aim], only: str) -> UsageError:
    clusters = [aim.cluster_input.entry.name for aim in aims]
    nodes = sorted(node.name for aim in aims for node in aim.cluster_input.entry.members())
    near = find_similar(only, [*clusters, *nodes], most=_NEAREST)
    hint = f"the nearest names: {', '.join(near)}" if near else f"the clusters are: {', '.join(clusters)}"
    return UsageError(f"no cluster and no node is named {only!r}", remedy=hint)
