"""The status of one step by a new reading: the same judgement before it, after it, and after a crash; pure.

The status of a command proves nothing. A restart is done when the host shows another start, every other node
shows the node Online with a new join, and the node shows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from reconciler.core.observation import Observed
from reconciler.core.plan import Step
from reconciler.core.step_status import StepStatus, StepVerdict, make_changed, make_done, make_unknown
from reconciler.drivers.gocluster.arguments import (
    NodeArguments,
    RestartArguments,
    StartArguments,
    StopArguments,
    read_node_arguments,
)
from reconciler.drivers.gocluster.cluster_view import ClusterView, Process
from reconciler.drivers.gocluster.machine import find_stop_obstacle
from reconciler.drivers.gocluster.view import NodeView
from reconciler.file_delivery.steps import is_file_step, judge_file_step

_READY: Final = StepVerdict(StepStatus.READY)


def judge(step: Step, seen: Observed[NodeView | None]) -> StepVerdict:
    """The status of the step, by the nodes' own views; of a step about a file, by its reading."""
    if is_file_step(step):
        return judge_file_step(step, seen)
    own = read_node_arguments(step)
    if not own.apis and not (isinstance(own, StopArguments) and own.at_once):
        return make_unknown("no node is read: `observe: true` is missing in the fleet file")
    cluster_view = ClusterView(own.members, seen)
    match own:
        case RestartArguments():
            return _judge_restart(own, cluster_view)
        case StartArguments():
            return _judge_start(own, step, cluster_view)
        case StopArguments():
            return _judge_stop(own, step, cluster_view)
    raise AssertionError(step.action)


def is_started_again(own: RestartArguments, seen: Observed[NodeView | None]) -> bool:
    """Whether the host shows another start than the one of the plan."""
    started = seen.starts.get(own.target, "")
    return bool(started) and started != own.started


def _judge_restart(own: RestartArguments, cluster_view: ClusterView) -> StepVerdict:
    target, seen = own.target, cluster_view.observed
    started = seen.starts.get(target, "")
    if not started:
        return make_unknown(f"when {target} was started last cannot be read by {own.started_command}")
    if started != own.started:
        why = _find_missing_link(own, own.shows, own.seen_by, cluster_view) or _find_old_link(
            own, cluster_view
        )
        if why:
            return make_unknown(f"it was started again, but {why}")
        return make_done("it was started again, every other node shows it Online, and it shows them")
    process = cluster_view.get_process(target)
    if process is Process.DOWN:
        words = f"{target} does not run: {cluster_view.describe_answer(target)}"
        return StepVerdict(StepStatus.READY, words) if own.again else make_changed(words)
    return _judge_absence(own, cluster_view)


def _judge_absence(own: NodeArguments, cluster_view: ClusterView) -> StepVerdict:
    """Whether the node may go down now, by views that are read right before the call."""
    unknown = cluster_view.list_unknown()
    if unknown:
        words = cluster_view.describe_answer(unknown[0])
        return make_unknown(f"whether {unknown[0]} runs is not known: {words}")
    reserved = sorted(cluster_view.observed.reserved & own.members.keys() - {own.target})
    if reserved:
        return make_changed(f"{reserved[0]} counts as away: it is reserved or held")
    gone = [
        name
        for name in own.relies_on
        if name in own.members and cluster_view.get_process(name) is not Process.RUNNING
    ]
    if gone:
        return make_changed(f"{gone[0]} ran when this was planned, and does not run any more")
    why = find_stop_obstacle(cluster_view.make_state(), own.target)
    return make_changed(why) if why else _READY


def _find_missing_link(
    own: NodeArguments, shows: Iterable[str], seen_by: Iterable[str], cluster_view: ClusterView
) -> str:
    """What is not shown yet of a node that was started; empty if everything is."""
    target, views = own.target, cluster_view.mesh.views
    if target not in views:
        return f"it shows no view: {cluster_view.describe_answer(target)}"
    missing = sorted(set(shows) - views[target].connected)
    if missing:
        return f"it does not show {missing[0]} Online yet"
    for name in seen_by:
        if name not in views:
            return f"{name} shows no view: {cluster_view.describe_answer(name)}"
        row = views[name].peer(target)
        if row is None or not row.is_online:
            return f"{name} does not show it Online yet"
    return ""


def _find_old_link(own: RestartArguments, cluster_view: ClusterView) -> str:
    for name in own.seen_by:
        row = cluster_view.mesh.views[name].peer(own.target)
        if row is not None and name in own.joined and row.joined == own.joined[name]:
            return f"{name} still shows its connection from before"
    return ""


def _judge_start(own: StartArguments, step: Step, cluster_view: ClusterView) -> StepVerdict:
    process = cluster_view.get_process(own.target)
    if process is Process.DOWN:
        words = f"start {own.target} on its host, then run this again" if step.is_manual else ""
        return StepVerdict(StepStatus.READY, words or f"{own.target} does not run")
    if process is Process.UNKNOWN:
        words = cluster_view.describe_answer(own.target)
        return make_unknown(f"whether {own.target} runs is not known: {words}")
    why = _find_missing_link(own, own.shows, own.seen_by, cluster_view)
    return (
        make_unknown(f"it runs, but {why}") if why else make_done("it runs, and is connected to the others")
    )


def _judge_stop(own: StopArguments, step: Step, cluster_view: ClusterView) -> StepVerdict:
    target = own.target
    words = f"stop {target} on its host, then run this again" if step.is_manual else ""
    if target in own.members:
        process = cluster_view.get_process(target)
        if process is Process.DOWN:
            return make_done("its API is silent, and no node shows it Online")
        if process is Process.UNKNOWN:
            return make_unknown(f"whether {target} runs is not known: {cluster_view.describe_answer(target)}")
        return StepVerdict(StepStatus.READY, words)
    return _judge_leaving(own, words, cluster_view)


def _judge_leaving(own: StopArguments, words: str, cluster_view: ClusterView) -> StepVerdict:
    """The stop of a node that the fleet file does not name: its own API shows it, or the others' views."""
    target, mesh = own.target, cluster_view.mesh
    if target in cluster_view.list_leaving():
        verdict = _judge_absence(own, cluster_view)
        return StepVerdict(StepStatus.READY, words) if verdict.status is StepStatus.READY else verdict
    silent = cluster_view.list_unknown()
    if silent:
        return make_unknown(f"{silent[0]} shows no view: {cluster_view.describe_answer(silent[0])}")
    if cluster_view.get_process(target) is Process.DOWN:
        return make_done("its API is silent, and no node shows it Online")
    if not mesh.is_listed(target):
        return make_changed(f"no node lists {target} any more, so nothing shows whether it runs")
    # A node that is itself cut off shows all others as gone.
    witnesses = [name for name, view in mesh.views.items() if view.peer(target) is not None]
    if not any(map(mesh.keeps_quorum, witnesses)):
        return make_unknown(f"the nodes that list {target} have no quorum themselves")
    return make_done("no node shows it Online any more")
