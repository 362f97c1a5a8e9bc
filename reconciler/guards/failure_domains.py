"""Guards of failure domains: what fails together is not changed together with something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.plan import Risk, Step
from reconciler.core.policy import resolve_amount
from reconciler.diagnostic import Diagnostic, Severity

_NAMED = 4


@guard("failure-domain")
def refuse_crossing_domains(case: GuardContext) -> Iterator[Diagnostic]:
    """What is changed at once is in as few failure domains as the policy says.

    At once are the steps of one wave, but for those of which one comes after another. Without a word in
    the policy, steps of high risk keep to one domain, and others to any number. Nodes without a domain
    do not count.
    """
    domains = _domains(case)
    said = case.policy.max_domains
    steps = [step for step in case.plan.steps if said is not None or step.risk is Risk.HIGH]
    limit = 1 if said is None else resolve_amount(said, len(set(domains.values())))
    told: set[tuple[str, ...]] = set()
    for together in _at_once(case.plan.steps, {step.id for step in steps}):
        touched = tuple(sorted({domains[step.node] for step in together if step.node in domains}))
        if len(touched) <= limit or touched in told:
            continue
        told.add(touched)
        wave, risky = together[0].wave, "" if said is not None else " by steps of high risk"
        yield Diagnostic(
            Severity.ERROR,
            "failure-domain",
            f"{case.plan.cluster}: {f'wave {wave}' if wave else 'the run'} would change nodes of "
            f"{len(touched)} failure domains at once{risky} ({_list(touched)}), the limit is {limit}",
            f"roll out with `by: domain`, {case.in_parts}, or raise policy.max_domains",
            target=case.plan.cluster,
        )


@guard("failure-domain-share")
def refuse_emptying_domains(case: GuardContext) -> Iterator[Diagnostic]:
    """Of no failure domain more is changed by steps of high risk, in one run, than the policy says."""
    domains = _domains(case)
    risky = {step.node for step in case.plan.steps if step.risk is Risk.HIGH}
    for domain in sorted(set(domains.values())):
        nodes = [node for node, own in domains.items() if own == domain]
        touched, limit = sorted(risky & set(nodes)), resolve_amount(case.policy.max_of_domain, len(nodes))
        if len(touched) > limit:
            yield Diagnostic(
                Severity.ERROR,
                "failure-domain-share",
                f"{case.plan.cluster}: {len(touched)} of {len(nodes)} nodes of {domain} would be changed by "
                f"steps of high risk ({_list(touched)}), the limit is {limit}",
                f"{case.in_parts}, or raise policy.max_of_domain in the fleet file",
                target=case.plan.cluster,
            )


GUARDS: tuple[Guard, ...] = (refuse_crossing_domains, refuse_emptying_domains)
"""Applied to every cluster."""


def _domains(case: GuardContext) -> Mapping[str, str]:
    return {node.name: node.domain for node in case.entry.members() if node.domain}


def _at_once(steps: Iterable[Step], counted: set[str]) -> Iterator[list[Step]]:
    """The counted steps, wave by wave, those with equally many steps before them in the wave together."""
    depth: dict[str, int] = {}
    wave: dict[str, int] = {}
    found: dict[tuple[int, int], list[Step]] = {}
    for step in steps:
        before = [depth[name] for name in step.after if wave.get(name) == step.wave]
        depth[step.id], wave[step.id] = max(before, default=-1) + 1, step.wave
        if step.id in counted:
            found.setdefault((step.wave, depth[step.id]), []).append(step)
    yield from found.values()


def _list(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:_NAMED]) + (" …" if len(every) > _NAMED else "")
