"""Divides a cluster's steps into waves, in an order that respects their dependencies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from itertools import chain, islice, repeat

from reconciler.core.entries import ClusterEntry
from reconciler.core.fields import resolve_amount
from reconciler.core.plan import ClusterPlan, Effect, Step
from reconciler.core.rollout_rules import Rollout, RolloutProgress


class DependencyCycle(ValueError):
    """Names depend on each other; `members` lists the cycle."""

    def __init__(self, members: Iterable[str]) -> None:
        self.members = tuple(members)
        super().__init__(" → ".join(self.members))


def sort_by_dependency(after: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Names in an order in which each comes after those it depends on; ties in the mapping's own order.

    Args:
        after: name -> names that it depends on; every name is a key.

    Raises:
        DependencyCycle: names depend on each other.
    """
    rank = {name: index for index, name in enumerate(after)}
    sorter = TopologicalSorter({name: tuple(names) for name, names in after.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise DependencyCycle(error.args[1]) from error
    result: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=rank.__getitem__)
        result += ready
        sorter.done(*ready)
    return tuple(result)


def list_step_ids_by_wave(
    plan: ClusterPlan, entry: ClusterEntry, rollout: Rollout, progress: RolloutProgress | None = None
) -> tuple[tuple[str, ...], ...]:
    """Ids of the plan's steps, wave by wave.

    All steps of a node are in one wave; a step that changes the membership is a wave by itself. No step is in
    an earlier wave than one that it depends on.

    Args:
        plan: the steps, in an order that respects `after`.
        entry: has the failure domain of each node.
        rollout: the sizes of the waves; percentages are of the nodes that the plan changes.
        progress: of a rollout that has started. If a wave of it is open, what is left of that wave comes
            first, and may be empty.
    """
    groups, before = _group_units(plan.steps)
    # Of the rollout's first plan, not of this one: percentages of the nodes that are left would shrink from
    # wave to wave, and another run would divide differently from the one that was stopped.
    total = progress.total if progress else len({step.node for step in plan.steps})
    domain = {node.name: node.domain for node in entry.members()} if rollout.by == "domain" else {}
    rest = list(groups)
    found: list[set[str]] = []
    if progress and progress.wave:
        found.append(_select_open_wave(rest, groups, before, frozenset(progress.wave)))
        rest = [unit for unit in rest if unit not in found[0]]
    first = () if rollout.canary is None else (rollout.canary,)
    amounts = chain(first, rollout.waves, repeat(rollout.waves[-1]))
    for amount in islice(amounts, progress.number if progress else 0, None):
        if not rest:
            break
        # At least one node: a wave of none would make a rollout that never ends.
        wave = _fill_wave(rest, groups, before, domain, max(1, resolve_amount(amount, total)))
        rest = [unit for unit in rest if unit not in wave]
        found.append(wave)
    names = [{step.id for unit in wave for step in groups[unit]} for wave in found]
    return tuple(tuple(step.id for step in plan.steps if step.id in ids) for ids in names)


def assign_waves(
    plan: ClusterPlan, entry: ClusterEntry, rollout: Rollout | None, progress: RolloutProgress | None = None
) -> ClusterPlan:
    """The plan with its steps in waves, each with its wave's number; without numbers if there is only one.

    Without waves, nodes are interrupted one after the other: each waits until the one before it is back.

    Args:
        plan: the steps, in an order that respects `after`.
        entry: the cluster.
        rollout: the sizes of the waves; None for no waves.
        progress: of the same rollout, if an earlier run has started it: its open wave comes first, and the
            numbers continue from there.
    """
    if rollout is None:
        plan = _restart_one_by_one(plan)
    found = list_step_ids_by_wave(plan, entry, rollout, progress) if rollout else ()
    if len(found) <= 1 and progress is None:
        return plan
    first = 1 if progress is None else progress.number + (not progress.wave)
    wave = {name: number for number, names in enumerate(found, first) for name in names}
    steps = sorted((replace(step, wave=wave[step.id]) for step in plan.steps), key=lambda step: step.wave)
    return replace(plan, steps=tuple(steps))


def _restart_one_by_one(plan: ClusterPlan) -> ClusterPlan:
    """The plan, with each step that interrupts a node after the one of the node before it."""
    steps: list[Step] = []
    last = ""
    for step in plan.steps:
        if not step.arguments.interrupts:
            steps.append(step)
            continue
        waits = (*step.after, last) if last and last not in step.after else step.after
        steps.append(replace(step, after=waits))
        last = step.id
    return replace(plan, steps=tuple(steps)) if last else plan


def group_by_wave(steps: Sequence[Step]) -> tuple[tuple[Step, ...], ...]:
    """Steps by wave; one wave if they have no numbers."""
    numbers = sorted({step.wave for step in steps})
    return tuple(tuple(step for step in steps if step.wave == number) for number in numbers)


def _select_open_wave(
    units: Sequence[str],
    groups: Mapping[str, Sequence[Step]],
    before: Mapping[str, Sequence[str]],
    wave: AbstractSet[str],
) -> set[str]:
    """The units of an open wave, without those that now depend on something outside of it."""
    left = set(units)
    found: set[str] = set()
    for unit in units:
        if wave.isdisjoint(step.id for step in groups[unit]):
            continue
        if all(name in found or name not in left for name in before[unit]):
            found.add(unit)
    return found


def _group_units(steps: Sequence[Step]) -> tuple[dict[str, list[Step]], dict[str, list[str]]]:
    """What must be in one wave as a whole, and what each unit depends on; both by the unit's name."""
    by_node = {step.id: step.id if _is_alone(step) else f"node {step.node}" for step in steps}
    names, before = by_node, _list_dependencies(steps, by_node)
    try:
        sort_by_dependency(before)
    except DependencyCycle:
        # Steps of two nodes that depend on each other crosswise, such as a1, b1, a2: then each is a unit.
        names = {step.id: step.id for step in steps}
        before = _list_dependencies(steps, names)
    groups: dict[str, list[Step]] = {}
    for step in steps:
        groups.setdefault(names[step.id], []).append(step)
    return groups, before


def _list_dependencies(steps: Sequence[Step], unit: Mapping[str, str]) -> dict[str, list[str]]:
    before: dict[str, list[str]] = {}
    for step in steps:
        own = unit[step.id]
        known = before.setdefault(own, [])
        known += [unit[name] for name in step.after if name in unit and unit[name] != own]
    return before


def _is_alone(step: Step) -> bool:
    # Its gates have to see the membership that this step alone leaves: two at once could break the majority.
    return step.effect is Effect.MEMBERSHIP


def _fill_wave(
    rest: Sequence[str],
    groups: Mapping[str, Sequence[Step]],
    before: Mapping[str, Sequence[str]],
    domain: Mapping[str, str],
    size: int,
) -> set[str]:
    """The next wave: the first unit that is left, and all others that fit beside it."""
    left = set(rest)
    wave: set[str] = set()
    nodes: set[str] = set()
    place = ""
    for unit in rest:
        step = groups[unit][0]
        if any(name in left and name not in wave for name in before[unit]):
            continue
        if not wave:
            wave, nodes, place = {unit}, {step.node}, domain.get(step.node, "")
            if _is_alone(step):
                return wave
        elif not _is_alone(step) and domain.get(step.node, "") == place and len(nodes | {step.node}) <= size:
            wave.add(unit)
            nodes.add(step.node)
    return wave
