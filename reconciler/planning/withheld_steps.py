"""Steps that must not be sent now: a call may be under way, a next try is not due yet, or the tries ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reconciler.core import attempts
from reconciler.core.attempts import Attempt, AttemptDecision
from reconciler.core.canonical import encode_canonical, fingerprint, fingerprint_with_key
from reconciler.core.diff import Change, Op
from reconciler.core.memory import FleetMemory, PendingCall
from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.secret import mask
from reconciler.core.timestamps import format_second
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.ports.driver import Driver
from reconciler.text.one_line import make_one_line

STALLED: Final = "node-stalled"
"""Code of the finding that nothing is sent to a node any more, because it never shows what it was sent."""

LATER: Final = "retry-later"
"""Code of the finding that the next try is not due yet."""

IN_FLIGHT: Final = "call-in-flight"
"""Code of the finding that a call may still take effect."""

WAITING: Final = frozenset({LATER, IN_FLIGHT})
"""Codes of what ends by itself."""

_PLACES: Final = 3
_LONGEST: Final = 60
_REMEDY: Final = (
    "see why the node does not show it, and correct the node or the content; `reconcile resume {cluster}` "
    "lets it be tried again at once"
)


@dataclass(frozen=True, slots=True)
class WithheldSteps:
    """What a plan may send now, and what is remembered of the tries.

    Args:
        desired: in which the nodes that nothing is sent to stay as they are.
        plan: without their steps, with a finding for each.
        attempts: step -> the fact to write with its intent.
        noted: node -> facts that this reading established, to be written where the pass may write.
        stalled: nodes that nothing is sent to any more, each with the reason.
        content: fingerprint of all that the cluster is to get, without the stamp of the revision.
        kept_back: nodes that differ and that nothing is sent to now, each with how it differs.
    """

    desired: Any
    plan: ClusterPlan
    attempts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    noted: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    stalled: Mapping[str, str] = field(default_factory=dict)
    content: str = ""
    kept_back: Mapping[str, str] = field(default_factory=dict)


def fingerprint_content(driver: Driver[Any, Any], desired: Any) -> str:
    """Fingerprint of all that a cluster is to get; empty where the product does not tell."""
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
    only: str = "",
) -> WithheldSteps:
    """What of a plan may be sent now.

    Where the product can leave a node out, the plan is made anew without the nodes that nothing is sent
    to; elsewhere their steps go, with all that comes after them, and a call under way holds up the whole
    cluster. So it does in a rollout, as does a node that failed in this very rollout: it would otherwise
    go on without the node that is to prove it.

    Args:
        plan: all that is to be done.
        desired: what it was made for.
        observed: what it was made from.
        driver: the cluster's product.
        memory: what earlier runs left.
        content: of the whole cluster, see `fingerprint_content`.
        in_waves: whether the plan goes through in waves.
        only: the one node that the plan is about; empty for all.
    """
    sorting = _Sorting(plan, desired, observed, driver, memory, content, in_waves, only)
    sorting.sort()
    given = WithheldSteps(desired, plan, sorting.attempts, sorting.noted, sorting.stalled, content)
    if not sorting.findings:
        return given
    found = tuple(sorting.findings.values())
    if sorting.whole:
        kept = replace(plan, steps=())
    elif driver.capabilities.single_node:
        nodes = {step.node for step in plan.steps if step.id in sorting.blocked}
        desired = driver.without(desired, frozenset({*nodes, *sorting.in_flight}))
        kept = driver.plan(desired, observed)
    else:
        kept = replace(plan, steps=tuple(_unblocked(plan.steps, sorting.blocked)))
    # A node of its own is planned anew, and what withholds it says all of it; of a cluster whose nodes depend
    # on each other, the plan's own findings say why the step is there at all, and how to do without it.
    known = {finding.target for finding in found} if driver.capabilities.single_node else set()
    others = tuple(one for one in kept.findings if one.target not in known)
    sent = {step.node for step in kept.steps}
    kept_back = {step.node: step.reason for step in reversed(plan.steps) if step.node not in sent}
    return replace(
        given, desired=desired, plan=replace(kept, findings=(*others, *found)), kept_back=kept_back
    )


@dataclass(slots=True)
class _Sorting:
    """The steps of one plan, sorted by whether they may be sent; see `withhold_steps` for its inputs."""

    plan: ClusterPlan
    desired: Any
    observed: Observed[Any]
    driver: Driver[Any, Any]
    memory: FleetMemory
    content: str
    in_waves: bool
    only: str
    attempts: dict[str, dict[str, str]] = field(default_factory=dict)
    noted: dict[str, dict[str, str]] = field(default_factory=dict)
    findings: dict[str, Diagnostic] = field(default_factory=dict)
    stalled: dict[str, str] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    in_flight: set[str] = field(default_factory=set)
    whole: bool = False

    def sort(self) -> None:
        """Fill all of it in."""
        driver = self.driver
        contents = driver.contents(self.desired)
        as_desired: set[str] = set()
        if driver.capabilities.single_node:
            differing = {step.node for step in self.plan.steps}
            as_desired = {
                node for node in self.observed.present() if node in contents and node not in differing
            }
        self._wait_for_calls(as_desired)
        facts = self.memory.facts.get(self.plan.cluster, {})
        for node in sorted(as_desired & facts.keys()):  # what was tried once says nothing of the next drift
            spent = {key: "" for key in facts[node] if key.startswith(attempts.FACT)}
            if spent:
                self.noted[node] = spent
        for step in self.plan.steps:
            if step.id not in self.blocked and not step.waits_for_person:
                self._take(step, contents, facts.get(step.node, {}))

    def _wait_for_calls(self, as_desired: set[str]) -> None:
        """Block the node of a call under way; where nodes depend on each other, the whole cluster."""
        for call in self.memory.under_way:
            is_ours = call.cluster == self.plan.cluster and self.only in {"", call.node}
            if is_ours and call.node not in as_desired:
                self.in_flight.add(call.node)
                self.findings[call.node] = _in_flight(call)
                self.blocked |= {step.id for step in self.plan.steps if step.node == call.node}
                self.whole |= self.in_waves or not self.driver.capabilities.single_node

    def _take(self, step: Step, contents: Mapping[str, str], facts: Mapping[str, str]) -> None:
        """Sort one step by what was tried for it before."""
        key, cluster = attempts.make_attempt_key(step.action), self.plan.cluster
        before = attempts.load_attempt(
            facts.get(key, ""), fingerprint_with_key(self.memory.key, self.driver.aim(step, contents))
        )
        readings = self.driver.readings(step, self.observed)
        shown = {
            place: fingerprint_with_key(self.memory.key, print_)[: len(print_)]
            for place, print_ in readings.items()
        }
        decision, attempt = attempts.decide_attempt(before, shown, self.memory.at)
        if decision is AttemptDecision.DUE:
            sent = attempts.count_try(attempt, self.memory.at, self.content)
            self.attempts[step.id] = {key: sent.plain()}
            return
        self.blocked.add(step.id)
        if decision is AttemptDecision.LATER:
            self.findings[step.node] = _later(cluster, step, attempt, self.driver.way_out(step))
            self.whole |= self.in_waves
            return
        if attempt is not before:
            self.noted.setdefault(step.node, {})[key] = attempt.plain()
        self.stalled[step.node] = _why(attempt)
        self.findings[step.node] = _stalled(cluster, step, attempt, self.driver.way_out(step))
        self.whole |= self.in_waves and attempt.rollout == self.content


def _unblocked(steps: Sequence[Step], blocked: set[str]) -> list[Step]:
    """The steps that come after none that is blocked; steps are in an order that respects `after`."""
    gone = set(blocked)
    kept: list[Step] = []
    for step in steps:
        if step.id in gone or gone & set(step.after):
            gone.add(step.id)
        else:
            kept.append(step)
    return kept


def _in_flight(call: PendingCall) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        IN_FLIGHT,
        f"{call.step} of run {call.run} may still be under way on {call.node}: nobody answered for it, or "
        f"its effect was not read yet; nothing is sent before {format_second(call.until)} UTC",
        "run again then, or as soon as the node shows the effect; `in_flight` under `timeouts` in the fleet "
        "file says how long to wait",
        target=f"{call.cluster}/{call.node}",
    )


def _later(cluster: str, step: Step, attempt: Attempt, way_out: str) -> Diagnostic:
    due = attempt.due
    assert due is not None
    return Diagnostic(
        Severity.ERROR,
        LATER,
        f"{step.node} does not show what it was sent: {_why(attempt)}; try {attempt.count + 1} of "
        f"{attempts.TRIES} is made after {format_second(due)} UTC{_instead(step.changes)}",
        f"run again then; `reconcile resume {cluster}` lets it be tried at once"
        f"{f'; if it fails each time, {way_out}' if way_out else ''}",
        target=f"{cluster}/{step.node}",
    )


def _stalled(cluster: str, step: Step, attempt: Attempt, way_out: str) -> Diagnostic:
    tries = "once" if attempt.count == 1 else f"{attempt.count} times"
    end = "a definite refusal" if attempt.refused else "no effect"
    return Diagnostic(
        Severity.ERROR,
        STALLED,
        f"{step.node} is stalled: {step.action} was sent {tries} with {end} ({_why(attempt)}), so nothing is "
        f"sent until what it is to get changes, or what it shows{_instead(step.changes)}",
        f"{way_out}; then `reconcile resume {cluster}`" if way_out else _REMEDY.format(cluster=cluster),
        target=f"{cluster}/{step.node}",
    )


def _why(attempt: Attempt) -> str:
    return attempt.reason or "the end of the last try is not known"


def _instead(changes: Sequence[Change]) -> str:
    """What a node shows where it differs, masked and bounded."""
    if not changes:
        return ""
    told = [_place(change) for change in changes[:_PLACES]]
    more = f", and {len(changes) - _PLACES} more places" if len(changes) > _PLACES else ""
    return f": {'; '.join(told)}{more}"


def _place(change: Change) -> str:
    where = make_one_line(change.pointer, _LONGEST) or "/"
    match change.op:
        case Op.ADD:
            return f"at {where} it shows nothing in place of {_value(change.new)}"
        case Op.REMOVE:
            return f"at {where} it shows {_value(change.old)}, which it was not sent"
        case Op.REPLACE:
            return f"at {where} it shows {_value(change.old)} in place of {_value(change.new)}"


def _value(value: Any) -> str:
    shown = mask(value)
    told = f'"{shown}"' if isinstance(shown, str) else encode_canonical(shown).decode("utf-8", "replace")
    return make_one_line(told, _LONGEST)
