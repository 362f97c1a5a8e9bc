"""What a plan of a Go cluster must never do, found by running its steps through the state machine once more.

The guards do not trust the planner: they start from the nodes' views, take the files from the members of the
fleet file, and check each step that takes a node away.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.observation import Present
from reconciler.core.plan import Step
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.gocluster import machine
from reconciler.drivers.gocluster.arguments import (
    START,
    NodeArguments,
    StartArguments,
    StopArguments,
    read_node_arguments,
)
from reconciler.drivers.gocluster.cluster_view import ClusterView, Process
from reconciler.drivers.gocluster.desired_state import GoDesired, find_changed_authentication, has_loaded
from reconciler.drivers.gocluster.steps import AUTHENTICATION, STOPPED_FOR
from reconciler.file_delivery.steps import SWITCH, is_file_step


def _list_steps(context: GuardContext) -> list[tuple[Step, NodeArguments]]:
    return [(step, read_node_arguments(step)) for step in context.plan.steps if not is_file_step(step)]


def _is_at_once(own: NodeArguments) -> bool:
    return isinstance(own, StartArguments | StopArguments) and own.at_once


def _refuse(context: GuardContext, code: str, step: Step, words: str, remedy: str) -> Diagnostic:
    target = f"{context.plan.cluster}/{step.node}"
    return Diagnostic(Severity.ERROR, code, f"{step.id} {words}", remedy, target=target)


@guard("mesh-quorum")
def refuse_quorum_loss(context: GuardContext) -> Iterator[Diagnostic]:
    """No step that takes a node away may take the quorum from the view of another node."""
    desired: GoDesired = context.desired
    state = ClusterView(desired.members, context.observed).make_state()
    for step, own in _list_steps(context):
        if _is_at_once(own):
            continue
        if step.action != START:
            lost = list(machine.find_lost_quorum(state, [step.node]))
            if lost:
                name, numbers = lost[0]
                yield _refuse(
                    context,
                    "mesh-quorum",
                    step,
                    f"would take the quorum from {name}: {numbers}",
                    "start the nodes that are away, or add nodes first, then plan again",
                )
        if step.node in state.names:
            state = machine.stop(state, step.node)
        if step.action != "stop" and step.node in state.names:
            state = machine.start(state, step.node)


@guard("unobserved-restart")
def refuse_unobserved_restart(context: GuardContext) -> Iterator[Diagnostic]:
    """Without `observe: true` nobody sees a quorum, so no node is stopped or restarted."""
    desired: GoDesired = context.desired
    if desired.entry.observe:
        return
    for step, _ in _list_steps(context):
        yield _refuse(
            context,
            "unobserved-restart",
            step,
            "would change a running node, and no view is read that shows the quorum",
            "set `observe: true`, or remove `restart` and restart the nodes by hand",
        )


@guard("mesh-order")
def refuse_parallel_steps(context: GuardContext) -> Iterator[Diagnostic]:
    """One node at a time: each step about a process waits for the one before it."""
    by_id = {step.id: step for step in context.plan.steps}
    previous: Step | None = None
    for step, own in _list_steps(context):
        if _is_at_once(own):
            continue
        if previous is not None and previous.id not in _list_predecessors(step, by_id):
            words = f"does not wait for {previous.id}; nodes are changed one at a time"
            yield _refuse(context, "mesh-order", step, words, "plan again")
        previous = step


def _list_predecessors(step: Step, by_id: dict[str, Step]) -> set[str]:
    found: set[str] = set()
    rest = list(step.after)
    while rest:
        name = rest.pop()
        if name not in found and name in by_id:
            found.add(name)
            rest += by_id[name].after
    return found


@guard("auth-change")
def refuse_rolling_authentication_change(context: GuardContext) -> Iterator[Diagnostic]:
    """A change of the secret or of TLS only on all nodes at once, in a change window.

    Every running node is stopped before the first file is switched, and every file is switched before the
    first node is started. The approval is asked for by the steps themselves.
    """
    desired: GoDesired = context.desired
    changed = [node for node in sorted(desired.members) if _changes_authentication(context, node)]
    switches = {step.node: step for step in context.plan.steps if step.action == SWITCH}
    concerned = [switches[node] for node in changed if node in switches]
    by_id = {step.id: step for step in context.plan.steps}
    shown = context.observed.present()
    for switch in concerned:
        before = _list_predecessors(switch, by_id)
        stopped = {by_id[name].node for name in before if by_id[name].action == "stop"}
        running = [node for node in sorted(shown) if node not in stopped]
        if running:
            words = f"changes the secret or TLS while {running[0]} runs"
            yield _refuse(context, "auth-change", switch, words, "plan again")
    for step, own in _list_steps(context):
        if step.action == START and concerned:
            before = _list_predecessors(step, by_id)
            early = [one.node for one in concerned if one.id not in before]
            if early:
                words = f"starts a node while {early[0]} has the former file"
                yield _refuse(context, "auth-change", step, words, "plan again")
        elif step.action == "restart" and concerned:
            words = "restarts a node in a change of the secret or of TLS, which needs all nodes at once"
            yield _refuse(context, "auth-change", step, words, "plan again")
        if isinstance(own, StopArguments) and own.at_once and not context.change_rules.windows:
            words = "stops all nodes of the cluster, and it has no change window"
            remedy = "give the cluster `windows`, so that it is stopped when that is announced"
            yield _refuse(context, "auth-change", step, words, remedy)
    if len({step.wave for step in context.plan.steps}) > 1 and any(
        _is_at_once(own) for _, own in _list_steps(context)
    ):
        yield context.violation(
            "auth-change",
            "a change of the secret or of TLS is divided into waves, and needs all nodes at once",
            "remove `rollout` for this change",
        )


def _changes_authentication(context: GuardContext, node: str) -> bool:
    desired: GoDesired = context.desired
    reading = context.observed.files.get(node, {}).get(desired.entry.config.file)
    content = reading.value.content if isinstance(reading, Present) else None
    # A file that was edited since the process was started with the desired one changes nothing that runs.
    if has_loaded(desired, node, context.observed.starts.get(node, "")):
        return False
    # Nobody meets a node that is down, unless all are down for such a change.
    is_down = ClusterView(desired.members, context.observed).get_process(node) is Process.DOWN
    if is_down and desired.recall(node, STOPPED_FOR) != AUTHENTICATION:
        return False
    return bool(find_changed_authentication(desired, node, content))


GUARDS: tuple[Guard, ...] = (
    refuse_quorum_loss,
    refuse_unobserved_restart,
    refuse_parallel_steps,
    refuse_rolling_authentication_change,
)
"""All guards of the product."""
