"""The port of the store: records of what outlives a run, and the protocols to read and write them.

A store keeps the journal, the history, facts about nodes, orders, and undelivered messages. There is one
package for each database: see `reconciler.store.factory`. What a call writes is durable when it returns,
completely or not at all. Each call raises `StateError` if the store cannot be used; then it has written
nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol, Self

from reconciler.core.actor import Actor
from reconciler.core.fleet_matching import FleetIdentity, KnownFleet
from reconciler.core.memory import FleetMemory, Suspension
from reconciler.core.outcome import Outcome, State
from reconciler.core.pins import LeftRevision, Pin
from reconciler.core.plan import Plan, Revision, Step
from reconciler.core.reservations import Reservation, SeenCluster
from reconciler.core.rollout_rules import PendingReturn, RolloutProgress
from reconciler.ports.access_store import AccessReader, AccessStore
from reconciler.ports.node_store import NodeReader, NodeStore
from reconciler.ports.notification_store import NotificationStore
from reconciler.ports.pass_queue import PassQueue
from reconciler.text.one_line import bound_sentence


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message about one outcome, on its way to the sink.

    Args:
        id: the same in every delivery of the same message.
        body: the JSON that is sent.
        wanted: whether there is a sink; without one the message is for the history alone.
        number: its place in the outbox, given by the store.
    """

    id: str
    body: bytes
    wanted: bool = True
    number: int = 0


@dataclass(frozen=True, slots=True)
class RunStart:
    """The start of a run.

    Args:
        trigger: its reason: `command`, `webhook`, `interval` …
        plan: to apply.
        actor: who started it.
    """

    trigger: str
    plan: Plan
    actor: Actor = field(default_factory=Actor)


@dataclass(frozen=True, slots=True)
class StepEnd:
    """An outcome with everything to record in the same transaction.

    Args:
        answer: text of the node; never evidence of an effect.
        facts: about the step's node, for later runs of the same fleet; an empty value deletes.
        used_confirmations: confirmations of the fleet file that the step used.
        until: until when the call may still take effect; None if it cannot.
    """

    outcome: Outcome
    answer: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    used_confirmations: Mapping[str, str] = field(default_factory=dict)
    until: datetime | None = None
    outbox_message: OutboxMessage | None = None

    def __post_init__(self) -> None:
        # A node may answer with any amount of text, and the history keeps thousands of steps.
        object.__setattr__(self, "answer", bound_sentence(self.answer))


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One step in the journal.

    Args:
        intended: time of the intent; None if nothing was sent.
        ended: time of the outcome; None if the run was killed or is still running.
        reason: of the outcome.
        answer: text of the node.
        until: until when its call may still take effect; None if it cannot.
    """

    step: Step
    intended: datetime | None = None
    ended: datetime | None = None
    state: State | None = None
    reason: str = ""
    seconds: float = 0.0
    answer: str = ""
    waiting_for_restart: tuple[str, ...] = ()
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message in the history; `attempts` counts its deliveries."""

    id: str
    step: str
    created: datetime
    body: str
    wanted: bool
    delivered: datetime | None
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run, as a line of the history.

    Args:
        note: reason of its result if its steps do not show it, such as violations.
        counts: state -> number of steps; steps without outcome count as `open`.
        finished: None if the run was killed or is still running.
        actor: who started it; empty in records of older versions.
    """

    id: str
    trigger: str
    source: str
    revision: str
    short: str
    title: str
    program: str
    digest: str
    started: datetime
    finished: datetime | None
    exit_status: int | None
    note: str
    counts: Mapping[str, int]
    actor: Actor = field(default_factory=Actor)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run with all its records, steps in the order of the plan."""

    summary: RunSummary
    plan: Plan
    entries: tuple[JournalEntry, ...]
    messages: tuple[MessageRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """An order of an operator or its use; it stays in the history.

    Args:
        kind: `suspend`, `resume`, `pin`, `unpin`, `approve`, `approval used`, `hold`, `release`, `retry`,
            `look` for a pass on request, `rename` for a renamed cluster, `rotate` for a new token of a node,
            or `token` and `token revoked` for a token of a program.
        cluster: its name; empty for all clusters, and for an approval of a plan that none has requested.
        digest: of the approved plan; empty for other orders.
        node: that was held or released, or the name of a token; empty for other orders.
        until: the end of a hold or a token.
    """

    kind: str
    cluster: str
    digest: str
    at: datetime
    actor: Actor
    node: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A revision that failed its gates in a cluster, and must not be applied again there.

    Args:
        content: keyed fingerprint of what it gives the cluster; empty if an older version rejected it.
    """

    cluster: str
    revision: str
    short: str
    reason: str
    since: datetime
    content: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A plan of a cluster that waits for an approval.

    Args:
        digest: of the plan of this cluster alone.
        description: description of the plan, for the approver.
    """

    cluster: str
    digest: str
    short: str
    description: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Approval:
    """Permission to apply a plan once."""

    digest: str
    by: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class OpenOrders:
    """All open orders, each kind sorted by cluster and time."""

    suspensions: tuple[Suspension, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    requests: tuple[ApprovalRequest, ...] = ()
    approvals: tuple[Approval, ...] = ()
    holds: tuple[Reservation, ...] = ()
    pins: tuple[Pin, ...] = ()


@dataclass(frozen=True, slots=True)
class AppliedMembers:
    """The nodes in the last applied desired state of a cluster.

    Args:
        count: number of nodes.
        names: of the nodes, sorted.
        source: of that desired state.
        kind: of the product.
    """

    count: int
    names: tuple[str, ...]
    source: str
    kind: str = ""


REFERENCES: Final = "references"
"""Fact of a cluster, under the empty node name: positions of secret references in its settings, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """Facts about a cluster from one pass.

    Args:
        members: nodes of its desired state, if the pass covered all of them; None changes nothing. Removes a
            pending approval request of the cluster.
        applied: the revision applied to the cluster, also in part; None changes nothing.
        shown_revisions: node -> id of the revision that it shows.
        facts: node -> key -> value: further observations; an empty value deletes.
        ends_rollout: whether the open rollout is finished.
        content: keyed fingerprint of the cluster's content at `applied`.
    """

    members: AppliedMembers | None = None
    applied: Revision | None = None
    shown_revisions: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ends_rollout: bool = False
    content: str = ""


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """Contents of a store or of a backup.

    Args:
        tables: schema version.
        runs: number of runs in the history.
        open_steps: number of sent steps with unknown outcome.
        bytes: its size.
        newest: time of its newest record; None without records.
        open_operations: number of operations that have not ended.
    """

    tables: int
    runs: int
    open_steps: int
    bytes: int
    newest: datetime | None
    open_operations: int = 0


class WriteHook(Protocol):
    """Wraps each write of a run, so that fault trials can kill the program before or after it."""

    def __call__(self, step: str) -> AbstractAsyncContextManager[None]:
        """A context for the write.

        Args:
            step: id of the step whose intent is written; empty for other writes.
        """


@asynccontextmanager
async def skip_hook(step: str) -> AsyncIterator[None]:  # noqa: ARG001  (the form of `WriteHook`)
    """Add nothing to a write."""
    yield


class OrderReader(Protocol):
    """What orders read before they are written: which clusters and nodes are known, and what is in force."""

    async def fleets(self) -> Sequence[KnownFleet]:
        """As `StoreReader.fleets`."""

    def select_fleet(self, fleet: int) -> OrderReader:
        """As `StoreReader.select_fleet`."""

    async def read_memory(self, *, without_nodes: Collection[str] = ()) -> FleetMemory:
        """As `StoreReader.read_memory`."""

    async def orders(self) -> OpenOrders:
        """As `StoreReader.orders`."""

    async def see_cluster(self, cluster: str) -> SeenCluster:
        """As `NodeReader.see_cluster`."""


class StoreReader(NodeReader, AccessReader, Protocol):
    """The reading half of a store; its holder cannot write. Close it after use (`with`)."""

    def close(self) -> None:
        """Finish pending requests and close the store."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def fleets(self) -> Sequence[KnownFleet]:
        """The fleets in the store, sorted by number."""

    def select_fleet(self, fleet: int) -> Self:
        """The same store, limited to the memory of one fleet.

        Before that it belongs to the host (`core.fleet_matching.HOST`): its history, orders and open steps
        are those of all fleets, and `read_memory` gives the memory of none.

        Args:
            fleet: a number of `fleets`, or `NEW` for an unknown fleet.
        """

    async def read_memory(self, *, without_nodes: Collection[str] = ()) -> FleetMemory:
        """Facts and orders of the fleet, read at one moment.

        Args:
            without_nodes: clusters whose nodes are left out: facts, changes and claims of places. What is
                known of the cluster itself is in it.
        """

    async def read_cluster_memory(self, cluster: str) -> FleetMemory:
        """As `read_memory`, of one cluster and of what applies to all.

        A run asks for it again while it goes on. Claims, applied revisions and pending calls are for plans.
        """

    async def orders(self) -> OpenOrders:
        """Suspensions, pins, rejections, approval requests, approvals and holds of nodes in force."""

    async def runs(self, limit: int = 20, *, before: str = "", cluster: str = "") -> Sequence[RunSummary]:
        """The newest runs, newest first.

        Args:
            limit: number of runs at most.
            before: id of a run: only older ones; empty for the newest. None is older than an unknown one.
            cluster: only runs that planned a step of it; empty for all.
        """

    async def count_cluster_steps(self, runs: Sequence[str]) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        """Id of a run -> cluster -> state of steps, `open` without one -> their number."""

    async def list_past_orders(self, limit: int = 20) -> Sequence[OrderRecord]:
        """The newest orders on this host, newest first."""

    async def run(self, text: str, *, is_whole: bool = False) -> RunRecord:
        """One run by its id or a prefix of it.

        Args:
            text: the id or a prefix.
            is_whole: whether to include what plans do not show; needed to judge steps.

        Raises:
            UsageError: no run or several runs have this prefix; it names the nearest ids.
        """

    async def is_open(self, cluster: str) -> bool:
        """Whether the journal has a sent step of a cluster without a known outcome."""

    async def list_open_runs(self, cluster: str = "") -> Sequence[RunRecord]:
        """Unfinished runs, and finished ones with steps of unknown outcome; oldest first.

        A step no longer counts as unknown after a later run sent something to its node or found it as
        desired. A run in progress is included: only the locks of its clusters show that it is running.

        Args:
            cluster: only runs with a step of it; empty for all.
        """


class Outbox(Protocol):
    """Messages that wait until the sink has accepted them."""

    def hold_delivery(self) -> AbstractAsyncContextManager[object]:
        """The turn to deliver: one run of this process at a time, which delivers the messages of all."""

    async def list_due(self, *, beyond: int = 0, limit: int = 50) -> Sequence[OutboxMessage]:
        """Messages to deliver, oldest first, with numbers above `beyond`."""

    async def mark_sent(self, outbox_message: str) -> None:
        """Record that the sink accepted a message."""

    async def mark_failed(self, outbox_message: str, error: str, *, refused: bool) -> None:
        """Record a failed delivery; `refused`: the sink itself refused the message."""

    async def count_pending(self) -> int:
        """Number of undelivered messages."""


class OrderWriter(Protocol):
    """Writes the orders of operators; each is durable when its call returns."""

    async def suspend(self, cluster: str, reason: str, by: Actor) -> None:
        """Record the suspension of a cluster, or of all clusters if the name is empty."""

    async def resume(self, cluster: str, by: Actor) -> None:
        """End the suspension of a cluster, or of all clusters."""

    async def hold(self, fleet: int, cluster: str, node: str, until: datetime, by: Actor) -> None:
        """Record that nothing is sent to a node until a moment.

        Args:
            fleet: a number of `fleets`, or `core.fleet_matching.HOST` for a node of that name in any fleet.
            cluster: its name.
            node: its name.
            until: the end.
            by: who orders it, and why.
        """
        # In the same table as reservations: a step's intent is refused in the transaction that would write
        # it, if a hold was ordered since the step was judged.

    async def end_holds(self, ids: Sequence[str], by: Actor) -> Sequence[str]:
        """End holds before their time; gives the nodes of those that were in force, as `cluster/node`."""

    async def retry(self, cluster: str, node: str, by: Actor) -> Sequence[str]:
        """Delete the attempts at a node, or those in a cluster and its rejections; gives what was deleted.

        Args:
            cluster: its name.
            node: its name; empty for the whole cluster.
            by: who orders it, and why.
        """

    async def unpin(self, cluster: str, by: Actor) -> Sequence[str]:
        """End the pin of a cluster, of the host in all fleets; gives the revisions where it was pinned."""

    async def approve(self, digest: str, by: Actor, reason: str) -> None:
        """Record that a plan may be applied once."""

    async def forget_attempts(self, cluster: str = "") -> Sequence[str]:
        """Delete the attempts in one cluster, or in all; gives their nodes as `cluster/node`, sorted."""


class Store(StoreReader, NodeStore, AccessStore, Outbox, OrderWriter, NotificationStore, Protocol):
    """The whole store: journal, history, facts, orders, nodes that poll, tokens, sessions, both outboxes."""

    async def enter_fleet(self, identity: FleetIdentity | None) -> Self:
        """The same store, limited to the memory of this fleet; records the fleet's current identity.

        Args:
            identity: of the fleet; None for a fleet without one, which leaves the store as it is.

        Raises:
            FleetRefused: an operator must first decide whose memory it is; see
                `core.fleet_matching.resolve_fleet`.
        """

    async def record_look(self, cluster: str, by: Actor) -> None:
        """Record in the history that somebody ordered a pass over a cluster, or over all if it is empty."""

    def open_pass_queue(self, selection: str) -> PassQueue | None:
        """The passes of this fleet that several hosts share; None if only one host can use the store.

        Args:
            selection: digest of what the watch is restricted to.
        """

    def lock_statuses(self, place: str) -> AbstractAsyncContextManager[None]:
        """Hold what only one host may do: write the statuses of the commits of a repository.

        Args:
            place: names the repository and the status.

        Raises:
            ClusterBusy: another process holds it.
            StateError: the store cannot be used.
        """

    async def rebind(self, fleet: int, identity: FleetIdentity) -> None:
        """Give a fleet the identity of a new source, by decision of the host.

        With another git history, the revision applied last no longer decides which revision is older.
        """

    def lock(self, cluster: str) -> AbstractAsyncContextManager[None]:
        """Hold a cluster against other runs; released even if the holder is killed.

        Each holder has a higher epoch than all before it. `record_intent` refuses every holder but the
        latest.

        Raises:
            ClusterBusy: another run holds it.
        """
        # The epoch is a fencing token: a paused process that lost its lock must not send when it wakes up.

    async def hold_for(self, cluster: str, seconds: float) -> None:
        """Make sure that the lock of a cluster outlasts a call that begins now; called before each call.

        Args:
            cluster: whose node is called; without a lock of it, nothing is checked.
            seconds: that the call takes at most.

        Raises:
            RunFenced: the lock is gone, or ends before.
            StateError: the store cannot be asked; the call must not begin.
        """
        # Nodes take no token: a call that begins before the lock ends, and ends after it, could meet one of
        # the next holder.

    async def begin_run(self, opening: RunStart) -> str:
        """Record a run with all its steps open; gives its id."""

    async def record_refused_run(self, opening: RunStart, note: str) -> str:
        """Record a run that guards refused, with the violations; gives its id."""

    async def record_intent(
        self,
        run: str,
        step: Step,
        facts: Mapping[str, str] | None = None,
        *,
        reserved: frozenset[str] | None = None,
        despite_suspension: bool = False,
    ) -> None:
        """Record the intent of a step, with facts about its node that apply from then on.

        Args:
            run: its run.
            step: to be performed.
            facts: about its node.
            reserved: ids of the reservations that the step was judged with; None if none concern it.
            despite_suspension: whether the step may be sent although its cluster is suspended by command.

        Raises:
            Fenced: a later run has taken over the cluster.
            ReservedMeanwhile: the cluster has a reservation that the step was not judged with.
            SuspendedMeanwhile: the cluster, or every cluster, is suspended.
        """
        # On disk before the call. So a step without an intent was never sent, and one with an intent and no
        # outcome may have had its effect: recovery reads the node.

    async def record_outcomes(self, run: str, endings: Sequence[StepEnd]) -> None:
        """Record outcomes with their facts and messages, all or none."""
        # On disk before it is reported: a message about an outcome that a crash then lost would stay wrong.

    async def end_superseded(self, cluster: str, members: Sequence[str], as_desired: Sequence[str]) -> int:
        """End overdue steps that nothing can settle any more as superseded; gives their number.

        Args:
            cluster: whose nodes poll; the caller holds its lock.
            members: its nodes: a step for another one ends.
            as_desired: nodes that show the content of the present revision. A step for another node ends if a
                later run offered something to it, or found it as desired.
        """

    async def finish_run(self, run: str, exit_status: int, note: str = "") -> None:
        """Record the end of a run."""

    async def store_facts(self, cluster: str, facts: Mapping[str, Mapping[str, str]]) -> None:
        """Store facts, node -> key -> value; an empty value deletes, an unchanged one keeps its time."""

    async def record_pass(self, cluster: str, facts: ClusterFacts) -> None:
        """Record the facts about a cluster from one pass."""

    async def forget_members(self, cluster: str) -> None:
        """Delete the members of a cluster that the fleet file was allowed to remove; their tokens end."""

    async def rename_cluster(self, former: str, name: str, by: Actor) -> None:
        """Move all records of a cluster to its new name, in one transaction.

        Does nothing if there are no records of the former name, or if the new name has been applied. A
        suspension by command moves too; it also stays for clusters of the former name in other fleets.

        Args:
            former: the old name; the caller holds its lock.
            name: the new name.
            by: who started the run, for the history.
        """

    async def store_progress(self, cluster: str, progress: RolloutProgress | None) -> None:
        """Record the progress of a rollout; None when it is finished."""

    async def claim_places(self, taken: Mapping[str, tuple[str, str]], given_up: Sequence[str]) -> None:
        """Record the places that this fleet manages and those that it no longer names.

        Args:
            taken: place -> cluster and node.
            given_up: places; one that another fleet has claimed stays with that fleet.
        """

    async def reject(
        self,
        cluster: str,
        revision: Revision,
        reason: str,
        *,
        ends_rollout: bool,
        content: str = "",
        pending: PendingReturn | None = None,
    ) -> None:
        """Record that a revision must not be applied again in a cluster, nor another one with its content.

        Args:
            cluster: its name.
            revision: that failed there.
            reason: why.
            ends_rollout: whether its rollout ends.
            content: keyed fingerprint of what it gives the cluster; empty if it is not known.
            pending: what is to do for the offers of its wave; what earlier waves left to do stays.
        """

    async def store_return(self, cluster: str, run: str, pending: PendingReturn | None) -> None:
        """Record what is still to do for the offers of the wave that a run rejected; None if all is done."""

    async def pin(self, cluster: str, revision: Revision, left: tuple[LeftRevision, ...], by: Actor) -> None:
        """Record, before the first step, that a cluster is rolled back to a revision and stays there.

        Args:
            cluster: its name.
            revision: the one to apply now.
            left: the revisions that it is rolled back from, see `core.pins`; without any, its pin ends.
            by: who rolls back, and why.
        """
        # Before the first step: a watch that starts after a crash in the middle must not go forward again.

    async def request_approval(self, cluster: str, digest: str, short: str, words: str) -> None:
        """Record the plan of a cluster that waits for an approval; it replaces an earlier one."""

    async def use_approval(self, digest: str) -> None:
        """Delete a used approval; the history keeps that it was given and used."""

    async def check_writable(self) -> None:
        """Check with a write that the store is writable; changes no record."""
