"""The chain of membership steps: one change at a time, each from the state that the step before leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.core.command_reference import RestartCommand
from reconciler.core.plan import Step
from reconciler.drivers.sora import machine, preconditions
from reconciler.drivers.sora.arguments import InitConfirmation, StopArguments
from reconciler.drivers.sora.cluster_state import State, compute_margin, get_alive, get_registered
from reconciler.drivers.sora.cluster_view import NodeAddresses
from reconciler.drivers.sora.conf_drift import fingerprint_shown_keys
from reconciler.drivers.sora.membership import Membership, NodeNumbers
from reconciler.drivers.sora.schema import SoraCluster, SoraDesired, Stopped
from reconciler.drivers.sora.steps import (
    StepContext,
    find_stop_command,
    make_drain_step,
    make_init_step,
    make_mode_step,
    make_purge_step,
    make_register_step,
    make_restart_step,
    make_stop_step,
    make_upgrade_step,
)
from reconciler.file_delivery.steps import SWITCH, FilePlan


@dataclass(slots=True)
class MembershipPlan:
    """Builds the steps; the state machine says what each leads to, and what is not allowed.

    Args:
        desired: with the cluster's past and the confirmations already used.
        apis: name -> one API address, for every node with a known one.
        state: what the next step starts from.
        places: name -> all its addresses.
        steps: what was planned so far.
    """

    desired: SoraDesired
    node_numbers: NodeNumbers
    apis: Mapping[str, str]
    state: State
    places: Mapping[str, NodeAddresses] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    @property
    def entry(self) -> SoraCluster:
        """The cluster's entry of the fleet file."""
        return self.desired.entry

    def init(self, names: Iterable[str], word: InitConfirmation, *, clear: bool, unproven: str = "") -> None:
        """Initialise the cluster of these regular nodes, on the first of them.

        All known nodes, of earlier revisions or listed by a node, are witnesses: they are asked once more
        directly before the call, at every address, because a cluster may have come back since the plan.
        """
        wanted = tuple(sorted(names))
        after = machine.init(self.state, self.node_numbers.at(wanted[0]), self.node_numbers.bits(wanted))
        assert not isinstance(after, machine.CallRefusal)
        context = self._make_context(
            after,
            before=Membership(),
            extra={*self.places, *self.desired.history.nodes},
            elsewhere={*wanted, *self.places, *self.desired.history.nodes},
        )
        place, desired = self.apis[wanted[0]], self.desired
        self._add_step(
            make_init_step(context, wanted[0], place, word, desired, clear=clear, unproven=unproven), after
        )

    def find_register_obstacle(self, name: str) -> str:
        """Why the node cannot be registered now; "" where it can."""
        contact = self._choose_contact(name)
        if not contact:
            return "no connected member with a known address can register it"
        return preconditions.find_register_obstacle(
            self.state, self.node_numbers.at(name), self.node_numbers.at(contact)
        )

    def register(self, name: str, *, again: bool = False) -> None:
        """Register the node."""
        contact = self._choose_contact(name)
        after = machine.register(self.state, self.node_numbers.at(name), self.node_numbers.at(contact))
        assert not isinstance(after, machine.CallRefusal)
        context = self._make_context(after, extra=(name,))
        self._add_step(
            make_register_step(context, name, self.apis[name], contact, self.desired.source, again=again),
            after,
        )

    def find_purge_obstacle(self, name: str) -> str:
        """Why the node cannot be purged now; "" where it can."""
        contact = self._choose_contact(name)
        if not contact:
            return "no connected member with a known address can purge it"
        return preconditions.find_purge_obstacle(
            self.state, self.node_numbers.at(contact), self.node_numbers.at(name)
        )

    def purge(self, name: str, word: Stopped | None = None) -> None:
        """Purge the node; `word` is the `stopped` entry, if the plan depends on it."""
        contact = self._choose_contact(name)
        after = machine.purge(self.state, self.node_numbers.at(contact), self.node_numbers.at(name))
        assert not isinstance(after, machine.CallRefusal)
        stop = self.steps[-1].arguments if self.steps else None
        step = make_purge_step(
            self._make_context(after, elsewhere=(name,)),
            name,
            self.apis[contact],
            contact,
            known=self.places.get(name, NodeAddresses()).known,
            word=word,
            regular=self.desired.is_regular(name),
            closes=isinstance(stop, StopArguments)
            and stop.target == name
            and bool(stop.command)
            and not stop.spare,
        )
        self._add_step(step, after)

    def find_stop_obstacle(self, name: str) -> str:
        """Why the node cannot be stopped now; "" where it can."""
        return preconditions.find_stop_obstacle(self.state, self.node_numbers.at(name))

    def drain(self, name: str, mode: str, *, reason: str = "leaves the cluster") -> None:
        """Let the node take no new sessions."""
        context = self._make_context(self.state)
        self._add_step(make_drain_step(context, name, self.apis[name], mode, reason=reason), self.state)

    def stop(self, name: str) -> None:
        """Stop the node."""
        after = machine.stop(self.state, self.node_numbers.at(name))
        counts = compute_margin(after) < compute_margin(
            self.state
        )  # a node that is cut off may be back when its step runs
        spare = min(preconditions.SPARE, max(0, compute_margin(after))) if counts else preconditions.SPARE
        context = self._make_context(after, elsewhere=(name,))
        window = counts and not spare and self._closes_window(name, after)
        self._add_step(
            make_stop_step(context, name, self.apis.get(name, ""), spare=spare, window=window), after
        )

    def restart(
        self,
        name: str,
        command: RestartCommand,
        *,
        started: str,
        unused: str = "",
        is_outside: bool = False,
        is_resumed: bool = False,
    ) -> None:
        """Restart the node; a temporary one leaves the cluster by it, and is registered again after it.

        Args:
            name: the node.
            command: of the host.
            started: text of its last start.
            unused: what it shows otherwise than its sora.conf says, in words.
            is_outside: whether it is not in the cluster, but about to join it.
            is_resumed: whether it is down already, because an earlier run has restarted it.
        """
        number = self.node_numbers.at(name)
        down = machine.stop(self.state, number)
        spare = min(preconditions.SPARE, max(0, compute_margin(down)))
        after = machine.start(down, number)
        # Of a node that is down all are asked: without a majority, the membership names none that shows it.
        extra = self.node_numbers.names if is_resumed else (name,) if is_outside else ()
        context = self._make_context(after, extra=extra, elsewhere=(name,))
        step = make_restart_step(
            context,
            name,
            self.apis[name],
            command,
            started=started,
            spare=spare,
            unused=unused,
            is_outside=is_outside,
            is_resumed=is_resumed,
            is_delivered=not is_resumed
            and any(step.action == SWITCH and step.node == name for step in self.steps),
            shown_keys=fingerprint_shown_keys(self.desired, name),
        )
        self._add_step(step, after)

    def upgrade(self, name: str, *, running: str, is_resumed: bool = False) -> None:
        """Upgrade the node; a temporary one leaves the cluster by it, and is registered again after it."""
        number = self.node_numbers.at(name)
        down = machine.stop_for_upgrade(self.state, number)
        spare = min(preconditions.SPARE, max(0, compute_margin(down)))
        after = machine.upgrade(self.state, number)
        # All nodes: where no majority answers, the membership does not name those that show the way back.
        context = self._make_context(after, extra=self.node_numbers.names, elsewhere=(name,))
        step = make_upgrade_step(
            context, name, self.apis[name], running=running, spare=spare, is_resumed=is_resumed
        )
        self._add_step(step, after)

    def list_away(self) -> tuple[str, ...]:
        """The registered regular nodes that are away."""
        return self.node_numbers.list_names(get_registered(self.state) & ~get_alive(self.state))

    def switch_file(self, file_plan: FilePlan) -> None:
        """Deliver a file; it takes its place after the step before, so that one node at a time is changed."""
        previous = (self.steps[-1].id,) if self.steps else ()
        for step in file_plan.steps:
            waits = (*step.after, *previous) if step.action == SWITCH else step.after
            self.steps.append(replace(step, after=waits))

    def restore_file(self, file_plan: FilePlan) -> None:
        """Bring the former content of a file back, after the step before."""
        previous = (self.steps[-1].id,) if self.steps else ()
        self.steps += [replace(step, after=previous) for step in file_plan.way_back]

    def set_mode(self, name: str, previous: str, *, mode: str, reason: str) -> None:
        """Set the mode of a node that was started again."""
        context = self._make_context(self.state)
        step = make_mode_step(
            context, name, self.apis[name], previous, mode=mode, reason=reason, after_start=True
        )
        self._add_step(replace(step, after=(self.steps[-1].id,)), self.state)

    def _closes_window(self, name: str, stopped: State) -> bool:
        """Whether the purge that comes next, in the same run, gives the reserve back."""
        contact = self._choose_contact(name)
        if not contact or find_stop_command(self.entry, name) is None:
            return False
        # A node that an operator stops has no bound on the time until its purge: only a command closes it.
        purged = machine.purge(stopped, self.node_numbers.at(contact), self.node_numbers.at(name))
        return not isinstance(purged, machine.CallRefusal) and preconditions.closes_window(
            self.state, stopped, purged
        )

    def _choose_contact(self, name: str) -> str:
        """A connected regular member with a known address, if possible one that stays."""
        able = [
            one
            for one in self.node_numbers.list_names(get_alive(self.state))
            if one != name and one in self.apis
        ]
        # A contact that the same plan removes later might be stopped before the call is repeated.
        stays = set(self.entry.regular)
        return min(able, key=lambda one: (one not in stays, one), default="")

    def _make_context(
        self,
        after: State,
        *,
        before: Membership | None = None,
        extra: Iterable[str] = (),
        elsewhere: Iterable[str] = (),
    ) -> StepContext:
        now = self.node_numbers.membership(self.state) if before is None else before
        then = self.node_numbers.membership(after)
        involved = {*now.names, *then.names, *extra}
        return StepContext(
            entry=self.entry,
            witnesses={name: self.apis[name] for name in sorted(involved) if name in self.apis},
            before=now,
            after=then,
            previous=self.steps[-1].id if self.steps else "",
            elsewhere={
                name: more for name in sorted(elsewhere) if (more := self._list_other_addresses(name))
            },
        )

    def _list_other_addresses(self, name: str) -> tuple[str, ...]:
        """All addresses of a node, except its `api` in the fleet file."""
        named, places = self.entry.node(name), self.places.get(name, NodeAddresses())
        own = {named.api} if named is not None else set()
        return tuple(place for place in (*places.known, *places.guessed) if place not in own)

    def _add_step(self, step: Step, after: State) -> None:
        self.steps.append(step)
        self.state = after
