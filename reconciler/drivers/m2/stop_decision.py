"""Whether an M2 node may be stopped now: by what it serves, its policy and its failure domain; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.core.fields import resolve_amount
from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.observation import Present
from reconciler.core.reservations import (
    RESERVED,
    StopAnswer,
    StopDecision,
    StopQuestion,
    describe_absence,
    interrupts_node,
)
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.schema import M2Desired
from reconciler.drivers.m2.setting.diagnostics import get_value
from reconciler.text.one_line import join_some

_MOST_NAMED = 4


def decide_stop(question: StopQuestion) -> StopDecision:
    """Whether the other nodes serve all that the node serves, within the limits of the policy.

    Nodes that are reserved, silent, or changed by a run count as away.
    """
    absent = describe_absence(question)
    reasons = tuple(_find_reasons(question, absent))
    away = tuple(f"{name} {why}" for name, why in sorted(absent.items()))
    if reasons:
        return StopDecision(StopAnswer.NO, (*reasons, *away))
    serving = sorted(_list_hostings(question, question.node))
    others = len(question.others) - len(absent)
    words = f"{others} of {len(question.others)} other nodes serve {join_some(serving, _MOST_NAMED)}"
    if not serving:
        words = "it serves no hosting"
    return StopDecision(StopAnswer.YES, (words, *away))


def _find_reasons(question: StopQuestion, absent: Mapping[str, str]) -> Iterator[str]:
    """Why the node must not be stopped."""
    nodes = question.entry.members()
    # The policy limits what one run may make unavailable. A person who stops nodes keeps the same limit, but
    # one node may always be stopped: of a small cluster, a share of the nodes is less than one.
    limit = max(1, resolve_amount(question.policy.max_risky, len(nodes)))
    if len(absent) + 1 > limit:
        yield f"{len(absent) + 1} of {len(nodes)} nodes would be away, policy.max_risky allows {limit}"
    domains = {node.name: node.domain for node in nodes if node.domain}
    touched = {domains[name] for name in (question.node, *absent) if name in domains}
    most = question.policy.max_domains
    allowed = 1 if most is None else resolve_amount(most, len(set(domains.values())))
    if len(touched) > max(1, allowed):
        names = join_some(sorted(touched), _MOST_NAMED)
        yield (
            f"nodes of {len(touched)} failure domains would be away at once ({names}), the limit is {allowed}"
        )
    alone = set(_list_hostings(question, question.node))
    for name in question.others:
        if not alone:
            break
        if name not in absent:
            alone -= _list_hostings(question, name)
    if alone:
        yield f"no other available node serves {join_some(sorted(alone), _MOST_NAMED)}"


def _list_hostings(question: StopQuestion, node: str) -> frozenset[str]:
    """The hostings that a node serves: as it shows them, else as it should have them."""
    assert isinstance(question.desired, M2Desired)
    answer = question.observed.nodes.get(node)
    if isinstance(answer, Present):
        return _read_hostings(answer.value.content.document)
    target = next((one for one in question.desired.targets if one.node == node), None)
    return _read_hostings(target.content.document) if target is not None else frozenset()


def _read_hostings(document: Any) -> frozenset[str]:
    hostings = get_value(document, ("hosting",))
    if not isinstance(hostings, list):
        return frozenset()
    found = (one for one in hostings if isinstance(one, dict) and one.get("enable", True) is True)
    names = (one.get("name") for one in found if one.get("listen") != "off")
    return frozenset(name for name in names if isinstance(name, str))


@guard(RESERVED)
def refuse_interruption_beside_reserved_nodes(context: GuardContext) -> Iterator[Diagnostic]:
    """No node is interrupted that must stay available while reserved nodes may be stopped."""
    away = {node: f"is {one.description}" for node, one in context.reserved.nodes.items()}
    if not away:
        return
    for step in context.plan.steps:
        others = {node: why for node, why in away.items() if node != step.node}
        if not others or not interrupts_node(step):
            continue
        question = StopQuestion(
            step.node, context.entry, context.desired, context.observed, context.policy, others
        )
        decision = decide_stop(question)
        if decision.answer is StopAnswer.YES:
            continue
        yield Diagnostic(
            Severity.ERROR,
            RESERVED,
            f"{step.id} may interrupt {step.node}, which must stay available now: "
            f"{'; '.join(decision.reasons)}",
            "wait until those nodes are back, or release them: `reconcile allow-stop NODE --release` a "
            "reserved one, `reconcile release NODE` a held one",
            target=f"{context.plan.cluster}/{step.node}",
            hold=True,
        )


GUARDS: tuple[Guard, ...] = (refuse_interruption_beside_reserved_nodes,)
