"""sora.conf in the form that the model checker explores: its steps, and what must never happen; pure.

A node has its file in its state. It may be one with which no node starts: then only another content helps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from reconciler.core.file_state import compute_file_digest
from reconciler.core.observation import FileReading, Observed, Present
from reconciler.core.plan import ClusterPlan, Step
from reconciler.drivers.sora.arguments import RestartArguments, read_cluster_arguments
from reconciler.drivers.sora.cluster_state import SoraNodeState, State
from reconciler.drivers.sora.conf_delivery import OUTDATED_START
from reconciler.drivers.sora.membership import NodeNumbers
from reconciler.drivers.sora.schema import NodeView, SoraDesired
from reconciler.file_delivery.model import FileModel, ModelFile
from reconciler.file_delivery.steps import RESTORE, SwitchArguments, is_file_step, read_file_arguments

_FORMER: Final = b"cluster_relay = former\n"
"""What stands for a backup whose content is not known."""


def place_files(
    names: tuple[str, ...], state: State, desired: SoraDesired, observed: Observed[NodeView]
) -> State:
    """The state with the files that were read, and which start the store remembers."""
    conf, found = desired.entry.conf, []
    for name, node in zip(names, state, strict=True):
        reading = observed.files.get(name, {}).get(conf.file) if conf is not None else None
        if not isinstance(reading, Present):
            found.append(node)
            continue
        shown = reading.value
        backup = _FORMER if shown.backup not in {"", shown.digest} else None
        # What is written aside is known by its digest alone, and is written again if it is needed.
        file = ModelFile(shown.content, backup=backup, leftover=bool(shown.staged) or shown.leftover)
        noted = 0 if node.is_outdated else -1
        found.append(node._replace(file=file, noted=noted))
    return tuple(found)


def adapt_plan(plan: ClusterPlan, observed: Observed[NodeView], names: tuple[str, ...]) -> ClusterPlan:
    """The same plan, with the starts and the backups that the model shows."""
    starts = {text: _name_start(0) for text in observed.starts.values()}

    def adapt(step: Step) -> Step:
        if step.action == RESTORE:
            back = read_file_arguments(step)
            started = starts.get(back.started, "")
            return replace(step, arguments=replace(back, after=compute_file_digest(_FORMER), started=started))
        own = step.arguments
        if isinstance(own, SwitchArguments) and own.started:
            facts = {**own.intent_facts.get(step.node, {}), OUTDATED_START: starts[own.started]}
            own = replace(own, started=starts[own.started], intent_facts={step.node: facts})
            return replace(step, arguments=own)
        if step.action == "restart":
            restart = read_cluster_arguments(step)
            assert isinstance(restart, RestartArguments)
            return replace(step, arguments=replace(restart, started=starts.get(restart.started, "")))
        return step

    return replace(plan, steps=tuple(map(adapt, plan.steps))) if names else plan


def _name_start(number: int) -> str:
    return f"start {number}"


@dataclass(frozen=True, slots=True)
class ConfModel:
    """The files of one cluster.

    Args:
        entry: of the host configuration, the same for all nodes.
        unfit: contents with which no node starts.
        faulty: the node whose file may be changed by hand, be on a full disk, or be refused by its check.
    """

    node_numbers: NodeNumbers
    entry: str
    unfit: frozenset[bytes] = frozenset()
    faulty: str = ""
    _files: FileModel = field(init=False, default_factory=FileModel)

    def learn(self, plan: ClusterPlan) -> ClusterPlan:
        """See `FileModel.learn`."""
        return self._files.learn(plan)

    def can_start(self, node: SoraNodeState) -> bool:
        """Whether the node runs after a start."""
        return node.file is None or node.file.content not in self.unfit

    def observe(self, state: State) -> Observed[NodeView]:
        """What is read for a step about a file."""
        return Observed({}, files=self.read(state), starts=self.list_starts(state))

    def read(self, state: State) -> dict[str, Mapping[str, FileReading]]:
        """What readings of all files show."""
        return {
            name: {self.entry: node.file.read()}
            for name, node in zip(self.node_numbers.names, state, strict=True)
            if node.file is not None
        }

    def list_starts(self, state: State) -> dict[str, str]:
        """What the host's command shows of each node whose file is explored."""
        return {
            name: _name_start(node.starts)
            for name, node in zip(self.node_numbers.names, state, strict=True)
            if node.file is not None
        }

    def list_noted_starts(self, state: State) -> dict[str, dict[str, str]]:
        """Node -> what the store remembers of its start."""
        return {
            name: {OUTDATED_START: _name_start(node.noted) if node.noted >= 0 else ""}
            for name, node in zip(self.node_numbers.names, state, strict=True)
            if node.file is not None
        }

    def perform(self, state: State, step: Step) -> State:
        """What the call of a step about a file makes of the state."""
        number = self.node_numbers.at(step.node)
        node, own = state[number], read_file_arguments(step)
        # The start is read right before: see `steps.perform_file_step`.
        is_early = own.started not in {"", _name_start(node.starts)}
        if node.file is None or is_early:
            return state
        return self._put(state, number, self._files.perform(node.file, step), step)

    def list_partial_effects(self, state: State, step: Step) -> Iterator[tuple[str, State]]:
        """Ways in which the call may break off."""
        number = self.node_numbers.at(step.node)
        file = state[number].file
        for story, half in self._files.list_partial_effects(file, step) if file is not None else ():
            yield f"{story} of {step.node}", self._put(state, number, half, step)

    def _put(self, state: State, number: int, file: ModelFile, step: Step) -> State:
        node = state[number]
        changed = node._replace(file=file)
        if node.file is not None and node.file.content != file.content:
            changed = changed._replace(is_outdated=node.up)
            facts = step.arguments.facts_of_intent.get(step.node, {})
            # Written with the intent, which comes before the call.
            if OUTDATED_START in facts:
                changed = changed._replace(noted=int(facts[OUTDATED_START].removeprefix("start ")))
        return (*state[:number], changed, *state[number + 1 :])

    def list_faults(self, state: State) -> Iterator[tuple[str, State]]:
        """What may happen to a file, one thing each."""
        for number, file in self._list_files(state):
            if self.node_numbers.names[number] != self.faulty:
                continue
            for story, after in self._files.list_faults(file, self._describe(number)):
                node = state[number]._replace(file=after)
                yield story, (*state[:number], node, *state[number + 1 :])

    def list_returns(self, state: State) -> Iterator[tuple[str, State]]:
        """What may come back by itself."""
        for number, file in self._list_files(state):
            for story, after in self._files.list_returns(file, self._describe(number)):
                node = state[number]._replace(file=after)
                yield story, (*state[:number], node, *state[number + 1 :])

    def find_broken_invariant(self, before: State, step: Step, after: State) -> str:
        """The invariant that the call of a step about a file breaks; empty if all hold."""
        number = self.node_numbers.at(step.node)
        old, new = before[number].file, after[number].file
        if old is None or new is None:
            return ""
        return self._files.find_broken_invariant(old, step, new)

    def find_leftover(self, state: State, plan: ClusterPlan) -> str:
        """What a run whose steps all succeeded must not leave; empty if there is nothing."""
        touched = {step.node for step in plan.steps if is_file_step(step)}
        for number, file in self._list_files(state):
            if self.node_numbers.names[number] in touched:
                found = self._files.find_leftover(file, self._describe(number))
                if found:
                    return found
        return ""

    def is_effective(self, state: State, step: Step) -> bool:
        """Whether the effect of a step about a file is there, by the contents themselves."""
        file = state[self.node_numbers.at(step.node)].file
        return file is not None and self._files.is_effective(file, step)

    def _list_files(self, state: State) -> Iterator[tuple[int, ModelFile]]:
        for number, node in enumerate(state):
            if node.file is not None:
                yield number, node.file

    def _describe(self, number: int) -> str:
        return f"{self.entry} of {self.node_numbers.names[number]}"
