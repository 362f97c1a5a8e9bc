"""Guards of failure domains: nodes that fail together are not changed together with others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.core.fields import resolve_amount
from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.plan import Risk, Step
from reconciler.diagnostic import Diagnostic
from reconciler.text.one_line import join_some

_NAMED = 4


@guard("failure-domain")
def refuse_crossing_domains(context: GuardContext) -> Iterator[Diagnostic]:
    """Steps that run at the same time touch at most the number of failure domains that the policy allows.

    Steps of one wave run at the same time unless one waits for the other. If the policy has no limit, steps
    that have a high risk or interrupt their node keep to one domain. Nodes without a domain do not count.
    """
    domains = _read_domains(context)
    allowed = context.policy.max_domains
    steps = [
        step
        for step in context.plan.steps
        if allowed is not None or step.risk is Risk.HIGH or step.arguments.interrupts
    ]
    # Without a policy these alone count: a harmless setting may go to all domains at once.
    limit = 1 if allowed is None else resolve_amount(allowed, len(set(domains.values())))
    reported: set[tuple[str, ...]] = set()
    for together in _find_simultaneous_steps(context.plan.steps, {step.id for step in steps}):
        touched = tuple(sorted({domains[step.node] for step in together if step.node in domains}))
        if len(touched) <= limit or touched in reported:
            continue
        reported.add(touched)
        wave = together[0].wave
        kinds = "restarts" if all(step.arguments.interrupts for step in together) else "steps of high risk"
        risky = "" if allowed is not None else f" by {kinds}"
        yield context.violation(
            "failure-domain",
            f"{f'wave {wave}' if wave else 'the run'} would change nodes of {len(touched)} failure domains "
            f"at once{risky} ({join_some(touched, _NAMED)}), the limit is {limit}",
            f"roll out with `by: domain`, {context.partial_apply_hint}, or raise policy.max_domains",
        )


@guard("failure-domain-share")
def refuse_emptying_domains(context: GuardContext) -> Iterator[Diagnostic]:
    """In one run, steps of high risk change at most the share of a failure domain that the policy allows."""
    domains = _read_domains(context)
    risky = {step.node for step in context.plan.steps if step.risk is Risk.HIGH}
    for domain in sorted(set(domains.values())):
        nodes = [node for node, its in domains.items() if its == domain]
        touched, limit = sorted(risky & set(nodes)), resolve_amount(context.policy.max_of_domain, len(nodes))
        if len(touched) > limit:
            yield context.violation(
                "failure-domain-share",
                f"{len(touched)} of {len(nodes)} nodes of {domain} would be changed by "
                f"steps of high risk ({join_some(touched, _NAMED)}), the limit is {limit}",
                f"{context.partial_apply_hint}, or raise policy.max_of_domain in the fleet file",
            )


GUARDS: tuple[Guard, ...] = (refuse_crossing_domains, refuse_emptying_domains)
"""Applied to every cluster."""


def _read_domains(context: GuardContext) -> Mapping[str, str]:
    return {node.name: node.domain for node in context.entry.members() if node.domain}


def _find_simultaneous_steps(steps: Iterable[Step], counted: set[str]) -> Iterator[list[Step]]:
    """The counted steps, grouped by wave and by their depth in the order of steps within the wave."""
    depth: dict[str, int] = {}
    wave: dict[str, int] = {}
    found: dict[tuple[int, int], list[Step]] = {}
    # A step runs after those of its wave that it waits for, so only steps of one depth can run together.
    # Waves run one after the other anyway: an order between waves adds nothing.
    for step in steps:
        before = [depth[name] for name in step.after if wave.get(name) == step.wave]
        depth[step.id], wave[step.id] = max(before, default=-1) + 1, step.wave
        if step.id in counted:
            found.setdefault((step.wave, depth[step.id]), []).append(step)
    yield from found.values()
