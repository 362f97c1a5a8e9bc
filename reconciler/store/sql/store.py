"""The store over the functions of this package; each database adds how it is opened and locked."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Concatenate, ParamSpec, Protocol, Self, TypeVar

from reconciler.core.actor import Actor
from reconciler.core.alerts import Alert
from reconciler.core.bus_channels import BusChannel
from reconciler.core.fleet_matching import HOST, FleetIdentity, KnownFleet
from reconciler.core.memory import FleetMemory
from reconciler.core.offers import Offer, OfferFeed
from reconciler.core.operations import Operation, OperationResult
from reconciler.core.pins import LeftRevision
from reconciler.core.plan import Revision, Step
from reconciler.core.reservations import Reservation, SeenCluster
from reconciler.core.rollout_rules import PendingReturn, RolloutProgress
from reconciler.core.timestamps import Clock
from reconciler.ports.access_store import AccessToken, LoginSession
from reconciler.ports.node_store import CallRecord, NodeChanges, NodeContact, NodeTokens
from reconciler.ports.notification_store import (
    AddressState,
    AlertScope,
    DeliveryEnd,
    TakenNotices,
    TellingRules,
)
from reconciler.ports.pass_queue import PassQueue
from reconciler.ports.store import (
    ClusterFacts,
    OpenOrders,
    OrderRecord,
    OutboxMessage,
    RunRecord,
    RunStart,
    RunSummary,
    StepEnd,
    WriteHook,
)
from reconciler.ports.transport import NodeMail, OfferDraft
from reconciler.store.sql import (
    access_tokens,
    alerts,
    fleets,
    history,
    journal,
    login_sessions,
    node_calls,
    node_offers,
    node_publications,
    node_tokens,
    notices,
    operations,
    order_records,
    orders,
    outbox,
    reservations,
)
from reconciler.store.sql.content_parts import ContentParts
from reconciler.store.sql.facts import (
    ROLLOUT,
    forget_attempts,
    forget_members,
    write_claims,
    write_cluster_facts,
    write_facts,
    write_pass,
)
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.memory import read_cluster_memory, read_memory
from reconciler.store.sql.renames import rename_cluster
from reconciler.store.sql.transaction import Dialect, SqlConnection, Transaction

P = ParamSpec("P")
T = TypeVar("T")


class Database(Protocol):
    """Runs functions over a connection, one after the other, all or none of each."""

    async def read(self, work: Callable[[SqlConnection], T]) -> T:
        """The result of `work`, which sees one moment of the database."""

    async def write(self, work: Callable[[SqlConnection], T], *, is_shared: bool = False) -> T:
        """The result of `work`, whose changes are durable when this returns, all or none.

        Args:
            work: the write.
            is_shared: whether other hosts may write at the same time: it concerns only clusters whose
                leases are held.
        """

    async def compute(self, work: Callable[[], T]) -> T:
        """The result of long work that needs no connection."""

    def close(self) -> None:
        """Finish what is queued, and close the connection."""


class SqlStore(ABC):
    """Implements `reconciler.ports.store.Store`, whose docstrings are the contract of each method.

    Close it after use (`with`).

    Args:
        database: where the records are.
        dialect: of its SQL.
        key: with which private data is encrypted.
        clock: for the times of what is written.
        name: makes the ids of runs.
        keep: runs of the history, besides those that are still needed.
        around: wraps each write that belongs to a run.
    """

    def __init__(
        self,
        database: Database,
        dialect: Dialect,
        key: HostKey,
        *,
        clock: Clock,
        name: Callable[[], str],
        keep: int,
        around: WriteHook,
    ) -> None:
        self._rows = database
        self._dialect = dialect
        self._key = key
        self._clock = clock
        self._name = name
        self._keep = keep
        self._around = around
        self._fleet = HOST
        self._contents = ContentParts(key)
        self._delivery = asyncio.Lock()

    @abstractmethod
    def lock(self, cluster: str) -> AbstractAsyncContextManager[None]: ...

    @abstractmethod
    def lock_operations(self, cluster: str) -> AbstractAsyncContextManager[None]: ...

    @abstractmethod
    def lock_questions(self, cluster: str, seconds: float) -> AbstractAsyncContextManager[None]: ...

    @abstractmethod
    async def hold_for(self, cluster: str, seconds: float) -> None: ...

    @abstractmethod
    async def check_writable(self) -> None: ...

    def _is_held(self, cluster: str) -> bool:  # noqa: ARG002  (a store of one host has no leases)
        """Whether a lease of this process keeps other hosts from writing for a cluster."""
        return False

    @abstractmethod
    def _fence(self, cluster: str, run: str = "") -> Callable[[Transaction], None]:
        """What refuses, in a transaction, to write for a cluster that a later run has taken over.

        Args:
            cluster: its name; one that this process does not hold is not checked.
            run: that writes, for the message.
        """

    def close(self) -> None:
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _bind(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Callable[[SqlConnection], T]:
        # Read here, not in the thread: work that waits for another process still gets the time of its call.
        fleet, now = self._fleet, self._clock()
        return lambda connection: work(Transaction(connection, fleet, now, self._dialect), *args, **kwargs)

    async def _read(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._rows.read(self._bind(work, *args, **kwargs))

    async def _write(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._rows.write(self._bind(work, *args, **kwargs))

    async def _write_in_run(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        async with self._around(""):
            return await self._write(work, *args, **kwargs)

    async def _write_held(
        self,
        clusters: Iterable[str],
        work: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Write for clusters, if no later run has taken over one of them."""
        return await self._write_in_run(self._fence_work(sorted(set(clusters)), work, *args, **kwargs))

    async def _write_own(
        self,
        clusters: Iterable[str],
        work: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As `_write_held`, for work that concerns these clusters alone: other hosts may write for others."""
        names = sorted(set(clusters))
        write, is_shared = self._fence_work(names, work, *args, **kwargs), all(map(self._is_held, names))
        async with self._around(""):
            return await self._rows.write(self._bind(write), is_shared=is_shared)

    def _fence_work(
        self,
        clusters: Iterable[str],
        work: Callable[Concatenate[Transaction, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Callable[[Transaction], T]:
        fences = [self._fence(cluster) for cluster in clusters]

        def write(tx: Transaction) -> T:
            for fence in fences:
                fence(tx)
            return work(tx, *args, **kwargs)

        return write

    async def fleets(self) -> tuple[KnownFleet, ...]:
        return await self._read(fleets.read_fleets)

    def select_fleet(self, fleet: int) -> Self:
        own = copy(self)
        own._fleet = fleet  # noqa: SLF001  (another one of this very class)
        return own

    async def enter_fleet(self, identity: FleetIdentity | None) -> Self:
        if identity is None:
            return self
        return self.select_fleet(await self._write_in_run(fleets.enter_fleet, identity))

    def open_pass_queue(self, selection: str) -> PassQueue | None:  # noqa: ARG002  (of one host alone)
        return None

    async def rebind(self, fleet: int, identity: FleetIdentity) -> None:
        await self._write(fleets.rebind_fleet_source, fleet, identity)

    async def begin_run(self, opening: RunStart) -> str:
        encoded = await self._rows.compute(partial(journal.encode_plan, opening.plan, self._key))
        return await self._write_held(
            [one.cluster for one in opening.plan.clusters],
            journal.begin_run,
            opening,
            self._name,
            encoded,
            keep=self._keep,
        )

    async def record_refused_run(self, opening: RunStart, note: str) -> str:
        encoded = await self._rows.compute(partial(journal.encode_plan, opening.plan, self._key))
        return await self._write_in_run(
            journal.write_refusal, opening, note, self._name, encoded, keep=self._keep
        )

    async def record_intent(
        self,
        run: str,
        step: Step,
        facts: Mapping[str, str] | None = None,
        *,
        reserved: frozenset[str] | None = None,
        despite_suspension: bool = False,
    ) -> None:
        is_shared = self._is_held(step.cluster)
        work = self._bind(
            journal.write_intent,
            run,
            step,
            fence=self._fence(step.cluster, run),
            new_facts=facts or {},
            reserved=reserved,
            despite_suspension=despite_suspension,
        )
        async with self._around(step.id):
            await self._rows.write(work, is_shared=is_shared)

    async def record_outcomes(self, run: str, endings: Sequence[StepEnd]) -> None:
        await self._write_own(
            [one.outcome.step.cluster for one in endings], journal.write_outcomes, run, endings
        )

    async def end_superseded(self, cluster: str, members: Sequence[str], as_desired: Sequence[str]) -> int:
        # Most passes find nothing to end, and write nothing.
        found = await self._read(history.find_superseded_steps, cluster, members, as_desired)
        if found:
            await self._write_held([cluster], journal.end_superseded_steps, found)
        return len(found)

    async def finish_run(self, run: str, exit_status: int, note: str = "") -> None:
        await self._write_in_run(journal.finish_run, run, exit_status, note)

    async def is_open(self, cluster: str) -> bool:
        return await self._read(history.has_open_step, cluster)

    async def list_open_runs(self, cluster: str = "") -> tuple[RunRecord, ...]:
        return await self._read(history.read_unsettled_runs, self._key, cluster)

    async def runs(self, limit: int = 20, *, before: str = "", cluster: str = "") -> tuple[RunSummary, ...]:
        return await self._read(history.read_run_summaries, limit, before, cluster)

    async def count_cluster_steps(self, runs: Sequence[str]) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        return await self._read(history.count_cluster_steps, runs)

    async def list_past_orders(self, limit: int = 20) -> tuple[OrderRecord, ...]:
        return await self._read(order_records.read_order_records, limit)

    async def run(self, text: str, *, is_whole: bool = False) -> RunRecord:
        return await self._read(history.read_run, text, self._key if is_whole else None)

    async def read_memory(self, *, without_nodes: Collection[str] = ()) -> FleetMemory:
        return replace(await self._read(read_memory, without_nodes), key=self._key.secret())

    async def read_cluster_memory(self, cluster: str) -> FleetMemory:
        return replace(await self._read(read_cluster_memory, cluster), key=self._key.secret())

    async def orders(self) -> OpenOrders:
        return await self._read(orders.read_orders)

    async def store_facts(self, cluster: str, facts: Mapping[str, Mapping[str, str]]) -> None:
        await self._write_own([cluster], write_facts, cluster, facts)

    async def forget_attempts(self, cluster: str = "") -> tuple[str, ...]:
        return await self._write(forget_attempts, cluster)

    async def record_pass(self, cluster: str, facts: ClusterFacts) -> None:
        await self._write_own([cluster], write_pass, cluster, facts)

    async def forget_members(self, cluster: str) -> None:
        await self._write_held([cluster], _forget_members, cluster)

    async def rename_cluster(self, former: str, name: str, by: Actor) -> None:
        await self._write_held([former], rename_cluster, former, name, by)

    async def store_progress(self, cluster: str, progress: RolloutProgress | None) -> None:
        rollout = {ROLLOUT: progress.plain() if progress else ""}
        await self._write_own([cluster], write_cluster_facts, cluster, rollout)

    async def claim_places(self, taken: Mapping[str, tuple[str, str]], given_up: Sequence[str]) -> None:
        await self._write(write_claims, taken, given_up)

    async def suspend(self, cluster: str, reason: str, by: Actor) -> None:
        def suspend(tx: Transaction) -> None:
            orders.write_suspension(tx, cluster, reason, by)
            node_offers.end_exemptions(tx, cluster)

        await self._write(suspend)

    async def resume(self, cluster: str, by: Actor) -> None:
        await self._write(orders.delete_suspension, cluster, by)

    async def hold(self, fleet: int, cluster: str, node: str, until: datetime, by: Actor) -> None:
        await self._write(reservations.write_hold, fleet, (cluster, node), until, by)

    async def end_holds(self, ids: Sequence[str], by: Actor) -> tuple[str, ...]:
        ended = await self._write(reservations.delete_holds, ids, by)
        return tuple(dict.fromkeys(f"{one.cluster}/{one.node}" for one in ended))

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
        await self._write_held(
            [cluster],
            orders.write_rejection,
            cluster,
            revision,
            reason,
            ends_rollout=ends_rollout,
            content=content,
            pending=pending,
        )

    async def record_look(self, cluster: str, by: Actor) -> None:
        await self._write(orders.write_look, cluster, by)

    async def retry(self, cluster: str, node: str, by: Actor) -> tuple[str, ...]:
        return await self._write(orders.delete_failures, cluster, node, by)

    async def store_return(self, cluster: str, run: str, pending: PendingReturn | None) -> None:
        await self._write_held([cluster], orders.write_return, cluster, run, pending)

    async def pin(self, cluster: str, revision: Revision, left: tuple[LeftRevision, ...], by: Actor) -> None:
        await self._write_held([cluster], orders.write_pin, cluster, revision, left, by)

    async def unpin(self, cluster: str, by: Actor) -> tuple[str, ...]:
        return await self._write(orders.delete_pin, cluster, by)

    async def request_approval(self, cluster: str, digest: str, short: str, words: str) -> None:
        await self._write_held([cluster], orders.write_approval_request, cluster, digest, short, words)

    async def approve(self, digest: str, by: Actor, reason: str) -> None:
        await self._write(orders.write_approval, digest, by, reason)

    async def use_approval(self, digest: str) -> None:
        await self._write_in_run(orders.delete_approval, digest)

    def hold_delivery(self) -> AbstractAsyncContextManager[object]:
        return self._delivery

    async def list_due(self, *, beyond: int = 0, limit: int = 50) -> tuple[OutboxMessage, ...]:
        return await self._read(outbox.read_due_messages, beyond, limit)

    async def mark_sent(self, outbox_message: str) -> None:
        await self._write(outbox.mark_sent, outbox_message)

    async def mark_failed(self, outbox_message: str, error: str, *, refused: bool) -> None:
        await self._write(outbox.mark_unsent, outbox_message, error, refused=refused)

    async def count_pending(self) -> int:
        return await self._read(outbox.count_undelivered)

    async def record_alerts(self, scope: AlertScope, found: Sequence[Alert], rules: TellingRules) -> None:
        await self._write(alerts.record_alerts, scope, found, rules)

    async def forget_alerts(self, clusters: Sequence[str]) -> None:
        await self._write(alerts.forget_alerts, clusters)

    async def tell_history(self, rules: TellingRules) -> None:
        # Most calls find nothing new, and write nothing.
        if await self._read(alerts.has_news, rules.steady):
            await self._write(alerts.tell_history, rules)

    async def list_addresses(self) -> Mapping[str, AddressState]:
        return await self._read(notices.read_addresses)

    async def take_notices(
        self, address: str, holder: str, seconds: float, is_due: Callable[[AddressState, datetime], bool]
    ) -> TakenNotices | None:
        return await self._write(notices.take_notices, address, holder, seconds, is_due)

    async def end_delivery(self, address: str, holder: str, last: int, end: DeliveryEnd) -> int:
        return await self._write(notices.end_delivery, address, holder, last, end)

    async def drop_addresses(self, known: Sequence[str], age: timedelta) -> int:
        return await self._write(notices.drop_addresses, known, age)

    async def list_silent_hosts(self) -> Sequence[str]:
        return ()  # a store of one host knows no other one

    async def tokens(self, cluster: str, nodes: Sequence[str]) -> Mapping[str, NodeTokens]:
        return await self._read(node_tokens.read_tokens, self._key, cluster, nodes)

    async def enrol(self, cluster: str, kind: str, nodes: Sequence[str]) -> None:
        await self._write_held([cluster], node_tokens.enrol_nodes, self._key, cluster, kind, nodes)

    async def rotate(self, cluster: str, node: str, by: Actor) -> None:
        await self._write(node_tokens.rotate_token, self._key, cluster, node, by)

    async def read_changes(self, since: int) -> NodeChanges:
        return await self._read(node_offers.read_changes, since)

    async def offer(self, draft: OfferDraft, run: str, revision: str) -> Offer:
        return await self._write_held(
            [draft.cluster],
            node_offers.write_offer,
            self._key,
            self._contents,
            draft,
            run=run,
            revision=revision,
        )

    async def withdraw(self, cluster: str, nodes: Sequence[str], feed: OfferFeed) -> None:
        await self._write_held([cluster], node_offers.withdraw_offers, cluster, nodes, feed)

    async def parts(self, offer: Offer) -> tuple[bytes, ...] | None:
        return await self._read(self._contents.read, offer.parts)

    async def begin_publishing(self, offers: Sequence[str]) -> frozenset[str]:
        return await self._write(node_publications.begin_publishing, offers)

    async def end_publishing(self, offers: Sequence[str]) -> None:
        await self._write(node_publications.end_publishing, self._key, offers)

    async def note_report_channels(
        self, named: Mapping[tuple[str, str], frozenset[BusChannel]]
    ) -> Mapping[tuple[str, str], frozenset[BusChannel]]:
        return await self._write(node_publications.note_report_channels, named)

    async def record_calls(self, calls: Sequence[CallRecord]) -> frozenset[str]:
        return await self._write(node_calls.write_calls, self._key, calls)

    async def mail(self, cluster: str, nodes: Sequence[str]) -> Mapping[str, NodeMail]:
        return await self._read(node_calls.read_mail, self._key, self._contents, cluster, nodes)

    async def contacts(self) -> tuple[NodeContact, ...]:
        return await self._read(node_calls.read_contacts)

    async def begin_operation(self, operation: Operation) -> None:
        await self._write(operations.write_operation, self._key, operation)

    async def record_results(self, operation: str, results: Sequence[OperationResult]) -> None:
        await self._write(operations.write_results, self._key, operation, results)

    async def operations(self, limit: int = 20) -> tuple[Operation, ...]:
        return await self._read(operations.read_operations, self._key, limit)

    async def open_operations(self) -> tuple[Operation, ...]:
        return await self._read(operations.read_open_operations, self._key)

    async def operation(self, text: str) -> Operation:
        return await self._read(operations.read_operation, self._key, text)

    async def end_operation(self, operation: str) -> None:
        await self._write(operations.end_operation, operation)

    async def reservations(self, cluster: str = "") -> tuple[Reservation, ...]:
        return await self._read(reservations.read_reservations, cluster)

    async def see_cluster(self, cluster: str) -> SeenCluster:
        return await self._read(reservations.read_seen_cluster, cluster)

    async def record_answer(
        self, operation: Operation, reservation: Reservation | None, seen: SeenCluster
    ) -> bool:
        return await self._write(reservations.write_answer, self._key, operation, reservation, seen)

    async def release(self, operation: Operation) -> int:
        return await self._write(reservations.write_release, self._key, operation, operation.nodes)

    async def end_reservations(self, ids: Sequence[str]) -> None:
        await self._write(reservations.end_reservations, ids)

    async def list_access_tokens(self) -> tuple[AccessToken, ...]:
        return await self._read(access_tokens.read_access_tokens)

    async def create_access_token(self, digest: str, token: AccessToken) -> None:
        await self._write(access_tokens.write_access_token, digest, token)

    async def revoke_access_token(self, name: str, by: Actor) -> None:
        await self._write(access_tokens.revoke_access_token, name, by)

    async def use_access_token(self, digest: str) -> AccessToken | None:
        token, is_due = await self._read(access_tokens.read_access_token, digest)
        if is_due:
            await self._write(access_tokens.note_token_use, digest)
        return token

    async def begin_session(self, digest: str, session: LoginSession) -> None:
        await self._write(login_sessions.write_session, digest, session)

    async def use_session(self, digest: str) -> LoginSession | None:
        session, is_due = await self._read(login_sessions.read_session, digest)
        if session is not None and is_due:
            await self._write(login_sessions.note_session_use, digest, session.idle)
        return session

    async def end_session(self, digest: str) -> None:
        await self._write(login_sessions.delete_session, digest)

    async def newest_offers(self, cluster: str, feed: OfferFeed) -> dict[str, Offer]:
        return await self._read(node_offers.read_cluster_offers, cluster, feed)


def _forget_members(tx: Transaction, cluster: str) -> None:
    forget_members(tx, cluster)
    node_tokens.end_cluster(tx, cluster)
