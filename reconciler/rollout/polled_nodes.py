"""Nodes that poll, beside their steps: their tokens, the mailbox of a run, and offers to withdraw."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from reconciler.core.change_windows import find_next_hold
from reconciler.core.guard import GuardContext
from reconciler.core.offers import OfferFeed
from reconciler.core.outcome import OPEN, Outcome, State
from reconciler.core.plan import Revision
from reconciler.core.revision import BACK
from reconciler.core.timestamps import Clock
from reconciler.host.clock import utc_now
from reconciler.planning.masked_transports import mask_transports
from reconciler.planning.plan_pass import PlanResult
from reconciler.ports.store import StepEnd, Store
from reconciler.ports.transport import NodeMail, OfferedContent, TextRedactor, Transports
from reconciler.transports.mailbox import MailReader, StoreMailbox


@dataclass(slots=True)
class EnrolledNodes:
    """The nodes whose tokens this process has made count: it does so once, and whenever they change."""

    _known: dict[str, tuple[str, ...]] = field(default_factory=dict)

    async def enrol(self, guard_contexts: Iterable[GuardContext], store: Store) -> None:
        """Make the tokens of all nodes that report count, and end those of nodes that left."""
        # Before anything is sent: a node that loads its URL may call at once.
        for context in guard_contexts:
            plan, nodes = context.plan, tuple(sorted(context.reporting))
            if self._known.get(plan.cluster) == nodes:
                continue
            # Most clusters have no such nodes, and never had any: nothing is written for them.
            if nodes or any(one.cluster == plan.cluster for one in await store.contacts()):
                await store.enrol(plan.cluster, plan.kind, nodes)
            self._known[plan.cluster] = nodes


@dataclass(frozen=True, slots=True)
class RunTransports:
    """Makes the transports of one run: its offers carry its id.

    Args:
        transports: of this host.
        store: limited to the fleet.
        redactor: masks the secrets of the fleet.
        clock: of this host.
    """

    transports: Transports
    store: Store
    redactor: TextRedactor
    clock: Clock = utc_now

    def for_reading(self) -> Transports:
        """Transports that belong to no run: they offer nothing."""
        return self._with(MailReader(self.store))

    def for_run(
        self,
        run: str,
        revision: Revision,
        closes: datetime | None = None,
        despite: frozenset[str] = frozenset(),
    ) -> Transports:
        """The transports of a run.

        Args:
            run: its id.
            revision: its revision.
            closes: when offers must be hidden from nodes that have not taken them; None for no such time.
            despite: codes of the holds on changes that were set aside for it.
        """
        return self._with(StoreMailbox(self.store, run, revision.id, closes, self.clock, despite=despite))

    def _with(self, mailbox: MailReader) -> Transports:
        return mask_transports(replace(self.transports, mailbox=mailbox), self.redactor)


def find_closing(context: GuardContext) -> datetime | None:
    """When the next hold on changes of a cluster begins by its own rules; None if none is known."""
    rules = context.change_rules
    return find_next_hold(rules.windows, rules.freezes, context.now) if context.now else None


def find_own_offer(mail: NodeMail, run: str, step: str) -> OfferedContent | None:
    """The offer that a step of a run made; None if the node's newest offers are others."""
    return next((one for one in mail.offers if one.offer.run == run and one.offer.step == step), None)


async def withdraw_superseded(plan_result: PlanResult, store: Store) -> None:
    """Withdraw offers that this revision does not want any more, as far as no node has taken them.

    Their steps end as not performed. One that a node has taken stays open: the node is going to load it.
    """
    for context in plan_result.guard_contexts:
        # An older revision, such as that of a watch which has not read the newer one yet, takes nothing back.
        if context.superseded and context.cluster_memory.ancestry not in BACK:
            async with store.lock(context.plan.cluster):
                await _withdraw(context, context.revision or plan_result.plan.revision, store)


async def end_superseded(plan_result: PlanResult, store: Store) -> None:
    """End the overdue steps of offers whose content a newer revision has replaced, or whose node has left.

    The history and `is_open` would call them unknown for ever: no reading tells any more what became of them.
    """
    for context in plan_result.guard_contexts:
        cluster = context.plan.cluster
        if not context.polling or context.cluster_memory.ancestry in BACK or not await store.is_open(cluster):
            continue
        members = sorted(node.name for node in context.entry.members())
        async with store.lock(cluster):
            await store.end_superseded(cluster, members, sorted(context.as_desired))


async def _withdraw(context: GuardContext, revision: Revision, store: Store) -> None:
    cluster, members = context.plan.cluster, {node.name for node in context.entry.members()}
    calls = {(call.run, call.step): call for call in context.superseded}
    nodes = sorted({call.node for call in calls.values()})
    # First withdrawn, then read: whatever a node has not taken until now, it cannot take any more.
    await store.withdraw(cluster, nodes, OfferFeed.SETTING)
    mail = await store.mail(cluster, nodes)
    short = revision.short or revision.id
    for record in await store.list_open_runs(cluster):
        run = record.summary.id
        ends: list[StepEnd] = []
        for entry in record.entries:
            call = calls.get((run, entry.step.id))
            if call is None or entry.state not in OPEN:
                continue
            own = find_own_offer(mail[call.node], run, call.step)
            has_left = call.node not in members
            if own is not None and own.offer.may_be_with_node and not has_left:
                continue
            why = "the node left the fleet" if has_left else f"revision {short} replaced it"
            taken = "" if own is None or not own.offer.may_be_with_node else ", which it had taken"
            reason = f"the offer was withdrawn: {why}{taken}"
            ends.append(StepEnd(Outcome(entry.step, State.SKIPPED, reason, entry.seconds)))
        if ends:
            await store.record_outcomes(run, ends)
