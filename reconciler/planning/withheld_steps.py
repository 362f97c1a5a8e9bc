"""Steps that must not be sent now: a call is in flight, an attempt is not due yet, or the attempts ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from reconciler.core import attempts
from reconciler.core.attempts import Attempt, AttemptDecision
from reconciler.core.canonical import fingerprint, fingerprint_with_key
from reconciler.core.memory import FleetMemory, PendingCall
from reconciler.core.missing_secrets import is_told_by_nodes
from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.unmanaged import UNFILLED
from reconciler.diagnostic import Diagnostic
from reconciler.planning.reserved_steps import StepHold
from reconciler.planning.withheld_findings import (
    explain_attempt,
    report_held,
    report_in_flight,
    report_later,
    report_missing_secret,
    report_offer,
    report_reserved,
    report_stalled,
)
from reconciler.ports.driver import Driver


def find_no_hold(step: Step) -> StepHold | None:  # noqa: ARG001  (the form of `find_hold`)
    """Nothing is reserved or held."""
    return None


@dataclass(frozen=True, slots=True)
class WithheldSteps:
    """What a plan may send now, and what is remembered of the attempts.

    Args:
        desired: without the nodes that nothing is sent to.
        plan: without their steps, with a finding for each.
        attempts: step -> the fact to write with its intent.
        facts_to_store: node -> facts that this reading established, to be stored if the pass may write.
        stalled: nodes that nothing more is sent to, each with the reason.
        content: fingerprint of the cluster's desired content, without the stamp of the revision.
        withheld_nodes: nodes that differ and that nothing is sent to now, each with how it differs.
        pending: nodes with an open offer or call -> when it is over.
        superseded: offers that are not wanted any more, because the desired content has changed since.
        as_desired: nodes that show their desired content.
        retried: nodes that were sent the same content before, and did not show it.
        refused: stalled nodes that definitely refused it.
    """

    desired: Any
    plan: ClusterPlan
    attempts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    facts_to_store: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    stalled: Mapping[str, str] = field(default_factory=dict)
    content: str = ""
    withheld_nodes: Mapping[str, str] = field(default_factory=dict)
    pending: Mapping[str, datetime] = field(default_factory=dict)
    superseded: tuple[PendingCall, ...] = ()
    as_desired: frozenset[str] = frozenset()
    retried: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


def fingerprint_content(driver: Driver[Any, Any], desired: Any) -> str:
    """Fingerprint of a cluster's desired content; empty if the product gives none."""
    contents = driver.contents(desired)
    return fingerprint(dict(contents)) if contents else ""


def withhold_steps(
    plan: ClusterPlan,
    desired: Any,
    observed: Observed[Any],
    driver: Driver[Any, Any],
    *,
    memory: FleetMemory,
    content: str,
    in_waves: bool,
    chosen: AbstractSet[str] = frozenset(),
    members: AbstractSet[str] = frozenset(),
    open_wave: AbstractSet[str] = frozenset(),
    is_continued: bool = False,
    find_hold: Callable[[Step], StepHold | None] = find_no_hold,
    is_applying: bool = False,
) -> WithheldSteps:
    """The part of a plan that may be sent now.

    If the product can leave a node out, the plan is made again without the withheld nodes. Otherwise their
    steps are dropped, with all steps that depend on them, and a call in flight holds the whole cluster.

    Args:
        plan: all that is to be done.
        desired: what it was made for.
        observed: what it was made from.
        driver: the cluster's product.
        memory: what is remembered of earlier runs.
        content: of the whole cluster, see `fingerprint_content`.
        in_waves: whether the plan is applied in waves. Then a call in flight, or a node that failed in this
            rollout, holds the whole cluster: no wave may start without the node that is to prove it.
        chosen: the nodes that the plan is about; empty for all.
        members: all nodes of the cluster.
        open_wave: nodes of the wave that has not passed its gates yet. Those that were not sent anything are
            not held by offers to others of them: a run that was killed has begun the wave.
        is_continued: whether this is a rollout that has begun: then no node that stays gets other content.
        find_hold: why a reservation or a hold keeps a step back; None if none does.
        is_applying: whether the plan is to be applied by this host: then a step whose content needs a secret
            that is not available here is withheld. A dry run elsewhere shows it.
    """
    polling = frozenset(driver.list_polling_nodes(desired))
    withholding = _Withholding(
        plan, desired, observed, driver, memory, content, in_waves, chosen, members, polling, open_wave
    )
    withholding.is_continued = is_continued
    withholding.find_hold = find_hold
    withholding.is_applying = is_applying
    withholding.check_steps()
    given = WithheldSteps(
        desired,
        plan,
        withholding.attempts,
        withholding.noted,
        withholding.stalled,
        content,
        pending=withholding.pending,
        superseded=tuple(withholding.superseded),
        as_desired=frozenset(withholding.as_desired),
        retried=frozenset(withholding.retried),
        refused=frozenset(withholding.refused),
    )
    if not withholding.findings:
        return given
    found = tuple(withholding.findings.values())
    if withholding.whole:
        kept = replace(plan, steps=())
    elif driver.capabilities.single_node:
        nodes = {step.node for step in plan.steps if step.id in withholding.blocked}
        if withholding.waits:
            nodes |= {step.node for step in plan.steps if step.node not in open_wave}
        desired = driver.exclude_nodes(desired, frozenset({*nodes, *withholding.in_flight}))
        kept = driver.plan(desired, observed)
    else:
        kept = replace(plan, steps=tuple(_drop_blocked(plan.steps, withholding.blocked)))
    # The finding about a withheld node says all of it if nodes are independent. If they depend on each other,
    # the plan's own findings are needed too: they say why the step is planned, and how to do without it.
    known = {finding.target for finding in found} if driver.capabilities.single_node else set()
    # A secret that is missing is told once: by the nodes that get nothing because of it.
    told = withholding.missing_reasons
    others = tuple(
        one for one in kept.findings if one.target not in known and not is_told_by_nodes(one, told)
    )
    sent = {step.node for step in kept.steps}
    kept_back = {step.node: step.reason for step in reversed(plan.steps) if step.node not in sent}
    return replace(
        given, desired=desired, plan=replace(kept, findings=(*others, *found)), withheld_nodes=kept_back
    )


@dataclass(slots=True)
class _Withholding:
    """Decides for each step of one plan whether it may be sent; see `withhold_steps` for the inputs."""

    plan: ClusterPlan
    desired: Any
    observed: Observed[Any]
    driver: Driver[Any, Any]
    memory: FleetMemory
    content: str
    in_waves: bool
    chosen: AbstractSet[str]
    members: AbstractSet[str]
    polling: AbstractSet[str]
    open_wave: AbstractSet[str]
    attempts: dict[str, dict[str, str]] = field(default_factory=dict)
    noted: dict[str, dict[str, str]] = field(default_factory=dict)
    findings: dict[str, Diagnostic] = field(default_factory=dict)
    stalled: dict[str, str] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    in_flight: set[str] = field(default_factory=set)
    pending: dict[str, datetime] = field(default_factory=dict)
    superseded: list[PendingCall] = field(default_factory=list)
    as_desired: set[str] = field(default_factory=set)
    retried: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    missing_reasons: set[str] = field(default_factory=set)
    whole: bool = False
    waits: bool = False
    is_continued: bool = False
    find_hold: Callable[[Step], StepHold | None] = find_no_hold
    is_applying: bool = False

    def check_steps(self) -> None:
        """Check every step, and fill in the results."""
        driver = self.driver
        contents = driver.contents(self.desired)
        as_desired: set[str] = set()
        if driver.capabilities.single_node:
            differing = {step.node for step in self.plan.steps}
            # They differ, too, and get no step.
            differing |= {one.target.partition("/")[2] for one in self.plan.findings if one.code == UNFILLED}
            as_desired = {
                node for node in self.observed.present() if node in contents and node not in differing
            }
        facts = self.memory.facts.get(self.plan.cluster, {})
        self.as_desired = {node for node in as_desired if not self.chosen or node in self.chosen}
        self._block_calls_in_flight(as_desired, contents, facts)
        self._block_reserved()
        if self.is_applying:
            self._block_missing_secrets()
        # A node that shows its content starts the count again: old attempts say nothing about its next drift.
        for node in sorted(as_desired & facts.keys()):
            spent = {key: "" for key in facts[node] if key.startswith(attempts.FACT)}
            if spent:
                self.noted[node] = spent
        for step in self.plan.steps:
            if step.id not in self.blocked and not step.is_manual:
                self._check_attempts(step, contents, facts.get(step.node, {}))

    def _block_calls_in_flight(
        self,
        as_desired: set[str],
        contents: Mapping[str, str],
        facts: Mapping[str, Mapping[str, str]],
    ) -> None:
        """Block the node of a call in flight; the whole cluster if its nodes depend on each other."""
        steps: dict[str, list[Step]] = defaultdict(list)
        for step in self.plan.steps:
            steps[step.node].append(step)
        for call in self.memory.pending_calls:
            if call.cluster != self.plan.cluster or (self.chosen and call.node not in self.chosen):
                continue
            own = steps.get(call.node, [])
            has_left = bool(self.members) and call.node not in self.members
            if call.is_undo and not has_left:
                # Only a newer offer to this very node replaces it: it is better than what the node has.
                continue
            if call.is_offer and (
                has_left
                or call.node in as_desired
                or (own and not any(self._was_sent(step, contents, facts) for step in own))
                or self._is_outdated(call, facts)
            ):
                # The node takes the newest offer at its next poll: a newer one needs not wait for an older.
                self.superseded.append(call)
                continue
            if call.node in as_desired:
                continue
            self.in_flight.add(call.node)
            self.pending[call.node] = max(call.until, self.pending.get(call.node, call.until))
            self.blocked |= {step.id for step in own}
            if call.is_offer:
                self.findings[call.node] = report_offer(call)
                self.waits |= self.in_waves
                self.whole |= self.in_waves and not self.open_wave
                self.whole |= not self.driver.capabilities.single_node
            else:
                self.findings[call.node] = report_in_flight(call)
                self.whole |= self.in_waves or not self.driver.capabilities.single_node

    def _block_reserved(self) -> None:
        """Block the steps that reservations and holds keep back."""
        for step in self.plan.steps:
            if (hold := self.find_hold(step)) is None:
                continue
            if step.id in self.blocked and not hold.is_hold:
                continue
            self.blocked.add(step.id)
            # A reservation lasts minutes, and no wave starts without one of its nodes. A hold may last for
            # days: its node is left out like one that does not answer.
            if hold.is_hold:
                self.held.add(step.node)
                self.findings.setdefault(step.node, report_held(step, hold))
            else:
                self.findings.setdefault(step.node, report_reserved(step, hold))
                self.whole |= self.in_waves

    def _block_missing_secrets(self) -> None:
        """Block the steps whose content needs a secret that is not available here."""
        # Known before anything is sent: otherwise each retry would be a run that does nothing, and the steps
        # before it would be half of a change.
        for step in self.plan.steps:
            payload = self.plan.payloads.get(step.payload)
            if payload is None or not payload.missing or step.id in self.blocked:
                continue
            self.blocked.add(step.id)
            if step.node not in self.findings:
                self.findings[step.node] = report_missing_secret(step, payload.missing)
                self.missing_reasons.add(next(iter(payload.missing.values())))
            # No wave starts without a node that is to prove it.
            self.whole |= self.in_waves

    def _is_outdated(self, call: PendingCall, facts: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether a silent node could still take an offer of a revision with other content.

        Nothing is planned for such a node, so that nothing tells what it differs in. Withdrawn, an offer of
        the same content is made again once the node is heard.
        """
        if self.is_continued or call.node in self.observed.present():
            return False
        key = attempts.find_attempt_key(call.step, call.node)
        sent_for = attempts.read_rollout(facts.get(call.node, {}).get(key, ""))
        return bool(sent_for) and sent_for != self.content

    def _was_sent(
        self, step: Step, contents: Mapping[str, str], facts: Mapping[str, Mapping[str, str]]
    ) -> bool:
        """Whether the newest attempt at a step's node was to give it the same content."""
        return self._load_attempt(step, contents, facts.get(step.node, {})).count > 0

    def _load_attempt(self, step: Step, contents: Mapping[str, str], facts: Mapping[str, str]) -> Attempt:
        return attempts.load_attempt(
            facts.get(attempts.make_attempt_key(step), ""),
            fingerprint_with_key(self.memory.key, self.driver.fingerprint_purpose(step, contents)),
        )

    def _check_attempts(self, step: Step, contents: Mapping[str, str], facts: Mapping[str, str]) -> None:
        """Decide about one step by its earlier attempts."""
        key, cluster = attempts.make_attempt_key(step), self.plan.cluster
        before = self._load_attempt(step, contents, facts)
        if before.count:
            self.retried.add(step.node)
        polls = step.node in self.polling
        readings = self.driver.fingerprint_differences(step, self.observed)
        # With the host's key: otherwise whoever has a copy of the store could find a short value by guessing.
        shown = {
            place: fingerprint_with_key(self.memory.key, print_)[: len(print_)]
            for place, print_ in readings.items()
        }
        decision, attempt = attempts.decide_attempt(before, shown, self.memory.at)
        if decision is AttemptDecision.DUE:
            # Counted with the intent, before the call: a run that is killed in every call still stalls.
            sent = attempts.count_attempt(attempt, self.memory.at, self.content)
            self.attempts[step.id] = {key: sent.plain()}
            return
        self.blocked.add(step.id)
        if decision is AttemptDecision.LATER:
            self.findings[step.node] = report_later(cluster, step, attempt, self.driver.find_remedy(step))
            # A wave of polled nodes tolerates some that are unknown, and so does what comes after it.
            self.whole |= self.in_waves and not polls
            return
        if attempt is not before:
            self.noted.setdefault(step.node, {})[key] = attempt.plain()
        self.stalled[step.node] = explain_attempt(attempt, step)
        self.findings[step.node] = report_stalled(cluster, step, attempt, self.driver.find_remedy(step))
        if attempt.refused:
            self.refused.add(step.node)
        self.whole |= (
            self.in_waves
            and attempt.rollout == self.content
            and (not polls or (attempt.refused and step.node in self.open_wave))
        )


def _drop_blocked(steps: Sequence[Step], blocked: set[str]) -> list[Step]:
    """The steps that do not depend on a blocked one; steps are in an order that respects `after`.

    Without what only prepares a dropped one: a node whose restart waits is not drained for it.
    """
    gone = set(blocked)
    for step in steps:
        if gone & set(step.after):
            gone.add(step.id)
    for step in reversed(steps):
        waiting = [one.id for one in steps if step.id in one.after]
        if step.arguments.is_preparation and waiting and gone.issuperset(waiting):
            gone.add(step.id)
    return [step for step in steps if step.id not in gone]
