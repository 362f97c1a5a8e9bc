"""Steps that say the same of many nodes, gathered so that a thousand nodes read as one paragraph."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TypeVar

from reconciler.cli.render.values import format_count
from reconciler.core.canonical import encode_canonical
from reconciler.core.diff import Change
from reconciler.core.plan import ClusterPlan, Plan, Step
from reconciler.core.secret import mask
from reconciler.text.one_line import clean_line

_T = TypeVar("_T")
_EACH = "each node"
_RUN = 4
_PIECES = 6
_WORD = re.compile(r"[\w.@-]+")
_LAST_NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$", re.DOTALL)


SENTENCES: tuple[Callable[[Step], str], ...] = (
    lambda step: step.reason,
    lambda step: step.risk_reason,
    lambda step: step.needs,
    lambda step: step.inverse.words,
)
"""What a step says of itself: why it is planned, why that risk, what it needs, how it is undone."""


@dataclass(frozen=True, slots=True)
class StepGroup:
    """Steps that differ in nothing but their node.

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
        """The step that stands for all."""
        return self.steps[0]

    @property
    def nodes(self) -> str:
        """The nodes in few words: `edge-01 … edge-40 (40 nodes)`."""
        return format_node_names([step.node for step in self.steps])

    def words(self, text: str) -> str:
        """A sentence of the first step, said of all."""
        return generalise_sentence(text, self.step.node) if len(self.steps) > 1 else clean_line(text)


@dataclass(frozen=True, slots=True)
class GroupFamily:
    """Groups that do the same to their nodes, and differ in what changes there or why.

    Args:
        groups: at least one, side by side.
    """

    groups: tuple[StepGroup, ...]

    @property
    def whole(self) -> StepGroup:
        """All their steps as one group; what it says of its first step need not hold for the others."""
        steps = tuple(step for group in self.groups for step in group.steps)
        return StepGroup(self.groups[0].first, steps, self.groups[0].after)

    def shared(self, sentence: Callable[[Step], str]) -> str:
        """A sentence that all steps say, each of its own node; empty where they do not say the same.

        Args:
            sentence: what a step says.
        """
        if len(self.groups) == 1:
            return self.groups[0].words(sentence(self.groups[0].step))
        said = {generalise_sentence(sentence(group.step), group.step.node) for group in self.groups}
        return said.pop() if len(said) == 1 else ""

    @property
    def turn(self) -> Hashable:
        """What a step on one node is, whatever comes before it; None for several nodes, and with changes."""
        if len(self.groups) > 1 or len(self.groups[0].steps) > 1 or self.groups[0].step.changes:
            return None
        step = self.groups[0].step
        *done, _ = _done(step)
        return (*done, *(generalise_sentence(sentence(step), step.node) for sentence in SENTENCES))

    def changes(self) -> tuple[tuple[Change, ...], list[tuple[Change, ...]]]:
        """What changes on every node alike, and beside that what changes on the nodes of each group."""
        seen = [{_change(change): change for change in group.step.changes} for group in self.groups]
        common = set(seen[0]).intersection(*seen[1:])
        shared = tuple(change for key, change in seen[0].items() if key in common)
        return shared, [tuple(one for key, one in own.items() if key not in common) for own in seen]


def group_families(groups: Iterable[StepGroup]) -> list[GroupFamily]:
    """Groups side by side that do the same, together."""
    return [
        GroupFamily(tuple(own)) for _, own in groupby(groups, lambda group: (group.after, _done(group.step)))
    ]


def group_steps(plan: Plan) -> dict[str, tuple[StepGroup, ...]]:
    """Cluster -> its groups, numbered through the whole plan."""
    result: dict[str, tuple[StepGroup, ...]] = {}
    number = 1
    for cluster in plan.clusters:
        result[cluster.cluster] = _numbered(_runs(cluster), number)
        number += len(cluster.steps)
    return result


def format_node_names(nodes: Sequence[str]) -> str:
    """Node names in few words, ranges where their numbers follow each other."""
    pieces = list(_ranges([clean_line(node) for node in nodes]))
    if len(nodes) == 1:
        return pieces[0]
    rest = " …" if len(pieces) > _PIECES else ""
    return f"{', '.join(pieces[:_PIECES])}{rest} ({format_count(len(nodes), 'node')})"


def generalise_sentence(text: str, node: str) -> str:
    """A sentence about one node, said of each: its name gives way to "each node"."""
    if not node or node not in text:
        return clean_line(text)

    def said(word: re.Match[str]) -> str:
        name = word.group().rstrip(".")
        return f"{_EACH}{word.group()[len(name) :]}" if name == node else word.group()

    return clean_line(_WORD.sub(said, text))


def group_by_key(items: Iterable[_T], key: Callable[[_T], Hashable]) -> list[tuple[_T, ...]]:
    """Items with the same key together, each group where its first item stood."""
    found: dict[Hashable, list[_T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return [tuple(group) for group in found.values()]


def _runs(cluster: ClusterPlan) -> list[tuple[Step, ...]]:
    """Steps that wait only for their own node may be gathered from anywhere, others only side by side."""
    node_of = {step.id: step.node for step in cluster.steps}
    tied = {
        name
        for step in cluster.steps
        for before in step.after
        if node_of.get(before) != step.node
        for name in (step.id, before)
    }
    place = 0
    last: Hashable = None
    keys: dict[str, Hashable] = {}
    for step in cluster.steps:
        done = _done(step)
        place += done != last
        last = done
        keys[step.id] = (place if step.id in tied else None, done)
    runs: list[tuple[Step, ...]] = []
    for steps in group_by_key(cluster.steps, lambda step: keys[step.id]):
        if steps[0].id in tied:
            runs += [tuple(run) for _, run in groupby(steps, _said)]
        else:
            runs += group_by_key(steps, _said)
    return runs


def _done(step: Step) -> tuple[Hashable, ...]:
    """What a step does to its node, whatever changes there and why."""
    return (
        step.wave,
        step.action,
        step.effect,
        step.risk,
        step.inverse.final,
        step.waits_for_person,
        tuple(before.removeprefix(f"{step.cluster}/{step.node}/") for before in step.after),
    )


def _said(step: Step) -> Hashable:
    return (
        _done(step),
        tuple(generalise_sentence(sentence(step), step.node) for sentence in SENTENCES),
        tuple(_change(change) for change in step.changes),
    )


def _change(change: Change) -> Hashable:
    """A change as it is shown: secrets that differ behind their masks are alike."""
    return change.pointer, change.op, encode_canonical(mask([change.old, change.new]))


def _numbered(runs: list[tuple[Step, ...]], number: int) -> tuple[StepGroup, ...]:
    places: dict[str, int] = {}
    groups = []
    for steps in runs:
        places |= {step.id: number + index for index, step in enumerate(steps)}
        groups.append(StepGroup(number, steps))
        number += len(steps)
    return tuple(StepGroup(group.first, group.steps, _after(group, places)) for group in groups)


def _after(group: StepGroup, places: Mapping[str, int]) -> str:
    numbers = sorted({places[name] for step in group.steps for name in step.after if name in places})
    return ", ".join(_number_ranges(numbers))


def _number_ranges(numbers: Sequence[int]) -> Iterator[str]:
    start = 0
    for index, number in enumerate(numbers):
        if index + 1 == len(numbers) or numbers[index + 1] != number + 1:
            yield f"{number}" if start == index else f"{numbers[start]}-{number}"
            start = index + 1


def _ranges(nodes: Sequence[str]) -> Iterator[str]:
    start = 0
    breaks = [index + 1 for index, (one, two) in enumerate(pairwise(nodes)) if not _follows(one, two)]
    for end in [*breaks, len(nodes)]:
        if end - start >= _RUN:
            yield f"{nodes[start]} … {nodes[end - 1]}"
        else:
            yield from nodes[start:end]
        start = end


def _follows(one: str, two: str) -> bool:
    match = _LAST_NUMBER.match(one)
    if match is None:
        return False
    head, number, tail = match.groups()
    return two == f"{head}{int(number) + 1:0{len(number)}d}{tail}"
