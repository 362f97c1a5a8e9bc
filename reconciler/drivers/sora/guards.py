"""What a Sora plan must never do, found by running its steps through the state machine once more.

The guards do not trust the planner: they start from the nodes' answers, simulate each step, and check the
state that results. Each code can be named by an override in the fleet file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from reconciler.core.arguments import read_arguments
from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.plan import Step
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora import machine, preconditions
from reconciler.drivers.sora.arguments import (
    InitArguments,
    UpgradeArguments,
    read_cluster_arguments,
)
from reconciler.drivers.sora.capacity import compute_capacity_left
from reconciler.drivers.sora.cluster_state import (
    State,
    compute_margin,
    compute_quorum,
    find_leading_group,
    get_alive,
    get_registered,
    has_majority,
    make_fresh_state,
)
from reconciler.drivers.sora.cluster_view import (
    ClusterView,
    find_node_addresses,
    make_machine_state,
    view_cluster,
)
from reconciler.drivers.sora.history import PastKnowledge
from reconciler.drivers.sora.init_decision import InitDecision
from reconciler.drivers.sora.init_evidence import find_init_doubt, look_up_decision
from reconciler.drivers.sora.membership import NodeNumbers
from reconciler.drivers.sora.schema import SoraCluster, SoraDesired
from reconciler.drivers.sora.steps import MEMBERSHIP, simulate_step
from reconciler.drivers.sora.stop_proof import prove_member_stopped
from reconciler.drivers.sora.upgrades import is_older

SMALLEST = 3
"""Regular nodes of the smallest cluster that survives a failure; a larger one is not shrunk below."""


@dataclass(frozen=True, slots=True)
class SimulatedStep:
    """One membership step: the state before it, after it, and after a failure halfway."""

    step: Step
    node_numbers: NodeNumbers
    state: State
    result: State | machine.CallRefusal
    half: State | machine.CallRefusal

    @property
    def after(self) -> State | None:
        """The state after it; None where the call would be refused."""
        return None if isinstance(self.result, machine.CallRefusal) else self.result


@guard("quorum")
def refuse_quorum_loss(context: GuardContext) -> Iterator[Diagnostic]:
    """No step, complete or failed halfway, may lose a majority that existed before it."""
    for simulated in _simulate_steps(context):
        for outcome in (simulated.result, simulated.half):
            if (
                isinstance(outcome, machine.CallRefusal)
                or not has_majority(simulated.state)
                or has_majority(outcome)
            ):
                continue
            total, up = get_registered(outcome).bit_count(), get_alive(outcome).bit_count()
            yield Diagnostic(
                Severity.ERROR,
                "quorum",
                f"{simulated.step.id} would lose the majority: {up} of {total} regular nodes would be "
                f"connected, at least {compute_quorum(total)} are needed; now: "
                f"{preconditions.describe_numbers(simulated.state)}",
                "restore the nodes that are away, or add regular nodes, then plan again",
                target=f"{context.plan.cluster}/{simulated.step.node}",
            )
            break


@guard("quorum-margin")
def refuse_missing_reserve(context: GuardContext) -> Iterator[Diagnostic]:
    """While a live node is stopped, the majority survives one more failure: it may happen at that moment.

    Exception: the same run purges the node right after the stop, which gives the reserve back. The time
    without reserve is then short, and the risk of the step names it.
    """
    simulated_steps = list(_simulate_steps(context))
    # In pairs: whether a stop may leave no reserve depends on the change that follows it.
    for simulated, following in zip_longest(simulated_steps, simulated_steps[1:]):
        after = simulated.after
        if simulated.step.action != "stop" or after is None or not has_majority(after):
            continue
        # A cluster without reserve, in which the stop costs none, is not refused the stop.
        left = compute_margin(after)
        if left >= preconditions.SPARE or left >= compute_margin(simulated.state):
            continue
        if _is_closed(simulated, following):
            continue
        yield Diagnostic(
            Severity.ERROR,
            "quorum-margin",
            f"{simulated.step.id} leaves no reserve: one more failure before the purge "
            f"would lose the majority ({preconditions.describe_numbers(after)})",
            f"{_suggest_reserve(simulated, following)}, {_suggest_override(context, 'quorum-margin')}",
            target=f"{context.plan.cluster}/{simulated.step.node}",
        )


def _suggest_reserve(simulated: SimulatedStep, following: SimulatedStep | None) -> str:
    """How to do the same with a reserve."""
    if simulated.step.is_manual:
        return "set `stop` to the host's stop command, so that the same run purges the node"
    if following is not None and following.step.wave != simulated.step.wave:
        return "remove `rollout` for this change, so that the purge follows at once"
    if get_registered(simulated.state) & ~get_alive(simulated.state):
        return "restore the nodes that are away first"
    return "add a replacement regular node, which is registered first"


def _is_closed(simulated: SimulatedStep, following: SimulatedStep | None) -> bool:
    """Whether a command stops the node, and the next change purges it at once and restores the reserve."""
    if following is None or simulated.step.is_manual:
        return False
    step, stopped, purged = following.step, simulated.after, following.after
    is_next = step.action == "purge" and step.node == simulated.step.node and simulated.step.id in step.after
    # Between two waves are gates and waiting times, so that the time without reserve would have no bound.
    if not is_next or step.wave != simulated.step.wave or stopped is None or purged is None:
        return False
    return preconditions.closes_window(simulated.state, stopped, purged)


def _suggest_override(context: GuardContext, code: str) -> str:
    """The override to copy into the fleet file, until the day of the answers."""
    _, cluster_view = _read_views(context)
    day = cluster_view.day or "YYYY-MM-DD"
    return (
        "or, to override this once, add to the fleet file: `overrides: "
        f'[{{guard: {code}, target: {context.plan.cluster}, until: {day}, reason: "why this once"}}]`'
    )


@guard("capacity")
def refuse_capacity_loss(context: GuardContext) -> Iterator[Diagnostic]:
    """After the stop of a node and one more failure, the other licences still allow enough connections.

    Enough is `connections` of the fleet file; without it, nothing is checked.
    """
    entry, cluster_view = _read_views(context)
    if entry.connections is None:
        return
    for simulated in _simulate_steps(context):
        before = find_leading_group(simulated.state)
        serving = before is not None and before.nodes >> simulated.node_numbers.at(simulated.step.node) & 1
        down = simulated.half if simulated.step.action in {"restart", "upgrade"} else simulated.after
        if (
            simulated.step.action not in {"stop", "restart", "upgrade"}
            or not serving
            or not isinstance(down, tuple)
        ):
            continue
        left = compute_capacity_left(down, simulated.node_numbers, cluster_view)
        if left.connections < entry.connections:
            failure = f" and a failure of {left.without}" if left.without else ""
            unknown = f"; unknown licence: {', '.join(left.unknown_limits)}" if left.unknown_limits else ""
            yield Diagnostic(
                Severity.ERROR,
                "capacity",
                f"{simulated.step.id}: after the stop{failure}, the licences allow {left.connections} "
                f"connections, but {entry.connections} are needed{unknown}",
                "add nodes or raise their licences first, then plan again",
                target=f"{context.plan.cluster}/{simulated.step.node}",
            )


@guard("capacity")
def refuse_connection_loss(context: GuardContext) -> Iterator[Diagnostic]:
    """The purge of a dead member does not take away connections that the cluster needs.

    While a dead regular node is registered, the licences of the others cover its connections (facts: sora.md,
    "State machine", licence); the purge ends that. If the plan also registers a regular node, nothing is
    checked: its licence is unknown before it is in the cluster.
    """
    entry, cluster_view = _read_views(context)
    steps = list(_simulate_steps(context))
    dead = [one.step for one in steps if one.step.action == "purge" and cluster_view.is_away(one.step.node)]
    joins = any(one.step.action == "register" and one.step.node in entry.regular for one in steps)
    if entry.connections is None or joins or not dead:
        return
    group = find_leading_group(steps[-1].state)
    names = steps[0].node_numbers.list_names(group.nodes & group.log.listed) if group is not None else ()
    kept = sum(cluster_view.limits.get(name, 0) for name in names)
    taken = sum(cluster_view.limits.get(step.node, 0) for step in dead)
    if kept < entry.connections <= kept + taken:
        gone = ", ".join(step.node for step in dead)
        yield Diagnostic(
            Severity.ERROR,
            "capacity",
            f"{dead[-1].id}: while {gone} is registered, the other licences cover its "
            f"{taken} connections; after the purge they allow {kept}, but {entry.connections} are needed",
            "add a replacement regular node in the same commit, or raise the other licences first",
            target=f"{context.plan.cluster}/{dead[-1].node}",
        )


@guard("membership")
def refuse_unordered_membership_change(context: GuardContext) -> Iterator[Diagnostic]:
    """One change at a time, each of one node, from the membership that the step before leaves."""
    previous: Step | None = None
    by_id = {step.id: step for step in context.plan.steps}
    for simulated in _simulate_steps(context):
        step, target = simulated.step, f"{context.plan.cluster}/{simulated.step.node}"
        if previous is not None and previous.id not in _list_predecessors(step, by_id):
            words = f"{step.id} does not wait for {previous.id}; the membership changes one step at a time"
            yield Diagnostic(Severity.ERROR, "membership", words, "plan again", target=target)
        previous = step
        if isinstance(simulated.result, machine.CallRefusal):
            words = (
                f"{step.id} would be refused: {simulated.result.reason} "
                f"({preconditions.describe_numbers(simulated.state)})"
            )
            yield Diagnostic(Severity.ERROR, "membership", words, "plan again", target=target)
            continue
        membership_of, own = simulated.node_numbers.membership, read_cluster_arguments(step)
        now, then = membership_of(simulated.state), membership_of(simulated.result)
        if step.action != "init" and (own.before, own.after) != (now, then):
            words = (
                f"{step.id} expects {own.before} to become {own.after}, but it would find {now} and leave "
                f"{then}"
            )
            yield Diagnostic(Severity.ERROR, "membership", words, "plan again", target=target)
        # Any majority before and any majority after must share a node, or both could act at the same time:
        # by counting, they do if the two quorums are together more than all nodes involved.
        everyone = len({*now.regular, *then.regular})
        if now.regular and compute_quorum(len(now.regular)) + compute_quorum(len(then.regular)) <= everyone:
            words = (
                f"{step.id} changes {len(now.regular)} regular nodes to {len(then.regular)}: "
                "a majority before and a majority after may have no common node"
            )
            yield Diagnostic(Severity.ERROR, "membership", words, "change one node at a time", target=target)


@guard("cluster-size")
def refuse_cluster_shrink(context: GuardContext) -> Iterator[Diagnostic]:
    """A majority of the members stays, by name; and a cluster of three or more is not shrunk below three."""
    entry, cluster_view = _read_views(context)
    members = cluster_view.membership.regular if cluster_view.membership is not None else ()
    now, wanted = len(members), len(entry.regular)
    if not wanted < min(now, SMALLEST):
        yield from _check_leaving(entry, members)
        return
    words = f"{entry.name} has {now} regular nodes, and the fleet file names {wanted}, fewer than {SMALLEST}"
    if wanted == 1:
        words += ": two nodes cannot become one, because one of two is not a majority"
        remedy = "keep at least three regular nodes; to start over with one, build a new cluster"
    else:
        words += ": with two, the failure of either stops the cluster"
        remedy = f"keep at least three regular nodes, {_suggest_override(context, 'cluster-size')}"
    yield Diagnostic(Severity.ERROR, "cluster-size", words, remedy, target=entry.name)


def _check_leaving(entry: SoraCluster, members: tuple[str, ...]) -> Iterator[Diagnostic]:
    """Members that leave count by name: replacements do not make up for them.

    With most members replaced in one commit, the fleet file may name another cluster by mistake.
    """
    leaving = sorted({*members} - {*entry.regular})
    if leaving and len(members) - len(leaving) < compute_quorum(len(members)):
        yield Diagnostic(
            Severity.ERROR,
            "cluster-size",
            f"{entry.name}: {len(leaving)} of its {len(members)} regular nodes are removed "
            f"({', '.join(leaving)}), and the rest is not a majority; at least "
            f"{compute_quorum(len(members))} are needed",
            "replace fewer nodes in one commit, so that a majority of the members stays",
            target=entry.name,
        )


@guard("purge-alive")
def refuse_purge_of_live_node(context: GuardContext) -> Iterator[Diagnostic]:
    """Only a node that is proven to be stopped is purged, or one that an earlier step stops."""
    _, cluster_view = _read_views(context)
    by_id = {step.id: step for step in context.plan.steps}
    for step in context.plan.steps:
        if step.action != "purge" or _is_proven_stopped(context, cluster_view, step.node):
            continue
        # A stop in the same plan counts only if the purge waits for it; the judge asks for proof again later.
        earlier = (by_id[name] for name in _list_predecessors(step, by_id))
        if not any(one.action == "stop" and one.node == step.node for one in earlier):
            yield Diagnostic(
                Severity.ERROR,
                "purge-alive",
                f"{step.id}: nothing proves that {step.node} is stopped, and no earlier step stops it",
                "stop the node first, then plan again",
                target=f"{context.plan.cluster}/{step.node}",
            )


@guard("double-init")
def refuse_repeated_init(context: GuardContext) -> Iterator[Diagnostic]:
    """InitCluster only once, and only on positive answers or on an explicit entry that still counts."""
    inits = [step for step in context.plan.steps if step.action == "init"]
    for step in inits:
        # Each InitCluster may be safe alone, and two of them still create two clusters.
        why = "another step initialises too" if len(inits) > 1 else _find_init_objection(context, step)
        if why:
            yield Diagnostic(
                Severity.ERROR,
                "double-init",
                f"{step.id} is not allowed: {why}",
                "check ListClusterNodes on each node; a live cluster is never initialised again",
                target=context.plan.cluster,
            )


@guard("past-unread")
def refuse_init_with_unread_past(context: GuardContext) -> Iterator[Diagnostic]:
    """An init waits if an earlier revision exists and cannot be read: its cluster may live."""
    history = context.desired.history
    for step in context.plan.steps:
        if step.action == "init" and history.knowledge is PastKnowledge.UNREAD:
            yield Diagnostic(
                Severity.ERROR,
                "past-unread",
                f"{step.id} waits: the earlier nodes of {context.plan.cluster} are unknown: {history.unread}",
                "fetch the history (`git fetch --unshallow`), or give the earlier revision with --base; "
                "or set an override for past-unread in the fleet file",
                target=context.plan.cluster,
                hold=True,
            )


@guard("cluster-renamed")
def refuse_init_of_renamed_cluster(context: GuardContext) -> Iterator[Diagnostic]:
    """An init waits if another cluster was removed in the same commit: it may have been renamed."""
    gone, name = context.desired.history.replaced, context.plan.cluster
    for step in context.plan.steps:
        # A hold, not a refusal: an operator who knows that it is another cluster can override it.
        if step.action == "init" and gone:
            yield Diagnostic(
                Severity.ERROR,
                "cluster-renamed",
                f"{step.id} waits: the earlier revision names {', '.join(gone)}, but not {name}; if {name} "
                "is the same cluster under a new name, InitCluster would create a second one",
                f"if it is the same, add `renamed_from: {gone[0]}` to it; if {name} is another one, "
                f"remove {gone[0]} in a commit before the one that adds {name}, or set an override for "
                "cluster-renamed in the fleet file",
                target=name,
                hold=True,
            )


@guard("upgrade-overlap")
def refuse_overlapping_upgrade(context: GuardContext) -> Iterator[Diagnostic]:
    """No running node is stopped for its upgrade while another regular node is away."""
    for simulated in _simulate_steps(context):
        step, number = simulated.step, simulated.node_numbers.at(simulated.step.node)
        if step.action != "upgrade" or read_arguments(step.arguments, UpgradeArguments).is_resumed:
            continue
        away = get_registered(simulated.state) & ~get_alive(simulated.state) & ~(1 << number)
        if away:
            names = ", ".join(simulated.node_numbers.list_names(away))
            yield Diagnostic(
                Severity.ERROR,
                "upgrade-overlap",
                f"{step.id} would stop a node while {names} is away "
                f"({preconditions.describe_numbers(simulated.state)})",
                "restore the nodes that are away first, then plan again",
                target=f"{context.plan.cluster}/{step.node}",
            )


@guard("version-downgrade")
def refuse_downgrade(context: GuardContext) -> Iterator[Diagnostic]:
    """No node gets an older version than it has: Sora's documents do not say that this works."""
    for step in context.plan.steps:
        if step.action != "upgrade":
            continue
        own = read_arguments(step.arguments, UpgradeArguments)
        if is_older(own.version, own.running):
            yield Diagnostic(
                Severity.ERROR,
                "version-downgrade",
                f"{step.id} would replace version {own.running} by the older {own.version}, and Sora's "
                "documents do not say that a node can go back",
                f"correct `version` in the fleet file, {_suggest_override(context, 'version-downgrade')}",
                target=f"{context.plan.cluster}/{step.node}",
            )


GUARDS: tuple[Guard, ...] = (
    refuse_quorum_loss,
    refuse_missing_reserve,
    refuse_capacity_loss,
    refuse_connection_loss,
    refuse_unordered_membership_change,
    refuse_cluster_shrink,
    refuse_purge_of_live_node,
    refuse_repeated_init,
    refuse_init_with_unread_past,
    refuse_init_of_renamed_cluster,
    refuse_overlapping_upgrade,
    refuse_downgrade,
)
"""All of them; the order does not matter."""


def _read_views(context: GuardContext) -> tuple[SoraCluster, ClusterView]:
    return context.desired.entry, view_cluster(context.desired, context.observed)


def _is_proven_stopped(context: GuardContext, cluster_view: ClusterView, name: str) -> bool:
    """Whether the answers, or a `stopped` entry that still counts, prove that a member is stopped."""
    desired: SoraDesired = context.desired
    places = find_node_addresses(desired.entry, context.observed, desired.history)
    proof, word = prove_member_stopped(desired, cluster_view, name, places)
    return proof.enough(word=word is not None)


def _simulate_steps(context: GuardContext) -> Iterator[SimulatedStep]:
    """The membership steps, each run from the state that the ones before it leave."""
    entry, cluster_view = _read_views(context)
    names = {*(node.name for node in entry.nodes), *(step.node for step in context.plan.steps)}
    if cluster_view.membership is None:
        node_numbers = NodeNumbers(tuple(sorted(names)))
        state = make_fresh_state(name in entry.temporary for name in node_numbers.names)
    else:
        node_numbers, state = make_machine_state(cluster_view, names, entry.temporary)
    for step in context.plan.steps:
        if step.action in MEMBERSHIP:
            result = simulate_step(step, node_numbers, state)
            # The next step starts from the complete result: the executor ends the chain after a failed step.
            half = simulate_step(step, node_numbers, state, half=True)
            yield SimulatedStep(step, node_numbers, state, result, half)
            if not isinstance(result, machine.CallRefusal):
                state = result


def _list_predecessors(step: Step, by_id: Mapping[str, Step]) -> set[str]:
    """Ids of all steps that must have succeeded before this one, near and far."""
    found: set[str] = set()
    queue = list(step.after)
    while queue:
        name = queue.pop()
        if name in by_id and name not in found:
            found.add(name)
            queue += by_id[name].after
    return found


def _find_init_objection(context: GuardContext, step: Step) -> str:
    entry, cluster_view = _read_views(context)
    if cluster_view.answering_nodes:
        return f"{', '.join(cluster_view.answering_nodes)} is in a cluster with a majority"
    own = read_arguments(step.arguments, InitArguments)
    if set(own.names) != set(entry.regular):
        return "its nodes are not exactly the regular nodes of the fleet file"
    outcome = look_up_decision(context.desired, cluster_view)
    if not outcome.allowed:
        return f"the known history and the nodes' answers do not allow it ({outcome})"
    cluster_memory = context.desired.history
    why = find_init_doubt(
        outcome, entry.regular, cluster_view, members=cluster_memory.members, required=cluster_memory.required
    )
    if why and not own.unproven:
        return why
    word = InitDecision.COLLAPSED if own.word.name == "collapsed" else InitDecision.INITIALISE
    return "" if word is outcome else f"it uses `{word}`, but only `{outcome}` allows it"
