"""Whether a node may be stopped now, by the views of all others; pure."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.reservations import StopAnswer, StopDecision, StopQuestion
from reconciler.drivers.gocluster.cluster_view import ClusterView, Process
from reconciler.drivers.gocluster.desired_state import GoDesired
from reconciler.drivers.gocluster.machine import describe_view, find_stop_obstacle, stop


def decide_stop(question: StopQuestion) -> StopDecision:
    """Whether every other node keeps its quorum without it; reserved nodes count as away."""
    desired, node = question.desired, question.node
    assert isinstance(desired, GoDesired)
    if not desired.entry.observe:
        words = "`observe: true` is missing in the fleet file, so no quorum is seen"
        return StopDecision(StopAnswer.UNKNOWN, (words,))
    away = (question.observed.reserved | frozenset(question.away)) - {node}
    cluster_view = ClusterView(desired.members, replace(question.observed, reserved=away))
    unknown = [name for name in cluster_view.list_unknown(but=away) if name != node]
    if unknown:
        why = cluster_view.describe_answer(unknown[0])
        return StopDecision(StopAnswer.UNKNOWN, (f"whether {unknown[0]} runs is not known: {why}",))
    reserved = tuple(f"{name} {why}" for name, why in sorted(question.away.items()) if name != node)
    if cluster_view.get_process(node) is Process.DOWN:
        return StopDecision(StopAnswer.YES, ("its API is silent, and no node shows it Online",))
    state = cluster_view.make_state()
    if node not in state.names:
        return StopDecision(StopAnswer.UNKNOWN, (f"no node lists {node}",))
    if why := find_stop_obstacle(state, node):
        return StopDecision(StopAnswer.NO, (why, *reserved))
    after = stop(state, node)
    left = [
        f"{one.name}: {describe_view(after, one.name)}" for one in after.nodes if one.up and one.is_counted
    ]
    facts = (f"views without it: {'; '.join(left)}",) if left else ()
    return StopDecision(StopAnswer.YES, ("every other node keeps its quorum", *reserved), facts)
