"""From the desired cluster and the nodes' answers to the steps between them; pure, the same every time."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from reconciler.core.missing_secrets import report_missing_secrets
from reconciler.core.observation import Absent, Observed
from reconciler.core.plan import ClusterPlan
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora import preconditions
from reconciler.drivers.sora.cluster_state import (
    compute_margin,
    get_registered,
    has_majority,
    make_fresh_state,
)
from reconciler.drivers.sora.cluster_view import (
    ClusterView,
    choose_addresses,
    find_node_addresses,
    make_machine_state,
    view_cluster,
)
from reconciler.drivers.sora.conf_delivery import make_content, plan_confs
from reconciler.drivers.sora.init_decision import InitDecision
from reconciler.drivers.sora.init_evidence import find_init_confirmation, find_init_doubt
from reconciler.drivers.sora.interruptions import is_interrupted, resume_nodes
from reconciler.drivers.sora.licences import find_licence_facts
from reconciler.drivers.sora.membership import Membership, NodeNumbers
from reconciler.drivers.sora.membership_plan import MembershipPlan
from reconciler.drivers.sora.modes import find_mode, find_version, plan_modes
from reconciler.drivers.sora.node_actions import NodeActions
from reconciler.drivers.sora.restarts import plan_restarts, restart_outsiders
from reconciler.drivers.sora.schema import NodeView, SoraCluster, SoraDesired, Stopped
from reconciler.file_delivery.steps import FilePlan


def plan(desired: SoraDesired, observed: Observed[NodeView]) -> ClusterPlan:
    """The steps of one cluster: modes, which are independent, and one chain of membership changes.

    Order of the membership changes (Sora documentation, "Cluster function", and its arithmetic): a node is
    registered before another is removed, unless the registration would risk the majority; then the
    dead are purged first; live nodes leave last, one by one.
    """
    # One chain, because each step is checked against the state that the one before leaves: two membership
    # changes at once could each be safe alone and lose the majority together.
    entry = desired.entry
    cluster_view = view_cluster(desired, observed)
    confs = plan_confs(desired, observed)
    membership_plan, findings = _plan_membership(desired, cluster_view, confs)
    mode_steps, mode_findings = plan_modes(desired, cluster_view)
    # Their mode is set back in the chain, also of a node that a killed run has drained.
    handled = {step.node for step in membership_plan.steps if step.action in {"drain", "restart", "upgrade"}}
    steps = (*(step for step in mode_steps if step.node not in handled), *membership_plan.steps)
    missing = (
        place
        for target in desired.confs.values()
        for place in make_content(target).list_missing(entry.conf.file if entry.conf is not None else "")
    )
    all_findings = (*findings, *mode_findings, *report_missing_secrets(entry.name, missing))
    return ClusterPlan(
        cluster=entry.name,
        kind=entry.kind,
        nodes=len(entry.nodes),
        unchanged=_count_unchanged(
            entry, cluster_view, {*(step.node for step in steps), *_list_troubled(entry, all_findings)}
        ),
        steps=steps,
        findings=tuple(sorted(all_findings, key=lambda one: (one.target, one.code, one.message))),
        concurrency=entry.concurrency,
        payloads={digest: payload for one in confs.values() for digest, payload in one.payloads.items()},
    )


def _plan_membership(
    desired: SoraDesired, cluster_view: ClusterView, confs: Mapping[str, FilePlan]
) -> tuple[MembershipPlan, tuple[Diagnostic, ...]]:
    entry = desired.entry
    apis = choose_addresses(entry, cluster_view.observed, desired.history)
    places = find_node_addresses(entry, cluster_view.observed, desired.history)
    if cluster_view.membership is not None and cluster_view.is_agreed:
        node_numbers, state = make_machine_state(
            cluster_view, [node.name for node in entry.nodes], entry.temporary
        )
        membership_plan = MembershipPlan(desired, node_numbers, apis, state, places)
        actions = NodeActions(desired, cluster_view, cluster_view.membership, places)
        joining = (*actions.regular, *actions.temporary)
        return membership_plan, (
            *actions.findings,
            *_note_unneeded_collapsed(entry),
            *find_licence_facts(desired, cluster_view),
            *_note_single(entry, cluster_view),
            *_warn_rejoining(desired, cluster_view),
            *resume_nodes(membership_plan, cluster_view, actions.interrupted, confs),
            *restart_outsiders(membership_plan, cluster_view, joining, confs),
            *_plan_changes(membership_plan, actions),
            *plan_restarts(
                membership_plan, cluster_view, confs, frozenset(actions.interrupted), frozenset(joining)
            ),
        )
    node_numbers = NodeNumbers(tuple(sorted(node.name for node in entry.nodes)))
    membership_plan = MembershipPlan(
        desired,
        node_numbers,
        apis,
        make_fresh_state(name in entry.temporary for name in node_numbers.names),
        places,
    )
    interrupted = [
        name
        for name in node_numbers.names
        if not cluster_view.answering_nodes and is_interrupted(desired, cluster_view, name)
    ]
    # Back first: without them, the cluster may have lost its majority.
    told = list(resume_nodes(membership_plan, cluster_view, interrupted, confs))
    word, reasons = (
        (None, ()) if cluster_view.answering_nodes else find_init_confirmation(desired, cluster_view)
    )
    rest = [name for name in confs if name not in interrupted]
    if word is not None:
        told += restart_outsiders(membership_plan, cluster_view, rest, confs)
    else:
        for name in rest:
            membership_plan.switch_file(confs[name])
            told += confs[name].findings
    if cluster_view.answering_nodes:
        return membership_plan, (*told, *_report_disagreement(entry, cluster_view))
    if word is None:
        return membership_plan, (*told, *reasons)
    clear = all(isinstance(cluster_view.observed.nodes[name], Absent) for name in entry.regular)
    history, outcome = desired.history, InitDecision(word.name)
    unproven = find_init_doubt(
        outcome, entry.regular, cluster_view, members=history.members, required=history.required
    )
    membership_plan.init(entry.regular, word, clear=clear, unproven=unproven)
    actions = NodeActions(desired, cluster_view, Membership(regular=entry.regular), places)
    for name in actions.temporary:
        if name in membership_plan.apis:
            membership_plan.register(name)
    own = (finding for finding in actions.findings if finding.target.split("/")[1] in entry.temporary)
    return membership_plan, (*told, *own)


def _plan_changes(membership_plan: MembershipPlan, actions: NodeActions) -> Iterator[Diagnostic]:
    yield from _warn_no_reserve(membership_plan, actions.dead)
    for name in actions.again:
        yield _make_waiting(
            membership_plan,
            "half-registered",
            name,
            "is half registered: the members list it, but it shows no cluster itself",
            "the plan registers it again; if that does not help, stop the node and remove it from the fleet "
            "file so that the next run purges it; then wipe its data, start it and add it again",
        )
        yield from _register_or_wait(membership_plan, name, again=True)
    waiting, dead = _plan_exchange(membership_plan, actions.regular, actions.dead, actions.words)
    for name in waiting:
        yield _make_register_waits(membership_plan, name, membership_plan.find_register_obstacle(name))
    for name in dead:
        why = membership_plan.find_purge_obstacle(name)
        yield _make_waiting(membership_plan, "purge-waits", name, f"cannot be purged yet: {why}")
    for name in actions.temporary:
        yield from _register_or_wait(membership_plan, name)
    yield from _plan_removals(membership_plan, actions, blocked=(*actions.missing, *waiting))


def _register_or_wait(
    membership_plan: MembershipPlan, name: str, *, again: bool = False
) -> Iterator[Diagnostic]:
    why = membership_plan.find_register_obstacle(name)
    if why:
        yield _make_register_waits(membership_plan, name, why)
    else:
        membership_plan.register(name, again=again)


def _make_register_waits(membership_plan: MembershipPlan, name: str, why: str) -> Diagnostic:
    remedy = _RESTORE_FIRST
    registered = membership_plan.node_numbers.list_names(get_registered(membership_plan.state))
    if len(registered) == 1 and has_majority(membership_plan.state):
        # A second regular node makes the majority two: a half registration would leave one of two.
        remedy = (
            "a cluster of one has no reserve: register a second node by hand when an "
            f"interruption is acceptable (RegisterClusterNode on {name}, with contact_node_name "
            f"{registered[0]}); the next run continues from there"
        )
    return _make_waiting(membership_plan, "register-waits", name, f"is not registered yet: {why}", remedy)


def _plan_exchange(
    membership_plan: MembershipPlan, joining: Iterable[str], dead: Iterable[str], words: Mapping[str, Stopped]
) -> tuple[list[str], list[str]]:
    """Register and purge in the order that never risks the majority; the rest must wait."""
    # Registering first keeps the number of live nodes up. Where a half registration would lose the majority,
    # a purge of a dead node first makes R, and with it the majority, smaller.
    joins, purges = list(joining), list(dead)
    # Each change alters what the next one needs, so that the order is found one change at a time.
    while joins or purges:
        if joins and not membership_plan.find_register_obstacle(joins[0]):
            membership_plan.register(joins.pop(0))
        elif purges and not membership_plan.find_purge_obstacle(purges[0]):
            name = purges.pop(0)
            membership_plan.purge(name, words.get(name))
        else:
            break
    return joins, purges


def _plan_removals(
    membership_plan: MembershipPlan, actions: NodeActions, *, blocked: tuple[str, ...]
) -> Iterator[Diagnostic]:
    cluster_view, regular = actions.cluster_view, actions.membership.regular
    for name in (*actions.live, *actions.leaving):
        silent = cluster_view.list_unknown_members(but=name)
        why = ""
        if name in actions.leaving:
            pass  # a temporary node never counts for the majority, so it need not wait
        elif blocked:
            why = f"{', '.join(blocked)} must join the cluster first"
        elif silent:
            why = f"{', '.join(silent)} is in the cluster but does not answer this host"
        elif name in regular:
            why = membership_plan.find_stop_obstacle(name)
        if why:
            yield _make_waiting(membership_plan, "removal-waits", name, f"is not removed yet: {why}")
            continue
        serving = cluster_view.is_connected(name) and find_mode(cluster_view, name) == "normal"
        if membership_plan.entry.drain and serving and name in membership_plan.apis:
            membership_plan.drain(name, "normal")
        membership_plan.stop(name)
        if name in regular:
            why = membership_plan.find_purge_obstacle(name)
            if why:
                words = f"cannot be purged after its stop: {why}"
                yield _make_waiting(membership_plan, "purge-waits", name, words)
                return
            membership_plan.purge(name)


def _warn_no_reserve(membership_plan: MembershipPlan, dead: Iterable[str]) -> Iterator[Diagnostic]:
    """A stopped node that is still registered, without reserve: a run may have ended before its purge."""
    state = membership_plan.state
    if compute_margin(state) >= preconditions.SPARE or not has_majority(state):
        return
    for name in dead:
        yield Diagnostic(
            Severity.WARNING,
            "quorum-margin",
            f"{name} is stopped but still registered, and there is no reserve: one more failure would "
            f"stop the cluster ({preconditions.describe_numbers(state)})",
            f"apply this plan now to purge {name}, or start {name} again: it returns by itself",
            target=f"{membership_plan.entry.name}/{name}",
        )


_RESTORE_FIRST = "restore the nodes that are away first; the next run continues from there"


def _make_waiting(
    membership_plan: MembershipPlan, code: str, name: str, words: str, remedy: str = _RESTORE_FIRST
) -> Diagnostic:
    """The finding that something cannot be done about a node yet.

    An error, as all that leaves a node other than the fleet file says and that no step mends: otherwise a run
    that changed nothing would end with success.
    """
    target = f"{membership_plan.entry.name}/{name}"
    return Diagnostic(Severity.ERROR, code, f"{name} {words}", remedy, target=target)


def _report_disagreement(entry: SoraCluster, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    remedy = "wait and plan again; if they still disagree, compare ListClusterNodes on each node"
    if len(cluster_view.memberships) > 1:
        reports = "; ".join(
            f"{', '.join(who)} say: {membership}" for membership, who in cluster_view.memberships
        )
        words = f"the nodes of {entry.name} disagree about its members, so no member is changed: {reports}"
        yield Diagnostic(Severity.ERROR, "views-disagree", words, remedy, target=entry.name)
    for name in cluster_view.disputed_members:
        rows = ((who, view.row(name)) for who, view in cluster_view.answering_nodes.items())
        seen = [who for who, row in rows if row is not None and row.connected]
        all_of_them = ", ".join(cluster_view.answering_nodes)
        words = f"only {', '.join(seen)} of {all_of_them} see {name} connected, so no member is changed"
        yield Diagnostic(Severity.ERROR, "views-disagree", words, remedy, target=f"{entry.name}/{name}")


def _note_unneeded_collapsed(entry: SoraCluster) -> Iterator[Diagnostic]:
    if entry.collapsed is not None:
        words = f"{entry.name} has its majority; its `collapsed` entry is not needed"
        remedy = "remove `collapsed` from the fleet file"
        yield Diagnostic(Severity.NOTE, "collapsed-unneeded", words, remedy, target=entry.name)


def _note_single(entry: SoraCluster, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    for name, view in cluster_view.answering_nodes.items():
        if len(view.rows) == 1 and not view.clustered:
            words = f"{name} lists only itself: a cluster of one looks the same as no cluster"
            remedy = "if it does not serve, initialise it by hand; better, use three regular nodes"
            yield Diagnostic(
                Severity.NOTE, "initialised-unclear", words, remedy, target=f"{entry.name}/{name}"
            )


def _warn_rejoining(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    """Nodes outside the cluster that run with the log of one: such a node tries to rejoin by itself."""
    entry, membership = desired.entry, cluster_view.membership
    assert membership is not None
    for name in sorted({*(node.name for node in entry.nodes), *desired.history.nodes} - {*membership.names}):
        view = cluster_view.own_view(name)
        if view is None or cluster_view.is_other(name, cluster_view.observed.nodes[name]):
            continue
        own = view.row(name) is not None and len(view.rows) > 1
        named = entry.node(name) is not None
        if not (own or view.holds_cluster) or (named and not cluster_view.is_joinable(name)):
            continue
        yield Diagnostic(
            Severity.NOTE if named else Severity.WARNING,
            "node-rejoins",
            f"{name} is not in the cluster but has a cluster's data, so it tries to rejoin by itself",
            "if its registration is refused, stop it, wipe its data and start it"
            if named
            else "stop it, and wipe its data before it is started again",
            target=f"{entry.name}/{name}",
        )


def _list_troubled(entry: SoraCluster, findings: Iterable[Diagnostic]) -> Iterator[str]:
    """Nodes about which there is an error, such as a file that cannot be read."""
    for finding in findings:
        if finding.severity is Severity.ERROR:
            yield finding.target.removeprefix(f"{entry.name}/")


def _count_unchanged(entry: SoraCluster, cluster_view: ClusterView, changed: Container[str]) -> int:
    membership: Any = cluster_view.membership if cluster_view.is_agreed else None
    if membership is None:
        return 0
    return sum(
        node.name not in changed
        and node.name in (membership.temporary if node.temporary else membership.regular)
        and cluster_view.is_connected(node.name)
        and (node.mode is None or node.mode == find_mode(cluster_view, node.name))
        and (entry.version is None or entry.version == find_version(cluster_view, node.name))
        for node in entry.nodes
    )
