"""Which nodes run the plan's revision, judged by what was read and done: facts for `reconcile status`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from reconciler.core import attempts
from reconciler.core.guard import GuardContext
from reconciler.core.observation import Present
from reconciler.core.outcome import SUCCESSES, Outcome
from reconciler.core.plan import Effect
from reconciler.core.revision import BACK
from reconciler.core.secret import find_secrets
from reconciler.diagnostic import Severity
from reconciler.guards.removed_clusters import CODE as GONE
from reconciler.planning.plan_pass import Drivers, PlanResult
from reconciler.ports.store import REFERENCES, AppliedMembers, ClusterFacts

_MOST_REFERENCES: Final = 2_000

Facts = Mapping[str, Mapping[str, str]]
"""Node -> key -> value."""


def collect_observed_facts(plan_result: PlanResult, drivers: Drivers) -> dict[str, Facts]:
    """Cluster -> what its driver wants to remember of what the nodes showed, whatever becomes of the plan."""
    found = {
        case.plan.cluster: drivers[case.plan.kind].learnt(case.desired, case.observed)
        for case in plan_result.cases
    }
    return {cluster: facts for cluster, facts in found.items() if facts}


def collect_cluster_facts(plan_result: PlanResult, outcomes: Iterable[Outcome]) -> dict[str, ClusterFacts]:
    """Cluster -> what a pass established of it.

    A node runs the revision where all its steps succeeded, or where it answered and nothing was to be
    done and nothing had to be said about it. Where a step changes the membership, it speaks for the
    whole cluster: then its nodes count only if every step succeeded. Of a survey narrowed to one node
    only that node is judged.
    """
    ended: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        ended.setdefault(outcome.step.cluster, []).append(outcome)
    return {
        case.plan.cluster: _of_cluster(plan_result, case, ended.get(case.plan.cluster, []))
        for case in plan_result.cases
    }


def list_removed_clusters(plan_result: PlanResult) -> tuple[str, ...]:
    """The clusters that went with an override: they are forgotten, for once is enough to be told."""
    return tuple(violation.target for violation, _ in plan_result.overridden if violation.code == GONE)


def list_withdrawn_confirmations(plan_result: PlanResult) -> dict[str, Facts]:
    """Cluster -> the one-time words to forget that its nodes' entries no longer give: they count anew."""
    return {
        case.plan.cluster: {
            node.name: dict.fromkeys(words, "")
            for node in case.entry.members()
            if (words := [word for word in node.one_time_words if not getattr(node, word)])
            and not case.recalled.get(node.name, {}).keys().isdisjoint(words)
        }
        for case in plan_result.cases
    }


def list_attempt_facts(plan_result: PlanResult, cluster: str, nodes: Iterable[str]) -> Facts:
    """The tries of some nodes, to be forgotten: what a word allows anew is tried anew."""
    (case,) = (case for case in plan_result.cases if case.plan.cluster == cluster)
    return {
        node: {key: "" for key in case.recalled.get(node, {}) if key.startswith(attempts.FACT)}
        for node in nodes
    }


def _moved(plan_result: PlanResult, case: GuardContext, outcomes: list[Outcome]) -> bool:
    """Whether the cluster has come to the plan's revision, be it in part."""
    if outcomes:
        return any(outcome.state in SUCCESSES for outcome in outcomes)
    return not case.kept_back and not plan_result.node and case.cluster_memory.ancestry not in BACK


def _of_cluster(plan_result: PlanResult, case: GuardContext, outcomes: list[Outcome]) -> ClusterFacts:
    revision, over = plan_result.plan.revision, case.cluster_memory.progress
    pending = bool(case.kept_back) and case.waits
    untouched = (bool(outcomes) or pending) and not any(outcome.state in SUCCESSES for outcome in outcomes)
    members = None
    if not plan_result.node and not untouched:
        names = sorted(node.name for node in case.entry.members())
        members = AppliedMembers(case.plan.nodes, tuple(names), revision.source, case.plan.kind)
    running = list(_running(plan_result, case, outcomes))
    return ClusterFacts(
        members=members,
        applied=revision if _moved(plan_result, case, outcomes) else None,
        content=case.content,
        runs=dict.fromkeys(running, revision.id),
        facts={**case.noted, **({} if untouched else _references(plan_result, case, running))},
        # a rollout of other content, which nothing goes on with
        ends_rollout=over is not None
        and over.content != case.content
        and not plan_result.node
        and case.is_idle,
    )


def _references(plan_result: PlanResult, case: GuardContext, running: Collection[str]) -> Facts:
    """Where the settings refer to secrets; where they did, too, as long as a node may still have those."""
    name = case.plan.cluster
    documents = (
        cluster_input.documents.values()
        for cluster_input in plan_result.fleet.cluster_inputs
        if cluster_input.entry.name == name
    )
    different = {id(one): one for found in documents for one in found}
    places = {
        tuple(part for part in path if isinstance(part, str) and not part.isdigit())
        for document in different.values()
        for path, _ in find_secrets(document.value)
    }
    if not {node.name for node in case.entry.members()} <= set(running):
        places |= case.cluster_memory.references
    text = json.dumps(sorted(places)[:_MOST_REFERENCES]) if places else ""
    return {"": {REFERENCES: text}} if places or case.cluster_memory.references else {}


def _running(plan_result: PlanResult, case: GuardContext, outcomes: list[Outcome]) -> Iterator[str]:
    """The nodes that are seen to run the revision."""
    failed = {outcome.step.node for outcome in outcomes if outcome.state not in SUCCESSES}
    if failed and any(step.effect is Effect.MEMBERSHIP for step in case.plan.steps):
        return
    touched = {step.node for step in case.plan.steps}
    doubtful = {finding.target for finding in case.plan.findings if finding.severity is not Severity.NOTE}
    for name in sorted(node.name for node in case.entry.members()):
        if plan_result.node not in {"", name} or name in failed or name in case.kept_back:
            continue
        answered = isinstance(case.observed.nodes.get(name), Present)
        if name in touched or (answered and not doubtful & {name, f"{case.plan.cluster}/{name}"}):
            yield name
