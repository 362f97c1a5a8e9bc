"""One cluster in the reading half of the pass: it is read, and what may be sent to its nodes is planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from reconciler import __version__
from reconciler.core.drift import BASELINE, SINCE
from reconciler.core.entries import ClusterEntry
from reconciler.core.guard import GuardContext
from reconciler.core.memory import ClusterMemory, FleetMemory
from reconciler.core.observation import Observed
from reconciler.core.pins import PinState
from reconciler.core.plan import ClusterPlan, Revision, Step, compute_plan_id
from reconciler.core.policy import ChangeRules, Policy
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.reservations import (
    ReservedNodes,
    find_moved_holds,
    find_reserved_nodes,
    list_file_holds,
)
from reconciler.core.rollout_rules import Rollout, RolloutProgress, continue_rollout
from reconciler.core.wave_state import WAVE_WAITS, WaveState, assess_wave
from reconciler.core.waves import assign_waves
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards import change_control
from reconciler.guards.merge_base import add_merge_base
from reconciler.planning.content_history import ContentHistory
from reconciler.planning.drifted_nodes import DriftedCluster, find_drift, remark_drift
from reconciler.planning.held_waits import soften_held_waits
from reconciler.planning.node_conditions import NodeCondition, judge_nodes
from reconciler.planning.node_places import FleetPlaces
from reconciler.planning.read_only import restrict_to_reading
from reconciler.planning.reserved_steps import describe_reserved, find_reservation_hold
from reconciler.planning.stamped_nodes import ClusterReading, StampedCluster, compare_stamps
from reconciler.planning.withheld_findings import OVERDUE, WAITING
from reconciler.planning.withheld_steps import WithheldSteps, withhold_steps
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Driver, Facts
from reconciler.ports.listener import PassListener
from reconciler.ports.transport import Transports

_RESERVATION_ENDS = "until it is released, or back after that time"
_HOLD_ENDS = "until then, and nothing is sent to it"


@dataclass(frozen=True, slots=True)
class ClusterTarget:
    """One cluster to observe and plan; `chosen` has the nodes that it is restricted to, if it is."""

    cluster_input: ClusterInput
    driver: Driver[Any, Any]
    desired: Any
    recalled: Facts
    chosen: frozenset[str] = frozenset()
    content: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    prior: PriorRevisions = field(default_factory=PriorRevisions)


@dataclass(frozen=True, slots=True)
class PassContext:
    """What all clusters of a pass share."""

    fleet: Fleet
    transports: Transports
    memory: FleetMemory
    listener: PassListener
    places: FleetPlaces
    content_history: ContentHistory | None
    is_applying: bool = False
    pins: Mapping[str, PinState] = field(default_factory=dict)


async def plan_cluster(target: ClusterTarget, context: PassContext) -> GuardContext:
    """Observe one cluster, and plan what may be sent to its nodes now."""
    fleet, memory = context.fleet, context.memory
    entry, driver = target.cluster_input.entry, target.driver
    revision = find_revision(entry.name, fleet, context.pins)
    observed = await _observe(target, context)
    target = replace(target, desired=driver.keep_unmanaged(target.desired, observed))
    rules = fleet.change_rules(entry.name)
    instances = target.cluster_input.inventory
    # An instance is no other one because it has its address: whoever works on the old one is not there.
    places = {
        node: own for node, own in context.places.places.get(entry.name, {}).items() if node not in instances
    }
    reserved = _find_reserved(memory, entry, observed, places, rules)
    observed = replace(observed, reserved=reserved.names) if reserved.nodes else observed
    stamps = driver.stamps(target.desired, observed) if driver.has_stamps(entry) else {}
    stamped = await _compare_stamps(target, context, observed, stamps, revision)
    drifted = find_drift(
        stamped.plan,
        stamped.desired,
        observed,
        driver,
        facts=target.recalled,
        contents=target.digests,
        key=memory.key,
        keeps=rules.keeps_drift,
    )
    stamped = replace(stamped, desired=drifted.desired, plan=drifted.plan)
    reading = _ReadCluster(target, revision, observed, rules, reserved, stamps, stamped, drifted)
    made = _count_nodes(_make_guard_context(reading, context), revision)
    context.listener.on_cluster_planned(made.plan)
    return made


@dataclass(frozen=True, slots=True)
class _ReadCluster:
    """What was read of a cluster, and how it differs from its desired state.

    Args:
        revision: of its desired state.
        stamps: node -> the revision stamp that it shows.
        stamped: its plan by the revisions that its nodes show, without what is only reported of drift.
    """

    target: ClusterTarget
    revision: Revision
    observed: Observed[Any]
    rules: ChangeRules
    reserved: ReservedNodes
    stamps: Mapping[str, str]
    stamped: StampedCluster
    drifted: DriftedCluster


def _make_guard_context(reading: _ReadCluster, context: PassContext) -> GuardContext:
    """What the guards look at: what may be sent now, with all that it was made from."""
    target, memory, places = reading.target, context.memory, context.places
    entry, driver, observed = target.cluster_input.entry, target.driver, reading.observed
    policy = context.fleet.policy(entry.name)
    cluster_memory = add_merge_base(_recall_cluster(memory, entry.name), memory.base, entry.name)
    progress = _find_progress(target, cluster_memory.progress if reading.rules.rollout else None)
    kept, wave_state = _choose_steps(reading, context, policy, progress)
    kept = soften_held_waits(kept, observed, driver, reading.reserved)
    plan = _complete_plan(reading, kept, context.fleet.revision, progress, wave_state)
    if told := places.findings.get(entry.name):
        plan = replace(plan, findings=(*plan.findings, *told))
    return GuardContext(
        plan=plan,
        entry=entry,
        desired=kept.desired,
        observed=observed,
        policy=policy,
        cluster_memory=cluster_memory,
        change_rules=reading.rules,
        content=target.content,
        # An intent forgets that the node was as desired: from then on, this program may have changed it.
        attempts={step: {**facts, BASELINE: "", SINCE: ""} for step, facts in kept.attempts.items()},
        facts_to_store=kept.facts_to_store,
        stalled=kept.stalled,
        withheld_nodes=kept.withheld_nodes,
        uncounted_nodes=driver.list_uncounted_nodes(kept.desired, observed),
        can_select_node=driver.capabilities.single_node,
        progress=progress,
        is_waiting=not wave_state.can_close and not (progress and kept.refused & progress.nodes)
        if wave_state
        else any(finding.code in WAITING for finding in kept.plan.findings),
        superseded=kept.superseded,
        as_desired=kept.as_desired,
        refused=kept.refused,
        polling=frozenset(driver.list_polling_nodes(target.desired)),
        reporting=frozenset(driver.list_reporting_nodes(target.desired)),
        wave_state=wave_state,
        digests=target.digests,
        revision=reading.revision,
        now=memory.at,
        node_facts=target.recalled,
        files=driver.list_file_statuses(kept.desired, observed),
        unmanaged=driver.count_unmanaged(target.desired, observed),
        place_conflicts=tuple(places.violations.get(entry.name, ())),
        places=dict(places.places.get(entry.name, {})),
        stamps=reading.stamps,
        released_places=tuple(places.released.get(entry.name, ())),
        remarks=(
            *reading.stamped.remarks,
            *driver.remark(kept.desired, observed, plan),
            *_report_reservations(reading.reserved),
            *remark_drift(entry.name, reading.drifted.drift),
        ),
        reserved=reading.reserved,
        pin=context.pins.get(entry.name),
        drift=reading.drifted.drift,
        shown=reading.drifted.shown,
        has_inventory=bool(target.cluster_input.inventory),
        unread=target.cluster_input.unread.message if target.cluster_input.unread else "",
    )


def _complete_plan(
    reading: _ReadCluster,
    kept: WithheldSteps,
    newest: Revision,
    progress: RolloutProgress | None,
    wave_state: WaveState | None,
) -> ClusterPlan:
    """What may be sent now as a plan, in waves and with all its findings; `newest`: the fleet's revision."""
    entry, driver = reading.target.cluster_input.entry, reading.target.driver
    drifted = {f"{entry.name}/{node}" for node, one in reading.drifted.drift.items() if not one.has_commit}
    findings = tuple(
        one
        for one in (*kept.plan.findings, *reading.stamped.findings, *reading.drifted.findings)
        if one.code not in driver.commit_codes or one.target not in drifted
    )
    revision = None if reading.revision == newest else reading.revision
    planned = replace(kept.plan, findings=findings, revision=revision)
    plan = assign_waves(planned, entry, reading.rules.rollout, progress)
    about_wave = _report_wave(entry.name, progress, wave_state)
    return replace(plan, findings=(*plan.findings, about_wave)) if about_wave is not None else plan


def _count_nodes(guard_context: GuardContext, revision: Revision) -> GuardContext:
    """The same with the plan's numbers of nodes, and with its id if it may need an approval."""
    entry, observed, plan = guard_context.entry, guard_context.observed, guard_context.plan
    # Counted as a status counts them, so that both say the same; a product may know better that one is not.
    members = [node.name for node in entry.members()]
    names = [name for name in members if name in observed.nodes]
    as_desired = [state for state, _ in judge_nodes(guard_context, names).values()].count(
        NodeCondition.AS_DESIRED
    )
    plan = replace(plan, unchanged=min(plan.unchanged, as_desired), left_out=len(members) - len(names))
    needs_id = change_control.may_need_approval(plan, guard_context.policy)
    digest = compute_plan_id(plan, revision, __version__) if needs_id else ""
    return replace(guard_context, plan=plan, digest=digest)


def find_revision(cluster: str, fleet: Fleet, pins: Mapping[str, PinState]) -> Revision:
    """The revision of a cluster's desired state: that of the fleet, or where the cluster is pinned."""
    pin = pins.get(cluster)
    return pin.revision if pin and pin.revision else fleet.revision


def _find_reserved(
    memory: FleetMemory,
    entry: ClusterEntry,
    observed: Observed[Any],
    places: Mapping[str, tuple[str, ...]],
    rules: ChangeRules,
) -> ReservedNodes:
    """The reservations and holds that count by a reading of the cluster."""
    known = memory.get_cluster_memory(entry.name).reservations
    # A node that got another name is the same machine: whoever works on it must not be disturbed.
    moved = find_moved_holds(memory.list_holds(), entry.name, places)
    written = list_file_holds(entry.name, rules)
    members = frozenset(node.name for node in entry.members())
    renamed = {one.id for one in moved}
    known = tuple(one for one in known if one.node in members or one.id not in renamed)
    return find_reserved_nodes((*known, *moved, *written), observed, memory.at, members=members)


def _report_reservations(reserved: ReservedNodes) -> tuple[Diagnostic, ...]:
    """Who may stop or works on which nodes; no part of the plan: its id does not depend on who asked."""
    shown = [*(one for _, one in sorted(reserved.nodes.items()) if not one.is_hold), *reserved.holds]
    return tuple(
        Diagnostic(
            Severity.NOTE,
            one.code,
            f"{one.node} is {one.description}; it counts as away "
            f"{_HOLD_ENDS if one.is_hold else _RESERVATION_ENDS}",
            one.remedy,
            target=f"{one.cluster}/{one.node}",
        )
        for one in shown
    )


async def _observe(target: ClusterTarget, context: PassContext) -> Observed[Any]:
    entry, listener, driver = target.cluster_input.entry, context.listener, target.driver
    listener.on_observing(entry.name, len(target.chosen or entry.members()))
    # The only way that a driver gets to the nodes in this half of the pass: it cannot write.
    observed = await driver.observe(target.desired, restrict_to_reading(context.transports, driver.reads))
    listener.on_observed(entry.name, observed)
    return observed


async def _compare_stamps(
    target: ClusterTarget,
    context: PassContext,
    observed: Observed[Any],
    stamps: Mapping[str, str],
    revision: Revision,
) -> StampedCluster:
    """The plan of a cluster by the revisions that its nodes show."""
    fleet, memory = context.fleet, context.memory
    reading = ClusterReading(
        driver=target.driver,
        cluster=target.cluster_input.entry.name,
        desired=target.desired,
        observed=observed,
        facts=target.recalled,
        prior=target.prior,
        stamps=stamps,
        revision=revision,
        overrides=fleet.overrides,
        is_elsewhere=not context.is_applying and not memory.applied_revisions,
    )
    return await compare_stamps(reading, memory, context.content_history)


def _find_progress(target: ClusterTarget, progress: RolloutProgress | None) -> RolloutProgress | None:
    """The rollout that this plan continues; None if there is none."""
    # A rollout of other content ends here. A run of some nodes is no part of a rollout of their cluster.
    if not progress or target.chosen:
        return None
    members = frozenset(node.name for node in target.cluster_input.entry.members())
    return continue_rollout(progress, target.content, target.digests, members)


def _choose_steps(
    reading: _ReadCluster, context: PassContext, policy: Policy, progress: RolloutProgress | None
) -> tuple[WithheldSteps, WaveState | None]:
    """What of a plan may be sent now, and the state of the open wave if its nodes poll."""
    target, stamped, observed = reading.target, reading.stamped, reading.observed
    entry, rollout, reserved = target.cluster_input.entry, reading.rules.rollout, reading.reserved
    members = frozenset(node.name for node in entry.members())
    kept = withhold_steps(
        stamped.plan,
        stamped.desired,
        observed,
        target.driver,
        memory=context.memory,
        content=target.content,
        is_applying=context.is_applying,
        in_waves=rollout is not None,
        chosen=target.chosen,
        members=members,
        open_wave=progress.nodes if progress else frozenset(),
        is_continued=progress is not None,
        find_hold=partial(
            find_reservation_hold,
            reserved=reserved.nodes,
            reasons=describe_reserved(reserved.nodes),
            driver=target.driver,
            entry=entry,
            desired=stamped.desired,
            observed=observed,
            policy=policy,
        ),
    )
    if rollout and progress and progress.wave and target.driver.list_polling_nodes(target.desired):
        return _postpone_overdue(kept, progress.nodes & members, observed, rollout)
    return kept, None


def _report_wave(
    cluster: str, progress: RolloutProgress | None, wave_state: WaveState | None
) -> Diagnostic | None:
    """That the open wave of a rollout waits, or was interrupted; None if neither."""
    if progress and wave_state and not wave_state.can_close:
        return Diagnostic(
            Severity.NOTE,
            WAVE_WAITS,
            f"{cluster}: wave {progress.number} waits: {wave_state.describe()}",
            target=cluster,
        )
    if progress and progress.wave:
        return Diagnostic(
            Severity.NOTE,
            "wave-unfinished",
            f"{cluster}: wave {progress.number} of a rollout was interrupted before its gates were "
            "evaluated; the next run continues with it",
            target=cluster,
        )
    return None


def _postpone_overdue(
    kept: WithheldSteps, wave: frozenset[str], observed: Observed[Any], rollout: Rollout
) -> tuple[WithheldSteps, WaveState]:
    """What may be sent while a wave of polled nodes is open, and the state of the wave.

    No later wave starts before it can close, and overdue nodes get no new offer while others are waited for.
    """
    state = assess_wave(
        wave,
        observed,
        pending=kept.pending,
        planned={step.node for step in kept.plan.steps},
        retried=kept.retried,
        withheld=kept.withheld_nodes,
        allowed=rollout.max_unknown,
    )
    steps, unknown, cluster = kept.plan.steps, frozenset(state.unknown), kept.plan.cluster
    late: dict[str, Step] = {}
    # Offered again at once, they would hold the wave for another time until they are overdue.
    if state.waiting or state.unsent or state.can_close:
        late = {step.node: step for step in reversed(steps) if step.node in unknown}
    later = {} if state.can_close else {step.node: step for step in reversed(steps) if step.node not in wave}
    if not late and not later:
        return kept, state
    findings = [
        Diagnostic(
            Severity.WARNING,
            OVERDUE,
            f"{node} was offered its content and did not show it in time; it is offered again after the wave",
            "look at the node: it polls, and neither loads the content nor reports why not",
            target=f"{cluster}/{node}",
        )
        for node in sorted(late)
    ]
    plan = replace(
        kept.plan,
        steps=tuple(step for step in steps if step.node not in late and step.node not in later),
        findings=(*kept.plan.findings, *findings),
    )
    withheld = {**kept.withheld_nodes, **{node: step.reason for node, step in {**late, **later}.items()}}
    return replace(kept, plan=plan, withheld_nodes=withheld), state


def _recall_cluster(memory: FleetMemory, cluster: str) -> ClusterMemory:
    """What is remembered of a cluster; if the store has no names of its nodes, git gives them."""
    # Only from the applied commit: of any other one, nobody knows whether its nodes were ever members.
    cluster_memory = memory.get_cluster_memory(cluster)
    applied = (one.nodes for one in memory.prior.get(cluster, PriorRevisions()).clusters if one.is_applied)
    named = next(applied, None)
    return (
        replace(cluster_memory, names=frozenset(named))
        if named and cluster_memory.nodes and not cluster_memory.names
        else cluster_memory
    )
