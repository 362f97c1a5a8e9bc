"""Whether a node of a Sora cluster may be stopped now, by its state machine and preconditions; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from reconciler.core.observation import Observed, Present, Stale
from reconciler.core.plan import ClusterPlan
from reconciler.core.reservations import StopAnswer, StopDecision, StopQuestion
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.key_values import parse_key_values
from reconciler.drivers.sora import machine, preconditions
from reconciler.drivers.sora.capacity import compute_capacity_left
from reconciler.drivers.sora.cluster_state import compute_margin
from reconciler.drivers.sora.cluster_view import ClusterView, make_machine_state, view_cluster
from reconciler.drivers.sora.licences import find_licence_facts
from reconciler.drivers.sora.load_estimate import Carrier, describe_load, raise_limits
from reconciler.drivers.sora.modes import find_mode
from reconciler.drivers.sora.schema import NodeView, SoraDesired
from reconciler.errors import InputError


def decide_stop(question: StopQuestion) -> StopDecision:
    """Whether the majority, and the connections that are needed, hold without the node.

    Nodes that are reserved, and those that a run changes, count as away.
    """
    desired, node = question.desired, question.node
    assert isinstance(desired, SoraDesired)
    # Away for this question, whatever they show; the node itself is what is asked about.
    away = (question.observed.reserved | frozenset(question.away)) - {node}
    cluster_view = view_cluster(desired, replace(question.observed, reserved=away))
    findings = tuple(find_licence_facts(desired, cluster_view))
    if doubt := _find_doubt(cluster_view, node, away):
        return StopDecision(StopAnswer.UNKNOWN, (doubt,), findings=findings)
    membership = cluster_view.membership
    assert membership is not None
    reserved = tuple(f"{name} {why}" for name, why in sorted(question.away.items()) if name != node)
    if node not in membership.names:
        words = "it is not in the cluster, so the cluster does not need it"
        return StopDecision(StopAnswer.YES, (words,), findings=findings)
    facts = tuple(_list_facts(desired, cluster_view, node))
    if cluster_view.is_down(node):
        words = "no member sees it, and its API does not answer: it is stopped already"
        return StopDecision(StopAnswer.YES, (words,), findings=findings)
    reasons = tuple(_find_reasons(desired, cluster_view, node))
    if reasons:
        down = (
            f"{name} is away"
            for name in membership.regular
            if name != node and name not in away and cluster_view.is_down(name)
        )
        return StopDecision(StopAnswer.NO, (*reasons, *reserved, *down), facts, findings)
    node_numbers, state = make_machine_state(cluster_view, (), ())
    after = machine.stop(state, node_numbers.at(node))
    kind = "temporary nodes never count for the majority" if node in membership.temporary else "it holds"
    words = f"the majority is kept: {kind} ({preconditions.describe_numbers(after)})"
    if not compute_margin(after):
        facts = (*facts, "while it is away, one more failure would lose the majority")
    return StopDecision(StopAnswer.YES, (words, *reserved), facts, findings)


def describe_channels(view: NodeView | None) -> str:
    """How many channels a node owns, in words; empty where that was not asked."""
    if view is None or view.channels is None:
        return ""
    return f"it owns {view.channels} channels" if view.channels else "it owns no channels"


def report_channels_left(
    desired: SoraDesired,  # noqa: ARG001  (the form of `Driver.remark`)
    observed: Observed[NodeView],
    plan: ClusterPlan,
) -> Iterator[Diagnostic]:
    """What is left on each node that the plan asks a person to stop."""
    for step in plan.steps:
        answer = observed.nodes.get(step.node)
        if step.action != "stop" or not step.is_manual or not isinstance(answer, Present | Stale):
            continue
        words = describe_channels(answer.value) or "how many channels it owns is not known"
        yield Diagnostic(
            Severity.NOTE,
            "channels-left",
            f"{step.node} is to be stopped by a person: {words}",
            f"`reconcile allow-stop {step.node}` says whether it may be stopped at that moment",
            target=step.id.rpartition("/")[0],
        )


def _find_doubt(cluster_view: ClusterView, node: str, away: frozenset[str]) -> str:
    """Why the nodes' answers do not tell whether the node may be stopped; empty if they do."""
    if not cluster_view.answering_nodes:
        return "no node that sees a majority answers"
    if cluster_view.membership is None:
        return "the nodes disagree about the members"
    # A node that is being stopped or started is seen differently by its peers, and counts as away anyway.
    disputed = [name for name in cluster_view.disputed_members if name not in away]
    if disputed:
        return f"the nodes disagree whether {', '.join(disputed)} is connected"
    silent = [name for name in cluster_view.list_unknown_members(but=node) if name not in away]
    if silent:
        return f"{', '.join(silent)} is in the cluster but does not answer this host"
    is_member = node in cluster_view.membership.names
    if not is_member and cluster_view.answers(node) and not cluster_view.is_outside(node):
        return f"{node} is not in this cluster, and its answer does not rule out that it is in another one"
    return ""


def _find_reasons(desired: SoraDesired, cluster_view: ClusterView, node: str) -> Iterator[str]:
    """Why the node must not be stopped."""
    assert cluster_view.membership is not None
    node_numbers, state = make_machine_state(cluster_view, (), ())
    number = node_numbers.at(node)
    if node not in cluster_view.membership.temporary:
        why = preconditions.find_stop_obstacle(state, number)
        if why:
            yield why
            return
    needed = desired.entry.connections
    if needed is None:
        return
    left = compute_capacity_left(machine.stop(state, number), node_numbers, cluster_view)
    if left.connections < needed:
        failure = f" and a failure of {left.without}" if left.without else ""
        unknown = f"; unknown licence: {', '.join(left.unknown_limits)}" if left.unknown_limits else ""
        yield (
            f"after the stop{failure}, the licences allow {left.connections} connections, but {needed} are "
            f"needed{unknown}"
        )


def _list_facts(desired: SoraDesired, cluster_view: ClusterView, node: str) -> Iterator[str]:
    """What is left on the node, and where it goes."""
    view, membership = cluster_view.own_view(node), cluster_view.membership
    assert membership is not None
    if words := describe_channels(view):
        yield words
    mode = find_mode(cluster_view, node)
    if mode == "normal":
        yield "it takes new sessions: set block_new_session first, and wait for its channels to end"
    if node in membership.temporary:
        yield "a temporary node leaves the cluster when it is stopped, and must be registered again"
    if view is None or not view.connections:
        return
    values = _read_conf(desired, cluster_view.observed, node)
    # Both are on where a sora.conf does not name them.
    if values.get("cluster_relay", True) is True and values.get("default_cluster_affinity") is False:
        yield (
            f"its {view.connections} connections go where their clients connect next: with relay and without "
            "affinity, each stays on the node that it reaches"
        )
        return
    unless = (
        "" if values else "; but with relay and without affinity, each stays where its client connects next"
    )
    yield f"{_describe_load(cluster_view, node, view.connections)}{unless}"


def _read_conf(desired: SoraDesired, observed: Observed[NodeView], node: str) -> Mapping[str, object]:
    """The sora.conf of a node as it was read, with all its lines; else what is committed of it."""
    conf, target = desired.entry.conf, desired.confs.get(node)
    reading = observed.files.get(node, {}).get(conf.file) if conf is not None else None
    if isinstance(reading, Present) and reading.value.content is not None:
        with suppress(InputError, UnicodeDecodeError):
            return parse_key_values("", reading.value.content.decode())[0]
    return target.values if target is not None else {}


def _describe_load(cluster_view: ClusterView, node: str, connections: int) -> str:
    membership, limits = cluster_view.membership, cluster_view.limits
    assert membership is not None
    reserved = cluster_view.observed.reserved
    up = [one for one in membership.names if one != node and one not in reserved]
    names = [one for one in up if cluster_view.is_connected(one)]
    carriers: list[Carrier] = []
    for name in names:
        view = cluster_view.own_view(name)
        if view is None or view.connections is None or name not in limits:
            return f"where its {connections} connections go is not known: {name} does not show its own"
        carriers.append(Carrier(name, limits[name], view.connections))
    is_whole = len(names) == len(membership.names) - 1
    if is_whole and node in membership.regular and node in limits:
        carriers = list(raise_limits(carriers, limits[node]))
    return describe_load(carriers, connections) if carriers else "no other member can take its connections"
