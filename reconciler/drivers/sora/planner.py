"""From the desired cluster and the nodes' answers to the steps between them; pure, the same every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler.core.observation import Absent, Observed, Present, Stale
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
    merge_views,
)
from reconciler.drivers.sora.init_cluster import find_init_doubt, judge_init
from reconciler.drivers.sora.init_decision import InitDecision
from reconciler.drivers.sora.membership import Membership, NodeNumbers
from reconciler.drivers.sora.membership_plan import MembershipPlan
from reconciler.drivers.sora.modes import find_mode, plan_modes
from reconciler.drivers.sora.node_actions import (
    NodeActions,
    find_node_actions,
    list_unknown_members,
    make_waiting_finding,
)
from reconciler.drivers.sora.schema import NodeView, SoraCluster, SoraDesired, Stopped


def plan(desired: SoraDesired, observed: Observed[NodeView]) -> ClusterPlan:
    """The steps of one cluster: modes, which wait for nobody, and one chain of membership changes.

    Order within the chain (Sora's documents, "Cluster function", and its arithmetic): a node is
    registered before another is removed, unless the registration would risk the majority; then the
    dead are purged first; live nodes leave last, one by one.
    """
    entry = desired.entry
    cluster_view = merge_views(observed, regular=entry.regular, single=desired.history.single)
    chain, findings = _chain(desired, cluster_view)
    wanted = plan_modes(desired, cluster_view)
    leaving = {step.node for step in chain.steps if step.action == "drain"}
    steps = (*(step for step in wanted.steps if step.node not in leaving), *chain.steps)
    everything = (*findings, *wanted.findings)
    return ClusterPlan(
        cluster=entry.name,
        kind=entry.kind,
        nodes=len(entry.nodes),
        unchanged=_unchanged(entry, cluster_view),
        steps=steps,
        findings=tuple(sorted(everything, key=lambda one: (one.target, one.code, one.message))),
        concurrency=entry.concurrency,
    )


def _chain(desired: SoraDesired, cluster_view: ClusterView) -> tuple[MembershipPlan, tuple[Diagnostic, ...]]:
    entry = desired.entry
    apis = choose_addresses(entry, cluster_view.observed, desired.history)
    places = find_node_addresses(entry, cluster_view.observed, desired.history)
    if cluster_view.membership is not None and cluster_view.agreed:
        node_numbers, state = make_machine_state(
            cluster_view, [node.name for node in entry.nodes], entry.temporary
        )
        chain = MembershipPlan(desired, node_numbers, apis, state, places)
        tasks = find_node_actions(desired, cluster_view, cluster_view.membership, places)
        notes = (*_words_left(entry), *_single(entry, cluster_view), *_rejoining(desired, cluster_view))
        return chain, (*tasks.findings, *notes, *_walk(chain, tasks, cluster_view, cluster_view.membership))
    node_numbers = NodeNumbers(tuple(sorted(node.name for node in entry.nodes)))
    chain = MembershipPlan(
        desired,
        node_numbers,
        apis,
        make_fresh_state(name in entry.temporary for name in node_numbers.names),
        places,
    )
    if cluster_view.answering_nodes:
        return chain, tuple(_disagreement(entry, cluster_view))
    word, reasons = judge_init(desired, cluster_view)
    if word is None:
        return chain, reasons
    clear = all(isinstance(cluster_view.observed.nodes[name], Absent) for name in entry.regular)
    cluster_memory, outcome = desired.history, InitDecision(word.name)
    unproven = find_init_doubt(
        outcome, entry.regular, cluster_view, members=cluster_memory.members, required=cluster_memory.required
    )
    chain.init(entry.regular, word, clear=clear, unproven=unproven)
    tasks = find_node_actions(desired, cluster_view, Membership(regular=entry.regular), places)
    joining = (name for name in tasks.temporary if name in chain.apis)
    findings = [one for one in tasks.findings if one.target.split("/")[1] in entry.temporary]
    for name in joining:
        chain.register(name)
    return chain, tuple(findings)


def _walk(
    chain: MembershipPlan, tasks: NodeActions, cluster_view: ClusterView, membership: Membership
) -> Iterator[Diagnostic]:
    yield from _window_left(chain, tasks.dead)
    for name in tasks.again:
        yield _half_registered(chain.entry, name)
        why = chain.against_register(name)
        if why:
            yield _register_waits(chain, name, why)
        else:
            chain.register(name, again=True)
    waiting, dead = _exchange(chain, tasks.regular, tasks.dead, tasks.words)
    for name in waiting:
        yield _register_waits(chain, name, chain.against_register(name))
    for name in dead:
        why = chain.against_purge(name)
        yield make_waiting_finding(chain.entry, "purge-waits", name, f"cannot be purged yet: {why}", _MORE)
    for name in tasks.temporary:
        why = chain.against_register(name)
        if why:
            yield _register_waits(chain, name, why)
        else:
            chain.register(name)
    yield from _leave(chain, tasks, cluster_view, membership, blocked=(*tasks.missing, *waiting))


def _exchange(
    chain: MembershipPlan, joining: Iterable[str], dead: Iterable[str], words: Mapping[str, Stopped]
) -> tuple[list[str], list[str]]:
    """Register and purge in the order that never risks the majority; what is left has to wait."""
    joins, purges = list(joining), list(dead)
    while joins or purges:
        if joins and not chain.against_register(joins[0]):
            chain.register(joins.pop(0))
        elif purges and not chain.against_purge(purges[0]):
            name = purges.pop(0)
            chain.purge(name, words.get(name))
        else:
            break
    return joins, purges


def _leave(
    chain: MembershipPlan,
    tasks: NodeActions,
    cluster_view: ClusterView,
    membership: Membership,
    *,
    blocked: tuple[str, ...],
) -> Iterator[Diagnostic]:
    for name in (*tasks.live, *tasks.leaving):
        silent = list_unknown_members(cluster_view, membership, but=name)
        why = ""
        if name in tasks.leaving:
            pass  # a temporary node counts in no majority, so that it waits for nobody
        elif blocked:
            why = f"{', '.join(blocked)} must join the cluster first"
        elif silent:
            why = f"{', '.join(silent)} is in the cluster but does not answer this host"
        elif name in membership.regular:
            why = chain.against_stop(name)
        if why:
            yield make_waiting_finding(
                chain.entry, "removal-waits", name, f"is not removed yet: {why}", _MORE
            )
            continue
        serving = cluster_view.connected(name) and find_mode(cluster_view, name) == "normal"
        if chain.entry.drain and serving and name in chain.apis:
            chain.drain(name, "normal")
        chain.stop(name)
        if name in membership.regular:
            why = chain.against_purge(name)
            if why:
                yield make_waiting_finding(
                    chain.entry, "purge-waits", name, f"cannot be purged after its stop: {why}", _MORE
                )
                return
            chain.purge(name)


def _window_left(chain: MembershipPlan, dead: Iterable[str]) -> Iterator[Diagnostic]:
    """A node that is stopped and registered, with none to spare: a run may have ended before its purge."""
    if compute_margin(chain.state) >= preconditions.SPARE or not has_majority(chain.state):
        return
    for name in dead:
        yield Diagnostic(
            Severity.WARNING,
            "quorum-margin",
            f"{name} is stopped but still registered, and there is no reserve: one more failure would "
            f"stop the cluster ({preconditions.describe_numbers(chain.state)})",
            f"apply this plan now to purge {name}, or start {name} again: it returns by itself",
            target=f"{chain.entry.name}/{name}",
        )


_MORE = "restore the nodes that are away first; the next run continues from there"


def _half_registered(entry: SoraCluster, name: str) -> Diagnostic:
    return make_waiting_finding(
        entry,
        "half-registered",
        name,
        "is half registered: the members list it, but it shows no cluster itself",
        "the plan registers it again; if that does not help, stop the node and remove it from the fleet file "
        "so that the next run purges it; then wipe its data, start it and add it again",
    )


def _register_waits(chain: MembershipPlan, name: str, why: str) -> Diagnostic:
    remedy = _MORE
    if get_registered(chain.state).bit_count() == 1 and has_majority(chain.state):
        (contact,) = chain.node_numbers.spelled(get_registered(chain.state))
        remedy = (
            "a cluster of one has no reserve: register a second node by hand when an "
            f"interruption is acceptable (RegisterClusterNode on {name}, with contact_node_name {contact}); "
            "the next run continues from there"
        )
    return make_waiting_finding(chain.entry, "register-waits", name, f"is not registered yet: {why}", remedy)


def _disagreement(entry: SoraCluster, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    remedy = "wait and plan again; if they still disagree, compare ListClusterNodes on each node"
    if len(cluster_view.told) > 1:
        said = "; ".join(f"{', '.join(who)} say: {membership}" for membership, who in cluster_view.told)
        words = f"the nodes of {entry.name} disagree about its members, so no member is changed: {said}"
        yield Diagnostic(Severity.ERROR, "views-disagree", words, remedy, target=entry.name)
    for name in cluster_view.disputed:
        rows = ((who, view.row(name)) for who, view in cluster_view.answering_nodes.items())
        seen = [who for who, row in rows if row is not None and row.connected]
        all_of_them = ", ".join(cluster_view.answering_nodes)
        words = f"only {', '.join(seen)} of {all_of_them} see {name} connected, so no member is changed"
        yield Diagnostic(Severity.ERROR, "views-disagree", words, remedy, target=f"{entry.name}/{name}")


def _words_left(entry: SoraCluster) -> Iterator[Diagnostic]:
    if entry.collapsed is not None:
        words = f"{entry.name} has its majority; its `collapsed` entry is not needed"
        yield Diagnostic(
            Severity.NOTE,
            "collapsed-unneeded",
            words,
            "remove `collapsed` from the fleet file",
            target=entry.name,
        )


def _single(entry: SoraCluster, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    for name, view in cluster_view.answering_nodes.items():
        if len(view.rows) == 1 and not view.clustered:
            words = f"{name} lists only itself: a cluster of one looks the same as no cluster"
            remedy = "if it does not serve, initialise it by hand; better, use three regular nodes"
            yield Diagnostic(
                Severity.NOTE, "initialised-unclear", words, remedy, target=f"{entry.name}/{name}"
            )


def _rejoining(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    """Nodes outside the cluster that run with the log of one: such a node tries to rejoin by itself."""
    entry, membership = desired.entry, cluster_view.membership
    assert membership is not None
    for name in sorted({*(node.name for node in entry.nodes), *desired.history.nodes} - {*membership.names}):
        answer = cluster_view.observed.nodes.get(name)
        if not isinstance(answer, Present | Stale) or cluster_view.is_other(name, answer):
            continue
        own = answer.value.row(name) is not None and len(answer.value.rows) > 1
        named = entry.node(name) is not None
        if not (own or answer.value.holds_cluster) or (named and not cluster_view.joinable(name)):
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


def _unchanged(entry: SoraCluster, cluster_view: ClusterView) -> int:
    membership: Any = cluster_view.membership if cluster_view.agreed else None
    if membership is None:
        return 0
    return sum(
        node.name in (membership.temporary if node.temporary else membership.regular)
        and cluster_view.connected(node.name)
        and (node.mode is None or node.mode == find_mode(cluster_view, node.name))
        for node in entry.nodes
    )
