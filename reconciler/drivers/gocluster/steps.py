"""The steps about processes: a restart, a start and a stop, each with its reason, risk and proof; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reconciler.core.command_reference import CommandReference, fill_node_command
from reconciler.core.observation import Observed
from reconciler.core.plan import Effect, Inverse, Risk, Step
from reconciler.drivers.gocluster.arguments import (
    RESTART,
    START,
    STOP,
    RestartArguments,
    StartArguments,
    StopArguments,
    find_host,
    read_node_arguments,
)
from reconciler.drivers.gocluster.machine import MeshState, count_spare, get_shown
from reconciler.drivers.gocluster.quorum import has_quorum
from reconciler.drivers.gocluster.schema import GoCluster
from reconciler.drivers.gocluster.view import NodeView
from reconciler.file_delivery.steps import is_file_step
from reconciler.ports.driver import Undo

OUTDATED_START: Final = "outdated_start"
"""Fact of a node: text of the start of its process at the moment when its file was changed."""

RESTARTED_FOR: Final = "restarted_for"
"""Fact of a node: digest of the file for which a run restarted it."""

STOPPED_FOR: Final = "stopped_for_change"
"""Fact of a node that a run stops, and why: until it runs again, it is no node that failed."""

AUTHENTICATION: Final = "authentication"
"""Value of `STOPPED_FOR`: it is started again with another secret or TLS."""

REMOVAL: Final = "removal"
"""Value of `STOPPED_FOR`: it left the fleet file; if it comes back there, it is started."""

SEEN: Final = "seen"
"""Fact of a node: that it was seen running, so that it is not a new one."""

ADDRESS: Final = "addr"
"""Fact of a node: its address, by which a node that leaves is still known."""

API: Final = "api"
"""Fact of a node: where its API answers, by which it is seen whether a node that leaves still runs."""

READING_REMARK: Final = "each reading leaves a lock in the library"


@dataclass(frozen=True, slots=True)
class StepMaker:
    """Makes the steps of one cluster.

    Args:
        apis: node -> its API, of those that are read.
    """

    entry: GoCluster
    apis: Mapping[str, str] = field(default_factory=dict)

    def restart(
        self,
        node: str,
        *,
        after: Sequence[str],
        state: MeshState,
        started: str,
        why: str,
        digest: str,
        joined: Mapping[str, str],
    ) -> Step:
        """The restart of a node.

        Args:
            node: its name.
            after: ids of the steps before it.
            state: after the restart.
            started: text of its last start.
            why: it is needed.
            digest: of the file that it loads.
            joined: see `RestartArguments`.
        """
        command = self.entry.restart
        assert command is not None
        arguments = RestartArguments(
            **self._make_shared(node, command),
            started=started,
            started_command=command.started.command,
            started_values=self._fill(command.started, node),
            joined=joined,
            spare=count_spare(state, node),
            relies_on=_list_running(state, node),
            intent_facts={node: {RESTARTED_FOR: digest, **self._remember(node)}},
            **self._make_links(node, state),
        )
        tightest = self._describe_reserve(node, state)
        return self._make(
            node,
            RESTART,
            arguments,
            after=after,
            reason=f"{why}: run the host's command {command.command}",
            effect=Effect.RESTART,
            risk=Risk.MEDIUM,
            risk_reason=f"it leaves the cluster until it has joined again{tightest}",
            needs="every node that runs answers, and keeps its quorum without this one",
            inverse=Inverse("restart it again with the former file", RESTART),
        )

    def start(
        self,
        node: str,
        *,
        after: Sequence[str],
        state: MeshState,
        why: str,
        at_once: bool = False,
        resumes: bool = False,
    ) -> Step:
        """The start of a node that does not run; `state` is the one after it."""
        command = self.entry.start
        asked = f"run the host's command {command.command}" if command else "start it on its host"
        return self._make(
            node,
            START,
            StartArguments(
                **self._make_shared(node, command),
                **self._make_links(node, state),
                at_once=at_once,
                resumes=resumes,
                intent_facts={node: self._remember(node)},
            ),
            after=after,
            reason=f"{why}: {asked}",
            effect=Effect.MEMBERSHIP,
            risk=Risk.LOW,
            risk_reason="no other node depends on it yet",
            needs="its API is silent, and no node shows it Online",
            inverse=Inverse("stop it", STOP),
            is_manual=command is None,
        )

    def stop(
        self,
        node: str,
        *,
        address: str,
        api: str = "",
        after: Sequence[str],
        why: str,
        at_once: bool = False,
        resumes: bool = False,
        state: MeshState | None = None,
    ) -> Step:
        """The stop of a node; an operator does it where no command is known, or its address is not."""
        command = self.entry.stop if address else None
        asked = f"run the host's command {command.command}" if command else "stop it on its host"
        facts = {node: {STOPPED_FOR: AUTHENTICATION if at_once else REMOVAL}}
        arguments = StopArguments(
            **self._make_shared(node, command, address=address, api=api),
            intent_facts=facts,
            at_once=at_once,
            resumes=resumes,
            spare=count_spare(state, node) if state is not None else 0,
            relies_on=_list_running(state, node) if state is not None else (),
        )
        return self._make(
            node,
            STOP,
            arguments,
            after=after,
            reason=f"{why}: {asked}",
            effect=Effect.RESTART if at_once else Effect.MEMBERSHIP,
            risk=Risk.HIGH if at_once else Risk.MEDIUM,
            risk_reason="the cluster is away until all nodes are started with the new file"
            if at_once
            else "the others lose its connections",
            needs="the new files are written aside" if at_once else "every node keeps its quorum without it",
            inverse=Inverse(f"start {node} again", START),
            is_manual=command is None,
        )

    def _remember(self, node: str) -> dict[str, str]:
        """What is known of a node from its start on: from then on it is no new one."""
        own = self.entry.node(node)
        if own is None:
            return {}
        return {SEEN: "yes", ADDRESS: own.addr} | ({API: own.api} if own.api is not None else {})

    def _make_shared(
        self, node: str, command: CommandReference | None, address: str = "", api: str = ""
    ) -> dict[str, Any]:
        waits = self.entry.timeouts
        return {
            "target": node,
            "apis": {**self.apis, **({node: api} if api else {})},
            "members": {one.name: one.addr for one in self.entry.nodes},
            "command": command.command if command else "",
            "values": self._fill(command, node, address) if command else {},
            "timeout": waits.read,
            "connect": waits.connect,
        }

    def _fill(self, command: CommandReference, node: str, address: str = "") -> dict[str, str]:
        own = self.entry.node(node)
        return fill_node_command(command, node, find_host(own.addr if own is not None else address))

    def _make_links(self, node: str, state: MeshState) -> dict[str, Any]:
        """What has to be shown once the node is back."""
        counted = {one.name for one in state.nodes if one.is_counted}
        seen_by = (
            one.name
            for one in state.nodes
            if one.is_counted and one.name != node and node in get_shown(state, one.name)
        )
        return {
            "shows": tuple(sorted(get_shown(state, node) & counted)),
            "seen_by": tuple(sorted(name for name in seen_by if name in self.apis)),
        }

    def _describe_reserve(self, node: str, state: MeshState) -> str:
        tight = [
            one.name
            for one in state.nodes
            if one.is_counted and one.up and one.name != node and _has_no_reserve(state, one.name, node)
        ]
        return f"; meanwhile one more failure would cost {tight[0]} its quorum" if tight else ""

    def _make(self, node: str, action: str, arguments: Any, *, after: Sequence[str], **more: Any) -> Step:
        return Step(
            id=f"{self.entry.name}/{node}/{action}",
            cluster=self.entry.name,
            node=node,
            action=action,
            arguments=arguments,
            after=tuple(dict.fromkeys(after)),
            # Whatever the fleet file says, a node cannot be Online before the library's own delays are over.
            settle=max(self.entry.timeouts.settle, self.entry.settings.rejoin_seconds),
            in_flight=self.entry.timeouts.in_flight,
            **more,
        )


def _has_no_reserve(state: MeshState, name: str, target: str) -> bool:
    shown = get_shown(state, name) - {target}
    return not has_quorum(len(state.node(name).peers), len(shown) - 1)


def _list_running(state: MeshState, target: str) -> tuple[str, ...]:
    return tuple(one.name for one in state.nodes if one.up and one.name != target)


def undo_restart(step: Step, shown: Observed[NodeView | None]) -> Undo | None:
    """A restart that brings the former file back, once that is in place; None for another step."""
    if is_file_step(step):
        return None
    own = read_node_arguments(step)
    if not isinstance(own, RestartArguments):
        return None
    arguments = replace(own, again=True, started=shown.starts.get(step.node, ""), intent_facts={})
    return replace(step, arguments=arguments, reason=f"{step.node} is to use its former file again"), {}


def list_ids(steps: Iterable[Step]) -> tuple[str, ...]:
    """Their ids."""
    return tuple(step.id for step in steps)
