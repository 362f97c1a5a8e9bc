"""The port of the store: what outlives a run, as typed records, and the protocols by which it is kept.

A store keeps the journal, the history, what was learnt of nodes, people's orders, and messages on their way.
Behind the port stands one folder for each database: see `reconciler.store.factory`. Whatever a call writes is
durable when it returns, all of it or nothing. Each call raises `StateError` where the store cannot be used,
and then nothing was written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol, Self

from reconciler.core.actor import Actor
from reconciler.core.fleet_identity import FleetIdentity, KnownFleet
from reconciler.core.memory import FleetMemory, Suspension
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan, Revision, Step
from reconciler.core.rollout import RolloutProgress
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
    """The beginning of a run.

    Args:
        trigger: what asked for it: `command`, `webhook`, `interval` …
        plan: what it is going to do.
        actor: who asked for it.
    """

    trigger: str
    plan: Plan
    actor: Actor = field(default_factory=Actor)


@dataclass(frozen=True, slots=True)
class StepEnd:
    """An outcome with all that is to be recorded in the same moment.

    Args:
        answer: the node's own words, which nobody believes.
        facts: what was learnt of the step's node, for later runs of the same fleet; an empty value forgets.
        spent: the words of the fleet file that the step used up.
        until: until when the call may still be under way; none where it is not.
    """

    outcome: Outcome
    answer: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    spent: Mapping[str, str] = field(default_factory=dict)
    until: datetime | None = None
    outbox_message: OutboxMessage | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "answer", bound_sentence(self.answer))


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One step in the journal.

    Args:
        intended: when the intent was written; none where nothing was sent.
        ended: when the outcome was written; none where the run was killed, or still goes on.
        reason: why the step ended as it did.
        answer: the node's own words.
        until: until when its call may still be under way; none where it is not.
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
    """A message in the history; `attempts` counts the tries to deliver it."""

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
        note: why it ended as it did, where its steps do not tell: the verdicts of a refusal.
        counts: state -> number of steps; steps without outcome count as `open`.
        finished: none where the run was killed, or still goes on.
        actor: who asked for it; nobody in what older versions wrote.
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
    """One run with everything that is known of it, steps in the plan's order."""

    line: RunSummary
    plan: Plan
    entries: tuple[JournalEntry, ...]
    messages: tuple[MessageRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """Something that a person ordered beside the desired state, or its use; it stays in the history.

    Args:
        kind: `suspend`, `resume`, `approve`, `approval used`, or `rename` for a cluster of another name.
        cluster: which; empty for all, and for an approval.
        digest: of the plan that was approved; empty for others.
    """

    kind: str
    cluster: str
    digest: str
    at: datetime
    actor: Actor


@dataclass(frozen=True, slots=True)
class Rejection:
    """A revision that is not to be applied again in a cluster.

    Args:
        content: keyed fingerprint of what the cluster was to get at it, where it is not known to be empty.
        rolled_back: whether a person rolled back from it; else it failed its gates.
    """

    cluster: str
    revision: str
    short: str
    reason: str
    since: datetime
    content: str = ""
    rolled_back: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A plan of a cluster that waits for an approval.

    Args:
        digest: of the plan with this cluster alone.
        words: what it would do, for whoever is to approve it.
    """

    cluster: str
    digest: str
    short: str
    words: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody's word that a plan may be applied, once."""

    digest: str
    by: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class OpenOrders:
    """All of them, each sorted by cluster and time."""

    suspensions: tuple[Suspension, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    requests: tuple[ApprovalRequest, ...] = ()
    approvals: tuple[Approval, ...] = ()


@dataclass(frozen=True, slots=True)
class AppliedMembers:
    """Who the last applied desired state of a cluster named.

    Args:
        count: how many nodes.
        names: their names, sorted.
        source: where that desired state was read.
        kind: the product that they run.
    """

    count: int
    names: tuple[str, ...]
    source: str
    kind: str = ""


REFERENCES: Final = "references"
"""Fact of a cluster, under the empty node name: where its settings referred to secrets, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What one pass established of a cluster.

    Args:
        members: who its desired state named, where the pass was about all of it; None leaves what is known.
            A plan of the cluster that waited for an approval waits no more.
        applied: the revision that the cluster has come to, be it in part; None leaves what is known.
        runs: node -> id of the revision that it was seen to run.
        facts: node -> key -> value: what else was seen; an empty value forgets.
        ends_rollout: whether the rollout that was open is over.
        content: keyed fingerprint of what the cluster gets at `applied`.
    """

    members: AppliedMembers | None = None
    applied: Revision | None = None
    runs: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ends_rollout: bool = False
    content: str = ""


@dataclass(frozen=True, slots=True)
class StoreSummary:
    """What a store, or a backup of one, holds.

    Args:
        tables: the version of its tables.
        runs: of its history.
        open_steps: that were sent and whose end is not known.
        bytes: its size.
        newest: the moment of its newest record; None where it has none.
    """

    tables: int
    runs: int
    open_steps: int
    bytes: int
    newest: datetime | None


class WriteHook(Protocol):
    """What is put around each write that belongs to a run: fault trials let the program die there."""

    def __call__(self, step: str) -> AbstractAsyncContextManager[None]:
        """A context in which the write is made.

        Args:
            step: the id of the step whose intent it is; empty for other writes.
        """


@asynccontextmanager
async def skip_hook(step: str) -> AsyncIterator[None]:  # noqa: ARG001  (the form of `WriteHook`)
    """Nothing around a write."""
    yield


class StoreReader(Protocol):
    """What can be read of a store; who has this alone cannot write. Close it after use (`with`)."""

    def close(self) -> None:
        """Finish what was asked for and let go of the store."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def fleets(self) -> Sequence[KnownFleet]:
        """The fleets that the store has a memory of, by number."""

    def of(self, fleet: int) -> Self:
        """The same store, for the memory of one fleet: what is read and written is that fleet's alone.

        A store is the host's before that (`core.fleet_identity.HOST`): its history, orders and open steps
        are those of all fleets, and what is recalled of it belongs to none.

        Args:
            fleet: a number of `fleets`, or `NEW` for one that nothing is remembered of.
        """

    async def recall(self) -> FleetMemory:
        """What earlier runs of the fleet and people's orders left, as it is at one moment."""

    async def orders(self) -> OpenOrders:
        """Suspensions, rejections, requests for approval and approvals that stand."""

    async def runs(self, limit: int = 20) -> Sequence[RunSummary]:
        """The newest runs, newest first."""

    async def acts(self, limit: int = 20) -> Sequence[OrderRecord]:
        """The newest things that people ordered on this host, newest first."""

    async def run(self, text: str, *, is_whole: bool = False) -> RunRecord:
        """One run by its id or the beginning of it.

        Args:
            text: the id, or its beginning.
            is_whole: whether its entries' steps are to be judged, and so have what plans do not show.

        Raises:
            UsageError: no run, or several, begin so; it names the nearest.
        """

    async def is_open(self, cluster: str) -> bool:
        """Whether the journal has a step of a cluster that was sent and has no end, or an unknown one."""

    async def unsettled(self) -> Sequence[RunRecord]:
        """Runs that did not finish, and of those that did the steps whose end nobody knows; oldest first.

        A step is unknown no more once a later run sent something for its node, or found it as desired. A run
        that goes on right now is among them: only its clusters' locks tell.
        """


class Outbox(Protocol):
    """Where messages wait until the sink has taken them."""

    async def due(self, *, beyond: int = 0, limit: int = 50) -> Sequence[OutboxMessage]:
        """Messages to deliver, oldest first, numbered beyond the one given."""

    async def sent(self, outbox_message: str) -> None:
        """The sink took the message with this id."""

    async def unsent(self, outbox_message: str, error: str, *, refused: bool) -> None:
        """The sink did not take it, and whether it said so itself."""

    async def left(self) -> int:
        """How many messages are still to be delivered."""


class Store(StoreReader, Outbox, Protocol):
    """The whole store: the journal, the history, facts, orders and the outbox."""

    async def enter(self, identity: FleetIdentity) -> Self:
        """The same store, for the memory of the fleet that this is; it is written down as what it is now.

        Raises:
            FleetRefused: the host has to say first whose memory it is; see
                `core.fleet_identity.resolve_fleet`.
        """

    async def rebind(self, fleet: int, identity: FleetIdentity) -> None:
        """Write down by what a fleet is known from now on: the host's own word, which nothing contradicts.

        With another history, what was applied last no longer tells which revision is older.

        Args:
            fleet: its number.
            identity: the source that takes over.
        """

    def lock(self, cluster: str) -> AbstractAsyncContextManager[None]:
        """Hold a cluster against every other run; released however the holder ends.

        Each holder has an epoch, higher than any before it. `intend` refuses a holder that is not the latest:
        should the lock itself be lost, an earlier holder still cannot send.

        Raises:
            ClusterBusy: another run holds it.
        """

    async def begin(self, opening: RunStart) -> str:
        """Write down a run with all its steps open; gives its id."""

    async def refuse(self, opening: RunStart, note: str) -> str:
        """Write down a run that guards refused, with their verdicts; gives its id."""

    async def intend(self, run: str, step: Step, learnt: Mapping[str, str] | None = None) -> None:
        """Write down that a step is about to be performed, with facts of its node that hold from then on.

        Raises:
            Fenced: a later run has taken the cluster over.
        """

    async def conclude(self, run: str, endings: Sequence[StepEnd]) -> None:
        """Write down outcomes, with their facts and messages, all or none."""

    async def finish(self, run: str, exit_status: int, note: str = "") -> None:
        """Write down that a run has ended."""

    async def remember(self, cluster: str, facts: Mapping[str, Mapping[str, str]]) -> None:
        """Keep facts of a cluster's nodes; an empty value forgets, an unchanged one keeps its moment.

        Args:
            cluster: its name.
            facts: node -> key -> value.
        """

    async def forget_attempts(self, cluster: str = "") -> Sequence[str]:
        """Forget what was tried for nodes, so that it is tried anew; gives them as `cluster/node`, sorted.

        Args:
            cluster: of which cluster; empty for all.
        """

    async def record_pass(self, cluster: str, facts: ClusterFacts) -> None:
        """Write down what a pass established of a cluster."""

    async def forget_members(self, cluster: str) -> None:
        """Forget who a cluster's desired state named, and where: its fleet file names it no more, and may."""

    async def rename_cluster(self, former: str, name: str, by: Actor) -> None:
        """Let all that is remembered of a cluster be that of its new name, in one transaction.

        Nothing is done where nothing is remembered of the former name, or the new one has been applied. A
        suspension by command goes along; it stays for clusters of that name in other fleets, too.

        Args:
            former: the name until now; the caller holds its lock.
            name: the one from now on.
            by: who asked for the run that does it, for the history.
        """

    async def keep_progress(self, cluster: str, progress: RolloutProgress | None) -> None:
        """Write down how far a rollout has come; None where it is over."""

    async def claim(self, taken: Mapping[str, tuple[str, str]], given_up: Sequence[str]) -> None:
        """Write down which places this fleet looks after, and which places it names no more.

        Args:
            taken: place -> cluster and node.
            given_up: places; one that another fleet has taken stays that fleet's.
        """

    async def suspend(self, cluster: str, reason: str, by: Actor) -> None:
        """Write down that nothing is changed in a cluster, or in all where none is named."""

    async def resume(self, cluster: str, by: Actor) -> None:
        """End what `suspend` began for the same cluster, or for all."""

    async def reject(self, cluster: str, revision: Revision, reason: str, *, ends_rollout: bool) -> None:
        """Write down that a revision is not to be tried again in a cluster, and whether its rollout ends."""

    async def roll_back(
        self, cluster: str, left: tuple[Revision, str] | None, taken: tuple[Revision, str], reason: str
    ) -> None:
        """Write down, before the first step, what a person rolls a cluster back from, and to what.

        Args:
            cluster: its name.
            left: the revision that was applied last, and its content; None where that is the same as `taken`.
            taken: the revision that is applied now, and its content; it is rolled back from no more.
            reason: who rolls back.
        """

    async def request_approval(self, cluster: str, digest: str, short: str, words: str) -> None:
        """Write down the plan of a cluster that waits for an approval, in place of the one before."""

    async def approve(self, digest: str, by: Actor, reason: str) -> None:
        """Write down that a plan may be applied, once."""

    async def spend_approval(self, digest: str) -> None:
        """Forget an approval: it was for one run. That it was given and used stays in the history."""

    async def probe(self) -> None:
        """Write something that changes nothing, to the disk and back."""
