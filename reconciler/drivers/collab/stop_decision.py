"""Whether a node of a cluster may be stopped now, by the rules of its restarts; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan
from reconciler.core.reservations import StopAnswer, StopDecision, StopQuestion
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.collab.arguments import STOP
from reconciler.drivers.collab.cluster_view import ClusterView, list_services
from reconciler.drivers.collab.schema import CollabCluster, CollabDesired
from reconciler.drivers.collab.views import CollabView


def decide_stop(question: StopQuestion) -> StopDecision:
    """Whether users and the other servers can do without the node.

    Redis and the load balancer are the only ones of their kind: without them nobody is served.
    """
    desired, node = question.desired, question.node
    assert isinstance(desired, CollabDesired)
    away = (question.observed.reserved | frozenset(question.away)) - {node}
    view = ClusterView(desired, replace(question.observed, reserved=away))
    entry = desired.entry
    if entry.redis is not None and node == entry.redis.name:
        return _decide_single(view, entry, node, "Redis", "all servers are paused while it is away")
    if entry.balancer is not None and node == entry.balancer.name:
        return _decide_single(view, entry, node, "the load balancer", "users reach the servers by it alone")
    return _decide_server(question, view, entry, node)


def report_clients_left(
    desired: CollabDesired,
    observed: Observed[CollabView],
    plan: ClusterPlan,
) -> Iterator[Diagnostic]:
    """What is left on each server that the plan asks a person to stop."""
    view = ClusterView(desired, observed)
    for step in plan.steps:
        status = view.get_status(step.node)
        if step.action != STOP or not step.is_manual or status is None or status.connections is None:
            continue
        yield Diagnostic(
            Severity.NOTE,
            "clients-left",
            f"{step.node} is to be stopped by a person: {status.connections} clients are connected to it",
            f"`reconcile allow-stop {step.node}` says whether it may be stopped at that moment",
            target=f"{plan.cluster}/{step.node}",
        )


def _decide_single(view: ClusterView, entry: CollabCluster, node: str, kind: str, why: str) -> StopDecision:
    if view.is_silent(node):
        return StopDecision(StopAnswer.YES, ("it does not run",))
    serving = [server.name for server in entry.nodes if view.is_healthy(server.name)]
    if not serving and all(view.get_status(server.name) is not None for server in entry.nodes):
        return StopDecision(StopAnswer.YES, ("no server serves, so that nobody needs it",))
    return StopDecision(StopAnswer.NO, (f"it is {kind} of {entry.name}: {why}",))


def _decide_server(  # noqa: PLR0911
    question: StopQuestion, view: ClusterView, entry: CollabCluster, node: str
) -> StopDecision:
    status = view.get_status(node)
    facts: tuple[str, ...] = ()
    if status is not None and status.connections is not None:
        facts = (f"{status.connections} clients are connected to it",)
    reserved = tuple(f"{name} {why}" for name, why in sorted(question.away.items()) if name != node)
    if view.is_silent(node):
        return StopDecision(StopAnswer.YES, ("it does not run",), facts)
    used = view.upstream
    if used is None:
        words = "the file of the load balancer cannot be read, so it is not known who serves"
        return StopDecision(StopAnswer.UNKNOWN, (words,), facts)
    others = [one for one in entry.nodes if one.name != node and one.address in used]
    serving = [one.name for one in others if view.is_healthy(one.name)]
    if not serving:
        unread = [
            one.name for one in others if view.get_status(one.name) is None and not view.is_silent(one.name)
        ]
        if unread:
            words = f"{unread[0]} {view.describe(unread[0])}, and no other server is known to serve"
            return StopDecision(StopAnswer.UNKNOWN, (words,), facts)
        if status is not None and not status.is_healthy:
            return StopDecision(StopAnswer.YES, ("it does not serve now", *reserved), facts)
        return StopDecision(StopAnswer.NO, ("no other server serves", *reserved), facts)
    missing = view.missing_services
    if missing and status is not None and status.is_healthy:
        service, names = next(iter(missing.items()))
        words = f"{', '.join(names)} cannot reach {list_services([service])}: it might come back paused"
        return StopDecision(StopAnswer.NO, (words, *reserved), facts)
    if not view.is_redis_there:
        words = "Redis does not answer: it would come back paused"
        return StopDecision(StopAnswer.NO, (words, *reserved), facts)
    return StopDecision(
        StopAnswer.YES,
        (f"{', '.join(serving)} {'serve' if len(serving) > 1 else 'serves'}", *reserved),
        facts,
    )
