"""Offers of a failed wave: those that no node has taken end, and nodes that took theirs go back by an offer.

What is to do is stored together with the rejection of the revision, so that a later pass finishes it after a
kill, and again as long as a node has not taken what it is offered. It needs the offers themselves, and not
the journal of the runs that made them, which may be those of another version of this program.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.core.guard import GuardContext, apply_overrides, run_guards
from reconciler.core.offers import Offer, OfferFeed
from reconciler.core.outcome import OPEN, Outcome, State
from reconciler.core.plan import UNDO, Step
from reconciler.core.policy import Override
from reconciler.core.rollout_rules import PendingReturn
from reconciler.core.step_status import StepStatus
from reconciler.core.timestamps import parse_timestamp
from reconciler.diagnostic import Diagnostic
from reconciler.guards.change_control import find_temporary_holds
from reconciler.planning.read_only import restrict_to_reading
from reconciler.ports.store import StepEnd, Store
from reconciler.ports.transport import NodeMail, OfferedContent
from reconciler.rollout.polled_nodes import find_own_offer
from reconciler.rollout.polling import judge_step
from reconciler.rollout.rollback import FailedWave, TakenOffer, undo_wave
from reconciler.rollout.run_log import RunLog
from reconciler.rollout.step_executor import ExecutionContext

_WITHDRAWN: Final = "the offer was withdrawn before its node took it: its wave failed"

_TOGETHER: Final = 200
"""Nodes of one reading: the contents of more would wait in memory."""


async def find_wave_offers(
    store: Store, cluster: str, nodes: Iterable[str], runs: Collection[str], begun: str
) -> dict[str, tuple[str, ...]]:
    """Node -> ids of the offers that a wave made to it.

    Args:
        store: limited to the fleet.
        cluster: its name.
        nodes: those of the wave.
        runs: that made offers to the wave, as far as they are remembered.
        begun: when the wave was begun, as a timestamp; empty if that is not known.
    """
    found: dict[str, tuple[str, ...]] = {}
    for some in _divide(nodes):
        for node, mail in (await store.mail(cluster, some)).items():
            own = [one.offer for one in mail.offers if not one.offer.step.endswith(UNDO)]
            # The runs of a wave that takes very long are not all remembered.
            ids = [
                one.id for one in own if one.run in runs or (begun and one.opens >= parse_timestamp(begun))
            ]
            if ids:
                found[node] = tuple(ids)
    return found


async def withdraw_wave(
    pending: PendingReturn, guard_context: GuardContext, context: ExecutionContext, log: RunLog
) -> list[TakenOffer]:
    """Withdraw the offers of a failed wave that no node has taken; gives those that have to be taken back.

    Args:
        pending: what is to do.
        guard_context: the cluster as it was observed.
        context: what its steps are performed with.
        log: the run that does it.
    """
    cluster, store = guard_context.plan.cluster, log.store
    members = {node.name for node in guard_context.entry.members()} & guard_context.polling
    nodes = sorted(members.intersection(pending.offers))
    mail = await store.mail(cluster, nodes)
    nodes = [node for node in nodes if _may_have_offer(mail[node], pending, context)]
    # First withdrawn, then read: whatever a node has not taken until now, it cannot take any more.
    await store.withdraw(cluster, nodes, OfferFeed.SETTING)
    mail = await store.mail(cluster, nodes)
    await _end_withdrawn(cluster, mail, log)
    if not pending.goes_back:
        return []
    taken: list[TakenOffer] = []
    for node in nodes:
        offered = next((one for one in mail[node].offers if one.offer.may_be_with_node), None)
        if offered is None or not _is_of_wave(offered.offer, pending):
            continue
        step = context.driver.rebuild_offer(guard_context.desired, offered)
        # A node that failed to load it still has what it had before.
        if step is None or not await _has_failed(step, context):
            taken.append((step, offered))
    return taken


async def finish_return(
    guard_context: GuardContext, context: ExecutionContext, log: RunLog, overrides: Sequence[Override]
) -> tuple[Diagnostic, ...]:
    """Finish what an earlier pass left to do for the offers of a failed wave; the caller holds the lock.

    Args:
        guard_context: the cluster as it was observed.
        context: what the steps of the rejected revision are performed with.
        log: of the run that rejected it.
        overrides: may set holds aside.
    """
    cluster = guard_context.plan.cluster
    memory = await log.store.read_cluster_memory(cluster)
    cluster_memory = memory.get_cluster_memory(cluster)
    # Read again under the lock: another process may have finished it.
    pending = next((one for one in cluster_memory.pending_returns if one.run == log.run), None)
    if pending is None:
        return ()
    if pending.revision.id not in cluster_memory.rejected:
        # Somebody allowed it again, so that what nodes have of it may stay.
        await log.store.store_return(cluster, pending.run, None)
        return ()
    now = replace(guard_context, now=memory.at, cluster_memory=cluster_memory)
    holds = run_guards(now, (find_temporary_holds,))
    if apply_overrides(holds, overrides, memory.at.date()).in_force:
        # A hold hides offers, which would expire unseen; what nobody has taken yet ends also now.
        await withdraw_wave(replace(pending, goes_back=False), guard_context, context, log)
        return ()
    taken = await withdraw_wave(pending, guard_context, context, log)
    findings: tuple[Diagnostic, ...] = ()
    if taken:
        findings = await undo_wave(FailedWave((), (), taken), guard_context, context, log)
    await narrow_return(pending, cluster, log)
    return findings


async def narrow_return(pending: PendingReturn, cluster: str, log: RunLog) -> None:
    """Store what is left to do: nodes that still have what the wave offered, and can take something else."""
    left: dict[str, tuple[str, ...]] = {}
    if pending.goes_back:
        for some in _divide(pending.offers):
            for node, mail in (await log.store.mail(cluster, some)).items():
                if mail.offers and _can_still_go_back(mail, pending):
                    left[node] = pending.offers[node]
    if left != pending.offers or not left:
        later = replace(pending, offers=left) if left else None
        await log.store.store_return(cluster, pending.run, later)


def _divide(nodes: Iterable[str]) -> Iterator[Sequence[str]]:
    names = sorted(nodes)
    return (names[start : start + _TOGETHER] for start in range(0, len(names), _TOGETHER))


def _may_have_offer(mail: NodeMail, pending: PendingReturn, context: ExecutionContext) -> bool:
    """Whether neither an offer of a later revision nor one to go back has replaced the wave's offer."""
    if not mail.offers:
        return False
    newest = mail.offers[0].offer
    if _is_on_its_way(newest):
        return newest.withdrawn or newest.closes <= context.clock()  # it is made again
    if _is_of_wave(newest, pending):
        return True
    # A later revision's offer, which replaced the one to go back, ended before its node took it.
    return newest.withdrawn and _can_still_go_back(mail, pending)


def _can_still_go_back(mail: NodeMail, pending: PendingReturn) -> bool:
    """Whether a node took the wave's offer last, and has not taken what it was offered after that.

    That is the way back, or what a later revision offered in its place, which may fail too.
    """
    if mail.offers[0].offer.may_be_with_node:
        return False
    taken = next((one.offer for one in mail.offers if one.offer.may_be_with_node), None)
    return _is_on_its_way(mail.offers[0].offer) or (taken is not None and _is_of_wave(taken, pending))


def _is_on_its_way(offer: Offer) -> bool:
    return offer.step.endswith(UNDO) and not offer.may_be_with_node


def _is_of_wave(offer: Offer, pending: PendingReturn) -> bool:
    return offer.id in pending.offers.get(offer.node, ())


async def _end_withdrawn(cluster: str, mail: Mapping[str, NodeMail], log: RunLog) -> None:
    """Journal the end of steps whose offers cannot be taken any more."""
    withdrawn: dict[tuple[str, str], OfferedContent] = {}
    for one in mail.values():
        for offered in one.offers[:1]:
            if offered.offer.withdrawn and not offered.offer.may_be_with_node:
                withdrawn[offered.offer.run, offered.offer.step] = offered
    if not withdrawn:
        return
    ends: dict[str, list[StepEnd]] = defaultdict(list)
    for record in await log.store.list_open_runs(cluster):
        run = record.summary.id
        for entry in record.entries:
            step = entry.step
            is_open = entry.intended is not None and (entry.state is None or entry.state in OPEN)
            if step.cluster == cluster and is_open and (run, step.id) in withdrawn:
                assert find_own_offer(mail[step.node], run, step.id) is not None
                ends[run].append(StepEnd(Outcome(step, State.SKIPPED, _WITHDRAWN, entry.seconds)))
    for run, endings in ends.items():
        # This very run announces them too.
        if run == log.run and log.outcomes:
            own = [replace(one, outcome=_with_own_step(one.outcome, log)) for one in endings]
            await log.record_outcomes(own)
        else:
            await log.store.record_outcomes(run, endings)


def _with_own_step(outcome: Outcome, log: RunLog) -> Outcome:
    known = log.outcomes.get(outcome.step.id)
    return replace(outcome, step=known.step) if known else outcome


async def _has_failed(step: Step, context: ExecutionContext) -> bool:
    """Whether a node reported that it could not load an offer, and shows no change."""
    seen = await context.driver.observe_step(
        step, restrict_to_reading(context.transports, context.driver.reads)
    )
    verdict = judge_step(step, context.driver, seen)
    return verdict.is_final and verdict.status not in {StepStatus.DONE, StepStatus.CHANGED}
