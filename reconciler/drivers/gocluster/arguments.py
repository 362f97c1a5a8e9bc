"""What each step of a Go cluster needs: who shows its status, and what has to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final, TypeAlias
from urllib.parse import urlsplit

from reconciler.core.arguments import OMITTED, StepFeedback, TypedArguments, read_arguments
from reconciler.core.endpoint import InvalidAddress, parse_endpoint
from reconciler.core.plan import Step

RESTART: Final = "restart"
START: Final = "start"
STOP: Final = "stop"

Facts: TypeAlias = Mapping[str, Mapping[str, str]]

AT_ONCE: Final = (
    "another secret or TLS: all nodes are stopped, and the cluster is away until they are started"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NodeArguments(TypedArguments):
    """What every step about a process needs.

    Args:
        target: the node.
        apis: node -> its API, of the nodes that show the status of the step; the target among them, if it is
            known.
        members: node -> its address, of the nodes that the fleet file names.
        command: of the host; empty if an operator acts.
        values: placeholder of the command -> text.
        timeout: seconds for one answer.
        connect: seconds for a connection.
        relies_on: nodes that the plan assumes to run while it is down, also one that is to leave later.
        resumes: whether an earlier run stopped nodes for the same change, and they are still down.
        spare: further failures that every view survives while the node is away.
        intent_facts: what the store keeps from the intent on.
    """

    feedback_api: ClassVar[str]
    target: str
    apis: Mapping[str, str]
    members: Mapping[str, str]
    command: str
    values: Mapping[str, str]
    timeout: float
    connect: float
    relies_on: tuple[str, ...] = field(default=(), metadata=OMITTED)
    spare: int = field(default=0, metadata=OMITTED)
    resumes: bool = field(default=False, metadata=OMITTED)
    intent_facts: Facts = field(default_factory=dict, metadata=OMITTED)

    @property
    def facts_of_intent(self) -> Facts:
        """See `core.arguments.Arguments`."""
        return self.intent_facts

    @property
    def ends_outage(self) -> bool:
        """See `core.arguments.Arguments`."""
        return self.resumes

    @property
    def host_commands(self) -> tuple[str, ...]:
        """See `core.arguments.Arguments`."""
        return (self.command,) if self.command else ()

    @property
    def feedback(self) -> StepFeedback:
        """See `core.arguments.Arguments`."""
        # A node that leaves has no entry any more: by its API, if that is known.
        places = (self.members.get(self.target, ""), urlsplit(self.apis.get(self.target, "")).netloc)
        hosts = [find_host(place) for place in places if place]
        return StepFeedback(self.feedback_api, addresses=tuple(filter(None, hosts[:1])))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RestartArguments(NodeArguments):
    """A node is restarted, so that it uses its changed file.

    Args:
        started: text of its last start when the step was planned; another one shows that it was restarted.
        started_command: of the host, which prints that text.
        started_values: placeholder of that command -> text.
        shows: peers that it must show Online afterwards.
        seen_by: nodes that must show it Online afterwards.
        joined: node -> its `jointime` of the target when the step was planned: an old one is a connection of
            the process before.
        again: whether it brings the former file back, so that also a node that is down is started.
    """

    feedback_api = "/gocluster/restart"
    started: str
    started_command: str
    started_values: Mapping[str, str]
    shows: tuple[str, ...]
    seen_by: tuple[str, ...]
    joined: Mapping[str, str]
    again: bool = field(default=False, metadata=OMITTED)

    @property
    def interrupts(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def undone_last(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def host_commands(self) -> tuple[str, ...]:
        """See `core.arguments.Arguments`."""
        return (self.command, self.started_command)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StartArguments(NodeArguments):
    """A node that does not run is started.

    Args:
        shows: peers that it must show Online afterwards.
        seen_by: nodes that must show it Online afterwards.
        at_once: whether it is part of a change of all nodes at once.
    """

    feedback_api = "/gocluster/start"
    shows: tuple[str, ...]
    seen_by: tuple[str, ...]
    at_once: bool = field(default=False, metadata=OMITTED)

    @property
    def runs_after_stop(self) -> bool:
        """See `core.arguments.Arguments`: a cluster whose nodes were all stopped must not stay so."""
        return self.at_once

    @property
    def suits_stopped_node(self) -> bool:
        """See `core.arguments.Arguments`."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StopArguments(NodeArguments):
    """A node is stopped: one that leaves, or each of them for a change of all nodes at once.

    Args:
        at_once: whether it is part of a change of all nodes at once, which no quorum survives.
    """

    feedback_api = "/gocluster/stop"
    at_once: bool = field(default=False, metadata=OMITTED)

    @property
    def interrupts(self) -> bool:
        """See `core.arguments.Arguments`."""
        return True

    @property
    def outage(self) -> str:
        """See `core.arguments.Arguments`."""
        # What a killed run has begun was approved, and the cluster is away until it has ended.
        return AT_ONCE if self.at_once and not self.resumes else ""


def find_host(address: str) -> str:
    """The host of a node's address, also for `{host}` of a command; empty if there is none."""
    try:
        return parse_endpoint(address).host
    except InvalidAddress:
        return ""


ACTIONS: Final[Mapping[str, type[NodeArguments]]] = MappingProxyType(
    {RESTART: RestartArguments, START: StartArguments, STOP: StopArguments}
)
"""Action -> the type of its arguments."""


def read_node_arguments(step: Step) -> NodeArguments:
    """The arguments of a step about a process.

    Raises:
        UnreadableArguments: they have another form.
    """
    return read_arguments(step.arguments, ACTIONS[step.action])
