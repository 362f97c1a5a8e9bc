"""The facts that a pass stores: which nodes run the revision, by what was read and done."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from reconciler.core import attempts
from reconciler.core.drift import BASELINE, SINCE, encode_baseline
from reconciler.core.guard import GuardContext
from reconciler.core.observation import Present
from reconciler.core.outcome import SUCCESSES, Outcome, State
from reconciler.core.plan import Effect
from reconciler.core.revision import BACK
from reconciler.core.secret import find_secrets
from reconciler.core.timestamps import format_timestamp
from reconciler.diagnostic import Severity
from reconciler.guards.removed_clusters import CODE as GONE
from reconciler.planning.plan_pass import Drivers, PlanResult
from reconciler.ports.store import REFERENCES, AppliedMembers, ClusterFacts

_MOST_REFERENCES: Final = 2_000

Facts = Mapping[str, Mapping[str, str]]
"""Node -> key -> value."""


def collect_observed_facts(plan_result: PlanResult, drivers: Drivers) -> dict[str, Facts]:
    """Cluster -> what its driver wants to remember of the nodes' answers, also if nothing is applied."""
    found = {
        context.plan.cluster: drivers[context.plan.kind].derive_facts(context.desired, context.observed)
        for context in plan_result.guard_contexts
    }
    return {cluster: facts for cluster, facts in found.items() if facts}


def collect_cluster_facts(plan_result: PlanResult, outcomes: Iterable[Outcome]) -> dict[str, ClusterFacts]:
    """Cluster -> what a pass established about it.

    A node runs the revision if all its steps succeeded, or if it answered and there was nothing to do and no
    warning about it. If a step changes the membership, the nodes count only if every step of the cluster
    succeeded. In a pass of some nodes, only those are recorded.
    """
    ended: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        ended.setdefault(outcome.step.cluster, []).append(outcome)
    return {
        context.plan.cluster: _collect_facts(plan_result, context, ended.get(context.plan.cluster, []))
        for context in plan_result.guard_contexts
    }


def list_removed_clusters(plan_result: PlanResult) -> tuple[str, ...]:
    """The clusters that an override allowed to be removed: they are forgotten, and not reported again."""
    return tuple(violation.target for violation, _ in plan_result.overridden if violation.code == GONE)


def list_withdrawn_confirmations(plan_result: PlanResult) -> dict[str, Facts]:
    """Cluster -> node -> the used confirmations to forget, because its entry no longer has them.

    A confirmation counts once. Whoever removes it from the fleet file may give it again later.
    """
    return {
        context.plan.cluster: {
            node.name: dict.fromkeys(words, "")
            for node in context.entry.members()
            if (words := [word for word in node.one_time_confirmations if not getattr(node, word)])
            and not context.node_facts.get(node.name, {}).keys().isdisjoint(words)
        }
        for context in plan_result.guard_contexts
    }


def list_attempt_facts(plan_result: PlanResult, cluster: str, nodes: Iterable[str]) -> Facts:
    """The attempts of some nodes, to be forgotten: what is confirmed again is attempted again."""
    (context,) = (context for context in plan_result.guard_contexts if context.plan.cluster == cluster)
    return {
        node: {key: "" for key in context.node_facts.get(node, {}) if key.startswith(attempts.FACT)}
        for node in nodes
    }


def _collect_facts(plan_result: PlanResult, context: GuardContext, outcomes: list[Outcome]) -> ClusterFacts:
    revision = context.revision or plan_result.plan.revision
    progress = context.cluster_memory.progress
    # What is offered may be taken at any moment.
    has_success = any(outcome.state in SUCCESSES | {State.OFFERED} for outcome in outcomes)
    is_pending = bool(context.withheld_nodes) and context.is_waiting
    is_untouched = (bool(outcomes) or is_pending) and not has_success
    members = None
    is_partial = plan_result.is_partial(context.plan.cluster)
    if not is_partial and not is_untouched:
        names = sorted(node.name for node in context.entry.members())
        members = AppliedMembers(context.plan.nodes, tuple(names), revision.source, context.plan.kind)
    running = list(_list_running_nodes(plan_result, context, outcomes))
    # Partly applied is applied: from now on an older revision would take something back. Without steps, an
    # older revision changes nothing here, so it must not become the applied one.
    is_back = context.cluster_memory.ancestry in BACK
    is_applied = has_success if outcomes else not (context.withheld_nodes or is_partial or is_back)
    is_other_rollout = progress is not None and context.progress is None
    # A run that was killed after its last wave had passed.
    is_last_passed = context.progress is not None and not (context.progress.wave or context.withheld_nodes)
    return ClusterFacts(
        members=members,
        applied=revision if is_applied else None,
        content=context.content,
        shown_revisions=dict.fromkeys(running, revision.id),
        facts=_merge_facts(
            context.facts_to_store,
            {} if is_untouched else _list_references(plan_result, context, running),
            _list_drift_facts(context, frozenset(running), outcomes),
        ),
        ends_rollout=(is_other_rollout or is_last_passed) and not is_partial and context.is_idle,
    )


def _merge_facts(*some: Facts) -> Facts:
    found: dict[str, dict[str, str]] = {}
    for facts in some:
        for node, known in facts.items():
            found.setdefault(node, {}).update(known)
    return found


def _list_drift_facts(context: GuardContext, running: frozenset[str], outcomes: list[Outcome]) -> Facts:
    """What tells drift from a commit later: what nodes had when they were as desired, and since when not."""
    touched = {outcome.step.node for outcome in outcomes if outcome.sent or outcome.state in SUCCESSES}
    if touched and not context.can_select_node:
        # A change of one node is a reason to change others, also in a later run: what is planned for them
        # before the whole cluster has been read as desired again is no drift.
        return {node: {BASELINE: "", SINCE: ""} for node in context.digests}
    has_baseline = context.can_select_node or _is_whole_as_desired(context, running)
    found: dict[str, dict[str, str]] = {}
    for node in context.digests:
        if node in running and has_baseline:
            shown = "" if node in touched else context.shown.get(node, "")
            found[node] = {BASELINE: encode_baseline(context.digests[node], shown), SINCE: ""}
        elif node in touched:
            found[node] = {BASELINE: "", SINCE: ""}
        elif (drift := context.drift.get(node)) is not None:
            found[node] = {SINCE: format_timestamp(drift.since or context.now)} if context.now else {}
    return found


def _is_whole_as_desired(context: GuardContext, running: frozenset[str]) -> bool:
    """Whether nothing is left to do in a cluster, as far as its nodes answered."""
    answered = {node for node, answer in context.observed.nodes.items() if isinstance(answer, Present)}
    return not (context.plan.steps or context.withheld_nodes or answered - running)


def collect_baselines(plan_result: PlanResult) -> dict[str, Facts]:
    """Cluster -> what tells drift from a commit later, by a reading after a run alone.

    Only of nodes that were found as desired, and of which this is not known yet.
    """
    kept_back = {violation.cluster for violation in plan_result.violations}
    found: dict[str, Facts] = {}
    for context in plan_result.guard_contexts:
        planned = {node for step in context.plan.steps for node in step.nodes}
        running = frozenset(_list_running_nodes(plan_result, context, [])) - planned
        facts = _list_drift_facts(context, running, []) if context.plan.cluster not in kept_back else {}
        new = {
            node: own
            for node, own in facts.items()
            if own.get(BASELINE) and own[BASELINE] != context.node_facts.get(node, {}).get(BASELINE)
        }
        if new:
            found[context.plan.cluster] = new
    return found


def _list_references(plan_result: PlanResult, context: GuardContext, running: Collection[str]) -> Facts:
    """The places where the settings refer to secrets."""
    inputs = plan_result.fleet.part(context.plan.cluster).cluster_inputs
    different = {id(one): one for found in inputs for one in found.documents.values()}
    places = {
        tuple(part for part in path if isinstance(part, str) and not part.isdigit())
        for document in different.values()
        for path, _ in find_secrets(document.value)
    }
    # Earlier places stay as long as a node may still have a secret there: they decide what is masked.
    if not {node.name for node in context.entry.members()} <= set(running):
        places |= context.cluster_memory.references
    text = json.dumps(sorted(places)[:_MOST_REFERENCES]) if places else ""
    return {"": {REFERENCES: text}} if places or context.cluster_memory.references else {}


def _list_running_nodes(
    plan_result: PlanResult, context: GuardContext, outcomes: list[Outcome]
) -> Iterator[str]:
    failed = {outcome.step.node for outcome in outcomes if outcome.state not in SUCCESSES}
    if failed and any(step.effect is Effect.MEMBERSHIP for step in context.plan.steps):
        return
    touched = {step.node for step in context.plan.steps}
    doubtful = {finding.target for finding in context.plan.findings if finding.severity is not Severity.NOTE}
    for name in sorted(node.name for node in context.entry.members()):
        if (
            not plan_result.is_chosen(context.plan.cluster, name)
            or name in failed
            or name in context.withheld_nodes
            or (name in context.drift and context.drift[name].is_kept)
        ):
            continue
        answered = isinstance(context.observed.nodes.get(name), Present)
        if name in touched or (answered and not doubtful & {name, f"{context.plan.cluster}/{name}"}):
            yield name
