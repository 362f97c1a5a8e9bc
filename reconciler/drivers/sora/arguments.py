"""The arguments of each action of Sora, one type for each; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from reconciler.core.arguments import OMITTED, StepFeedback, TypedArguments, read_arguments
from reconciler.core.plan import Step
from reconciler.drivers.sora.membership import Membership
from reconciler.text.urls import strip_url

Facts = Mapping[str, Mapping[str, str]]
"""Node -> key -> value that the store keeps from the moment of the intent."""


@dataclass(frozen=True, slots=True)
class InitConfirmation:
    """An explicit entry of the fleet file on which a cluster may be initialised.

    Args:
        name: `initialise` or `collapsed`.
        reason: what the operator wrote.
        until: the last day on which it counts, in ISO form; empty for no end.
    """

    name: str
    reason: str
    until: str


@dataclass(frozen=True, slots=True)
class StoppedConfirmation:
    """An operator's entry that a node is stopped; an empty `until` means no entry."""

    reason: str = field(default="", metadata=OMITTED)
    until: str = field(default="", metadata=OMITTED)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClusterArguments(TypedArguments):
    """What every step of a cluster carries.

    Args:
        witnesses: name -> API address of the nodes whose views show the status of the step.
        elsewhere: name -> further addresses at which a node is asked, because it may still answer there.
        before: the membership that must be there when the step starts.
        after: the membership that must be there when it is done.
        timeout: seconds for one call.
        connect: seconds for its connection.
        feedback_api: how messages name the call.
    """

    witnesses: Mapping[str, str]
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    before: Membership
    after: Membership
    timeout: int | float
    connect: int | float
    feedback_api: str

    @property
    def feedback(self) -> StepFeedback:
        """See `core.arguments.Arguments`."""
        hosts = dict.fromkeys(urlsplit(address).hostname for address in self.own_addresses if address)
        url = strip_url(self.called_address) if self.called_address else ""
        return StepFeedback(self.feedback_api, addresses=tuple(filter(None, hosts)), url=url)

    @property
    def called_address(self) -> str:
        """The API to which the call is sent; empty if it is not sent to Sora's API."""
        return ""

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """The API addresses that are known of the step's node."""
        return (self.called_address,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InitArguments(ClusterArguments):
    """InitCluster.

    Args:
        api: where it is sent.
        names: the cluster's regular nodes.
        word: the entry that allows it.
        spends: the key by which the store remembers a `collapsed` entry as used; empty for none.
        clear: whether every node answered that it was never initialised.
        anew: whether it depends on a `collapsed` entry.
        knowledge: a value of `history.PastKnowledge`.
        earlier: nodes of earlier revisions that must have answered.
        single: nodes that are known from a single answer.
        intent_facts: what the store keeps from the intent on.
        members: nodes that are known to have been in the cluster.
        unproven: why nothing that the nodes answer proves that no cluster of them runs; empty where it does.
    """

    api: str
    names: tuple[str, ...]
    word: InitConfirmation
    spends: str
    clear: bool
    anew: bool
    knowledge: str
    earlier: tuple[str, ...]
    single: tuple[str, ...]
    intent_facts: Facts
    # Omitted while they have the default: plans and journals of earlier versions keep their digests.
    members: tuple[str, ...] = field(default=(), metadata=OMITTED)
    unproven: str = field(default="", metadata=OMITTED)

    @property
    def doubt(self) -> str:
        """See `core.arguments.Arguments`."""
        return self.unproven

    @property
    def named_nodes(self) -> tuple[str, ...]:
        """See `core.arguments.Arguments`."""
        return self.names

    @property
    def facts_of_intent(self) -> Facts:
        """See `core.arguments.Arguments`."""
        return self.intent_facts

    @property
    def assumes_nodes_lost(self) -> bool:
        """See `core.arguments.Arguments`."""
        return self.anew

    @property
    def called_address(self) -> str:
        """See `ClusterArguments`."""
        return self.api


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContactArguments(ClusterArguments):
    """A change of the membership that a member makes.

    Args:
        api: where it is sent.
        target: the node that it is about.
        contact: the member that makes it.
        intent_facts: what the store keeps from the intent on.
    """

    api: str
    target: str
    contact: str
    intent_facts: Facts

    @property
    def facts_of_intent(self) -> Facts:
        """See `core.arguments.Arguments`."""
        return self.intent_facts

    @property
    def called_address(self) -> str:
        """See `ClusterArguments`."""
        return self.api


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegisterArguments(ContactArguments):
    """RegisterClusterNode.

    Args:
        again: whether the node is half registered.
        temporary: whether it joins as a temporary node.
    """

    again: bool
    temporary: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PurgeArguments(ContactArguments):
    """PurgeClusterNode.

    Args:
        known: the target's addresses at which silence counts.
        regular: whether a fleet file names, or named, it as a regular node.
        word: the `stopped` entry, if the purge depends on it.
        closes: whether there is no reserve between the stop before it and this purge.
    """

    known: tuple[str, ...]
    regular: bool
    word: StoppedConfirmation
    closes: bool = field(default=False, metadata=OMITTED)

    @property
    def runs_after_stop(self) -> bool:
        """See `core.arguments.Arguments`."""
        return self.closes

    @property
    def suits_stopped_node(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """See `ClusterArguments`."""
        return self.known


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModeChangeArguments(ClusterArguments):
    """ChangeMode.

    Args:
        api: where it is sent.
        target: the node.
        mode: the mode that it gets.
        previous: the mode that it has.
        after_start: whether the node is started before it: then it may also be in the normal mode, as Sora's
            documents do not tell whether a mode survives a stop.
    """

    api: str
    target: str
    mode: str
    previous: str
    after_start: bool = field(default=False, metadata=OMITTED)

    @property
    def called_address(self) -> str:
        """See `ClusterArguments`."""
        return self.api


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrainArguments(ModeChangeArguments):
    """ChangeMode, so that a node that is to be stopped gets no new sessions."""

    @property
    def is_preparation(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StopArguments(ClusterArguments):
    """A live node is stopped by a command of the host, or by an operator.

    Args:
        target: the node.
        own: its API address, to see its channels; empty where it is not known.
        command: of the host; empty if an operator stops it.
        values: placeholder of the command -> text.
        drain: seconds to wait for its channels to move away.
        spare: further failures that the majority survives after it, as far as the plan needs them.
        window: seconds without reserve until the purge that follows; 0 if there always is one.
    """

    target: str
    own: str
    command: str
    values: Mapping[str, str]
    drain: int | float
    spare: int = 0
    window: int | float = field(default=0, metadata=OMITTED)

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """See `ClusterArguments`."""
        return (self.own,)

    @property
    def host_commands(self) -> tuple[str, ...]:
        """See `core.arguments.Arguments`."""
        return (self.command,) if self.command else ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RestartArguments(ClusterArguments):
    """A node is restarted by a command of the host, so that it uses its changed sora.conf.

    Args:
        target: the node.
        own: its API address, to see its channels.
        command: of the host.
        values: placeholder of the command -> text.
        drain: seconds to wait for its channels to move away.
        spare: further failures that the majority survives while it is down, as far as the plan needs them.
        started: text of its last start when the step was planned; another one shows that it was restarted.
        started_command: of the host, which prints that text.
        started_values: placeholder of that command -> text.
        again: whether it brings back the former sora.conf, and so also starts a node that is down.
        is_outside: whether the node is not in the cluster, but about to join it.
        shown_keys: fingerprint of the keys of its sora.conf that it will show.
        is_delivered: whether its file is changed in the same plan, so that it is undone with it.
        is_resumed: whether it starts a node that is down since an earlier run has restarted it.
        intent_facts: what the store keeps until the step is done: that this program stopped the node.
    """

    target: str
    own: str
    command: str
    values: Mapping[str, str]
    drain: int | float
    spare: int
    started: str
    started_command: str
    started_values: Mapping[str, str]
    again: bool = field(default=False, metadata=OMITTED)
    is_outside: bool = field(default=False, metadata=OMITTED)
    shown_keys: str = field(default="", metadata=OMITTED)
    is_delivered: bool = field(default=False, metadata=OMITTED)
    is_resumed: bool = field(default=False, metadata=OMITTED)
    intent_facts: Facts = field(default_factory=dict, metadata=OMITTED)

    @property
    def starts_stopped_node(self) -> bool:
        """Whether it may be performed on a node that is down."""
        return self.again or self.is_resumed

    @property
    def interrupts(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def undone_last(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def undone_alone(self) -> bool:
        """See `core.arguments.Arguments`."""
        return not self.starts_stopped_node

    @property
    def facts_of_intent(self) -> Facts:
        """See `core.arguments.Arguments`."""
        return self.intent_facts

    @property
    def keeps_facts_until_done(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """See `ClusterArguments`."""
        return (self.own,)

    @property
    def host_commands(self) -> tuple[str, ...]:
        """See `core.arguments.Arguments`."""
        return (self.command, self.started_command)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UpgradeArguments(ClusterArguments):
    """A node is stopped, upgraded and started by commands of the host.

    Args:
        target: the node.
        own: its API address, to see its channels.
        version: that it gets.
        running: the version that it had; empty if it is not known.
        stop: command of the host; empty if the node is down already, because an earlier run stopped it.
        stop_values: placeholder of that command -> text.
        command: of the host, which installs the version.
        values: placeholder of that command -> text.
        start: command of the host.
        start_values: placeholder of that command -> text.
        drain: seconds to wait for its channels to move away.
        spare: further failures that the majority survives while it is down, as far as the plan needs them.
        temporary: whether it leaves the cluster when it is stopped.
        settle: seconds in which a stop must become visible.
        intent_facts: what the store keeps until the step is done: that this program stopped the node.
    """

    target: str
    own: str
    version: str
    running: str
    stop: str
    stop_values: Mapping[str, str]
    command: str
    values: Mapping[str, str]
    start: str
    start_values: Mapping[str, str]
    drain: int | float
    spare: int
    temporary: bool
    settle: int | float
    intent_facts: Facts

    @property
    def interrupts(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier run has stopped the node."""
        return not self.stop

    @property
    def facts_of_intent(self) -> Facts:
        """See `core.arguments.Arguments`."""
        return self.intent_facts

    @property
    def keeps_facts_until_done(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """See `ClusterArguments`."""
        return (self.own,)

    @property
    def host_commands(self) -> tuple[str, ...]:
        """See `ClusterArguments`."""
        return tuple(filter(None, (self.stop, self.command, self.start)))


ACTIONS: Final[Mapping[str, type[ClusterArguments]]] = MappingProxyType(
    {
        "init": InitArguments,
        "register": RegisterArguments,
        "purge": PurgeArguments,
        "drain": DrainArguments,
        "mode": ModeChangeArguments,
        "stop": StopArguments,
        "restart": RestartArguments,
        "upgrade": UpgradeArguments,
    }
)
"""Action of a step of the cluster -> type of its arguments; those of files are in `file_delivery.steps`."""


def read_cluster_arguments(step: Step) -> ClusterArguments:
    """The arguments of a step of Sora, as what all of them share.

    Raises:
        UnreadableArguments: they are of another form.
    """
    return read_arguments(step.arguments, ACTIONS.get(step.action, ClusterArguments))
