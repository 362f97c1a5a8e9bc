"""Which nodes run the plan's revision, judged by what was read and done: facts for `reconcile status`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from reconciler.core import attempts, progress
from reconciler.core.guard import Case
from reconciler.core.observation import Present
from reconciler.core.outcome import SUCCESSES, Outcome
from reconciler.core.plan import Effect
from reconciler.core.revision import BACK
from reconciler.diagnostic import Severity
from reconciler.guards.removed_clusters import CODE as GONE
from reconciler.planning.plan_pass import Drivers, Survey
from reconciler.ports.store import Journal
from reconciler.store.sqlite.facts import APPLIED, NAMES, NODES, REVISION, SOURCE
from reconciler.store.sqlite.orders import ASKED

Facts = Mapping[str, Mapping[str, str]]
"""Node -> key -> value; the empty node stands for the cluster itself."""


async def remember_members(survey: Survey, drivers: Drivers, journal: Journal) -> None:
    """Keep what drivers want to remember of what the nodes showed, whatever becomes of the plan.

    It comes before the first step: a run that is killed must not leave the store without who was there.
    """
    for case in survey.cases:
        if facts := drivers[case.plan.kind].learnt(case.desired, case.observed):
            await journal.remember(case.plan.cluster, facts)


def learnt(survey: Survey, outcomes: Iterable[Outcome]) -> dict[str, Facts]:
    """Cluster -> facts that a pass established.

    A node runs the revision where all its steps succeeded, or where it answered and nothing was to be
    done and nothing had to be said about it. Where a step changes the membership, it speaks for the
    whole cluster: then its nodes count only if every step succeeded. Of a survey narrowed to one node
    only that node is judged.
    """
    ended: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        ended.setdefault(outcome.step.cluster, []).append(outcome)
    known = {
        case.plan.cluster: _with_notes(
            _of_cluster(survey, case, ended.get(case.plan.cluster, [])), _noted(survey, case)
        )
        for case in survey.cases
    }
    return {**known, **_forgotten(survey)}


def _forgotten(survey: Survey) -> dict[str, dict[str, dict[str, str]]]:
    """The facts to forget of clusters that went with an override: once is enough to be told."""
    gone = [violation.target for violation, _ in survey.overridden if violation.code == GONE]
    return {name: {"": {NODES: "", NAMES: "", SOURCE: ""}} for name in gone}


def withdrawn(survey: Survey) -> dict[str, Facts]:
    """Cluster -> the one-time words to forget that its nodes' entries no longer give: they count anew."""
    return {
        case.plan.cluster: {
            node.name: dict.fromkeys(words, "")
            for node in case.entry.members()
            if (words := [word for word in node.one_time_words if not getattr(node, word)])
            and not case.recalled.get(node.name, {}).keys().isdisjoint(words)
        }
        for case in survey.cases
    }


def _noted(survey: Survey, case: Case) -> Facts:
    """What the reading established of tries, and that a rollout of other content is over."""
    over = case.past.progress and case.past.progress.content != case.content and not survey.node
    return {**case.noted, **({"": {progress.FACT: ""}} if over and case.is_idle else {})}


def _with_notes(facts: Facts, noted: Facts) -> Facts:
    return {node: {**facts.get(node, {}), **noted.get(node, {})} for node in (*facts, *noted)}


def tries_of(survey: Survey, cluster: str, nodes: Iterable[str]) -> Facts:
    """The tries of some nodes, to be forgotten: what a word allows anew is tried anew."""
    (case,) = (case for case in survey.cases if case.plan.cluster == cluster)
    return {
        node: {key: "" for key in case.recalled.get(node, {}) if key.startswith(attempts.FACT)}
        for node in nodes
    }


def _moved(survey: Survey, case: Case, outcomes: list[Outcome]) -> bool:
    """Whether the cluster has come to the plan's revision, be it in part."""
    if outcomes:
        return any(outcome.state in SUCCESSES for outcome in outcomes)
    return not case.kept_back and not survey.node and case.past.descent not in BACK


def _of_cluster(survey: Survey, case: Case, outcomes: list[Outcome]) -> Facts:
    facts: dict[str, Mapping[str, str]] = {}
    failed = {outcome.step.node for outcome in outcomes if outcome.state not in SUCCESSES}
    pending = bool(case.kept_back) and case.waits
    untouched = (bool(outcomes) or pending) and not any(outcome.state in SUCCESSES for outcome in outcomes)
    if not survey.node and not untouched:
        names = sorted(node.name for node in case.entry.members())
        facts[""] = {
            NODES: str(case.plan.nodes),
            NAMES: json.dumps(names),
            SOURCE: survey.plan.revision.source,
            ASKED: "",
        }
    if _moved(survey, case, outcomes):
        facts[""] = {**facts.get("", {}), APPLIED: json.dumps(survey.plan.revision.plain(), sort_keys=True)}
    if failed and any(step.effect is Effect.MEMBERSHIP for step in case.plan.steps):
        return facts
    touched = {step.node for step in case.plan.steps}
    doubtful = {finding.target for finding in case.plan.findings if finding.severity is not Severity.NOTE}
    for name in sorted(node.name for node in case.entry.members()):
        if survey.node not in {"", name} or name in failed or name in case.kept_back:
            continue
        answered = isinstance(case.observed.nodes.get(name), Present)
        if name in touched or (answered and not doubtful & {name, f"{case.plan.cluster}/{name}"}):
            facts[name] = {REVISION: survey.plan.revision.id}
    return facts
