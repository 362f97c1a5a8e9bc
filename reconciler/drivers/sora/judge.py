"""The status of one step by a new reading: the same judgement before it, after it, and after a crash."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

from reconciler.core.observation import Observed
from reconciler.core.plan import Step
from reconciler.core.step_status import StepStatus, StepVerdict, make_changed, make_done, make_unknown
from reconciler.drivers.sora import preconditions
from reconciler.drivers.sora.arguments import (
    ClusterArguments,
    DrainArguments,
    InitArguments,
    ModeChangeArguments,
    PurgeArguments,
    RegisterArguments,
    RestartArguments,
    StopArguments,
    UpgradeArguments,
    read_cluster_arguments,
)
from reconciler.drivers.sora.cluster_view import ClusterView, make_machine_state, merge_views
from reconciler.drivers.sora.history import ClusterPast, EarlierNode, PastKnowledge
from reconciler.drivers.sora.init_decision import AnswerSummary, CollapsedState, decide_init
from reconciler.drivers.sora.init_evidence import (
    ANSWERS,
    find_init_doubt,
    runs_apart,
    summarise_answers,
)
from reconciler.drivers.sora.modes import find_mode, find_version
from reconciler.drivers.sora.schema import NodeView
from reconciler.drivers.sora.stop_decision import describe_channels
from reconciler.drivers.sora.stop_proof import prove_stopped
from reconciler.file_delivery.steps import is_file_step, judge_file_step

_READY: Final = StepVerdict(StepStatus.READY)


def judge(step: Step, seen: Observed[NodeView]) -> StepVerdict:
    """The status of the step, by the answers of its witnesses; of a step about a file, by its reading.

    A membership counts only if every node that sees a majority reports the same one.
    """
    if is_file_step(step):
        return judge_file_step(step, seen)
    return _judge_cluster_step(step, read_cluster_arguments(step), seen)


def _judge_cluster_step(step: Step, own: ClusterArguments, seen: Observed[NodeView]) -> StepVerdict:
    if isinstance(own, InitArguments):
        return _judge_init(own, merge_views(seen, regular=own.after.regular, single=own.single))
    cluster_view = merge_views(seen, regular=own.before.regular, single=())
    alone = _judge_without_majority(own, cluster_view)
    if alone is not None:
        return alone
    if not cluster_view.answering_nodes:
        return make_unknown("no node that sees a majority answers")
    if cluster_view.membership is None:
        return make_unknown("the nodes disagree about the members")
    return _judge_membership_step(own, step, cluster_view)


def _judge_without_majority(own: ClusterArguments, cluster_view: ClusterView) -> StepVerdict | None:
    """The status of a step that no majority has to show; None for another one."""
    if isinstance(own, ModeChangeArguments) and not isinstance(own, DrainArguments):
        return _judge_mode(own, cluster_view)
    if isinstance(own, RestartArguments) and own.is_outside:
        return _judge_outside_restart(own, cluster_view)
    target = ""
    match own:
        case UpgradeArguments(is_resumed=True) | RestartArguments(starts_stopped_node=True):
            target = own.target
    if target and not cluster_view.answers(target):
        return _judge_resumed(target, cluster_view)
    return None


def _judge_membership_step(own: ClusterArguments, step: Step, cluster_view: ClusterView) -> StepVerdict:
    match own:
        case RegisterArguments():
            return _judge_register(own, cluster_view)
        case PurgeArguments():
            return _judge_purge(own, cluster_view)
        case DrainArguments():
            return _judge_drain(own, cluster_view)
        case StopArguments():
            return _judge_stop(own, step, cluster_view)
        case RestartArguments():
            return _judge_restart(own, cluster_view)
        case UpgradeArguments():
            return _judge_upgrade(own, cluster_view)
    raise AssertionError(step.action)


def _judge_init(own: InitArguments, cluster_view: ClusterView) -> StepVerdict:
    names, membership = own.names, cluster_view.membership
    if membership == own.after:
        inside = {name for name in cluster_view.answering_nodes if cluster_view.is_connected(name)}
        missing = [name for name in names if name not in inside]
        if missing:
            return make_unknown(f"the new cluster is listed, but {missing[0]} is not in it yet")
        return make_done("every node lists the new cluster")
    if membership is not None and membership.names == tuple(sorted(names)):
        # A node may turn out to be temporary although the fleet file says regular: the call had its effect.
        other = ", ".join(membership.temporary)
        return make_done(f"every node is in the new cluster; {other} joined as a temporary node")
    history = ClusterPast({name: EarlierNode(required=True) for name in own.earlier})
    answers = summarise_answers(names, history, cluster_view)
    if answers is AnswerSummary.LIVING:
        elsewhere = (f"{name} at {place}" for name, place in cluster_view.live_elsewhere)
        who = ", ".join((*cluster_view.answering_nodes, *elsewhere))
        return make_changed(f"{who} is in a cluster with a majority")
    if answers is AnswerSummary.SILENT:
        nodes = cluster_view.observed.nodes
        silent = next(name for name in names if not isinstance(nodes.get(name), ANSWERS))
        return make_unknown(f"{silent}: {cluster_view.describe_answer(silent)}")
    return _judge_confirmation(own, cluster_view, answers)


def _judge_confirmation(own: InitArguments, cluster_view: ClusterView, answers: AnswerSummary) -> StepVerdict:
    """Whether the entry of the fleet file still allows InitCluster; all regular nodes have answered."""
    # The plan may be hours old (approval, windows): the same table is asked again with fresh answers.
    word = own.word
    if word.until and cluster_view.is_past(date.fromisoformat(word.until)):
        return make_changed(f"the `{word.name}` entry expired on {word.until}")
    collapsed = CollapsedState.NONE
    if word.name == "collapsed":
        apart = runs_apart(own.names, own.witnesses, cluster_view)
        collapsed = CollapsedState.APART if apart else CollapsedState.VALID
    outcome = decide_init(
        answers, PastKnowledge(own.knowledge), initialise=word.name == "initialise", collapsed=collapsed
    )
    if outcome.allowed and not (own.clear and answers in {AnswerSummary.ALONE, AnswerSummary.UNCLEAR}):
        why = find_init_doubt(outcome, own.names, cluster_view, members=own.members, required=own.earlier)
        return make_changed(why) if why and not own.unproven else _READY
    return make_changed(f"a node no longer answers that it was never initialised ({answers}): {outcome}")


def _judge_register(own: RegisterArguments, cluster_view: ClusterView) -> StepVerdict:
    target = own.target
    if cluster_view.membership is not None and target in cluster_view.membership.names:
        if cluster_view.is_connected(target) and target in cluster_view.answering_nodes:
            return make_done("the members list it as connected, and it lists them")
        if cluster_view.is_connected(target) or cluster_view.disputed_members:
            words = cluster_view.describe_answer(target)
            return make_unknown(f"it is listed, but shows no cluster itself: {words}")
        if not (own.again and cluster_view.is_outside(target)):
            # R may be raised and A not: it is not sent again blindly (facts: sora.md, "State machine").
            return make_changed("it is half registered: the members list it, but it is not connected to them")
    if cluster_view.membership != own.before or not cluster_view.is_agreed:
        return _judge_other_membership(cluster_view)
    if not cluster_view.is_joinable(target):
        return make_unknown(f"{target} cannot be registered: {cluster_view.describe_answer(target)}")
    return _judge_by_rule(
        cluster_view,
        own.contact,
        preconditions.find_register_obstacle,
        first=target,
        second=own.contact,
        temporary=(target,) if own.temporary else (),
    )


def _judge_purge(own: PurgeArguments, cluster_view: ClusterView) -> StepVerdict:
    target = own.target
    if cluster_view.membership is not None and target not in cluster_view.membership.names:
        return make_done("no member lists it any more")
    if cluster_view.membership != own.before or not cluster_view.is_agreed:
        return _judge_other_membership(cluster_view)
    # Proven again right before the call: the node may have been started since the plan was made.
    proof, word = prove_stopped(cluster_view, target, own.known, regular=own.regular), own.word
    if word.until and cluster_view.is_past(date.fromisoformat(word.until)):
        return make_changed(f"the `stopped` entry for {target} expired on {word.until}")
    if not proof.enough(word=bool(word.until)):
        return make_changed(f"{target} is not known to be stopped: {proof.words}")
    if not cluster_view.has_enough_views:
        return make_unknown("too few members answer to prove that it is stopped")
    return _judge_by_rule(
        cluster_view, own.contact, preconditions.find_purge_obstacle, first=own.contact, second=target
    )


def _judge_drain(own: DrainArguments, cluster_view: ClusterView) -> StepVerdict:
    observed = find_mode(cluster_view, own.target)
    if observed in {own.mode, "block_new_connection"}:
        return make_done("the node accepts no new sessions")
    if not observed:
        return _judge_unknown_mode(own.target, cluster_view)
    return _judge_removal(own, cluster_view, spare=0)


def _judge_stop(own: StopArguments, step: Step, cluster_view: ClusterView) -> StepVerdict:
    if cluster_view.is_down(own.target):
        return make_done("no member sees it, and its API does not answer")
    verdict = _judge_removal(own, cluster_view, spare=own.spare)
    if step.is_manual and verdict.status is StepStatus.READY:
        words = f"stop {step.node} on its host, then run this again"
        left = describe_channels(cluster_view.own_view(own.target))
        return StepVerdict(StepStatus.READY, f"{words}; {left}" if left else words)
    return verdict


def _judge_restart(own: RestartArguments, cluster_view: ClusterView) -> StepVerdict:
    target, started = own.target, cluster_view.get_started(own.target)
    if cluster_view.own_view(target) is None:
        return _judge_silent_restart(own, cluster_view)
    # The file of a node that showed no start while it was down is changed only while it shows none: then
    # whoever has started it, it uses the present one.
    if own.started or not own.is_resumed:
        if not started:
            command = own.started_command
            return make_unknown(f"when {target} was started last cannot be read by the command {command}")
        if started == own.started:
            return _judge_former_start(own, cluster_view)
    if target in own.before.temporary:
        return make_done("it was started again")
    if cluster_view.is_connected(target) and target in cluster_view.answering_nodes:
        return make_done("it was started again, and every member sees it connected")
    return make_unknown("it was started again, but not every member sees it connected yet")


def _judge_former_start(own: RestartArguments, cluster_view: ClusterView) -> StepVerdict:
    """A running node that was not started since the plan was made."""
    if own.is_resumed:
        return make_changed("it runs again, and was not started since the plan was made")
    return _judge_removal(own, cluster_view, spare=own.spare)


def _judge_outside_restart(own: RestartArguments, cluster_view: ClusterView) -> StepVerdict:
    """A node that is in no cluster, so that nothing but itself depends on the restart."""
    target, started = own.target, cluster_view.get_started(own.target)
    if cluster_view.membership is not None and target in cluster_view.membership.names:
        return make_changed(f"{target} is in the cluster by now")
    if not cluster_view.answers(target):
        words = f"{target} does not run: {cluster_view.describe_answer(target)}"
        return StepVerdict(StepStatus.READY, words) if own.again else make_changed(words)
    if not started:
        return make_unknown(
            f"when {target} was started last cannot be read by the command {own.started_command}"
        )
    if started != own.started:
        return make_done("it was started again")
    if cluster_view.is_joinable(target):
        return _READY
    return make_changed(f"{target} is not known to be in no cluster: {cluster_view.describe_answer(target)}")


def _judge_silent_restart(own: RestartArguments, cluster_view: ClusterView) -> StepVerdict:
    words = f"{own.target} does not run: {cluster_view.describe_answer(own.target)}"
    if not cluster_view.is_down(own.target):
        return make_unknown(words)
    # It was running when the step was planned; one that may start it is judged before this.
    return make_changed(words)


def _judge_resumed(target: str, cluster_view: ClusterView) -> StepVerdict:
    """A node that a run has stopped, and that nothing answers for."""
    # Also without a majority: the node may be what the cluster lacks.
    if True in cluster_view.connections.get(target, ()) or target in cluster_view.errors:
        return make_unknown(f"{target} does not answer, but the members do not see it as stopped")
    return StepVerdict(StepStatus.READY, f"{target} is down")


def _judge_upgrade(own: UpgradeArguments, cluster_view: ClusterView) -> StepVerdict:
    target, membership = own.target, cluster_view.membership
    is_member = membership is not None and target in membership.names
    if own.temporary and not is_member and cluster_view.answers(target):
        return make_done("it was started again; its version is seen once it is registered")
    if cluster_view.is_down(target):
        words = f"{target} does not run: {cluster_view.describe_answer(target)}"
        return StepVerdict(StepStatus.READY, words) if own.is_resumed else make_changed(words)
    if not (cluster_view.is_connected(target) and target in cluster_view.answering_nodes):
        return make_unknown(f"{target} runs, but not every member sees it connected")
    return _judge_running_version(own, cluster_view)


def _judge_running_version(own: UpgradeArguments, cluster_view: ClusterView) -> StepVerdict:
    """A connected member that is to be upgraded, or has been."""
    rows = [view.row(own.target) for view in cluster_view.answering_nodes.values()]
    versions, found = {row.version for row in rows if row is not None}, find_version(cluster_view, own.target)
    shown = f"it has version {found or '(not known)'}"
    if not own.version or versions == {own.version}:
        return make_done(f"{shown}, and every member sees it connected")
    if found == own.version:
        return make_unknown(f"{shown}, but not every member shows that yet")
    if own.is_resumed:
        return make_changed(shown)
    reserved = cluster_view.observed.reserved - {own.target}
    away = [name for name in own.before.regular if cluster_view.is_away(name) or name in reserved]
    if away:
        return make_changed(f"{own.target} must not be stopped: {away[0]} is away")
    verdict = _judge_removal(own, cluster_view, spare=own.spare)
    return StepVerdict(StepStatus.READY, shown) if verdict.status is StepStatus.READY else verdict


def _judge_removal(
    own: DrainArguments | StopArguments | RestartArguments | UpgradeArguments,
    cluster_view: ClusterView,
    *,
    spare: int,
) -> StepVerdict:
    target, membership = own.target, cluster_view.membership
    if membership != own.before or not cluster_view.is_agreed:
        return _judge_other_membership(cluster_view)
    if membership is not None and target in membership.temporary:
        return _READY
    # A member that does not answer may have failed already: stopping this one could then lose the majority.
    silent = cluster_view.list_unknown_members(but=target)
    if silent:
        return make_unknown(f"{', '.join(silent)} is in the cluster but does not answer")
    node_numbers, state = make_machine_state(cluster_view, (), ())
    why = preconditions.find_stop_obstacle(state, node_numbers.at(target), spare=spare)
    return make_changed(f"{target} must not be stopped: {why}") if why else _READY


def _judge_mode(own: ModeChangeArguments, cluster_view: ClusterView) -> StepVerdict:
    observed = find_mode(cluster_view, own.target)
    if not observed:
        return _judge_unknown_mode(own.target, cluster_view)
    if observed == own.mode:
        return make_done(f"it is in {own.mode}")
    is_as_planned = observed == own.previous or (own.after_start and observed == "normal")
    return _READY if is_as_planned else make_changed(f"it is in {observed}, no longer in {own.previous}")


def _judge_unknown_mode(name: str, cluster_view: ClusterView) -> StepVerdict:
    return make_unknown(f"the mode of {name} is unknown: {cluster_view.describe_answer(name)}")


def _judge_by_rule(
    cluster_view: ClusterView,
    contact: str,
    rule: Callable[..., str],
    *,
    first: str,
    second: str,
    temporary: tuple[str, ...] = (),
) -> StepVerdict:
    if contact not in cluster_view.answering_nodes or not cluster_view.is_connected(contact):
        return make_changed(f"the contact node {contact} is no longer in the majority")
    node_numbers, state = make_machine_state(cluster_view, (first, second), temporary)
    why = rule(state, node_numbers.at(first), node_numbers.at(second))
    return make_changed(why) if why else _READY


def _judge_other_membership(cluster_view: ClusterView) -> StepVerdict:
    if cluster_view.disputed_members:
        return make_unknown(f"the members disagree whether {cluster_view.disputed_members[0]} is connected")
    return make_changed(f"the members are now {cluster_view.membership}")
