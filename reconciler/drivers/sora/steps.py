"""The steps of a Sora plan: each verb with its arguments, its reason, its risk and how it is undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reconciler.core.command_reference import NamedCommand, RestartCommand
from reconciler.core.observation import Observed, Present, Stale
from reconciler.core.plan import Effect, Inverse, Risk, Step
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.arguments import (
    ClusterArguments,
    DrainArguments,
    InitArguments,
    InitConfirmation,
    ModeChangeArguments,
    PurgeArguments,
    RegisterArguments,
    RestartArguments,
    StopArguments,
    StoppedConfirmation,
    UpgradeArguments,
    read_cluster_arguments,
)
from reconciler.drivers.sora.choices import DEFAULTS, Choices
from reconciler.drivers.sora.cluster_state import Mode, State
from reconciler.drivers.sora.history import make_init_facts, make_member_facts
from reconciler.drivers.sora.membership import Membership, NodeNumbers
from reconciler.drivers.sora.node_commands import fill_command
from reconciler.drivers.sora.schema import (
    NODE_NAME,
    NodeView,
    SoraCluster,
    SoraDesired,
    Stopped,
    make_confirmation_key,
)
from reconciler.ports.driver import Undo

MEMBERSHIP: Final = frozenset({"init", "register", "purge", "stop", "restart", "upgrade"})
"""The verbs that change who is in the cluster or who of it is up."""

_APIS: Final = {
    "init": "/sora/InitCluster",
    "register": "/sora/RegisterClusterNode",
    "purge": "/sora/PurgeClusterNode",
    "drain": "/sora/ChangeMode",
    "mode": "/sora/ChangeMode",
    "stop": "/sora/stop",
    "restart": "/sora/restart",
    "upgrade": "/sora/upgrade",
}
"""How messages name the calls; stops, restarts and upgrades are outside Sora's API."""

STOPPED_FOR: Final = "stopped_for_upgrade"
"""Fact of a node that a run of this host stops for its upgrade: the version that it had."""

RESTARTED: Final = "stopped_for_restart"
"""Fact of a node that a run of this host restarts: the start of the process before, or `TRIED`."""

TRIED: Final = "started again"
"""Value of `RESTARTED` of a node that did not come back, and that a run has started with its present file."""

BLOCKED: Final = "block_new_session"
"""The mode that a node gets before it is stopped."""


@dataclass(frozen=True, slots=True)
class StepContext:
    """What every step of one cluster carries.

    Args:
        witnesses: name -> API address of the nodes whose views show the status of the step.
        before: the membership that must be there when the step starts.
        after: the membership that must be there when it is done.
        previous: id of the step it waits for; empty for the first one.
        elsewhere: name -> further addresses at which a node is asked, because it may still answer there.
    """

    entry: SoraCluster
    witnesses: Mapping[str, str]
    before: Membership
    after: Membership
    previous: str = ""
    elsewhere: Mapping[str, Sequence[str]] = field(default_factory=dict)


def make_init_step(
    context: StepContext,
    node: str,
    api: str,
    word: InitConfirmation,
    desired: SoraDesired,
    *,
    clear: bool,
    unproven: str = "",
) -> Step:
    """InitCluster on one of the regular nodes; see `InitArguments`.

    The witnesses of the context are all nodes that are known, from earlier too.
    """
    names, history = context.after.regular, desired.history
    spends = make_confirmation_key(context.entry.collapsed) if word.name == "collapsed" else ""
    arguments = InitArguments(
        **_make_shared_arguments(context, "init"),
        api=api,
        names=names,
        word=word,
        spends=spends,
        clear=clear,
        anew=word.name == "collapsed",
        knowledge=history.knowledge.value,
        earlier=history.required,
        single=tuple(sorted(history.single)),
        intent_facts={
            name: make_init_facts(desired.source, context.witnesses[name])
            | ({"collapsed": spends} if spends else {})
            for name in names
        },
        members=history.members,
        unproven=unproven,
    )
    return replace(
        _make_step(context, node, "init", arguments),
        reason=f"the cluster of {', '.join(names)} does not exist yet: {word.reason}",
        risk=Risk.MEDIUM if clear and word.name == "initialise" and not history.unread else Risk.HIGH,
        risk_reason="if the old cluster still runs, this creates a second one",
        needs=(
            "every node of the fleet file answers, and no node of an earlier revision is in a running cluster"
        ),
        inverse=Inverse("point of no return: a cluster is initialised once"),
    )


def make_register_step(
    context: StepContext, node: str, api: str, contact: str, source: str, *, again: bool = False
) -> Step:
    """RegisterClusterNode, sent to the joining node; `again` if it is half registered."""
    temporary = node in context.after.temporary
    arguments = RegisterArguments(
        **_make_shared_arguments(context, "register"),
        api=api,
        target=node,
        contact=contact,
        again=again,
        temporary=temporary,
        # Stored with the intent: the call may register the node even if this run is killed before the answer.
        intent_facts={} if again else {node: make_member_facts(source, [api])},
    )
    why = (
        "it is only half registered: it answers that it is in no cluster"
        if again
        else "it is not registered yet"
    )
    undo = "stop it" if temporary else "stop it and purge it"
    return replace(
        _make_step(context, node, "register", arguments),
        reason=f"the fleet file names {node}, and {why}",
        risk=Risk.LOW if temporary else Risk.MEDIUM,
        risk_reason="it never counts for the majority"
        if temporary
        else "a registration that fails halfway raises the number of nodes needed for a majority",
        needs=f"{contact} sees a majority that holds even if the registration fails halfway",
        inverse=Inverse(undo, "stop", {"target": node}),
    )


def make_purge_step(
    context: StepContext,
    node: str,
    api: str,
    contact: str,
    *,
    known: Sequence[str],
    word: Stopped | None,
    regular: bool,
    closes: bool = False,
) -> Step:
    """PurgeClusterNode on a healthy member; see `PurgeArguments`.

    The context asks the target at every address, known or guessed.
    """
    key = make_confirmation_key(word)
    arguments = PurgeArguments(
        **_make_shared_arguments(context, "purge"),
        api=api,
        target=node,
        contact=contact,
        known=tuple(known),
        regular=regular,
        word=StoppedConfirmation(word.reason, word.until.isoformat())
        if word is not None
        else StoppedConfirmation(),
        intent_facts={node: {"stopped": key}} if key else {},
        closes=closes,
    )
    return replace(
        _make_step(context, node, "purge", arguments),
        reason=f"{node} is stopped and not in the fleet file"
        + (f": {word.reason}" if word is not None else ""),
        risk=Risk.MEDIUM if word is None else Risk.HIGH,
        risk_reason="the cluster removes the node permanently"
        if word is None
        else "the fleet file says that it is stopped, and the cluster removes the node permanently",
        needs=f"{node} is stopped, at all its addresses, and the majority holds without it",
        inverse=Inverse(
            "point of no return: it can only be registered again, as a new member; wipe its data before it "
            "is started again"
        ),
    )


def make_drain_step(
    context: StepContext, node: str, api: str, mode: str, *, reason: str = "leaves the cluster"
) -> Step:
    """ChangeMode, so that a node that is to be stopped, or restarted, gets no new sessions."""
    arguments = DrainArguments(
        **_make_shared_arguments(context, "drain"), api=api, target=node, mode=BLOCKED, previous=mode
    )
    return replace(
        _make_step(context, node, "drain", arguments),
        reason=f"{node} {reason} and gets no more new sessions",
        effect=Effect.HOT,
        risk=Risk.LOW,
        risk_reason="the other nodes take its new sessions",
        needs="the majority holds without it",
        inverse=_make_mode_inverse(node, mode),
    )


def make_stop_step(context: StepContext, node: str, own: str, *, spare: int, window: bool = False) -> Step:
    """Stop a live node, by a command of the host once it is drained, or by an operator; see `StopArguments`.

    Args:
        context: with the membership before and after, which are the same for a regular node.
        node: the one that is stopped.
        own: its API address; empty if unknown.
        spare: further failures that the majority survives after it, as far as the plan needs them.
        window: whether there is no reserve until the purge that follows in the same run.
    """
    stop, waits = find_stop_command(context.entry, node), context.entry.timeouts
    # Worst case until the purge: the stop is read back within `settle`, the purge reads once more, and its
    # call takes one more timeout.
    seconds = waits.settle + 2 * waits.read if window else 0
    arguments = StopArguments(
        **_make_shared_arguments(context, "stop"),
        target=node,
        own=own,
        command=stop.command if stop else "",
        values=fill_command(stop, node) if stop else {},
        drain=context.entry.drain,
        spare=spare,
        window=seconds,
    )
    is_temporary = node in context.before.temporary
    asked = f"run the host's command {stop.command}" if stop else "stop it on its host"
    if context.entry.drain:
        asked += f" once its channels have moved away, or after {context.entry.drain:g} s"
    return replace(
        _make_step(context, node, "stop", arguments),
        reason=f"{node} runs but is not in the fleet file: {asked}",
        effect=Effect.MEMBERSHIP,
        risk=Risk.MEDIUM if is_temporary else Risk.HIGH,
        risk_reason=_describe_stop_risk(node, seconds, spare=spare, is_temporary=is_temporary),
        needs="the cluster lists it as a temporary node"
        if is_temporary
        else "every other member is known to be up or down, and the majority holds without this one",
        inverse=Inverse(f"start {node} again: it returns by itself")
        if node in context.before.regular
        else Inverse(f"start {node} and register it again", "register", {"target": node}),
        is_manual=stop is None,
    )


def make_restart_step(
    context: StepContext,
    node: str,
    own: str,
    command: RestartCommand,
    *,
    started: str,
    spare: int,
    unused: str = "",
    is_outside: bool = False,
    is_resumed: bool = False,
    is_delivered: bool = False,
    shown_keys: str = "",
) -> Step:
    """Restart a node by a command of the host once it is drained; see `RestartArguments`.

    Args:
        context: with the membership before and after.
        node: the one that is restarted.
        own: its API address.
        command: of the host.
        started: text of its last start.
        spare: further failures that the majority survives while it is down, as far as the plan needs them.
        unused: what it shows otherwise than its sora.conf says, in words.
        is_outside: whether it is not in the cluster, but about to join it.
        is_resumed: whether it is down already, because an earlier run has restarted it.
        is_delivered: whether its file is changed in the same plan.
        shown_keys: fingerprint of the keys of its sora.conf that it will show.
    """
    way_back = "; if it stays down, it gets its former file and is started" if is_delivered else ""
    drain = 0 if is_outside or is_resumed else context.entry.drain
    # A start leaves a node alone that somebody has started meanwhile.
    run: NamedCommand = context.entry.start if is_resumed and context.entry.start else command
    arguments = RestartArguments(
        **_make_shared_arguments(context, "restart"),
        target=node,
        own=own,
        command=run.command,
        values=fill_command(run, node),
        drain=drain,
        spare=spare,
        started=started,
        started_command=command.started.command,
        started_values=fill_command(command.started, node),
        is_outside=is_outside,
        shown_keys=shown_keys,
        is_delivered=is_delivered,
        is_resumed=is_resumed,
        # Of a node outside the cluster nothing depends on whether it runs.
        intent_facts={} if is_outside else {node: {RESTARTED: TRIED if is_resumed else started}},
    )
    is_temporary = node in context.entry.temporary
    asked = f"run the host's command {run.command}"
    if drain:
        asked += f" once its channels have moved away, or after {drain:g} s"
    why = f"{node} was started before its sora.conf was changed"
    if is_delivered:
        why = f"{node} gets another sora.conf, which it reads when it starts"
    if unused:
        why = f"{node} does not use its sora.conf ({unused})"
    if is_resumed:
        why = f"an earlier run has restarted {node}, and it does not run; this starts it"
    risk_reason = _describe_stop_risk(node, 0, spare=spare, is_temporary=is_temporary)
    needs = "every other member is known to be up or down, and the majority holds without this one"
    if is_resumed:
        risk_reason, needs = "it is down already, and comes back by this step", f"{node} is still down"
    elif is_outside:
        risk_reason, needs = "it is not in the cluster yet", "it is still in no cluster"
    elif is_temporary:
        needs = "the cluster lists it as a temporary node"
    elif not spare:
        risk_reason = "its remaining sessions end; until it is back, one more failure would stop the cluster"
    return replace(
        _make_step(context, node, "restart", arguments),
        reason=f"{why}: {asked}",
        effect=Effect.RESTART,
        # Not high without a reserve: it comes back by itself, and the next node waits until it has.
        risk=Risk.LOW if is_outside or is_resumed else Risk.MEDIUM,
        risk_reason=risk_reason,
        needs=needs,
        inverse=Inverse(f"point of no return: the sessions that it ends are not brought back{way_back}"),
    )


def make_upgrade_step(
    context: StepContext, node: str, own: str, *, running: str, spare: int, is_resumed: bool = False
) -> Step:
    """Stop a node once it is drained, upgrade it and start it, by commands of the host.

    Args:
        context: with the membership before and after.
        node: the one that is upgraded.
        own: its API address.
        running: the version that it has; empty if it is not known.
        spare: further failures that the majority survives while it is down, as far as the plan needs them.
        is_resumed: whether it is down already, because an earlier run has stopped it for its upgrade.
    """
    entry = context.entry
    stop, start, upgrade = find_stop_command(entry, node), entry.start, entry.upgrade
    assert start is not None
    version = (entry.version or "") if upgrade is not None else ""
    arguments = UpgradeArguments(
        **_make_shared_arguments(context, "upgrade"),
        target=node,
        own=own,
        version=version,
        running=running,
        stop="" if is_resumed or stop is None else stop.command,
        stop_values={} if is_resumed or stop is None else fill_command(stop, node),
        command=upgrade.command if upgrade is not None else "",
        values={**fill_command(upgrade, node), "version": version} if upgrade is not None else {},
        start=start.command,
        start_values=fill_command(start, node),
        drain=0 if is_resumed else entry.drain,
        spare=spare,
        temporary=node in entry.temporary,
        settle=entry.timeouts.settle,
        intent_facts={node: {STOPPED_FOR: running or "unknown"}},
    )
    is_temporary = node in entry.temporary
    commands = ", ".join(filter(None, (arguments.stop, arguments.command, arguments.start)))
    asked = f"run the host's commands {commands}"
    if arguments.drain:
        asked += f" once its channels have moved away, or after {entry.drain:g} s"
    why = f"{node} has version {running or '(not known)'}, the fleet file says {version}"
    if is_resumed:
        why = f"an earlier run has stopped {node} for its upgrade" + (f" to {version}" if version else "")
    risk = _describe_stop_risk(node, 0, spare=spare, is_temporary=is_temporary)
    if is_resumed:
        risk = "it is down already, and comes back by this step"
    elif not is_temporary and not spare:
        risk = "its remaining sessions end; until it is back, one more failure would stop the cluster"
    step = _make_step(context, node, "upgrade", arguments)
    return replace(
        step,
        reason=f"{why}: {asked}",
        effect=Effect.RESTART,
        # Not high without a reserve: it comes back by itself, and the next node waits until it has.
        risk=Risk.LOW if is_resumed else Risk.MEDIUM,
        risk_reason=risk,
        needs=f"{node} is still down"
        if is_resumed
        else "the cluster lists it as a temporary node"
        if is_temporary
        else "every other node is connected, and the majority holds without this one",
        inverse=Inverse("point of no return: Sora's documents describe no way back to an older version"),
        in_flight=step.in_flight + arguments.drain,
    )


def undo_restart(step: Step, shown: Observed[NodeView]) -> Undo | None:
    """A restart that brings the former sora.conf back, once that is in place; None if it brings nothing.

    Args:
        step: the restart.
        shown: what the node shows now; one that does not run is started.
    """
    own = read_cluster_arguments(step)
    if not isinstance(own, RestartArguments):
        return None
    is_running = isinstance(shown.nodes.get(step.node), Present | Stale)
    # A file of an earlier run stays: a restart would only end sessions. A node that is down is started.
    if is_running and not own.is_delivered:
        return None
    facts = {step.node: {RESTARTED: TRIED}} if own.intent_facts else {}
    arguments = replace(own, again=True, started=shown.starts.get(step.node, ""), drain=0, intent_facts=facts)
    return replace(step, arguments=arguments, reason=f"{step.node} is to use its former sora.conf again"), {}


def _describe_stop_risk(node: str, window: float, *, spare: int, is_temporary: bool) -> str:
    if is_temporary:
        return "its remaining sessions end; it never counts for the majority"
    if window:
        return (
            "its remaining sessions end; from the stop to the purge that follows, at most "
            f"{window:g} s after the command has ended, one more failure would stop the cluster until "
            f"{node} or the node that failed is started again"
        )
    if not spare:
        return "its remaining sessions end, and then one more failure would stop the cluster"
    return "its remaining sessions end, and the majority has one node less in reserve"


def make_mode_step(
    context: StepContext,
    node: str,
    api: str,
    previous: str,
    *,
    mode: str,
    reason: str,
    after_start: bool = False,
) -> Step:
    """ChangeMode, to what the fleet file says, or to what it was before a run of ours drained the node."""
    arguments = ModeChangeArguments(
        **_make_shared_arguments(context, "mode"),
        api=api,
        target=node,
        mode=mode,
        previous=previous,
        after_start=after_start,
    )
    return replace(
        _make_step(context, node, "mode", arguments),
        reason=reason,
        effect=Effect.HOT,
        risk=Risk.LOW if mode == "normal" else Risk.MEDIUM,
        risk_reason="the node serves as usual" if mode == "normal" else "the other nodes take its new work",
        needs=f"{node} is still in {previous}",
        inverse=_make_mode_inverse(node, previous),
        settle=context.entry.timeouts.settle,
    )


def simulate_step(
    step: Step, node_numbers: NodeNumbers, state: State, choices: Choices = DEFAULTS, *, half: bool = False
) -> State | machine.CallRefusal:
    """What the state machine makes of a step; `half` is a registration or a restart that fails halfway."""
    node, own = node_numbers.at(step.node), read_cluster_arguments(step)
    result: State | machine.CallRefusal
    match own:
        case InitArguments() if not {*own.names} <= {*node_numbers.names}:
            result = machine.MEMBER_AWAY
        case InitArguments():
            result = machine.init(state, node, node_numbers.bits(own.names), choices)
        case StopArguments():
            result = machine.stop(state, node)
        case RestartArguments():
            # Halfway, the node is stopped and does not come back.
            stopped = machine.stop_for_restart(state, node, again=own.is_resumed)
            result = stopped if half else machine.start(stopped, node, choices)
        case UpgradeArguments():
            result = _simulate_upgrade(own, node, state, choices, half=half)
        case ModeChangeArguments():
            result = machine.change_mode(state, node, Mode(own.mode))
        case RegisterArguments() | PurgeArguments() if own.contact not in node_numbers.names:
            result = machine.CONTACT_AWAY
        case PurgeArguments():
            result = machine.purge(state, node_numbers.at(own.contact), node, choices)
        case RegisterArguments():
            result = machine.register(state, node, node_numbers.at(own.contact), choices, half=half)
        case _:
            raise AssertionError(step.action)
    return result


def _simulate_upgrade(
    own: UpgradeArguments, node: int, state: State, choices: Choices, *, half: bool
) -> State:
    if own.is_resumed and state[node].up:
        return state  # somebody has started it meanwhile, and no command of the step stops it
    # Halfway, the node is stopped and does not come back.
    return machine.stop_for_upgrade(state, node) if half else machine.upgrade(state, node, choices)


def find_stop_command(entry: SoraCluster, node: str) -> NamedCommand | None:
    """The host's command that stops a node; None without one, or if the name is unsafe in it."""
    named = entry.node(node)
    # The name may come from a node's list: one that starts with `-` would be an option of the command.
    if not NODE_NAME.fullmatch(node) or node.startswith("-"):
        return None
    return (named.stop if named is not None else None) or entry.stop


def _make_shared_arguments(context: StepContext, action: str) -> dict[str, Any]:
    """What all verbs need; numbers stay as the fleet file has them, for the sake of the digest."""
    return {
        "witnesses": dict(sorted(context.witnesses.items())),
        "elsewhere": {name: tuple(sorted(context.elsewhere[name])) for name in sorted(context.elsewhere)},
        "before": context.before,
        "after": context.after,
        "timeout": context.entry.timeouts.read,
        "connect": context.entry.timeouts.connect,
        "feedback_api": _APIS[action],
    }


def _make_step(context: StepContext, node: str, action: str, arguments: ClusterArguments) -> Step:
    return Step(
        id=f"{context.entry.name}/{node}/{action}",
        cluster=context.entry.name,
        node=node,
        action=action,
        arguments=arguments,
        reason="",
        effect=Effect.MEMBERSHIP,
        risk=Risk.MEDIUM,
        risk_reason="",
        needs="",
        inverse=Inverse(""),
        after=(context.previous,) if context.previous else (),
        settle=context.entry.timeouts.settle,
        in_flight=context.entry.timeouts.in_flight,
    )


def _make_mode_inverse(node: str, mode: str) -> Inverse:
    return Inverse(f"set {node} back to {mode}", "mode", {"target": node, "mode": mode})
