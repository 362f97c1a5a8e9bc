"""Equal steps on many nodes, gathered so that a thousand nodes read as one paragraph."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from reconciler.core.canonical import encode_canonical
from reconciler.core.diff import Change
from reconciler.core.plan import ClusterPlan, Plan, Step
from reconciler.core.secret import mask
from reconciler.text.node_names import format_node_names, generalise_sentence, group_by_key
from reconciler.text.one_line import clean_line

SENTENCES: tuple[Callable[[Step], str], ...] = (
    lambda step: step.reason,
    lambda step: step.risk_reason,
    lambda step: step.needs,
    lambda step: step.inverse.words,
)
"""The sentences of a step: why it is planned, why it has its risk, what it needs, how it is undone."""


@dataclass(frozen=True, slots=True)
class StepGroup:
    """Steps that differ only in their node.

    Args:
        first: number of the first step among all steps shown; the others follow it.
        after: numbers of the steps that must have succeeded before, as text such as `1-3, 5`.
    """

    first: int
    steps: tuple[Step, ...]
    after: str = ""

    @property
    def numbers(self) -> str:
        """`7`, or `7-46` for forty steps."""
        last = self.first + len(self.steps) - 1
        return f"{self.first}" if last == self.first else f"{self.first}-{last}"

    @property
    def step(self) -> Step:
        """The first step, which represents all."""
        return self.steps[0]

    @property
    def nodes(self) -> str:
        """The names of the nodes: `edge-01 … edge-40 (40 nodes)`."""
        return format_node_names([step.node for step in self.steps])

    def words(self, text: str) -> str:
        """A sentence of the first step, in a form that is true for all."""
        return generalise_sentence(text, self.step.node) if len(self.steps) > 1 else clean_line(text)


@dataclass(frozen=True, slots=True)
class GroupFamily:
    """Groups with the same action that differ in their changes or reasons.

    Args:
        groups: at least one, side by side.
    """

    groups: tuple[StepGroup, ...]

    @property
    def whole(self) -> StepGroup:
        """All their steps as one group; sentences of its first step need not be true for the others."""
        steps = tuple(step for group in self.groups for step in group.steps)
        return StepGroup(self.groups[0].first, steps, self.groups[0].after)

    def shared(self, sentence: Callable[[Step], str]) -> str:
        """A sentence that is the same for all steps, apart from the node; empty if it differs.

        Args:
            sentence: reads it from a step.
        """
        if len(self.groups) == 1:
            return self.groups[0].words(sentence(self.groups[0].step))
        texts = {generalise_sentence(sentence(group.step), group.step.node) for group in self.groups}
        return texts.pop() if len(texts) == 1 else ""

    @property
    def repeat_key(self) -> Hashable:
        """Equal for equal steps on one node, whatever comes before; None for several nodes or changes."""
        if len(self.groups) > 1 or len(self.groups[0].steps) > 1 or self.groups[0].step.changes:
            return None
        step = self.groups[0].step
        *action, _ = _make_action_key(step)
        return (*action, *(generalise_sentence(sentence(step), step.node) for sentence in SENTENCES))

    def changes(self) -> tuple[tuple[Change, ...], list[tuple[Change, ...]]]:
        """The changes that are the same on every node, and the other changes of each group."""
        seen = [{_make_change_key(change): change for change in group.step.changes} for group in self.groups]
        common = set(seen[0]).intersection(*seen[1:])
        shared = tuple(change for key, change in seen[0].items() if key in common)
        return shared, [tuple(one for key, one in each.items() if key not in common) for each in seen]


def group_families(groups: Iterable[StepGroup]) -> list[GroupFamily]:
    """Neighbouring groups with the same action, together."""
    return [
        GroupFamily(tuple(family))
        for _, family in groupby(groups, lambda group: (group.after, _make_action_key(group.step)))
    ]


def group_steps(plan: Plan) -> dict[str, tuple[StepGroup, ...]]:
    """Cluster -> its groups, numbered through the whole plan."""
    result: dict[str, tuple[StepGroup, ...]] = {}
    number = 1
    for cluster in plan.clusters:
        result[cluster.cluster] = _number_groups(_gather_steps(cluster), number)
        number += len(cluster.steps)
    return result


def _gather_steps(cluster: ClusterPlan) -> list[tuple[Step, ...]]:
    """Equal steps together; of those that depend on another node only neighbours."""
    # A step that waits for another node, or that another node waits for, must not move in the list.
    node_of = {step.id: step.node for step in cluster.steps}
    tied = {
        name
        for step in cluster.steps
        for before in step.after
        if node_of.get(before) != step.node
        for name in (step.id, before)
    }
    for step in cluster.steps:  # nor may a step that waits for such a one: it would be shown before it
        if tied.intersection(step.after):
            tied.add(step.id)
    place = 0
    last: Hashable = None
    keys: dict[str, Hashable] = {}
    for step in cluster.steps:
        action = _make_action_key(step)
        place += action != last
        last = action
        keys[step.id] = (place if step.id in tied else None, action)
    runs: list[tuple[Step, ...]] = []
    for steps in group_by_key(cluster.steps, lambda step: keys[step.id]):
        if steps[0].id in tied:
            runs += [tuple(run) for _, run in groupby(steps, _make_step_key)]
        else:
            runs += group_by_key(steps, _make_step_key)
    return runs


def _make_action_key(step: Step) -> tuple[Hashable, ...]:
    """Equal for steps with the same action and order, whatever they change and why."""
    return (
        step.wave,
        step.action,
        step.effect,
        step.risk,
        step.inverse.final,
        step.is_manual,
        tuple(before.removeprefix(f"{step.cluster}/{step.node}/") for before in step.after),
    )


def _make_step_key(step: Step) -> Hashable:
    return (
        _make_action_key(step),
        tuple(generalise_sentence(sentence(step), step.node) for sentence in SENTENCES),
        tuple(_make_change_key(change) for change in step.changes),
    )


def _make_change_key(change: Change) -> Hashable:
    """Equal for changes that look the same: different secrets have the same mask."""
    return change.pointer, change.op, encode_canonical(mask([change.old, change.new]))


def _number_groups(runs: list[tuple[Step, ...]], number: int) -> tuple[StepGroup, ...]:
    places: dict[str, int] = {}
    groups = []
    for steps in runs:
        places |= {step.id: number + index for index, step in enumerate(steps)}
        groups.append(StepGroup(number, steps))
        number += len(steps)
    return tuple(
        StepGroup(group.first, group.steps, ", ".join(_format_number_ranges(group.steps, places)))
        for group in groups
    )


def _format_number_ranges(steps: Iterable[Step], places: Mapping[str, int]) -> Iterator[str]:
    """The numbers of the steps that these wait for: `1-3`, `5`."""
    numbers = sorted({places[name] for step in steps for name in step.after if name in places})
    start = 0
    for index, number in enumerate(numbers):
        if index + 1 == len(numbers) or numbers[index + 1] != number + 1:
            yield f"{number}" if start == index else f"{numbers[start]}-{number}"
            start = index + 1
