"""Recovery: settles the open steps of killed runs by reading the nodes, never by a second call."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from reconciler import __version__
from reconciler.core.arguments import NO_FEEDBACK
from reconciler.core.entries import FeedbackEntry
from reconciler.core.offers import OfferFeed
from reconciler.core.outcome import OPEN, Outcome, RunReport, State
from reconciler.core.plan import UNDO, Step
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.core.timestamps import Clock
from reconciler.errors import ClusterBusy, NodeUnreachable, UnreadableArguments
from reconciler.host.aio import gather_all
from reconciler.host.clock import utc_now
from reconciler.planning.plan_pass import Drivers
from reconciler.ports.store import JournalEntry, RunRecord, StepEnd, Store
from reconciler.ports.transport import Transports
from reconciler.rollout.polled_nodes import find_own_offer
from reconciler.rollout.polling import wait_until_done
from reconciler.rollout.run_log import RunLog
from reconciler.secrets.redaction import SHAPES

PATIENCE = 30.0
"""Seconds after an intent for which recovery waits for the effect; after that, a later run reads again."""

NOTE = "the run was killed; a later run settled its steps by reading the nodes"
"""Note of a run that could not finish itself."""


async def settle_open_runs(
    journal: Store,
    drivers: Drivers,
    transports: Transports,
    *,
    feedback: FeedbackEntry | None = None,
    clock: Clock = utc_now,
) -> tuple[Outcome, ...]:
    """Settle every intent without outcome, and every unknown outcome; gives the settled outcomes.

    A cluster that another run holds now is left to that run. Call it before the reading half of a pass.

    Args:
        journal: has the intents.
        drivers: kind -> product.
        transports: the ways to the nodes.
        feedback: the sink for messages about the settled steps.
        clock: dates the messages, and gives the age of an intent.
    """
    settled: list[Outcome] = []
    recovery = StepRecovery(journal, drivers, transports, feedback, clock)
    for cluster in sorted(
        {
            entry.step.cluster
            for record in await journal.list_open_runs()
            for entry in record.entries
            if _is_open(entry)
        }
    ):
        with suppress(ClusterBusy):
            async with journal.lock(cluster):
                settled += await recovery.settle({cluster})
    # Finish the killed runs that have no open step any more.
    for record in await journal.list_open_runs():
        if record.summary.finished is None and all(entry.state for entry in record.entries):
            outcomes = [Outcome(entry.step, entry.state) for entry in record.entries if entry.state]
            report = RunReport(record.summary.id, record.plan, tuple(outcomes))
            await RunLog(journal, record.summary.id, record.plan.revision).finish_run(
                report.exit_status, NOTE
            )
    return tuple(settled)


async def has_open_steps(journal: Store, cluster: str) -> bool:
    """Whether a step of a cluster was sent and its outcome is not known."""
    if not await journal.is_open(cluster):
        return False
    left = await journal.list_open_runs(cluster)
    return any(
        entry.step.cluster == cluster and _is_open(entry) for record in left for entry in record.entries
    )


@dataclass(frozen=True, slots=True)
class StepRecovery:
    """Settles steps of clusters whose locks the caller holds; for the fields see `settle_open_runs`."""

    journal: Store
    drivers: Drivers
    transports: Transports
    feedback: FeedbackEntry | None
    clock: Clock

    async def settle(self, clusters: AbstractSet[str]) -> list[Outcome]:
        """Journal the outcomes of the open steps of these clusters; an unknown outcome may stay unknown."""
        settled: list[Outcome] = []
        only = next(iter(clusters)) if len(clusters) == 1 else ""
        for record in await self.journal.list_open_runs(only):
            entries = [
                self._type_arguments(entry, record)
                for entry in record.entries
                if entry.step.cluster in clusters and _is_open(entry)
            ]
            found = await gather_all([self._read_outcome(entry, record) for entry in entries])
            news = [
                StepEnd(
                    outcome,
                    answer=entry.answer,
                    until=entry.until if outcome.state in OPEN else None,
                )
                for entry, outcome in zip(entries, found, strict=True)
                if outcome.state is not entry.state
            ]
            run, revision, wanted = record.summary.id, record.plan.revision, self.feedback is not None
            await RunLog(self.journal, run, revision, wanted, self.clock).record_outcomes(news)
            await self._withdraw_needless(run, [ending.outcome for ending in news])
            settled += [ending.outcome for ending in news]
        return settled

    async def _withdraw_needless(self, run: str, outcomes: Sequence[Outcome]) -> None:
        """Withdraw offers that were not taken of nodes that show their content already.

        A node got it in another way, such as by an earlier offer of the same content. Nothing waits for this
        offer any more, so that nothing would withdraw it before a newer revision. The way back stays: a node
        that shows what it had before may still load what it took.
        """
        shown = [
            one.step
            for one in outcomes
            if one.state is State.DONE and one.step.arguments.is_offer and not one.step.id.endswith(UNDO)
        ]
        for cluster in sorted({step.cluster for step in shown}):
            steps = {step.node: step.id for step in shown if step.cluster == cluster}
            mail = await self.journal.mail(cluster, sorted(steps))
            needless = [
                node
                for node, step in steps.items()
                if mail[node].offers[:1]
                and (own := find_own_offer(mail[node], run, step)) is mail[node].offers[0]
                and not own.offer.may_be_with_node
            ]
            if needless:
                await self.journal.withdraw(cluster, sorted(needless), OfferFeed.SETTING)

    def _type_arguments(self, entry: JournalEntry, record: RunRecord) -> JournalEntry:
        """The entry with the product's own arguments; as it was written if they cannot be read."""
        driver = self.drivers.get(_get_kind(record, entry.step))
        if driver is not None:
            with suppress(UnreadableArguments):
                return replace(entry, step=driver.load_step(entry.step))
        return entry

    async def _read_outcome(self, entry: JournalEntry, record: RunRecord) -> Outcome:
        """The outcome of a step by a reading now."""
        state, reason, verdict, was_sent = await self._read_state(entry, record)
        is_refused = verdict is not None and verdict.is_final
        return Outcome(
            entry.step,
            state,
            reason,
            entry.seconds,
            entry.waiting_for_restart,
            sent=entry.intended is not None and was_sent,
            refused=is_refused,
            killed=entry.state is None and not is_refused,
            feedback=verdict.feedback.redact(SHAPES.redact_text) if verdict else NO_FEEDBACK,
        )

    async def _read_state(
        self, entry: JournalEntry, record: RunRecord
    ) -> tuple[State, str, StepVerdict | None, bool]:
        """The state of a step by a reading now, why, the verdict if it was read, and whether it was sent."""
        step = entry.step
        if entry.intended is None:
            return State.SKIPPED, "the run was killed before this step", None, False
        driver = self.drivers.get(_get_kind(record, step))
        # Another version may mean something else by the same action, and so judge a wrong effect as this one.
        if driver is None or record.plan.program != __version__:
            why = (
                f"the run was killed; version {record.plan.program} of this program planned the step, "
                "and only that version can find out whether it took effect"
            )
            return State.UNKNOWN, why, None, True
        try:
            step = driver.load_step(step)
        except UnreadableArguments as error:
            return State.UNKNOWN, f"{error.message}; it is unknown whether it took effect", None, True
        # What was sent just before the kill still gets its time to become visible; an offer does not, because
        # the node takes it when it next asks.
        age = max(0.0, (self.clock() - entry.intended).total_seconds())
        is_offer = step.arguments.is_offer or entry.state is State.OFFERED
        left = 0.0 if is_offer else max(0.0, min(step.settle, PATIENCE) - age)
        verdict = await wait_until_done(step, driver, self.transports, seconds=left)
        if is_offer and verdict.status is not StepStatus.DONE and not verdict.is_final:
            state, reason, was_sent = await self._read_offer(entry, record.summary.id, verdict)
            return state, reason, verdict, was_sent
        return *self._settle(entry, verdict), verdict, True

    async def _read_offer(
        self, entry: JournalEntry, run: str, verdict: StepVerdict
    ) -> tuple[State, str, bool]:
        """The state of a step whose offer shows no effect, why, and whether the node took it."""
        now, why = self.clock(), f": {verdict.reason}" if verdict.reason else ""
        try:
            mail = await self.transports.mailbox.read_mail(entry.step.cluster, entry.step.node)
        except NodeUnreachable as error:
            return entry.state or State.UNKNOWN, f"its mailbox does not answer: {error.reason}", True
        own = find_own_offer(mail, run, entry.step.id)
        offer = own.offer if own else None
        if offer is None and entry.state is None:
            return State.FAILED, "the run was killed before the offer was recorded", False
        is_taken = offer is None or offer.may_be_with_node
        if entry.until is not None and now < entry.until:
            taken = "the node took it, and does not show it yet" if is_taken else "the node has not taken it"
            return State.OFFERED, f"{taken}{why}", True
        if is_taken or entry.state is State.UNKNOWN:  # the latter is overdue already
            return State.UNKNOWN, f"overdue: the node took its offer, and does not show it{why}", True
        # A poll finds every offer, unless changes are on hold: then the node had no chance to take this one.
        polled = now - timedelta(seconds=mail.label.age) if mail.label else None
        # Nor did one that a message bus was to carry and was never given.
        is_kept = offer is not None and offer.channel is not None
        if is_kept or (offer is not None and polled is not None and polled > offer.opens):
            return State.SKIPPED, "the offer closed before the node could take it", False
        return State.UNKNOWN, f"overdue: the node has not polled since the offer was made{why}", False

    def _settle(self, entry: JournalEntry, verdict: StepVerdict) -> tuple[State, str]:
        # No visible effect proves nothing as long as the call may still take effect. After that the step has
        # failed, and another run may send it again.
        in_flight = entry.until is not None and self.clock() < entry.until
        why = f": {verdict.reason}" if verdict.reason else ""
        match verdict.status:
            case StepStatus.DONE:
                return State.DONE, f"settled by reading: the effect is visible{why}"
            case _ if verdict.is_final:
                return State.FAILED, f"the node reported that it failed{why}"
            case StepStatus.READY if not in_flight:
                return State.FAILED, f"settled by reading: the effect is not visible{why}"
        if entry.state is State.OFFERED and in_flight:
            return State.OFFERED, f"the node has not taken it yet{why}"
        return State.UNKNOWN, f"it is unknown whether it took effect{why}"


def _is_open(entry: JournalEntry) -> bool:
    # Without an intent nothing was sent, so that an unknown outcome has nothing to be read.
    return entry.state is None or (entry.state in OPEN and entry.intended is not None)


def _get_kind(record: RunRecord, step: Step) -> str:
    # By the step's id: it keeps the name that the cluster had when the run was planned.
    cluster = step.id.partition("/")[0]
    return next((plan.kind for plan in record.plan.clusters if plan.cluster == cluster), "")
